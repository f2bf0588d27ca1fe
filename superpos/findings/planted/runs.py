"""One SAE on planted features, and the grid of such runs; and a network's layers beside two controls."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from torch import nn

from superpos import sae, seeds
from superpos.activations import Rows, read_activations, shuffle_columns
from superpos.data import LabelledImages
from superpos.findings.planted.task import planted
from superpos.measurement import measure, measure_rows
from superpos.settings import Count, Positive, Whole, one_of, settings
from superpos.sweep import expand
from superpos.usage import reading

READINGS = {"protocol": sae.PROTOCOL, "published": sae.PUBLISHED}
KEPT = ("n_codes", "effective_features", "psi", "hill_0", "hill_2", "fvu", "l0", "dead")


@settings
class Run:
    """`k` features in `n_neurons` dimensions, on average `active` of them in a row, and how they are read.

    The `reading`, one of READINGS, is fitted to `n_rows` rows and read on as many fresh ones. `longer` multiplies its training
    (steps, or the patience and most epochs of its stopping rule), and `codes` its dictionary.
    """

    reading: str
    k: Count
    active: int | float
    n_neurons: Count = 64
    seed: Whole = 0
    longer: Positive = 1.0
    codes: Positive = 1.0
    n_rows: Count = 10_000

    def __post_init__(self) -> None:
        one_of("reading", self.reading, READINGS)


def planted_run(run: Run) -> dict[str, Any]:
    """F of planted features and its neighbours, and `ratio`, F over the number of features."""
    base = READINGS[run.reading]
    length = {name: getattr(base, name) for name in (("steps",) if base.steps else ("patience", "epochs"))}
    own = base.but(expansion=base.expansion * run.codes, **{n: round(v * run.longer) for n, v in length.items()})
    x = planted(2 * run.n_rows, run.n_neurons, run.k, run.active, seeds.seed("planted.rows", run.seed))
    fit = sae.fit(x[: run.n_rows], own, seed=seeds.seed("planted.sae", run.seed))
    seen = reading(fit, x[run.n_rows :], "planted features")
    kept = {name: seen[name] for name in KEPT}
    return kept | {"epochs": len(fit.history), "ratio": seen["effective_features"] / run.k}


def grid(stress: Sequence[int], **axes: Any) -> list[Run]:
    """Runs of all readings; for the k of `stress`, 3 active, also trained twice as long, and with twice the codes."""
    axes |= {"reading": list(READINGS)}
    harder = axes | {"k": stress, "active": 3}
    return [one for each in (axes, harder | {"longer": 2.0}, harder | {"codes": 2.0}) for one in expand(Run, **each)]


def controls(
    model: nn.Module,
    untrained: nn.Module,
    images: LabelledImages,
    layers: Sequence[str],
    *,
    n_samples: int,
    **asked: Any,
) -> pd.DataFrame:
    """What `superpos.measure` says of an untrained network, and of a trained one's activations shuffled: column `state`.

    Shuffled, every neuron's column has an order of its own: its values are kept, and what neurons share is broken. `asked`
    is the `sae` and the `seeds` of `superpos.measure`.
    """
    tables = [measure(untrained, images, layers, n_samples=n_samples, **asked).assign(state="untrained")]
    rows = read_activations(model, images, layers, n_samples=n_samples)
    for layer in layers:
        parts = [shuffle_columns(x, seed=1) for x in rows[layer].split(0.2)]
        tables.append(measure_rows(*parts, **asked, label=layer).assign(layer=layer, state="shuffled"))
    return pd.concat(tables)


def by_readings(rows: Rows, readings: Mapping[str, sae.Settings], seeds: Sequence[int]) -> pd.DataFrame:
    """`superpos.measure` of the rows of a layer by several readings, a fifth of the samples held out: column `reading`."""
    tables = {name: measure_rows(*rows.split(0.2), own, seeds=seeds) for name, own in readings.items()}
    return pd.concat(tables, names=["reading"]).reset_index("reading")
