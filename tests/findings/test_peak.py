"""Where a series over layers is largest."""

import pytest

from superpos.findings.language.analysis import peak


def test_a_peak_and_how_far_it_rises_inside():
    assert peak([0, 1, 2, 3], [2, 6, 5, 4]) == (1, 1.5)
    assert peak([3, 0, 2, 1], [4, 2, 5, 6]) == (1, 1.5), "the order of rows does not matter"
    assert peak([-1, 0, 1], [8, 2, 1]) == (-1, 0.25), "a series that falls has its peak at an end"
    with pytest.raises(ValueError, match="above 0, got"):
        peak([0, 1, 2], [0, 1, 2])
    with pytest.raises(ValueError, match="at least 3 values"):
        peak([0, 1], [1, 2])
