"""How long rows are: whether a few of them, or what all have in common, decide what an SAE sees."""

import warnings

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["lengths", "warn_of_lengths"]

LONG, MUCH = (
    30.0,
    0.5,
)  # times the median length, and the share of the variance that longer rows than a third of it carry
FAR = 10.0  # mean over spread
PIECE = 4_096  # rows looked at at once
ROUNDING = 1e-6  # spread over mean below which float32 holds nothing but rounding


def lengths(x: Float[Tensor, "n N"], label: str) -> dict[str, float]:
    """Columns of `measure` that say how long the rows of x are.

    length_ratio      length of the longest row over the median of those that are not zero
    mean_over_spread  length of the mean row over the root mean squared distance from it
    long_share        share of the variance that rows longer than LONG / 3 times the median carry

    Raises ValueError, with `label`, for rows that are equal but for rounding.
    """
    pieces = x.split(PIECE)
    long = torch.cat([part.double().norm(dim=1).cpu() for part in pieces])
    mean = sum(part.double().sum(0) for part in pieces) / len(x)
    away = torch.cat([(part.double() - mean).square().sum(1).cpu() for part in pieces])
    middle, spread, size = float(long[long > 0].median()), float(away.mean().sqrt()), float(mean.norm())
    if spread < ROUNDING * size:
        raise ValueError(
            f"layer {label!r}: activations are equal but for rounding: they are {spread:.2g} apart about a mean of {size:.3g}"
        )
    outside = float(away[long > LONG / 3 * middle].sum() / away.sum())
    return {"length_ratio": float(long.max()) / middle, "mean_over_spread": size / spread, "long_share": outside}


def warn_of_lengths(seen: dict[str, float], label: str, centred: bool) -> None:
    """Warn where a few rows, or the mean of rows that are not centred, are most of what an SAE would write."""
    if seen["length_ratio"] > LONG and seen["long_share"] > MUCH:
        warnings.warn(
            f"layer {label!r}: the longest row is {seen['length_ratio']:.0f} times as long as the median, and such rows carry "
            f"{seen['long_share']:.0%} of the variance, so that F and fvu speak of them; leave_out=(0,) leaves out the first "
            "token of each sample, which is the longest in many language models",
            stacklevel=3,
        )
    if seen["mean_over_spread"] > FAR and not centred:
        warnings.warn(
            f"layer {label!r}: the mean of the activations is {seen['mean_over_spread']:.0f} times their spread, so that an SAE "
            "writes little but the mean; centre=True subtracts it",
            stacklevel=3,
        )
