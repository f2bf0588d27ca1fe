"""The count: right where the answer is known, a no where there is nothing to count, and the evidence by hand."""

import math

import numpy as np
import pytest
import torch

import superpos
from superpos import counting
from superpos.counting import Prepared
from superpos.worlds import Featureless, World

QUICK = counting.COUNTING.but(steps=600, sparsities=(2, 4))


@pytest.fixture(scope="module")
def found():
    world = World(n_features=32, n_neurons=16, active=2.0, zipf=0.5, offset=2.0)
    return world, superpos.measure_rows(world.rows(4_000), sae=QUICK).iloc[0]


def test_planted_features_are_counted(found):
    world, row = found
    assert row.identified
    assert row.reason == ""
    assert row.effective_features == pytest.approx(world.truth, rel=0.05)
    assert row.effective_features_low < world.truth < row.effective_features_high
    assert row.psi == pytest.approx(row.effective_features / 16)
    assert row.psi_high == pytest.approx(row.effective_features_high / 16)


def test_the_unit_of_activations_and_a_constant_do_not_matter(found):
    """What is fitted is the same but for rounding and the signs of its axes; fits that begin so part by a few percent."""
    world, row = found
    x = world.rows(4_000)
    moved = 1000 * x + torch.arange(16.0)
    one, other = Prepared.of(x), Prepared.of(moved)
    assert torch.allclose(one.y.abs(), other.y.abs(), atol=2e-3)
    assert torch.allclose(1000 * one.lengths.norm(dim=1), other.lengths.norm(dim=1), rtol=1e-3)
    again = superpos.measure_rows(moved, sae=QUICK).iloc[0]
    assert again.identified
    assert again.effective_features == pytest.approx(row.effective_features, rel=0.05)


@pytest.mark.parametrize("kind", ["white", "coloured", "circle", "torus", "shuffled"])
def test_rows_without_features_get_a_no_and_a_range(kind):
    row = superpos.measure_rows(Featureless(kind, n_neurons=16).rows(4_000), sae=QUICK).iloc[0]
    assert not row.identified
    assert len(row.reason) > 20
    assert np.isnan(row.effective_features)
    assert np.isnan(row.psi)
    assert row.effective_features_low <= row.effective_features_high


def test_too_few_rows_are_a_no():
    row = superpos.measure_rows(World(n_features=32, n_neurons=16).rows(60), sae=QUICK).iloc[0]
    assert row.reason == "60 rows are too few for 16 neurons"


def test_a_seed_repeats_and_other_seeds_are_other_rows():
    x = World(n_features=24, n_neurons=8, active=1.0).rows(2_000)
    table = superpos.measure_rows(x, sae=QUICK.but(steps=200), seeds=(1, 2))
    again = superpos.measure_rows(x, sae=QUICK.but(steps=200), seeds=(1,))
    assert table.seed.tolist() == [1, 2]
    assert table.bits[0] == again.bits[0] != table.bits[1]


def test_long_rows_are_shortened_and_their_weight_is_kept():
    world = World(n_features=32, n_neurons=16)
    x = world.rows(2_000)
    x[::16] *= 300
    ready = Prepared.of(x)
    assert ready.y.norm(dim=1).max() < 5 * ready.y.norm(dim=1).median()
    assert ready.weights[::16].median() > 50 * ready.weights[1::16].median()


def test_flat_noise_is_left_out_and_other_dimensions_are_not():
    g = torch.Generator().manual_seed(0)
    plane = torch.randn(3_000, 5, generator=g) @ torch.randn(5, 16, generator=g)
    assert Prepared.of(plane + 0.05 * torch.randn(3_000, 16, generator=g)).y.shape[1] == 5
    assert Prepared.of(torch.randn(3_000, 16, generator=g)).y.shape[1] == 16
    assert Prepared.of(World(n_features=64, n_neurons=16, zipf=1.0).rows(3_000)).y.shape[1] == 16


