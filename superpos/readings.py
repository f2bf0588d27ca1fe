"""The readings that the book compares, by name, and one layer read by several of them.

published   the SAE of the paper's public code
protocol    one SAE by the book's first protocol
TopK        one TopK SAE
count       the count (`superpos.counting`), which gives an interval or refuses
"""

import math
from collections.abc import Iterable
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from superpos import counting, sae
from superpos.measurement import measure_rows
from superpos.settings import one_of

__all__ = ["ALL", "NAMED", "TOP", "changed", "names_in", "read_by"]

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
    where F is a number.
    """
    rows = []
    for name in names:
        own = changed(name, expansion, length)
        more = {"sample": sample} if isinstance(own, counting.Settings) else {}
        seen = measure_rows(x, sae=own, seeds=[seed], label=f"{label}, {name}", **more).iloc[0]
        row = {"reading": name, "n_neurons": x.shape[1], "effective_features": seen.effective_features}
        row |= {end: seen.get(f"effective_features_{end}", math.nan) for end in ("low", "high")}
        row |= {"identified": bool(seen.get("identified", math.isfinite(seen.effective_features)))}
        rows.append(row | {"reason": seen.get("reason", ""), "fvu": seen.fvu, "l0": seen.l0})
    return rows
