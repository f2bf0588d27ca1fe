"""One sparse autoencoder read on rows, and `measure`: model + data + layers → a table of F, ψ, and what belongs beside."""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from superpos import counting, intervals, metrics
from superpos.activations import Rows, read_activations, whole_number
from superpos.counting import COUNTING, Found
from superpos.descent import check_values, parts
from superpos.dictionaries import Adapted, Dictionary, Top, adapt
from superpos.lengths import lengths, warn_of_lengths
from superpos.sae import Settings, fit_stack
from superpos.settings import one_of

__all__ = [
    "PRODUCTS",
    "Usage",
    "baselines",
    "measure",
    "measure_rows",
    "most_active",
    "reading",
    "trusted",
    "unexplained",
]

PRODUCTS = ("float32", "bfloat16")
BASELINE_ROWS = 2_000
ROWS, CODES = 512, 512  # of a tile of codes: one mebibyte of float32, which stays near the processor
ON_CUDA = (16_384, 8_192)
HELD, HELD_ON_CUDA = 2**23, 2**26  # codes that are held at once where all codes of a row are needed
MOST_ROWS, MOST_CODES = (
    4_096,
    32_768,
)  # rows encoded at once; the size that a dictionary of unknown size is taken to have
GROUPS = 16  # codes that share a maximum in the search for the k largest


def measure(
    model: Any,
    data: Any,
    layers: str | Sequence[str],
    *,
    sae: Any = None,
    n_samples: int = 10_000,
    seeds: Sequence[int] = (0,),
    held_out: int | float | None = None,
    confidence: float = 0.9,
    centre: bool = False,
    **how: Any,
) -> pd.DataFrame:
    """Effective features and superposition of a model's layers, one row for each layer and seed.

    `model`, `data` and `layers` are what `superpos.activations.read_activations` takes, and so are, as `how`, axis, leave_out,
    device and batch_size; all layers are read in one pass. `n_samples` rows of each layer are drawn with the first of the
    `seeds`, which otherwise decide the reading.
    `centre` subtracts the mean of the rows from them before an SAE is fitted (the count does so by itself).

    Without `sae` features are counted (`superpos.counting`), and the columns are layer, n_neurons (N), n_codes (the features
    found), effective_features (F) and psi (F/N); effective_features_low, effective_features_high, psi_low and psi_high, which
    hold the truth with the `confidence` asked for where `identified` is true; where it is false, `reason` says why, F and
    psi are NaN, and low and high are the range of the readings that the rows admit. Beside them stand the evidence:
    `agreement` of dictionaries, `bits` a row takes beside those that a code without features takes (`bits_plain`, the
    shorter of a Gaussian one and the neurons' own), `change` (F over F halfway through the training, less one), and what was
    chosen: `proposal` (the k of its TopK SAEs, or ica) and `penalty`; hill_0 and hill_2, fvu, l0, neurons_per_code,
    codes_per_neuron, seed, the measures that need no reading, n_fitted and n_read (rows).

    `sae` may be a `superpos.counting.Settings`; a `superpos.sae.Settings` as PROTOCOL, by which one SAE is fitted for each
    layer and seed; a trained object with `encode`; or a dict of layers and such. Then the columns are layer, n_neurons (N),
    n_codes (D), effective_features (F), psi (F/N), hill_0 and hill_2 (the Hill numbers beside F, which is that of order 1),
    fvu (the share of variance left unexplained), l0 (mean active codes of a row), dead (the share of codes never active on
    the rows read), neurons_per_code and codes_per_neuron (`metrics.polysemanticity`; NaN where the dictionary is not known),
    seed, effective_rank, participation_ratio, intrinsic_dimension (TwoNN), n_fitted and n_read (rows), epochs (rounds, where
    those are shorter: see Settings) and stopped (how the fit ended); such an F has no interval. `held_out` is the share of
    samples kept for reading (None: that of the settings; 0: the rows that were fitted are read); a trained object and the
    count read all rows. Where all codes are dead F is NaN, and a warning names the layer.

    How the rows were read stands at the end: axis (of the neurons in the output), n_samples, rows_per_sample (on average),
    length_ratio and mean_over_spread (`superpos.lengths`). A warning names a layer where a few long rows, or a mean far from 0,
    decide what an SAE sees, and one that a trained SAE explains worse than the mean does (fvu ≥ 1).

    Raises ValueError before any fit for an unknown layer, and for activations that are NaN, constant, equal but for rounding
    or too few; and TypeError for an object that cannot encode.
    """
    layers = [layers] if isinstance(layers, str) else list(layers)
    whole_number("n_samples", n_samples, 2)
    _check_arguments(seeds, held_out, confidence)
    saes = _per_layer(COUNTING if sae is None else sae, layers)
    if centre and not all(isinstance(one, Settings | counting.Settings) for one in saes.values()):
        raise ValueError("centre is for SAEs that are fitted here: a trained one was made for activations as they are")
    rows = read_activations(model, data, layers, n_samples=n_samples, seed=int(seeds[0]), **how)
    seen = {}
    for layer in layers:
        check_values(rows[layer].x, f"layer {layer!r}: activations")
        seen[layer] = lengths(rows[layer].x, layer)
        warn_of_lengths(seen[layer], layer, centre or isinstance(saes[layer], counting.Settings))
    tables = []
    for layer in layers:
        asked = {"seeds": seeds, "label": layer, "confidence": confidence}
        table = _of_layer(_centred(rows[layer]) if centre else rows[layer], saes[layer], held_out, asked)
        table.insert(0, "layer", layer)
        about = {"axis": rows[layer].axis, "n_samples": len(rows[layer].sample.unique())}
        about |= {"rows_per_sample": rows[layer].rows_per_sample}
        about |= {name: seen[layer][name] for name in ("length_ratio", "mean_over_spread")}
        tables.append(table.assign(**about))
    return pd.concat(tables, ignore_index=True)


