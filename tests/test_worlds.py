"""Worlds: what is said of the features is what the rows hold, and F* is what a perfect reading would give."""

import numpy as np
import pytest
import torch

from superpos import metrics
from superpos.worlds import Featureless, World


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"zipf": 1.0},
        {"spread": 0.8, "amplitude": "lognormal"},
        {"amplitude": "exponential", "active": 8.0},
        {"amplitude": "constant"},
        {"dependence": "nested", "zipf": 0.7},
        {"dependence": "together"},
        {"dependence": "exclusive", "zipf": 0.7},
    ],
)
def test_the_truth_is_what_a_perfect_reading_gives(fields):
    world = World(**({"n_features": 60, "n_neurons": 16} | fields))
    codes = world.codes(60_000)
    lengths = world.dictionary().norm(dim=1)
    assert torch.allclose(lengths, torch.ones(60))
    assert metrics.effective_features(metrics.code_shares(codes)) == pytest.approx(world.truth, rel=0.01)
    assert torch.allclose((codes > 0).double().mean(0), world.frequencies(), atol=0.01)


def test_equal_features_count_as_many_as_they_are():
    assert World(n_features=40).truth == pytest.approx(40)


def test_children_fire_only_with_their_parent_and_rivals_never_together():
    nested = World(n_features=40, dependence="nested").codes(5_000) > 0
    parents = nested[:, ::4].repeat_interleave(4, dim=1)
    assert not (nested & ~parents).any()
    assert (nested.sum(1) > nested[:, ::4].sum(1)).any()
    exclusive = World(n_features=40, dependence="exclusive").codes(5_000) > 0
    assert exclusive.view(-1, 4, 10).sum(1).max() == 1  # group g holds the features g, g + 10, g + 20, g + 30
    assert exclusive.sum(1).max() > 1


def test_features_of_a_group_fire_together():
    codes = (World(n_features=40, dependence="together", active=4.0).codes(20_000) > 0).float()
    r = np.corrcoef(codes.T.numpy())
    assert r[0, 1] > 0.2
    assert abs(r[0, 4]) < 0.05


def test_noise_offset_and_heavy_rows_are_as_asked():
    plain = World(n_features=40, n_neurons=16)
    x = plain.rows(20_000)
    assert plain.but(noise=0.5).rows(20_000).var(0).sum().item() == pytest.approx(1.5 * x.var(0).sum().item(), rel=0.02)
    shifted = plain.but(offset=3.0).rows(20_000)
    length = x.square().sum(1).mean().sqrt()
    assert (shifted - x).std(0).max() < 1e-4
    assert (shifted - x)[0].norm().item() == pytest.approx(3 * length.item(), rel=1e-3)
    heavy = plain.but(heavy=0.1, heavier=50.0).rows(20_000)
    assert ((heavy.norm(dim=1) / x.norm(dim=1).clamp_min(1e-9)) > 40).float().mean().item() == pytest.approx(
        0.1, abs=0.02
    )


def test_directions_are_as_asked():
    world = World(n_features=48, n_neurons=16)
    cosines = (
        world.but(directions="orthogonal").dictionary()[:16] @ world.but(directions="orthogonal").dictionary()[:16].T
    )
    assert torch.allclose(cosines, torch.eye(16), atol=1e-5)
    near = world.but(directions="clustered", closeness=0.8).dictionary()
    assert (near[0] @ near[1]) > 0.5
    assert (world.but(directions="nonnegative").dictionary() >= 0).all()
    assert ((world.but(directions="local").dictionary() != 0).sum(1) == 2).all()


def test_rows_follow_the_seed_and_the_stream():
    world = World(n_features=20, n_neurons=8, noise=0.1)
    assert torch.equal(world.rows(50), world.rows(50))
    assert not torch.equal(world.rows(50), world.rows(50, stream=1))
    assert not torch.equal(world.rows(50), world.but(seed=1).rows(50))
    assert torch.equal(world.dictionary(), world.but(noise=0.0).dictionary())


@pytest.mark.parametrize(
    ("fields", "words"), [({"active": 30.0}, "active must be at most half of the 40"), ({"zipf": -1.0}, "zipf")]
)
def test_what_cannot_be_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        World(n_features=40, **fields)


@pytest.mark.parametrize("kind", ["white", "coloured", "elliptical", "random_network", "shuffled", "circle", "torus"])
def test_rows_without_features(kind):
    x = Featureless(kind, n_neurons=16).rows(2_000)
    assert x.shape == (2_000, 16)
    assert torch.isfinite(x).all()
    assert torch.linalg.matrix_rank(x - x.mean(0)) == 16
