"""Planted data: as many active features as asked for, lengths and directions as stated."""

import sys

import pytest
import torch

from superpos.systems.planted import planted, planted_run


def test_rows_hold_the_features_that_were_planted():
    x = planted(4000, 50, 1, 0.25, seed=0)
    lengths = x.norm(dim=1)
    active = lengths > 0
    assert active.float().mean() == pytest.approx(0.25, abs=0.03)
    assert lengths[active].min() >= 0.5
    assert lengths[active].max() <= 1.5
    assert torch.linalg.matrix_rank(x) == 1
    assert torch.linalg.matrix_rank(planted(500, 50, 7, 3, seed=1)) == 7
    assert torch.equal(planted(9, 5, 3, 1, seed=4), planted(9, 5, 3, 1, seed=4))


def test_more_active_than_there_are():
    with pytest.raises(ValueError, match="at most k = 3, got 4"):
        planted(9, 5, 3, 4, seed=0)


def test_a_run_does_not_start_from_the_planted_directions(monkeypatch):
    """One seed for both would hand the SAE the answer: both draw unit rows first."""
    seen = []
    module = sys.modules[planted_run.__module__]
    monkeypatch.setattr(module, "planted", lambda *a: seen.append(a[-1]) or planted(*a))
    planted_run(config="protocol", n_neurons=8, k=4, active=1, seed=3, n=50, longer=0.001)
    assert seen
    assert 3 not in seen


def test_a_run_changes_length_and_dictionary():
    common = {"config": "protocol", "n_neurons": 8, "k": 4, "active": 1, "seed": 0, "n": 200}
    short, wide = planted_run(**common, longer=0.01), planted_run(**common, longer=0.02, codes=2.0)
    assert (short["n_codes"], wide["n_codes"]) == (32, 64)
    assert (short["epochs"], wide["epochs"]) == (50, 100)
