"""Runs on sparse parity: networks, SAEs on their hidden layer, and what these read → rows; and the chapters' grids of runs."""

import functools
from collections.abc import Mapping
from typing import Any, Literal

import torch

from superpos import metrics, sae, seeds
from superpos.activations import shuffle_columns
from superpos.findings.parity.task import hidden, parity, share_correct, train_networks
from superpos.settings import Count, NotNegative, Positive, Whole, one_of, settings
from superpos.sweep import expand
from superpos.usage import reading

RELEASED_ROWS = 1_024  # the paper's code asks for 1,000, in batches of 64, of samples in the order of task and label
LOOKS = (12, 31, 100, 200, 400, 800, 1_600)  # 31 epochs hold about as many steps as the paper's code takes

# The paper's code trains two torch.nn.Linear layers for a given number of epochs, and reads the rows that it fitted.
_LINEAR = sae.Settings(tied=False, decoder_bias=True, init="linear", patience=None)
READINGS = {
    "published": _LINEAR,
    "sum": _LINEAR.but(loss="l1_sum"),
    "tied": _LINEAR.but(tied=True, decoder_bias=False, init="xavier"),
    "topk": _LINEAR.but(activation="topk", k=15, loss="mse"),  # as many as there are inputs
    "protocol": sae.PROTOCOL,
}


@settings
class Run:
    """One run: a network of `width` hidden neurons at each of `n_rates` dropout rates, and SAEs of expansion · width codes.

    The rates are evenly spaced from 0 to 0.9; one rate is 0. `reading` is one of READINGS, with λ (`l1`) in its own unit.
    `state` says how a network was trained ("shuffled columns": as it should be, but each neuron's activations are shuffled
    before they are read), `site` where it is read, before or after the ReLU, and `rows` on which training samples: on all, or
    on those that the paper's code comes to read, 1,024 of one task and of even parity. `n_sae` SAEs read each network.
    """

    reading: str
    l1: NotNegative
    seed: Whole
    state: Literal["trained", "untrained", "shuffled labels", "shuffled columns"] = "trained"
    width: Count = 64
    n_rates: Count = 1
    expansion: Positive = 4.0
    site: Literal["pre", "post"] = "pre"
    rows: Literal["all", "released"] = "all"
    n_sae: Count = 1
    net_epochs: Whole = 300
    sae_epochs: Count = 800

    def __post_init__(self) -> None:
        one_of("reading", self.reading, READINGS)


def parity_run(run: Run) -> list[dict[str, Any]]:
    """The rows of a run, one for each network, SAE and look: after each of LOOKS epochs, half-way and at the end.

    A look has the columns of `usage.reading` on the rows fitted, and F on test samples (`held_out_features`). Of the
    network, `accuracy` is that on test samples, `accuracy_train` that on the labels it was trained on; `neurons_per_input` and
    `inputs_per_neuron` say how polysemantic its own first weights are (`metrics.polysemanticity`).
    """
    rates = tuple(round(0.9 * i / max(1, run.n_rates - 1), 3) for i in range(run.n_rates))
    (train, test), networks, (x, held_out) = _prepared(run, rates)
    return [
        {"dropout": rates[i], "sae_seed": j} | _of_network(networks[i], train, test) | look
        for k, fit in enumerate(_fits(run, x))
        for i, j in [divmod(k, run.n_sae)]
        for look in _looks(fit, x[i], held_out[i])
    ]


def dictionary_grid(
    n_sae: int, l1: Mapping[str, Any], net_epochs: Mapping[str, int], sae_epochs: Mapping[str, Any], **axes: Any
) -> list[Run]:
    """The runs of the chapter on dictionaries: `axes` (seed, width, expansion) are those of all of them.

    Three sweeps have `n_sae` SAEs a network and all λ of l1["main"], in the reading's unit: as released, with all the
    `net_epochs`; on all inputs; in the sum unit. The other readings and the controls have one SAE at λ = l1["others"] and
    net_epochs["paper"]. sae_epochs["all inputs"] is a list, one for each λ of the main sweeps.
    """
    plain = {"reading": "published", "net_epochs": net_epochs["paper"]} | axes
    grid = functools.partial(expand, Run, **plain | {"l1": l1["others"], "sae_epochs": sae_epochs["others"]})
    main = functools.partial(grid, n_sae=n_sae, l1=l1["main"])
    lengths = zip(l1["main"], sae_epochs["all inputs"], strict=True)
    return [
        *main(rows="released", sae_epochs=sae_epochs["released"], net_epochs=sorted({*net_epochs.values()})),
        *(run for one, epochs in lengths for run in main(l1=one, sae_epochs=epochs)),
        *main(reading="sum", sae_epochs=sae_epochs["sum unit"]),
        *grid(reading="tied"),
        *grid(reading="topk", l1=0.0),
        *grid(site="post"),
        *grid(state=["untrained", "shuffled labels", "shuffled columns"]),
    ]


