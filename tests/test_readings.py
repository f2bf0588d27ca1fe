"""Readings by name: what each gives, and what is refused."""

import numpy as np
import pytest

from superpos import measure_rows, readings
from superpos.worlds import World


def test_a_layer_read_by_all_of_them():
    world = World(n_features=32, n_neurons=16, active=2.0)
    x = world.rows(4_000)
    rows = readings.read_by(readings.NAMED, x, seed=1, label="a layer", length=0.4)
    assert [row["reading"] for row in rows] == ["published", "protocol", "TopK", "count"]
    count = rows[-1]
    assert count["identified"]
    assert count["low"] < world.truth < count["high"]
    assert all(np.isnan(row["low"]) and row["identified"] for row in rows[:-1])
    alone = measure_rows(x, sae=readings.changed("protocol", length=0.4), seeds=[1]).effective_features[0]
    assert rows[1]["effective_features"] == alone


def test_lengths_and_sizes():
    assert readings.changed("protocol", 2.0, 0.5).steps == 5_000
    assert readings.changed("protocol", 2.0).expansion == 2.0
    assert readings.changed("published", length=0.01).epochs == round(0.01 * readings.NAMED["published"].epochs)
    assert readings.changed("count", 4.0).expansion == 4.0


def test_a_name_that_is_none():
    assert readings.names_in("count; TopK") == ["count", "TopK"]
    with pytest.raises(ValueError, match=r"reading must be one of .*'guess'"):
        readings.names_in("count;guess")


def test_layers_read_together_are_read_as_each_alone(monkeypatch):
    """In turn, as on a processor, and side by side, as on a GPU; through the map of a pool."""
    layers = {f"layer {s}": (World(n_features=24, n_neurons=16, active=1.5, seed=s).rows(1_000), None) for s in (1, 2)}
    asked = {"seed": 1, "length": 0.1}
    alone = {name: readings.read_by(readings.NAMED, x, label=name, **asked) for name, (x, _) in layers.items()}
    assert readings.read_layers(readings.NAMED, layers, **asked) == alone
    monkeypatch.setattr(readings, "_side_by_side", lambda layers: [layers])
    jobs = []
    together = readings.read_layers(
        readings.NAMED, layers, **asked, each=lambda f, todo: [jobs.append(j) or f(j) for j in todo]
    )
    assert len(jobs) == 2
    for name, rows in together.items():
        for one, other in zip(rows, alone[name], strict=True):
            assert one["reading"] == other["reading"]
            assert one["effective_features"] == pytest.approx(other["effective_features"], rel=1e-3, nan_ok=True)
            assert one["fvu"] == pytest.approx(other["fvu"], rel=1e-3)


def test_a_layer_that_cannot_be_read_is_named():
    x = World(n_features=24, n_neurons=16).rows(100)
    with pytest.raises(ValueError, match="second layer: activations"):
        readings.read_layers(["TopK"], {"first": (x, None), "second layer": (x * float("nan"), None)}, seed=0)