def _of_layer(rows: Rows, sae: Any, held_out: float | None, asked: dict[str, Any]) -> pd.DataFrame:
    if isinstance(sae, counting.Settings):
        return measure_rows(rows.x, None, sae, sample=rows.sample, **asked)
    own = sae.held_out if isinstance(sae, Settings) else 0.0
    return measure_rows(*rows.split(own if held_out is None else held_out, int(asked["seeds"][0])), sae, **asked)


def _centred(rows: Rows) -> Rows:
    return replace(rows, x=rows.x - rows.x.double().mean(0).to(rows.x))


def _check_arguments(seeds: Any, held_out: Any, confidence: Any) -> None:
    """Errors that name an argument of `measure` which is out of range."""
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise TypeError(f"seeds must be whole numbers, as (0, 1), got {seeds!r}")
    if not len(list(seeds)):
        raise ValueError("seeds is empty: expected at least one")
    for seed in seeds:
        whole_number("seeds", seed, 0)
    for name, value, known in (
        ("held_out", held_out, "at least 0 and below 1"),
        ("confidence", confidence, "above 0 and below 1"),
    ):
        if name == "held_out" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} must be a number {known}, got {value!r}")
        if not (0 <= value < 1 and (value or name == "held_out")):
            raise ValueError(f"{name} must be {known}, got {value}")


def measure_rows(
    fitted: Float[Tensor, "n N"],
    read: Float[Tensor, "m N"] | None = None,
    sae: Any = None,
    *,
    seeds: Sequence[int] = (0,),
    label: str = "activations",
    sample: Int[Tensor, " n"] | None = None,
    confidence: float = 0.9,
) -> pd.DataFrame:
    """As `measure`, for activations at hand: `measure_rows(x)` counts the features of x.

    With `sae` an SAE is fitted to some rows and read on others (default: the same). For a count, `sample` says which rows
    come from one sample (default: none do): the interval is widened by what rows of a sample have in common. Raises
    ValueError for activations that are NaN or constant, and where a count is given rows to read apart.
    """
    sae = COUNTING if sae is None else sae
    if isinstance(sae, counting.Settings):
        if read is not None:
            raise ValueError("a count reads the rows that it is made from: give all rows as one, or name an sae")
        return _counted(fitted, sae, seeds, label, sample, confidence)
    read = fitted if read is None else read
    plain = baselines(read, label)
    if not isinstance(sae, Settings):
        one = reading(sae, read, label)
        if one["fvu"] >= 1:
            warnings.warn(
                f"layer {label!r}: the SAE explains the activations worse than their mean does (fvu {one['fvu']:.3g}); was it "
                "made for this layer, and for activations scaled like these?",
                stacklevel=2,
            )
        return pd.DataFrame([{**one, "seed": int(seeds[0]), **plain, "n_read": len(read)}])
    try:
        fits = fit_stack(fitted, sae, seeds=seeds, label=label)
    except ValueError as error:
        raise ValueError(f"layer {label!r}: {error}") from error
    plain |= {"n_fitted": len(fitted), "n_read": len(read)}
    ends = [{"epochs": len(fit.history), "stopped": fit.stopped} for fit in fits]
    seen = [reading(fit, read, label) for fit in fits]
    return pd.DataFrame(one | {"seed": int(s)} | plain | end for one, s, end in zip(seen, seeds, ends, strict=True))


def _counted(x, settings, seeds, label, sample, confidence):
    """The table of a count, a row a seed."""
    plain = baselines(x, label) | {"n_fitted": len(x), "n_read": len(x)}
    rows = []
    for seed in seeds:
        found = counting.find(x.detach().float(), settings, seed=int(seed))
        rows.append(trusted(found, x, sample, confidence) | {"seed": int(seed)} | plain)
    return pd.DataFrame(rows)


