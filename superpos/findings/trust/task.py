"""Kinds of worlds, and which kind serves for what.

CALIBRATION kinds come from `superpos.worlds`: the count was built while looking at such worlds, its thresholds and its
intervals are set on them, and no error of theirs is a result. The kinds of `others.KINDS` come from other generators; none of
them was read before the count, its thresholds and its intervals were fixed. NOTHING kinds hold no features.

Whoever draws the number-th world of a kind gets the same one: its settings are drawn from the stream "trust.worlds".
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from superpos import seeds
from superpos.findings.trust import others
from superpos.settings import one_of
from superpos.worlds import Featureless, World

NEURONS = (16, 24, 32, 48, 64)


@dataclass(frozen=True)
class Drawn:
    """Activations, and how many features are in them (NaN where there are none to count)."""

    x: Float[Tensor, "n N"]
    truth: float


def _between(generator: Generator, low: int | float, high: int | float) -> float:
    """A number between two, uniform in its logarithm."""
    return low * math.exp(torch.rand(1, generator=generator).item() * math.log(high / low))


def _one(generator: Generator, values: Any) -> Any:
    return values[int(torch.randint(len(values), (1,), generator=generator))]


def _plain(g: Generator, low: float = 0.5, high: float = 4.0, most: float = 6.0) -> dict[str, Any]:
    """What all kinds begin with: N neurons, `low` N to `high` N features, 1 to `most` of them active in a row."""
    N = _one(g, NEURONS)
    K = max(4, round(N * _between(g, low, high)))
    active = min(_between(g, 1.0, most), K / 3, N / 6)
    return {"n_neurons": N, "n_features": K, "active": max(active, 0.5)}


def _chance(g: Generator, fields: dict[str, Any], share: float = 0.5) -> dict[str, Any]:
    return fields if torch.rand(1, generator=g).item() < share else {}


def _mixed(g: Generator) -> dict[str, Any]:
    """Everything at once, by chance."""
    return (
        _plain(g, 0.25, 6.0)
        | _chance(g, {"zipf": _between(g, 0.3, 1.2)})
        | _chance(g, {"spread": _between(g, 0.2, 1.0)})
        | _chance(g, {"noise": _between(g, 0.003, 0.3), "noise_slope": _one(g, [0.0, 1.0])})
        | _chance(g, {"offset": _between(g, 0.3, 5.0)})
        | _chance(g, {"heavy": 0.06, "heavier": _between(g, 3.0, 100.0)}, 0.2)
        | {"amplitude": _one(g, ["uniform", "exponential", "lognormal", "constant"])}
        | {"directions": _one(g, ["random", "clustered", "nonnegative", "local"])}
        | {"dependence": _one(g, ["independent", "independent", "together", "exclusive", "nested"])}
    )


CALIBRATION: dict[str, Callable[[Generator], dict[str, Any]]] = {
    "plain": lambda g: _plain(g) | {"amplitude": _one(g, ["uniform", "exponential", "lognormal", "constant"])},
    "few": lambda g: _plain(g, 0.125, 0.6) | _chance(g, {"noise": _between(g, 0.003, 0.2)}),
    "many": lambda g: _plain(g, 3.0, 8.0, 4.0),
    "dense": lambda g: _plain(g, 0.4, 2.0) | {"active": 0.0},
    "zipf": lambda g: _plain(g) | {"zipf": _between(g, 0.5, 1.3)},
    "unequal": lambda g: _plain(g) | {"spread": _between(g, 0.3, 1.2), "amplitude": _one(g, ["exponential", "lognormal"])},
    "noisy": lambda g: _plain(g) | {"noise": _between(g, 0.01, 0.5), "noise_slope": _one(g, [0.0, 0.5, 1.0])},
    "clustered": lambda g: _plain(g, 1.0) | {"directions": "clustered", "closeness": _between(g, 0.3, 0.85)},
    "nonnegative": lambda g: _plain(g) | {"directions": _one(g, ["nonnegative", "local"]), "offset": _between(g, 0.2, 4.0)},
    "nested": lambda g: _plain(g, 1.0) | {"dependence": "nested", "zipf": _one(g, [0.0, 0.7])},
    "together": lambda g: _plain(g, 1.0) | {"dependence": "together"},
    "exclusive": lambda g: _plain(g, 1.0) | {"dependence": "exclusive", "zipf": _one(g, [0.0, 0.7])},
    "mixed": _mixed,
}  # fmt: skip
NOTHING = ("white", "coloured", "elliptical", "random_network", "shuffled", "circle", "torus")
FROZEN = (*others.KINDS, *NOTHING)  # the worlds that readers are compared on: numbers from 0


def settings_of(kind: str, number: int) -> World | Featureless:
    """The settings of the number-th world of a calibration kind, or of a kind without features."""
    one_of("kind", kind, [*CALIBRATION, *NOTHING])
    g = seeds.generator("trust.worlds", number)
    if kind in NOTHING:
        return Featureless(kind, n_neurons=_one(g, NEURONS), slope=_between(g, 0.5, 2.0), seed=number)
    fields = CALIBRATION[kind](g)
    if kind == "dense":
        fields["active"] = min(_between(g, 5.0, 12.0), fields["n_features"] * 0.4)
    return World(**fields, seed=number)


def draw(kind: str, number: int, n_rows: int) -> Drawn:
    """Rows of the number-th world of a kind. Raises ValueError for a kind that is not known."""
    one_of("kind", kind, [*CALIBRATION, *NOTHING, *others.KINDS])
    if kind in others.KINDS:
        return Drawn(*others.draw(kind, number, n_rows))
    world = settings_of(kind, number)
    return Drawn(world.rows(n_rows), world.truth if isinstance(world, World) else math.nan)
