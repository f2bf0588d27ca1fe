"""Numbers out of the ordinary: every public function of metrics and statistics is right at its edges or refuses by name.

Whatever is given, what comes back is finite and within what the quantity can be, or a ValueError says what was wrong.
"""

import contextlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from superpos import metrics, statistics
from superpos.findings.grokking import transitions

ANY = st.floats(allow_nan=True, allow_infinity=True, width=64)
WILD = st.one_of(ANY, st.sampled_from([0.0, 1.0, 1e150, -1e150, 1e308, 1e-308, 1e-150, -0.0]))
SERIES = st.lists(WILD, max_size=12)
SHARES = st.lists(st.floats(0, 1e300), min_size=1, max_size=12).filter(lambda v: sum(v) > 0)
CASES = settings(max_examples=1_000, deadline=None, derandomize=True)


def told(function, *values, **more):
    """What a function gives, or None where it refuses with words."""
    with contextlib.suppress(ValueError):
        return function(*values, **more)
    return None


def matrices(elements=WILD):
    return arrays(np.float64, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=14), elements=elements)


@CASES
@given(SERIES)
def test_shares_sum_to_one(values):
    p = told(metrics.shares, values)
    if p is not None:
        assert p.sum() == pytest.approx(1)
        assert (p >= 0).all()


@CASES
@given(
    SHARES,
    st.one_of(st.floats(0, 3_000), st.sampled_from([0, 1, 1 + 1e-15, 1 - 1e-12, 1.0001, 2, 10, 2_000, math.inf])),
)
def test_hill_numbers_lie_between_one_and_the_number_of_codes(values, order):
    p = metrics.shares(values)
    hill = metrics.hill_number(p, order)
    assert 1 - 1e-9 <= hill <= len(p) * (1 + 1e-9)


@CASES
@given(SHARES, st.floats(0, 2_000), st.floats(0, 2_000))
def test_hill_numbers_fall_with_their_order(values, one, other):
    p = metrics.shares(values)
    low, high = sorted((one, other))
    assert metrics.hill_number(p, high) <= metrics.hill_number(p, low) * (1 + 1e-6)


@CASES
@given(st.integers(1, 40), st.one_of(st.floats(0, 1e6), st.just(math.inf)))
def test_equal_shares_have_their_number_by_every_order(n, order):
    assert metrics.hill_number(np.full(n, 1 / n), order) == pytest.approx(n, rel=1e-6)


@CASES
@given(ANY, st.lists(WILD, max_size=5))
def test_orders_and_shares_that_are_none_are_refused(order, p):
    hill = told(metrics.hill_number, p, order)
    assert hill is None or (order >= 0 and hill >= 1 - 1e-6)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(matrices())
def test_measures_of_rows_stay_within_their_dimension(x):
    for measure in (metrics.effective_rank, metrics.participation_ratio):
        value = told(measure, x)
        if value is not None:
            assert 1 - 1e-6 <= value <= min(x.shape) * (1 + 1e-6)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(matrices(st.one_of(st.integers(0, 2).map(float), st.floats(-1e200, 1e200))))
def test_two_nn_is_a_number_above_zero_or_refuses(x):
    value = told(metrics.two_nn, x)
    assert value is None or 0 < value < math.inf


@pytest.mark.parametrize(
    "x",
    [
        np.stack(np.meshgrid(range(6), range(6)), -1).reshape(-1, 2),
        np.eye(20),
        np.array([[int(b) for b in f"{i:06b}"] for i in range(64)]),
    ],
    ids=["grid", "one-hot", "binary codes"],
)
def test_two_nn_of_tied_rows_is_refused_by_name(x):
    with pytest.raises(ValueError, match=r"of \d+ of \d+ rows the two nearest neighbours are equally far"):
        metrics.two_nn(x)


def test_two_nn_of_a_plane_in_twenty_dimensions_does_not_depend_on_its_scale():
    g = torch.Generator().manual_seed(0)
    x = (torch.rand(1_000, 2, generator=g) @ torch.randn(2, 20, generator=g)).double().numpy()
    assert metrics.two_nn(x) == pytest.approx(2, rel=0.15)
    assert metrics.two_nn(x * 1e200) == pytest.approx(metrics.two_nn(x), rel=1e-6)
    assert metrics.two_nn(x, keep=1.0) == pytest.approx(2, rel=0.25)