def dropout_grid(n_rates: Mapping[str, int], sae_epochs: Mapping[str, int], **axes: Any) -> list[Run]:
    """The runs of the chapter on dropout: `axes` (seed, width, net_epochs) are those of all of them.

    Three readings, each with its own of the `sae_epochs`: as released, on all inputs, by our protocol after the ReLU; and
    controls on all inputs, the untrained networks at one rate.
    """
    plain = {"reading": "published", "l1": 0.1, "n_rates": n_rates["trained"], "sae_epochs": sae_epochs["all inputs"]}
    grid = functools.partial(expand, Run, **plain | axes)
    return [
        *grid(rows="released", sae_epochs=sae_epochs["released"]),
        *grid(),
        *grid(reading="protocol", l1=0.5, site="post", sae_epochs=sae_epochs["protocol"]),
        *grid(state="untrained", n_rates=1),
        *grid(state=["shuffled labels", "shuffled columns"], n_rates=n_rates["controls"]),
    ]


@functools.lru_cache(maxsize=64)
def _trained(seed, shuffled, width, rates, epochs):
    """Samples to train and to test on, and networks, one a rate. Runs that differ only in the SAE share them in a process."""
    train, test = parity().split(0.2, seeds.seed("parity.split", seed))
    train = train.shuffle_labels(seeds.seed("parity.labels", seed)) if shuffled else train
    own = [seeds.seed("parity.networks", seed)] * len(rates)
    return (train, test), train_networks(train, seeds=own, dropout=rates, width=width, epochs=epochs)


def _prepared(run, rates):
    """Samples, networks, and of each network the activations to fit and those held out."""
    epochs = 0 if run.state == "untrained" else run.net_epochs
    samples, networks = _trained(run.seed, run.state == "shuffled labels", run.width, rates, epochs)
    read = list(samples)
    if run.rows == "released":
        read = [data.at((data.task == 0) & (data.inputs[:, 3:7].sum(1) % 2 == 0)) for data in samples]
        read[0] = read[0].at(slice(RELEASED_ROWS))
    x = [[hidden(network, data, run.site) for network in networks] for data in read]
    if run.state == "shuffled columns":
        x = [[shuffle_columns(h, seeds.seed("parity.columns", run.seed)) for h in part] for part in x]
    return samples, networks, x


def _of_network(network, train, test):
    """Accuracies, the neurons that an input reaches and the inputs that a neuron reads."""
    W = network.hidden.weight.T
    neurons, inputs = metrics.polysemanticity(W, torch.ones(len(W)))
    read = {"accuracy": share_correct(network, test), "accuracy_train": share_correct(network, train)}
    return read | {"neurons_per_input": neurons, "inputs_per_neuron": inputs}


def _fits(run, x):
    """The SAEs of a run, network by network."""
    size = {"n_codes": int(run.expansion * run.width), "epochs": run.sae_epochs, "steps": None}
    own = [seeds.seed("parity.sae", 10**6 * j + run.seed) for j in range(run.n_sae)] * len(x)
    looks = (*LOOKS, run.sae_epochs // 2, run.sae_epochs)
    stack, chosen = torch.stack(x).repeat_interleave(run.n_sae, 0), READINGS[run.reading].but(l1=run.l1, **size)
    return sae.fit_stack(stack, chosen, seeds=own, snapshots=looks, label=f"{run.width} neurons")


def _looks(fit, x, held_out):
    """What each snapshot of a fit reads on the rows fitted, and its F on the rows held out."""
    _, per_round = fit.settings.rounds_for(len(x))
    for epochs, look in fit.snapshots.items():
        read = {"epochs": epochs, "steps": epochs * per_round} | reading(look, x, "hidden")
        del read["n_neurons"]
        yield read | {"held_out_features": reading(look, held_out, "hidden")["effective_features"]}
