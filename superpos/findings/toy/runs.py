"""One family of toy models and their SAEs: settings → a row for each model. And the grids of such runs."""

import functools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from superpos import counting, readings, sae, seeds
from superpos.findings.toy import task
from superpos.measurement import baselines
from superpos.settings import Count, NotNegative, Positive, Whole, one_of, settings
from superpos.sweep import expand
from superpos.usage import reading

READINGS = {"published": sae.PUBLISHED, "protocol": sae.PROTOCOL, "TopK": readings.TOP}
KEPT = ("effective_features", "psi", "fvu", "l0", "dead", "effective_rank", "participation_ratio")


@settings
class Run:
    """A family of `n_models` toy models that differ in their sparsity alone, and how each is read.

    `spacing` is that of the sparsities (`task.sparsities`), `n_neurons` the N of the bottleneck, `toy_steps` the length of a
    model's training. `reading`, one of READINGS, has `expansion` codes for each neuron and `l1` as its λ, in the unit of its loss
    (None: its own). It fits `n_rows` activations and reads F on those, or ("protocol") on as many fresh ones. `seed` is the
    number of the family, and `sae_seed` that of the SAEs on it.
    """

    reading: str
    n_models: Annotated[int, Field(ge=1, le=1000)]  # the next ones are those of the next family
    spacing: Literal["log", "linear"] = "log"
    seed: Whole = 0
    n_neurons: Count = 5
    toy_steps: Count = 5000
    expansion: Positive = 8.0
    l1: NotNegative | None = None
    n_rows: Count = 10_000
    sae_seed: Whole = 0

    def __post_init__(self) -> None:
        one_of("reading", self.reading, READINGS)


def toy_run(run: Run) -> list[dict[str, Any]]:
    """Train the models of a run, fit an SAE to the activations of each, and read it: a row for each model."""
    own = READINGS[run.reading].but(expansion=run.expansion)
    own = own if run.l1 is None else own.but(l1=run.l1)
    numbers = range(1000 * run.seed, 1000 * run.seed + run.n_models)
    toys = _trained(numbers, run.spacing, run.n_neurons, run.toy_steps)
    x = [toy.sample(run.n_rows, seeds.generator("toy.rows", 2 * k)) for k, toy in zip(numbers, toys, strict=True)]
    sae_seeds = [seeds.seed("toy.sae", k + 10**6 * run.sae_seed) for k in numbers]
    saes = sae.fit_stack(torch.stack(x), own, seeds=sae_seeds, label=f"{run.reading} SAEs")
    rows = []
    for k, toy, fit, read in zip(numbers, toys, saes, x, strict=True):
        if own.held_out:
            read = toy.sample(run.n_rows, seeds.generator("toy.rows", 2 * k + 1))
        about = {"model": len(rows), "sparsity": toy.sparsity, "toy_loss": toy.loss}
        rows.append(about | task.truth(toy.W) | _read(fit, read))
    return rows


@settings
class CountRun:
    """A family of toy models as in Run, counted by `superpos.counting` from `n_rows` activations of each."""

    n_models: Annotated[int, Field(ge=1, le=1000)]
    spacing: Literal["log", "linear"] = "log"
    seed: Whole = 0
    n_neurons: Count = 5
    toy_steps: Count = 5000
    n_rows: Count = 10_000


def count_run(run: CountRun) -> list[dict[str, Any]]:
    """Train the models of a run and count the features of each: a row for each model."""
    numbers = range(1000 * run.seed, 1000 * run.seed + run.n_models)
    rows = []
    for k, toy in zip(numbers, _trained(numbers, run.spacing, run.n_neurons, run.toy_steps), strict=True):
        x = toy.sample(run.n_rows, seeds.generator("toy.rows", 2 * k))
        found = counting.find(x, seed=k)
        about = {"model": len(rows), "sparsity": toy.sparsity, "rows_read": len(x)}
        rows.append(about | task.truth(toy.W) | counting.evidence(found))
    return rows


@functools.lru_cache(maxsize=4)
def _trained(numbers, spacing, n_neurons, steps):
    """The models of a run; runs that differ only in the SAE share them within a process."""
    own, sparsity = [seeds.seed("toy.models", k) for k in numbers], task.sparsities(len(numbers), spacing)
    return task.train_toys(sparsity.tolist(), seeds=own, n_neurons=n_neurons, steps=steps)


def _read(fit: sae.SparseAutoencoder, x: Float[Tensor, "n N"]) -> dict[str, Any]:
    """F and its neighbours from the SAE's codes, from its weights, and from the activations alone."""
    seen, weights = reading(fit, x) | baselines(x, "activations"), task.truth(fit.dictionary.T)
    of_weights = {"psi_sae_weights": weights["psi_weights"], "psi_frobenius_sae": weights["psi_frobenius"]}
    return {name: seen[name] for name in KEPT} | of_weights | {"epochs": len(fit.history)}


def grid(n_rows: Mapping[str, int], **axes: Any) -> list[Run]:
    """Runs over some axes by several readings; `n_rows` names these, and the rows that each fits."""
    return [run for name, n in n_rows.items() for run in expand(Run, reading=name, n_rows=n, **axes)]


def stability_grid(
    n_rows: Mapping[str, int], seed: int, others: Sequence[int], sweeps: Mapping[str, Sequence], **family: Any
) -> list[Run]:
    """Runs that show what moves the correlation with the truth.

    The families `others` have both spacings, and the protocol reads them from as few rows as the published reading too. Of
    family `seed` one field of Run is changed at a time, to the values that `sweeps` gives.
    """
    again = family | {"seed": others, "spacing": ["log", "linear"]}
    runs = grid(n_rows, **again) + grid({"protocol": n_rows["published"]}, **again)
    return runs + [
        run for name, values in sweeps.items() for run in grid(n_rows, **family | {"seed": seed, name: values})
    ]