def test_directions_are_carried_back_to_the_neurons():
    x = World(n_features=32, n_neurons=16, offset=1.0).rows(2_000)
    ready = Prepared.of(x)
    back = ready.weights[:, None] * ready.y @ ready.lengths
    assert torch.allclose(back - back.mean(0), x - x.mean(0), atol=0.05 * float(x.std()))


def test_the_error_of_samples_is_that_of_a_bootstrap():
    """Rows that come in eights that are alike: beside independent rows the variance of ln F is eight times as large."""
    world = World(n_features=12, n_neurons=8, active=1.0, spread=0.5)
    x = world.rows(250).repeat_interleave(8, dim=0)
    found = counting.find(x, QUICK.but(steps=300))
    sample = torch.arange(250).repeat_interleave(8)
    t = found.written.to_dense().double()
    g = np.random.default_rng(0)
    logs = []
    for _ in range(300):
        drawn = torch.from_numpy(g.integers(0, 250, 250))
        logs.append(
            math.log(
                superpos.metrics.effective_features(superpos.metrics.shares(t.view(250, 8, -1)[drawn].sum((0, 1))))
            )
        )
    excess = counting.excess_error(found, sample)
    assert excess == pytest.approx(np.std(logs) * math.sqrt(7 / 8), rel=0.25)
    assert counting.excess_error(found, None) == 0
    assert counting.excess_error(found, torch.arange(2_000)) == 0


def test_where_nothing_is_shared_there_is_no_code():
    lonely = counting.Found(None, "", 0.0, 10.0, math.nan, math.nan, [], 16)
    row = counting.evidence(lonely)
    assert np.isnan(row["effective_features"])
    assert row["codes"] == 0


def test_rows_to_read_apart_are_refused():
    x = torch.randn(100, 4)
    with pytest.raises(ValueError, match="reads the rows that it is made from"):
        superpos.measure_rows(x, x)


def test_rows_that_are_hardly_ever_moved():
    """Where most rows are the same, features are learned from those that differ."""
    world = World(n_features=8, n_neurons=8, active=0.05)
    found = counting.find(world.rows(20_000), QUICK)
    assert found.effective_features == pytest.approx(world.truth, rel=0.1)


def test_penalties_that_leave_no_code_active_are_a_no():
    """A dictionary whose codes are all dead at a penalty is no candidate; where none is left the count refuses."""
    x = World(n_features=24, n_neurons=8, active=1.0).rows(2_000)
    short = QUICK.but(steps=200)
    row = superpos.measure_rows(x, sae=short.but(penalties=(1e6,), more_penalties=(1e6,))).iloc[0]
    assert not row.identified
    assert len(row.reason) > 20
    some = counting.find(x, short.but(more_penalties=(0.5, 1e6)))
    assert all(F > 0 for F, _ in some.readings)


def test_a_direction_that_half_of_the_rows_lack_has_no_components():
    """Components cannot be found there; the count goes on without them."""
    y = torch.randn(400, 3, generator=torch.Generator().manual_seed(1))
    assert len(list(counting._components(y, 0))) == 2
    y[::2, 1] = 0.0
    assert not list(counting._components(y, 0))


def test_layers_side_by_side_are_counted_as_each_alone():
    """Their SAEs are fitted as one stack, whatever the widths."""
    worlds = [World(n_features=24, n_neurons=16, active=1.5, seed=s) for s in (1, 2)] + [
        World(n_features=12, n_neurons=8, seed=3)
    ]
    xs, settings = [world.rows(1_500) for world in worlds], counting.COUNTING.but(steps=300, sparsities=(2, 4))
    together = counting.starts(xs, settings, seed=3)
    for x, start in zip(xs, together, strict=True):
        (alone,) = counting.starts([x], settings, seed=3)
        assert [one.name for one in start.dictionaries] == [one.name for one in alone.dictionaries]
        for one, other in zip(start.dictionaries, alone.dictionaries, strict=True):
            torch.testing.assert_close(one.A, other.A, atol=1e-3, rtol=1e-3)
        ours, theirs = counting.find(x, settings, seed=3, start=start), counting.find(x, settings, seed=3)
        assert ours.effective_features == pytest.approx(theirs.effective_features, rel=1e-3)
