"""One run of each kind, for a sweep, and the grid of runs of the chapter.

Every checkpoint of a network is read by SAEs of its own, all from one seed, so that what differs between checkpoints is the
network alone.
"""

import itertools
import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from superpos import metrics, sae, seeds
from superpos.activations import shuffle_columns
from superpos.findings.grokking import llc
from superpos.findings.grokking.task import SITES, Network, Training, code_tuning, fourier_power, sites, train
from superpos.settings import Count, Whole, one_of, settings
from superpos.sweep import expand
from superpos.usage import reading

READINGS = {  # two codes a neuron but for the paper's, which has four
    "protocol": sae.PROTOCOL.but(expansion=2.0),
    "mean unit": sae.PROTOCOL.but(expansion=2.0, unit_norm=False, init="xavier", scale="none", loss="l1_mean", l1=3.0),
    "published": sae.PUBLISHED_FAST,
}
SAMPLINGS = {
    "hot": llc.Sampling(n_beta=2.0, localization=5.0, lr=1e-2, n_chains=3, n_draws=150, batch_size=512),
    "cold": llc.Sampling(n_beta=512 / math.log(512), n_chains=3, n_draws=150, batch_size=512),
}
VARIATIONS: dict[str, dict[str, Any]] = {  # of the protocol: what is changed in its settings
    "ours": {},
    "another seed": {},
    "half λ": {"l1": 0.25},
    "twice λ": {"l1": 1.0},
    "one code a neuron": {"expansion": 1.0},
    "four codes a neuron": {"expansion": 4.0},
    "untied": {"tied": False},
    "TopK, k = h/4": {"activation": "topk", "loss": "mse"},
    "rows as they are": {"scale": "none"},
    "trained twice as long": {},
    "columns shuffled": {},
}
FEW = {"readings": "protocol", "llc_draws": 0}
GROUPS: dict[str, dict[str, Any]] = {  # of networks: what is other than in the main ones
    "main": {"width": 48},
    "decayless": {"width": 48, "state": "no weight decay", **FEW},
    "shuffled": {"width": 48, "state": "shuffled labels", **FEW},
    "wide": {"width": 128, **FEW},
    "transformer": {"width": 512, "architecture": "transformer", **FEW},
}


@settings
class Checkpoints:
    """All that the chapter follows in one network, read at each `every` steps.

    sae_steps: of each SAE; llc_draws: after a burn-in of 100, of 3 chains (0: no LLC); readings: names of READINGS with commas
    between, of which "published" reads the site `pre` alone.
    """

    network: Network
    every: Count
    sae_steps: Count
    llc_draws: Whole
    readings: str

    def __post_init__(self) -> None:
        for name in self.readings.split(","):
            one_of("readings", name, READINGS)


@settings
class Timeline:
    """The dictionary of one site and the embedding at each `every` steps of one network."""

    network: Network
    every: Count
    sae_steps: Count
    site: Literal["embedding", "pre", "post"]


@settings
class Variations:
    """F of one network at step `first` and at the last, by the protocol under each of VARIATIONS."""

    network: Network
    first: Whole
    sae_steps: Count


def checkpoint_grid(main: Mapping[str, Any], **others: Mapping[str, Any]) -> list[Checkpoints]:
    """Runs of networks of some GROUPS, seeds 1, 2, …: `networks`, their number, and what is other than in the main ones."""
    groups = {name: {**main, **GROUPS[name], **given} for name, given in {"main": main, **others}.items()}
    seeds = {name: list(range(1, axes.pop("networks") + 1)) for name, axes in groups.items()}
    return [run for name, axes in groups.items() for run in expand(Checkpoints, **axes, seed=seeds[name])]


def timeline_grid(main: Mapping[str, Any], every: int) -> list[Timeline]:
    """The run of the timeline: the first of the main networks, at the site `pre`."""
    return expand(Timeline, width=48, seed=1, steps=main["steps"], every=every, sae_steps=main["sae_steps"], site="pre")


