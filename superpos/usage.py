"""One sparse autoencoder used on rows: what each of its codes writes, and what F, ψ and their neighbours are by that.

A code's share is of what it writes: Σ|z| over the rows, times the length of its row of the dictionary where an SAE comes
from elsewhere, so that an SAE whose encoder is multiplied and whose dictionary is divided reads as before. SAEs that are fitted
here are read by Σ|z|, as the paper does; the rows of the book's protocols are of unit length.
"""

import warnings
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from superpos import metrics
from superpos.descent import parts
from superpos.dictionaries import Dictionary
from superpos.foreign import Adapted, Top, adapt
from superpos.settings import one_of

__all__ = ["PRODUCTS", "Usage", "most_active", "reading", "row_lengths", "unexplained"]

PRODUCTS = ("float32", "bfloat16")
ROWS, CODES = 512, 512  # of a tile of codes: one mebibyte of float32, which stays near the processor
ON_CUDA = (16_384, 8_192)
HELD, HELD_ON_CUDA = 2**23, 2**26  # codes that are held at once where all codes of a row are needed
MOST_ROWS, MOST_CODES = (
    4_096,
    32_768,
)  # rows encoded at once; the size that a dictionary of unknown size is taken to have
GROUPS = 16  # codes that share a maximum in the search for the k largest


def reading(sae: Any, x: Float[Tensor, "n N"], label: str = "activations") -> dict[str, int | float]:
    """What one SAE (any object that `foreign.adapt` takes) says of activations: the columns of `measure` that need it.

    Where all codes are dead F is NaN, with a warning that names `label`. Raises ValueError where codes are not finite.
    """
    usage = Usage(sae)
    usage.add(x)
    seen = {"n_neurons": x.shape[1], "n_codes": len(usage.totals)} | usage.reading(x.shape[1])
    if seen["dead"] == 1:
        warnings.warn(f"layer {label!r}: all {seen['n_codes']} codes are dead, so F is undefined (NaN)", stacklevel=2)
    known = usage.sae.dictionary is not None and seen["dead"] < 1
    carried = metrics.polysemanticity(usage.sae.dictionary, usage.totals) if known else (float("nan"),) * 2
    last = {name: seen.pop(name) for name in ("l0", "dead")}
    last |= dict(zip(("neurons_per_code", "codes_per_neuron"), carried, strict=True))
    return seen | {"fvu": unexplained(usage.sae, x)} | last


