"""`measure`: model + data + layers → a table of F, ψ, the SAE's quality, and the baselines beside them."""

import warnings

import pandas as pd
import torch

from superpos import metrics
from superpos.activations import read_activations
from superpos.descent import check_values, parts
from superpos.sae import PROTOCOL, Config, fit_stack

__all__ = ["baselines", "measure", "measure_rows", "quality", "read_codes", "reading"]

BASELINE_ROWS = 2_000


def measure(model, data, layers, *, sae=None, n_samples=10_000, seeds=(0,), device=None, held_out=None):
    """Effective features and superposition of a model's layers. → DataFrame, one row per layer and seed.

    model, data, layers: as `superpos.activations.read_activations` takes them; all layers are read in one pass.
    sae: a `superpos.sae.Config` (default PROTOCOL) to fit one SAE per layer and seed; or a trained object with
    `encode`, or a dict layer: object, which is read and not fitted.
    n_samples: rows per layer, fitted and held out together. seeds: SAE seeds; the rows are drawn with the first.
    held_out: share of samples kept for reading F, quality and baselines (None: the configuration's own; 0: read
    the rows that were fitted). A trained object reads all rows.

    Columns: layer, n_neurons (N), n_codes (D), effective_features (F), psi (F/N), hill_0 and hill_2 (Hill numbers
    beside F, of order 1), seed, fvu (share of variance left unexplained), l0 (mean active codes a row), dead
    (share of codes never active on the rows read), neurons_per_code and codes_per_neuron
    (`metrics.polysemanticity`; NaN for an object without `dictionary`), effective_rank, participation_ratio, intrinsic_dimension
    (TwoNN), n_fitted and n_read (rows), epochs (rounds, where those are shorter: see Config) and stopped (how the
    fit ended).
    A dictionary whose codes are all dead gives F = NaN and a warning that names the layer.
    Raises ValueError before any fit for an unknown layer, and for activations that are NaN, constant or too few.
    """
    layers = [layers] if isinstance(layers, str) else list(layers)
    seeds = [int(seed) for seed in seeds]
    if not seeds:
        raise ValueError("seeds is empty: expected at least one")
    saes = _per_layer(sae, layers)
    rows = read_activations(model, data, layers, n_samples=n_samples, seed=seeds[0], device=device)
    for layer in layers:
        _check_values(rows[layer].x, layer)
    tables = []
    for layer in layers:
        config = saes[layer]
        share = (config.held_out if isinstance(config, Config) else 0.0) if held_out is None else held_out
        fitted, read = rows[layer].split(share, seeds[0])
        table = measure_rows(fitted, read, config, seeds=seeds, label=layer)
        tables.append(table.assign(layer=layer))
    table = pd.concat(tables, ignore_index=True)
    return table[["layer", *(name for name in table.columns if name != "layer")]]


def measure_rows(fitted, read=None, sae=None, *, seeds=(0,), label="activations"):
    """As `measure`, for activations at hand: fit on x (n, N), read on another (default: the same). → DataFrame"""
    read = fitted if read is None else read
    sae = PROTOCOL if sae is None else sae
    plain = baselines(read, label)
    if not isinstance(sae, Config):
        return pd.DataFrame([{**reading(sae, read, label), "seed": seeds[0], **plain, "n_read": len(read)}])
    try:
        fits = fit_stack(fitted, sae, seeds=seeds, label=label)
    except ValueError as error:
        raise ValueError(f"layer {label!r}: {error}") from error
    sizes = {"n_fitted": len(fitted), "n_read": len(read)}
    return pd.DataFrame(
        {
            **reading(fit, read, label),
            "seed": seed,
            **plain,
            **sizes,
            "epochs": len(fit.history),
            "stopped": fit.stopped,
        }
        for seed, fit in zip(seeds, fits, strict=True)
    )


def _per_layer(sae, layers):
    """The SAE or configuration of each layer. TypeError for an object that can do neither."""
    saes = sae if isinstance(sae, dict) else dict.fromkeys(layers, PROTOCOL if sae is None else sae)
    missing = [layer for layer in layers if layer not in saes]
    if missing:
        raise ValueError(f"no SAE was given for layer {missing[0]!r}; the dict holds {', '.join(map(repr, saes))}")
    for value in saes.values():
        if isinstance(value, str) or not (isinstance(value, Config) or hasattr(value, "encode")):
            raise TypeError(f"sae must be a superpos.sae.Config or have an encode method, got {type(value).__name__}")
    return saes