def variation_grid(main: Mapping[str, Any], networks: int, first: int) -> list[Variations]:
    """Runs of variations on so many networks, of the main ones' steps."""
    seeds = range(1, networks + 1)
    return expand(Variations, width=48, seed=seeds, steps=main["steps"], first=first, sae_steps=main["sae_steps"])


def estimate_llc(training: Training, setting: str, *, seed: int = 0, **changes: Any) -> llc.Chains:
    """The LLC of a network at each step that was kept, on its training pairs, as one stack of chains.

    setting: one of SAMPLINGS, with some of its fields changed.
    """

    def loss(state: dict[str, Tensor], pairs: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(functional_call(training.template, state, (pairs,)), labels)

    kept = list(training.states.values())
    states = {name: torch.stack([state[name] for state in kept]) for name in kept[0]}
    sampling = SAMPLINGS[setting].but(**changes)
    return llc.sample_chains(loss, states, training.data[0], sampling, seeds.seed(f"grokking.{setting}", seed))


def checkpoint_run(run: Checkpoints) -> list[dict[str, Any]]:
    """Train one network and read each checkpoint: a row each.

    Columns end in their site, reading or LLC setting; fourier_share: of the five strongest frequencies; frequencies: their
    effective number; half: F when the SAE's training was half way; tuned: what codes know, averaged by their activation.
    """
    training, x = _followed(run.network, range(0, run.network.steps, run.every))
    found = [[_plain(training, step, {site: x[site][k] for site in SITES}) for k, step in enumerate(training.states)]]
    for site, name in itertools.product(SITES, run.readings.split(",")):
        if name != "published" or site == "pre":
            found.append(_read(x[site], site, name, run))
    found += [_sampled(training, setting, run) for setting in SAMPLINGS if run.llc_draws]
    return [dict(itertools.chain.from_iterable(row.items() for row in rows)) for rows in zip(*found, strict=True)]


def _followed(network: Network, keep: Iterable[int]) -> tuple[Training, dict[str, Tensor]]:
    """A trained network with its checkpoints, and what each site says of all pairs at each."""
    training, (inputs, _) = train(network, keep), network.pairs()
    seen = [sites(training.network(step), inputs) for step in training.states]
    return training, {site: torch.stack([at[site] for at in seen]) for site in SITES}


def _plain(training, step, at):
    """What needs no SAE: scores, norm of the weights, Fourier power of the embedding, rank and participation of each site."""
    row, power = {"step": step, **training.scores(step)}, fourier_power(at["embedding"])
    row["weight_norm"] = math.sqrt(sum(float(w.square().sum()) for w in training.states[step].values()))
    row |= {"fourier_share": np.sort(power)[::-1][:5].sum(), "frequencies": metrics.effective_features(power)}
    for site, x in at.items():
        x = x.double()
        row[f"effective_rank_{site}"] = metrics.effective_rank(x - x.mean(0))
        row[f"participation_{site}"] = metrics.participation_ratio(x)
    return row


def _read(x, site, name, run):
    """F of a stack of activations by one reading, and its quality: columns for each checkpoint."""
    suffix, label, columns = f"{site}_{name.replace(' ', '_')}", f"{site}, {name}", []
    config = READINGS[name] if name == "published" else READINGS[name].but(steps=run.sae_steps)
    fits, read = _fitted(x, site, config, run.network.seed, label)
    for k, (fit, rows) in enumerate(zip(fits, read, strict=True)):
        seen = reading(fit, rows, f"{label}, checkpoint {k}")
        row = {f"features_{suffix}": seen["effective_features"]}
        row |= {f"{what}_{suffix}": seen[what] for what in ("fvu", "l0", "dead")}
        for half in fit.snapshots.values():
            row[f"half_{suffix}"] = reading(half, rows, f"{label}, half way")["effective_features"]
        if site != "embedding" and name == "protocol":
            z = fit.encode(x[k])
            known = code_tuning(z, run.network.pairs()[0]) @ torch.as_tensor(metrics.code_shares(z))
            row |= {f"tuned_{what}_{site}": float(v) for what, v in zip(("a", "b", "sum"), known, strict=True)}
        columns.append(row)
    return columns


def _sampled(training, setting, run):
    """The LLC at each checkpoint in one setting, how sure it is, and what is wrong with its chains."""
    with warnings.catch_warnings():  # troubles are kept as a column
        warnings.filterwarnings("ignore", "LLC of weights")
        table = estimate_llc(training, setting, seed=run.network.seed, n_draws=run.llc_draws).table()
    return table.add_suffix(f"_{setting}").to_dict("records")


def _parts(x, site, seed):
    """The rows to fit and to read of x (K, n, N), a random fifth of the pairs at every checkpoint (an embedding: all rows)."""
    if site == "embedding":
        return x, x
    order = torch.randperm(x.shape[1], generator=seeds.generator("grokking.rows", seed))
    return x[:, order[x.shape[1] // 5 :]], x[:, order[: x.shape[1] // 5]]


def _fitted(x, site, config, seed, label, another=0):
    """An SAE a checkpoint, with a copy from half way where its training has a length, and the rows to read by each."""
    fitted, read = _parts(x, site, seed)
    config = config.but(expansion=4.0) if site == "embedding" else config  # which has few rows and coordinates
    snapshots = [max(1, config.rounds_for(fitted.shape[1])[0] // 2)] if config.steps else []
    sae_seeds = [seeds.seed("grokking.sae", seed + another)] * len(x)
    return sae.fit_stack(fitted, config, seeds=sae_seeds, snapshots=snapshots, label=label), read


def timeline_run(run: Timeline) -> list[dict[str, Any]]:
    """A row a checkpoint, whose lists are one cell each, separated by spaces.

    shares: of the codes, largest first; tuned: for each of those what explains most of it, "a", "b", "s" (the sum) or "-" (none
    a half); spectrum: the Fourier power of the embedding.
    """
    training, x = _followed(run.network, range(0, run.network.steps, run.every))
    config, rows = READINGS["protocol"].but(steps=run.sae_steps), []
    fits, _ = _fitted(x[run.site], run.site, config, run.network.seed, f"{run.site}, timeline")
    for k, (step, fit) in enumerate(zip(training.states, fits, strict=True)):
        z = fit.encode(x[run.site][k])
        p, power = metrics.code_shares(z), fourier_power(x["embedding"][k])
        order = np.argsort(-p)
        most, what = code_tuning(z, run.network.pairs()[0])[:, order].max(0)
        best = ["abs"[i] if share > 0.5 else "-" for i, share in zip(what, most, strict=True)]
        row = {"step": step, "effective_features": metrics.effective_features(p)}
        row |= {"shares": " ".join(f"{v:.5f}" for v in p[order]), "tuned": "".join(best)}
        rows.append(row | {"spectrum": " ".join(f"{v:.4f}" for v in power)})
    return rows


def variation_run(run: Variations) -> list[dict[str, Any]]:
    """A row a site (pre, post), one of VARIATIONS and a step."""
    training, x = _followed(run.network, [run.first])
    seed, rows = run.network.seed, []
    for site, (name, changes) in itertools.product(("pre", "post"), VARIATIONS.items()):
        steps = 2 * run.sae_steps if name == "trained twice as long" else run.sae_steps
        k = run.network.width // 4 if "activation" in changes else None
        config = READINGS["protocol"].but(steps=steps, k=k, **changes)
        shown = x[site]
        if name == "columns shuffled":
            shown = torch.stack([shuffle_columns(one, seeds.seed("grokking.columns", seed)) for one in shown])
        another = 1000 if name == "another seed" else 0
        fits, read = _fitted(shown, site, config, seed, f"{site}, {name}", another)
        for step, fit, one in zip(training.states, fits, read, strict=True):
            what = {"step": step, "site": site, "variation": name}
            rows.append(what | reading(fit, one, f"{site}, {name}, step {step}"))
    return rows