def trusted(
    found: Found, x: Float[Tensor, "n N"], sample: Int[Tensor, " n"] | None = None, confidence: float = 0.9
) -> dict[str, Any]:
    """What a count says of x: the columns of `measure` that need it."""
    N, seen = x.shape[1], counting.evidence(found) | {"n_neurons": x.shape[1]}
    reason = intervals.refusal(seen, len(x))
    F = seen["effective_features"]
    if reason:
        low, high = seen["low_0.4"], seen["high_0.4"]
    else:
        excess = counting.excess_error(found, sample)
        low, high = intervals.interval(F, intervals.stratum(seen), confidence, excess)
    shown = math.nan if reason else F
    columns = {"n_neurons": N, "n_codes": seen["codes"], "effective_features": shown, "psi": shown / N}
    columns |= {
        "effective_features_low": low,
        "effective_features_high": high,
        "psi_low": low / N,
        "psi_high": high / N,
    }
    columns |= {"identified": not reason, "reason": reason, "agreement": seen["agreement"], "bits": seen["bits"]}
    columns |= {"bits_plain": min(seen["bits_gaussian"], seen["bits_neurons"]), "change": F / seen["halfway"] - 1}
    columns |= {name: seen[name] for name in ("proposal", "penalty")}
    return columns | _described(found) | {"fvu": seen["fvu"], "l0": seen["l0"]}


def _described(found):
    """Hill numbers beside F, and how codes and neurons share each other."""
    names = ("hill_0", "hill_2", "neurons_per_code", "codes_per_neuron")
    if found.code is None:
        return dict.fromkeys(names, math.nan)
    p = metrics.shares(found.code.totals)
    hills = (metrics.hill_number(p, order) for order in (0, 2))
    return dict(zip(names, (*hills, *metrics.polysemanticity(found.dictionary, found.code.totals)), strict=True))


def _per_layer(sae: Any, layers: list[str]) -> dict[str, Any]:
    """The settings or the adapted SAE of each layer. TypeError for an object that is neither."""
    saes = sae if isinstance(sae, dict) else dict.fromkeys(layers, sae)
    missing = [layer for layer in layers if layer not in saes]
    if missing:
        raise ValueError(f"no SAE was given for layer {missing[0]!r}; the dict holds {', '.join(map(repr, saes))}")
    ours = (Settings, counting.Settings)
    labels = {layer: f"layer {layer!r}: sae" for layer in saes}
    return {layer: one if isinstance(one, ours) else adapt(one, labels[layer]) for layer, one in saes.items()}


def reading(sae: Any, x: Float[Tensor, "n N"], label: str = "activations") -> dict[str, int | float]:
    """What one SAE (any object that `dictionaries.adapt` takes) says of activations: the columns of `measure` that need it.

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

    `sae` is anything that `dictionaries.adapt` takes. `products` is what the matrix products of a `Dictionary` are made in,
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
        for encoder, bias, totals, active in tiles:
            z = self._encode(rows, encoder, bias, self._rows).relu_()
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

    def reading(self, n_neurons: int) -> dict[str, float]:
        """What the sums say of N neurons: F, ψ, Hill numbers 0 and 2, l0 (mean active codes of a row), dead (share of codes).

        Where no code was ever active F is NaN. Raises ValueError for sums that are not finite.
        """
        if self.n_rows and not bool(torch.isfinite(self.totals).all()):
            raise ValueError(f"{self.sae.name}: sums of codes are not finite")
        nan = float("nan")
        l0 = self.active.sum().item() / self.n_rows if self.n_rows else nan
        dead = (self.active == 0).double().mean().item() if self.n_rows else nan
        p = metrics.shares(self.totals) if dead < 1 else None
        F, hill_0, hill_2 = (nan if p is None else metrics.hill_number(p, order) for order in (1, 0, 2))
        columns = {"effective_features": F, "psi": F / n_neurons, "hill_0": hill_0, "hill_2": hill_2}
        return columns | {"l0": l0, "dead": dead}


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
        error += (rows.double() - sae.decode(sae.encode(rows)).to(x.device).double()).square().sum().item()
    mean = sum(part.double().sum(0) for part in parts(x)) / len(x)
    spread = sum((part.double() - mean).square().sum().item() for part in parts(x))
    return error / spread if spread else float("nan")


def _rows_held(sae: Adapted | Dictionary, x: Tensor) -> int:
    """The number of rows whose codes are held at once on the device of x."""
    n_codes = MOST_CODES if sae.dictionary is None else len(sae.dictionary)
    return max(1, min(MOST_ROWS, (HELD_ON_CUDA if x.is_cuda else HELD) // n_codes))


def baselines(x: Float[Tensor, "n N"], label: str) -> dict[str, float]:
    """The measures of x that need no SAE, on at most BASELINE_ROWS rows, evenly spaced; `label` names x in errors."""
    check_values(x, f"layer {label!r}: activations")
    n_rows = min(len(x), BASELINE_ROWS)
    x = x[torch.arange(n_rows, device=x.device) * len(x) // n_rows].double()
    try:
        dimension = metrics.two_nn(x)
    except ValueError:  # too few different rows to speak of a dimension
        dimension = float("nan")
    return {
        "effective_rank": metrics.effective_rank(x - x.mean(0)),
        "participation_ratio": metrics.participation_ratio(x),
        "intrinsic_dimension": dimension,
    }
