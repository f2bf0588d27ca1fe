"""`measure`: model + data + layers → a table of F, ψ, and what belongs beside; and the same of rows at hand."""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from superpos import counting, intervals, metrics
from superpos.activations import Rows, read_activations, shuffle_columns
from superpos.counting import COUNTING, Found
from superpos.descent import check_values
from superpos.foreign import adapt
from superpos.lengths import lengths, warn_of_lengths
from superpos.sae import Settings, fit_stack
from superpos.settings import below_one, whole_number
from superpos.usage import reading

__all__ = ["baselines", "measure", "measure_rows", "trusted"]

BASELINE_ROWS = 2_000


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
    control: bool = False,
    **how: Any,
) -> pd.DataFrame:
    """Effective features and superposition of a model's layers, one row for each layer and seed.

    `model`, `data` and `layers` are what `superpos.activations.read_activations` takes, and so are, as `how`, axis,
    leave_out, mask, device and batch_size; all layers are read in one pass. `n_samples` rows of each layer are drawn with the
    first of the `seeds`, which otherwise decide the reading.
    `centre` subtracts the mean of the rows from them before an SAE is fitted (the count does so by itself).
    `control` adds a column psi_control: ψ of the same rows, read in the same way, with the values of each neuron in an order of
    their own. That keeps what each neuron does and breaks what neurons do together, so that a psi which is no higher than
    psi_control tells nothing about features; an SAE counts many in a random network too. It doubles the time.

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
        read = _centred(rows[layer]) if centre else rows[layer]
        table = _of_layer(read, saes[layer], held_out, asked)
        if control:
            shuffled = replace(read, x=shuffle_columns(read.x, int(seeds[0])))
            table["psi_control"] = _of_layer(shuffled, saes[layer], held_out, asked).psi
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
    below_one("confidence", confidence)
    if held_out is not None:
        below_one("held_out", held_out, zero=True)


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
    return dict(
        zip(names, (*hills, *metrics.polysemanticity(normalize(found.dictionary), found.code.totals)), strict=True)
    )


def _per_layer(sae: Any, layers: list[str]) -> dict[str, Any]:
    """The settings or the adapted SAE of each layer. TypeError for an object that is neither."""
    saes = sae if isinstance(sae, dict) else dict.fromkeys(layers, sae)
    missing = [layer for layer in layers if layer not in saes]
    if missing:
        raise ValueError(f"no SAE was given for layer {missing[0]!r}; the dict holds {', '.join(map(repr, saes))}")
    ours = (Settings, counting.Settings)
    labels = {layer: f"layer {layer!r}: sae" for layer in saes}
    return {layer: one if isinstance(one, ours) else adapt(one, labels[layer]) for layer, one in saes.items()}


def baselines(x: Float[Tensor, "n N"], label: str) -> dict[str, float]:
    """The measures of x that need no SAE, on at most BASELINE_ROWS rows, evenly spaced; `label` names x in errors."""
    check_values(x, f"layer {label!r}: activations")
    n_rows = min(len(x), BASELINE_ROWS)
    x = x[torch.arange(n_rows, device=x.device) * len(x) // n_rows].double()
    try:
        dimension = metrics.two_nn(x)
    except ValueError:  # too few different rows, or too many ties, to speak of a dimension
        dimension = float("nan")
    return {
        "effective_rank": metrics.effective_rank(x - x.mean(0)),
        "participation_ratio": metrics.participation_ratio(x),
        "intrinsic_dimension": dimension,
    }
