"""Known answers: uniform over k gives k, one-hot gives 1, and what must not matter does not."""

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from superpos import metrics

TOTALS = arrays(np.float64, st.integers(1, 30), elements=st.floats(0.001, 1000))


@pytest.mark.parametrize("order", [0, 0.5, 1, 2, 3.7, math.inf])
@pytest.mark.parametrize("k", [1, 2, 7, 100])
def test_uniform_over_k_counts_k_in_every_order(k, order):
    p = np.r_[np.full(k, 1 / k), np.zeros(5)]
    assert metrics.hill_number(p, order) == pytest.approx(k)


def test_hand_computed_orders():
    p = [0.5, 0.25, 0.25]
    assert metrics.hill_number(p, 0) == 3
    assert metrics.effective_features(p) == pytest.approx(2**1.5)  # H = 1.5 ln 2
    assert metrics.hill_number(p, 2) == pytest.approx(8 / 3)
    assert metrics.hill_number(p, math.inf) == pytest.approx(2)
    assert metrics.superposition(p, 2) == pytest.approx(2**0.5)


def test_code_shares_by_hand():
    z = torch.tensor([[1.0, 0, 2], [1, 0, -4]])
    np.testing.assert_allclose(metrics.code_shares(z), [0.25, 0, 0.75])


@given(TOTALS, st.randoms())
def test_permutation_and_scale_change_nothing(totals, random):
    f = metrics.effective_features(metrics.shares(totals))
    shuffled = list(totals)
    random.shuffle(shuffled)
    assert metrics.effective_features(metrics.shares(np.array(shuffled) * 37)) == pytest.approx(f)
    assert 1 - 1e-9 <= f <= len(totals) + 1e-9


@given(TOTALS, st.sampled_from([0, 0.5, 1, 2]))
def test_splitting_every_code_in_two_doubles_every_order(totals, order):
    """Replication principle (Hill 1973)."""
    once = metrics.hill_number(metrics.shares(totals), order)
    twice = metrics.hill_number(metrics.shares(np.r_[totals, totals]), order)
    assert twice == pytest.approx(2 * once)


@given(TOTALS)
def test_orders_never_increase(totals):
    p = metrics.shares(totals)
    hills = [metrics.hill_number(p, q) for q in (0, 0.5, 1, 2, math.inf)]
    assert all(a >= b - 1e-9 * a for a, b in itertools.pairwise(hills))


def test_frobenius_and_weight_shares_by_hand():
    W = np.array([[3.0, 0, 0], [4, 1, 0]])  # columns of length 5, 1 and 0
    assert metrics.frobenius_superposition(W) == 13
    np.testing.assert_allclose(metrics.weight_shares(W), [25 / 26, 1 / 26, 0])
    np.testing.assert_allclose(metrics.weight_shares(W, power=1), [5 / 6, 1 / 6, 0])
    assert metrics.frobenius_superposition(np.eye(4)) == 1  # four features, each with a neuron of its own


def test_effective_rank_and_participation_ratio_of_known_spectra():
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(50, 4)))
    assert metrics.effective_rank(q) == pytest.approx(4)
    assert metrics.effective_rank(q * [1, 1, 0, 0]) == pytest.approx(2)
    corners = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    assert metrics.participation_ratio(corners + 5) == pytest.approx(2)  # the mean does not count


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_two_nn_finds_the_dimension_of_a_cube_in_a_larger_space(dimension):
    rng = np.random.default_rng(1)
    basis, _ = np.linalg.qr(rng.normal(size=(12, dimension)))
    x = rng.uniform(size=(4000, dimension)) @ basis.T
    assert metrics.two_nn(x) == pytest.approx(dimension, rel=0.08)


def test_two_nn_takes_repeated_rows_once():
    x = np.random.default_rng(2).normal(size=(500, 3))
    assert metrics.two_nn(np.r_[x, x]) == metrics.two_nn(x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.shares([1, float("nan")]), "1 of 2 values that are NaN"),
        (lambda: metrics.shares([0, 0]), "every code is dead"),
        (lambda: metrics.shares([1, -1]), "not be negative"),
        (lambda: metrics.shares([]), "at least one code"),
        (lambda: metrics.hill_number([0.5, 0.2]), "sum to 1"),
        (lambda: metrics.hill_number([1], -1), "at least 0"),
        (lambda: metrics.superposition([1], 0), "n_neurons"),
        (lambda: metrics.two_nn(np.ones((50, 2))), "got 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_polysemanticity_of_known_dictionaries():
    """Neurons as codes: 1 and 1. Codes spread over all neurons: N and N. All codes on one neuron: 1 and k."""
    assert metrics.polysemanticity(np.eye(5), np.ones(5)) == pytest.approx((1, 1))
    hadamard = scipy.linalg.hadamard(8)
    assert metrics.polysemanticity(hadamard, np.full(8, 3.0)) == pytest.approx((8, 8))
    one = np.zeros((6, 4))
    one[:, 2] = [1, -1, 1, 1, -1, 1]
    assert metrics.polysemanticity(one, np.ones(6)) == pytest.approx((1, 6))


def test_polysemanticity_leaves_dead_codes_out_and_weighs_by_what_is_written():
    d = np.array([[1.0, 1, 0], [0, 0, 2], [5, 5, 5]])
    neurons, codes = metrics.polysemanticity(d, [3.0, 1, 0])
    assert neurons == pytest.approx((6 * 2 + 2 * 1) / 8)
    assert codes == pytest.approx(1)
    with pytest.raises(ValueError, match="no code is active"):
        metrics.polysemanticity(d, np.zeros(3))
