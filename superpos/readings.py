"""The readings that the book compares, by name, and one layer read by several of them.

published   the paper's recipe: the SAE of its public code
protocol    one SAE by the book's first protocol
TopK        one TopK SAE
count       the count (`superpos.counting`), which gives an interval or refuses
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from superpos import counting, sae
from superpos.descent import check_values
from superpos.measurement import trusted
from superpos.settings import one_of
from superpos.usage import reading

__all__ = ["ALL", "NAMED", "TOP", "WORDS", "changed", "in_words", "names_in", "read_by", "read_layers"]

TOP = sae.Settings(
    activation="topk", k=4, expansion=8.0, tied=False, decoder_bias=True, unit_norm=True, init="unit",
    loss="mse", lr=3e-3, steps=2_500, patience=None, decay=0.2,
)  # fmt: skip
NAMED: dict[str, sae.Settings | counting.Settings] = {
    "published": sae.PUBLISHED_FAST,
    "protocol": sae.PROTOCOL,
    "TopK": TOP,
    "count": counting.COUNTING,
}
ALL = ";".join(NAMED)
WORDS = {
    "published": "the paper's recipe",
    "protocol": "this book's protocol",
    "TopK": "a TopK SAE",
    "count": "the count",
}


def in_words(name: str) -> str:
    """A name that holds names of NAMED between commas, as figures and sentences say it.

    >>> in_words("published"), in_words("protocol, λ / 3"), in_words("TwoNN dimension")
    ("the paper's recipe", "this book's protocol, λ / 3", 'TwoNN dimension')
    """
    return ", ".join(WORDS.get(part, part) for part in name.split(", "))


def names_in(readings: str) -> list[str]:
    """The names of NAMED in a text, which semicolons separate. Raises ValueError for another name."""
    names = [name.strip() for name in readings.split(";")]
    for name in names:
        one_of("reading", name, NAMED)
    return names


def changed(name: str, expansion: float | None = None, length: float = 1.0) -> sae.Settings | counting.Settings:
    """The settings of a reading with so many codes a neuron (None: its own), and its training `length` times as long."""
    own = NAMED[name]
    duration = "steps" if own.steps else "epochs"
    own = own.but(**{duration: max(1, round(getattr(own, duration) * length))})
    return own if expansion is None else own.but(expansion=expansion)


def read_by(
    names: Iterable[str],
    x: Float[Tensor, "n N"],
    *,
    seed: int,
    label: str,
    sample: Int[Tensor, " n"] | None = None,
    expansion: float | None = None,
    length: float = 1.0,
) -> list[dict[str, Any]]:
    """Activations read by some of NAMED: a row a reading, all from the same rows, which are the ones that SAEs fit.

    Columns: reading, n_neurons, effective_features, low, high, identified, reason, fvu and l0. Of a count that is refused
    F is NaN, and low and high are the range of its readings; SAEs give neither interval nor reason, and are identified
    where F is a number. `label` names x in errors, `sample` says which rows come from one sample.
    """
    return read_layers(names, {label: (x, sample)}, seed=seed, expansion=expansion, length=length)[label]


def read_layers(
    names: Iterable[str],
    layers: dict[str, tuple[Float[Tensor, "_ _"], Int[Tensor, " _"] | None]],
    *,
    seed: int,
    expansion: float | None = None,
    length: float = 1.0,
    each: Callable[..., Iterable[dict[str, Any]]] = map,
) -> dict[str, list[dict[str, Any]]]:
    """As `read_by`, for several layers (n, N), given with the sample (n,) of each row (or None) by name. → their rows by name

    On a GPU the SAEs of layers of one shape are fitted side by side, which is many times as fast as in turn. `each` does
    what is done for each layer by itself, as `map` does: the map of a pool of processes does it on several cores.
    """
    found: dict[str, list[dict[str, Any]]] = {layer: [] for layer in layers}
    for layer, (x, _) in layers.items():
        check_values(x, f"{layer}: activations")
    for name in names:
        own = changed(name, expansion, length)
        for group in _side_by_side(layers):
            if isinstance(own, counting.Settings):
                starts = counting.starts([x for x, _ in group.values()], own, seed=seed)
                jobs = [
                    (x, sample, own, seed, start) for (x, sample), start in zip(group.values(), starts, strict=True)
                ]
                seen = list(each(_counted, jobs))
            else:
                seen = _fitted({layer: x for layer, (x, _) in group.items()}, own, seed)
            for (layer, (x, _)), row in zip(group.items(), seen, strict=True):
                found[layer].append({"reading": name, "n_neurons": x.shape[1]} | row)
    return found


def _side_by_side(layers):
    """Layers whose SAEs are fitted at once: those of one shape on a GPU; on a processor each alone, where it is as fast."""
    groups = {}
    for layer, (x, sample) in layers.items():
        groups.setdefault(tuple(x.shape) if x.is_cuda else layer, {})[layer] = (x, sample)
    return list(groups.values())


def _counted(job):
    """The columns of a count."""
    x, sample, settings, seed, start = job
    seen = trusted(counting.find(x.detach().float(), settings, seed=seed, start=start), x, sample)
    row = {"effective_features": seen["effective_features"]}
    row |= {end: seen[f"effective_features_{end}"] for end in ("low", "high")}
    return row | {name: seen[name] for name in ("identified", "reason", "fvu", "l0")}


def _fitted(layers, settings, seed):
    """The columns of an SAE for each of some layers of one shape."""
    x = torch.stack(list(layers.values())) if len(layers) > 1 else next(iter(layers.values()))
    fits = sae.fit_stack(x, settings, seeds=[seed] * len(layers), label=", ".join(layers))
    for (layer, rows), fit in zip(layers.items(), fits, strict=True):
        seen = reading(fit, rows, layer)
        F = seen["effective_features"]
        ends = {"low": math.nan, "high": math.nan, "identified": math.isfinite(F), "reason": ""}
        yield {"effective_features": F} | ends | {"fvu": seen["fvu"], "l0": seen["l0"]}