@CASES
@given(matrices(), SERIES)
def test_polysemanticity_stays_within_the_dictionary(d, totals):
    found = told(metrics.polysemanticity, d, totals[: len(d)]) if len(totals) >= len(d) else None
    if found is not None:
        assert 1 - 1e-6 <= found[0] <= d.shape[1] * (1 + 1e-6)
        assert 1 - 1e-6 <= found[1] <= d.shape[0] * (1 + 1e-6)


@CASES
@given(SERIES, ANY)
def test_intervals_of_means_hold_the_mean(values, confidence):
    for make in (statistics.mean_interval, statistics.median_interval, statistics.geometric_interval):
        found = told(make, values, confidence)
        if found is not None:
            assert np.isfinite(found).all()
            assert found[1] <= found[0] * (1 + 1e-9 * np.sign(found[0])) + 1e-300
            assert 0 < confidence < 1


@CASES
@given(SERIES, SERIES)
def test_correlations_stay_within_one(x, y):
    n = min(len(x), len(y))
    for r in (statistics.pearson, statistics.rank_correlation):
        value = told(r, x[:n], y[:n])
        assert value is None or -1 <= value <= 1


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([0.0, 1.0, 1.0, 1.0, 1e155, 2.0]), min_size=4, max_size=9), st.integers(0, 99))
def test_intervals_of_correlations_stay_within_one(x, seed):
    y = np.random.default_rng(seed).permutation(x)
    found = told(statistics.correlation_interval, x, y, resamples=100)
    assert found is None or (-1 <= found[1] <= found[2] <= 1 and np.isfinite(found).all())


@CASES
@given(SERIES, SERIES)
def test_slopes_are_finite(x, y):
    n = min(len(x), len(y))
    value = told(statistics.slope, x[:n], y[:n])
    assert value is None or math.isfinite(value)


def test_slopes_of_large_numbers():
    x = np.arange(5) * 1e150
    assert statistics.slope(x, 3 * x) == pytest.approx(3)
    assert statistics.slope(x, np.arange(5)) == pytest.approx(1e-150)
    assert statistics.pearson(x, 2 * x) == pytest.approx(1)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(SERIES, st.lists(st.floats(1e-300, 1e300), max_size=12))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_pools_are_finite_or_refused(effects, variances):
    n = min(len(effects), len(variances))
    for value in (
        told(statistics.pool, effects[:n], variances[:n]),
        told(statistics.meta_slope, range(n), effects[:n], variances[:n]),
    ):
        assert value is None or all(math.isfinite(one) for one in value.values())


@CASES
@given(SERIES, SERIES, ANY)
def test_crossings_lie_within_the_series(t, y, level):
    t = sorted(one for one in t if math.isfinite(one))
    n = min(len(t), len(y))
    value = told(transitions.crossing, t[:n], y[:n], level)
    assert value is None or math.isnan(value) or t[0] <= value <= t[n - 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.mean_interval([1, 2, 3], 95), "confidence must be above 0 and below 1, got 95"),
        (lambda: statistics.share_interval(1, 3, 95), "confidence must be above 0 and below 1, got 95"),
        (lambda: statistics.median_interval(range(6), 0.99), "no two of 6 values hold the median with 99% confidence"),
        (
            lambda: statistics.correlation_interval(range(5), [1, 2, 1, 3, 1], confidence=95),
            "confidence must be above 0",
        ),
        (lambda: metrics.hill_number([0.5, 0.5], math.nan), "order must be at least 0, got nan"),
        (lambda: metrics.superposition([1.0], 0), "n_neurons must be at least 1, got 0"),
        (lambda: transitions.crossing([], [], 1), "one at least"),
        (lambda: transitions.crossing([1, 2], [1], 1), "as many times as values"),
        (lambda: metrics.participation_ratio(np.ones((5, 3))), "x is constant: all 5 rows are the same"),
        (lambda: metrics.effective_rank(np.zeros((5, 3))), "x is zero"),
        (lambda: metrics.polysemanticity([[1.0]], [-1.0]), "totals must not be negative"),
        (lambda: metrics.two_nn(np.random.default_rng(0).random((20, 2)), keep=0), "keep must be above 0"),
    ],
)
def test_what_lies_outside_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_hill_numbers_near_order_one():
    p = metrics.shares([5, 3, 1, 1])
    at_one = metrics.hill_number(p, 1)
    for order in (1 + 1e-15, 1 - 1e-15, 1 + 1e-9, 1 - 1e-9):
        assert metrics.hill_number(p, order) == pytest.approx(at_one, rel=1e-7)
    assert metrics.hill_number(p, 2_000) == pytest.approx(2, rel=1e-3)
    assert metrics.hill_number(p, math.inf) == pytest.approx(2)