class Usage:
    """Sums over a stream of rows, as one SAE encodes them: Σ|z| (`totals`) and the number of active rows (`active`) of each code.

    `sae` is anything that `foreign.adapt` takes. `products` is what the matrix products of a `Dictionary` are made in,
    "float32" or "bfloat16"; rows are centred in float32 first. `device` is where a Dictionary is used (None: where it lies).
    Codes are made in pieces and never kept. Beside the encoder in the type of its products, a Usage holds 1 MiB on a
    processor, or 32 MiB where all codes of a row are needed at once (TopK, and objects that encode by themselves).
    """

    def __init__(self, sae: Any, products: str = "float32", device: Any = None) -> None:
        one_of("products", products, PRODUCTS)
        self.sae, self.n_rows, self.totals, self.active, self._buffer = adapt(sae), 0, None, None, None
        if isinstance(self.sae, Dictionary):
            self.sae = self.sae if device is None else self.sae.to(device)
            dtype = getattr(torch, products)
            self._encoder, self._bias = self.sae.encoder.to(dtype), self.sae.encoder_bias.to(dtype)
            threshold = self.sae.threshold
            self._threshold = None if threshold is None else threshold.to(dtype)
            self._make_room(self.sae.n_codes, self._encoder.device)
            self._rows, self._codes = ON_CUDA if self._encoder.is_cuda else (ROWS, CODES)

    def _make_room(self, n_codes, device):
        self.totals, self.active = (torch.zeros(n_codes, dtype=torch.float64, device=device) for _ in range(2))

    @torch.no_grad()
    def add(self, x: Float[Tensor, "n N"]) -> None:
        """Add rows. Raises ValueError for another width, and TypeError where `encode` gives no codes."""
        if not isinstance(self.sae, Dictionary):
            for rows in x.split(_rows_held(self.sae, x)):
                self._add(self.sae.codes(rows))
        elif self.sae.k is None:
            for rows in self.sae.centred(x).to(self._encoder).split(self._rows):
                self._add_tiles(rows)
        else:
            most = _rows_held(self.sae, self._encoder)
            for rows in self.sae.centred(x).to(self._encoder).split(most):
                values, places = most_active(self._encode(rows, self._encoder, self._bias, most), self.sae.k)
                self._add(Top(values.relu(), places, self.sae.n_codes))
        self.n_rows += len(x)

    def _encode(self, rows, encoder, bias, most):
        """Codes before the ReLU, in a buffer for `most` rows that is used again."""
        if self._buffer is None:
            self._buffer = encoder.new_empty(most * len(encoder))
        return torch.addmm(bias, rows, encoder.T, out=self._buffer[: len(rows) * len(encoder)].view(len(rows), -1))

    def _add_tiles(self, rows):
        tiles = zip(*(v.split(self._codes) for v in (self._encoder, self._bias, self.totals, self.active)), strict=True)
        thresholds = (None,) * len(self._encoder) if self._threshold is None else self._threshold.split(self._codes)
        for (encoder, bias, totals, active), threshold in zip(tiles, thresholds, strict=False):
            z = self._encode(rows, encoder, bias, self._rows)
            z = (z if threshold is None else z.mul_(z > threshold)).relu_()
            totals += z.sum(0, dtype=torch.float32)
            active += z.sign_().sum(0, dtype=torch.float32)  # several times sooner than counting what is above zero

    def _add(self, codes):
        if self.totals is None:
            values = codes.values if isinstance(codes, Top) else codes
            self._make_room(codes.n_codes if isinstance(codes, Top) else codes.shape[1], values.device)
        if isinstance(codes, Top):
            values, places = codes.values.abs().double().flatten(), codes.places.flatten()
            self.totals.index_add_(0, places, values)
            self.active.index_add_(0, places, values.sign())
        else:
            self.totals += codes.abs().sum(0, dtype=torch.float64)
            self.active += (codes != 0).sum(0)

    def written(self) -> Float[Tensor, " D"]:
        """What each code writes over all rows: see the head of this module."""
        lengths = row_lengths(self.sae)
        return self.totals if lengths is None else self.totals * lengths.to(self.totals)

    def reading(self, n_neurons: int) -> dict[str, float]:
        """What the sums say of N neurons: F, ψ, Hill numbers 0 and 2, l0 (mean active codes of a row), dead (share of codes).

        Where no code was ever active, or none writes anything, F is NaN. Raises ValueError for sums that are not finite.
        """
        if self.n_rows and not bool(torch.isfinite(self.totals).all()):
            raise ValueError(f"{self.sae.name}: sums of codes are not finite")
        nan = float("nan")
        l0 = self.active.sum().item() / self.n_rows if self.n_rows else nan
        dead = (self.active == 0).double().mean().item() if self.n_rows else nan
        written = self.written() if dead < 1 else None
        p = metrics.shares(written) if written is not None and bool(written.sum() > 0) else None
        F, hill_0, hill_2 = (nan if p is None else metrics.hill_number(p, order) for order in (1, 0, 2))
        columns = {"effective_features": F, "psi": F / n_neurons, "hill_0": hill_0, "hill_2": hill_2}
        return columns | {"l0": l0, "dead": dead}


def row_lengths(sae: Adapted | Dictionary) -> Float[Tensor, " D"] | None:
    """The length by which each code of an SAE counts in its share; None where all count alike: see the head of this module."""
    return sae.dictionary.double().norm(dim=1) if sae.foreign and sae.dictionary is not None else None


def most_active(z: Float[Tensor, "n D"], k: int) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest codes of each row and their places, in no order.

    The k largest lie in the k groups of codes whose maxima are largest, so most codes are looked at only once.
    """
    n, D = z.shape
    if D % GROUPS or k > D // GROUPS:
        return z.topk(k, dim=1, sorted=False)
    grouped = z.view(n, GROUPS, D // GROUPS)  # a group: codes that are equal modulo D / GROUPS
    groups = grouped.amax(1).topk(k, dim=1, sorted=False).indices
    candidates = grouped.gather(2, groups[:, None].expand(-1, GROUPS, -1)).flatten(1)
    values, at = candidates.topk(k, dim=1, sorted=False)
    return values, (at // k) * (D // GROUPS) + groups.gather(1, at % k)


@torch.no_grad()
def unexplained(sae: Any, x: Float[Tensor, "n N"]) -> float:
    """The share of the variance of x that reconstructions leave: Σ‖x − x'‖² / Σ‖x − mean‖².

    NaN for an object that cannot decode dense codes, and for rows without variance. Holds the codes of few rows at once.
    """
    sae = adapt(sae)
    if sae.decode is None:
        return float("nan")
    error = 0.0
    for rows in x.split(_rows_held(sae, x)):
        error += (rows.double() - sae.reconstruct(rows).to(x.device).double()).square().sum().item()
    mean = sum(part.double().sum(0) for part in parts(x)) / len(x)
    spread = sum((part.double() - mean).square().sum().item() for part in parts(x))
    return error / spread if spread else float("nan")


def _rows_held(sae: Adapted | Dictionary, x: Tensor) -> int:
    """The number of rows whose codes are held at once on the device of x."""
    n_codes = MOST_CODES if sae.dictionary is None else len(sae.dictionary)
    return max(1, min(MOST_ROWS, (HELD_ON_CUDA if x.is_cuda else HELD) // n_codes))
