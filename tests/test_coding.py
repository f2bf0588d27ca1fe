"""Sparse codes beside scikit-learn's, bits by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso

from superpos import coding
from superpos.worlds import World


def test_codes_are_those_of_the_positive_lasso():
    g = torch.Generator().manual_seed(0)
    A = torch.nn.functional.normalize(torch.randn(20, 8, generator=g), dim=1)
    x = torch.randn(5, 8, generator=g)
    ours = coding.codes_of(x.double(), A.double(), 0.3, steps=3000)
    for row, z in zip(x, ours, strict=True):
        lasso = Lasso(alpha=0.3 / 8, positive=True, fit_intercept=False, tol=1e-10, max_iter=10**6)
        theirs = lasso.fit(A.T.double().numpy(), row.double().numpy()).coef_
        assert np.allclose(z.numpy(), theirs, atol=1e-4)


def test_where_keeps_codes_out():
    A, x = torch.eye(3), torch.ones(2, 3)
    allowed = torch.tensor([[True, True, False], [True, False, False]])
    z = coding.codes_of(x, A, 0.0, steps=50, where=allowed)
    assert torch.allclose(z, allowed.float(), atol=1e-3)


def test_alike_directions_become_one_and_the_most_used_stays():
    A = torch.nn.functional.normalize(torch.tensor([[1.0, 0.1], [1.0, 0.0], [0.0, 1.0]]), dim=1)
    kept = coding.merge(A, torch.tensor([1.0, 5.0, 2.0]))
    assert torch.allclose(kept, A[[1, 2]])


def test_bits_of_a_gaussian_vector_by_hand():
    x = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.5])
    by_hand = (math.log2(1 + 1 / 0.01) + math.log2(1 + 0.25 / 0.01)) / 2
    assert coding.gaussian_bits(x) == pytest.approx(by_hand, rel=0.01)


def test_places_by_hand():
    """Two codes that always fire together, each in half of the rows, and one on its own: two bits, not three."""
    g = torch.Generator().manual_seed(0)
    one, other = torch.rand(40_000, 1, generator=g) < 0.5, torch.rand(40_000, 1, generator=g) < 0.5
    assert coding._places(torch.cat([one, other], 1)) == pytest.approx(2, abs=0.01)
    assert coding._places(torch.cat([one, one, other], 1)) == pytest.approx(2, abs=0.01)


def test_the_planted_dictionary_is_the_shortest_and_writes_the_shares():
    world = World(n_features=24, n_neurons=16, active=2.0, zipf=0.5)
    x = world.rows(4_000) / world.rows(4_000).std(0).max()
    weights, lengths = torch.ones(len(x)), torch.eye(16)
    A, b = world.dictionary(), torch.zeros(16)
    right = coding.price(x, A, b, 0.05, weights, lengths)
    turned = coding.price(x, A.roll(1, 1), b, 0.05, weights, lengths)
    fewer = coding.price(x, A[:20], b, 0.05, weights, lengths)
    assert right.bits < min(turned.bits, fewer.bits)
    assert right.unexplained < 0.01
    p = right.totals / right.totals.sum()
    truth = (world.frequencies() * world.scales()) / (world.frequencies() * world.scales()).sum()
    assert float((p - truth).abs().sum()) < 0.1


def test_refining_turns_the_dictionary_towards_the_planted_one():
    world = World(n_features=24, n_neurons=16, active=2.0)
    x, D = world.rows(4_000), world.dictionary()
    start = torch.nn.functional.normalize(
        D + 0.4 * torch.randn(24, 16, generator=torch.Generator().manual_seed(1)) / 4, dim=1
    )
    A, b = coding.refine(x, start, torch.zeros(16), 0.1, rounds=10)
    assert float((A @ D.T).max(0).values.mean()) > 0.99 > float((start @ D.T).max(0).values.mean())
    assert b.norm() < 0.3


def test_a_feature_rests_where_it_is_most_often():
    off = torch.cat([torch.zeros(700), torch.rand(300) + 0.5])
    assert coding.rest_of(off)[1] == 1
    assert coding.rest_of(off)[0] == pytest.approx(0, abs=0.03)
    rest, sign = coding.rest_of(2 - off)
    assert (rest, sign) == (pytest.approx(2, abs=0.03), -1)


def test_a_code_for_two_features_at_once_is_done_without():
    """Features that fire together tempt an SAE to a third code for both; the joined code has none."""
    world = World(n_features=16, n_neurons=16, active=2.0, dependence="together", group=2)
    x, D = world.rows(5_000), world.dictionary()
    sums = torch.nn.functional.normalize(D[::2] + D[1::2], dim=1)
    weights, lengths = torch.ones(len(x)), torch.eye(16)
    start = coding.price(x, torch.cat([D, sums]), torch.zeros(16), 0.1, weights, lengths)
    joined = coding.join(start, x[:3_000], x, weights, lengths)
    assert len(joined.A) == 16 < len(start.A)
    assert joined.bits < start.bits