def read_codes(sae, x, batch_size=4096):
    """Yield (x, z) batches: activations (B, N) and codes (B, D) of any object with `encode`.

    A dense tensor is taken as it is; a sparse answer (fields top_acts and top_indices, as sparsify's encode
    gives) is spread to D columns. Raises TypeError for anything else.
    """
    with torch.no_grad():
        for batch in x.split(batch_size):
            yield batch, _dense(sae, sae.encode(batch))


def _dense(sae, answer):
    if isinstance(answer, torch.Tensor):
        return answer
    if hasattr(answer, "top_acts") and hasattr(answer, "top_indices"):
        n_codes = getattr(sae, "num_latents", None) or len(sae.W_dec)
        z = answer.top_acts.new_zeros(len(answer.top_acts), n_codes)
        return z.scatter_(-1, answer.top_indices, answer.top_acts)
    raise TypeError(f"encode must give a tensor of codes (rows, codes), got {type(answer).__name__}")


def quality(sae, x):
    """Sums and qualities of any object with `encode` on activations x (n, N), in one streamed pass. → dict

    totals (D,): Σ_s |z_si|; fvu: Σ‖x−x'‖² / Σ‖x−mean(x)‖² (NaN where the object has no dense `decode`);
    l0: mean number of active codes a row; dead: share of codes active on no row.
    """
    totals, active, error = 0.0, 0.0, 0.0
    for batch, z in read_codes(sae, x):
        totals = totals + z.abs().sum(0, dtype=torch.float64)
        active = active + (z != 0).sum(0)
        error += _squared_error(sae, batch, z)
    mean = sum(part.double().sum(0) for part in parts(x)) / len(x)
    spread = sum((part.double() - mean).square().sum().item() for part in parts(x))
    return {
        "totals": totals,
        "fvu": error / spread if spread else float("nan"),
        "l0": active.sum().item() / len(x),
        "dead": (active == 0).double().mean().item(),
    }


def _squared_error(sae, x, z):
    """Σ‖x−x'‖² of a batch; NaN for an object that cannot decode dense codes (sparsify's wants top codes)."""
    if not hasattr(sae, "decode") or hasattr(sae, "num_latents"):
        return float("nan")
    with torch.no_grad():
        return (x.double() - sae.decode(z).to(x.device).double()).square().sum().item()


def reading(sae, x, label="activations"):
    """The columns of `measure` that one SAE (any object with `encode`) gives on activations x (n, N). → dict

    Where all codes are dead F is NaN, with a warning that names `label`.
    """
    seen = quality(sae, x)
    n_neurons, n_codes = x.shape[1], len(seen["totals"])
    columns = {"n_neurons": n_neurons, "n_codes": n_codes}
    if seen["dead"] == 1:
        warnings.warn(f"layer {label!r}: all {n_codes} codes are dead, so F is undefined (NaN)", stacklevel=2)
        hills = [float("nan")] * 3
    else:
        p = metrics.shares(seen["totals"])
        hills = [metrics.hill_number(p, order) for order in (0, 1, 2)]
    columns |= {"effective_features": hills[1], "psi": hills[1] / n_neurons, "hill_0": hills[0], "hill_2": hills[2]}
    columns |= {name: seen[name] for name in ("fvu", "l0", "dead")}
    return columns | _polysemanticity(sae, seen["totals"])


def _polysemanticity(sae, totals):
    """Neurons a code and codes a neuron; NaN for an object that has no `dictionary` (D, N), or only dead codes."""
    known = hasattr(sae, "dictionary") and float(totals.sum()) > 0
    values = metrics.polysemanticity(sae.dictionary, totals) if known else (float("nan"),) * 2
    return dict(zip(("neurons_per_code", "codes_per_neuron"), values, strict=True))


def _check_values(x, label):
    check_values(x, f"layer {label!r}: activations")


def baselines(x, label):
    """The measures of x (n, N) that need no SAE, on at most BASELINE_ROWS rows, evenly spaced. → dict"""
    _check_values(x, label)
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
