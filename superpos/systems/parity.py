"""Multi-task sparse parity, a task whose number of possible features is bounded, and its networks, a stack at a time.

    x = (one-hot task, bits)  ∈ {0, 1}^(T + T·B)        label = parity of the active task's own B bits
    network:  h = W₁ x + b₁,   logit = w₂ · ReLU(dropout(h)) + b₂

T tasks of B bits each (Bereska 2025: 3 of 4). Before its ReLU the hidden layer is an affine image of x, in which
T + T·B inputs span one dimension less; a bit on, a bit off and a task are T + 2·T·B different states.
"""

import functools
from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from superpos import descent, metrics, sae
from superpos.activations import shuffle_columns
from superpos.measurement import reading
from superpos.progress import progress

__all__ = [
    "RECIPES",
    "STATES",
    "Parity",
    "dictionary_run",
    "dropout_run",
    "hidden",
    "parity",
    "possible_features",
    "share_correct",
    "train_networks",
]

ENUMERABLE = 2**24  # inputs that are listed one by one
AHEAD = 16  # steps whose dropout masks are drawn at once
RELEASED_ROWS = 1_024  # the paper's code asks for 1,000, in batches of 64, of samples in the order of task and label
LOOKS = (
    12,
    31,
    100,
    200,
    400,
    800,
    1_600,
)  # epochs after which F is read; 31 hold about as many steps as that code takes

# The paper's code trains two torch.nn.Linear layers for a given number of epochs, and reads the rows that it fitted.
LINEAR = sae.Config(tied=False, decoder_bias=True, init="linear", patience=None)
RECIPES = {
    "published": LINEAR,
    "sum": LINEAR.but(loss="l1_sum"),
    "tied": LINEAR.but(tied=True, decoder_bias=False, init="xavier"),
    "topk": LINEAR.but(activation="topk", k=15, loss="mse"),  # as many as there are inputs
    "protocol": sae.PROTOCOL,
}
ROWS = ("all", "released")
STATES = ("trained", "untrained", "shuffled labels", "shuffled columns")


@dataclass(frozen=True)
class Parity:
    """Inputs (n, T + T·B) as float32 zeros and ones, the active task (n,) and the label (n,), both integers."""

    inputs: torch.Tensor
    task: torch.Tensor
    labels: torch.Tensor

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, i):
        return self.inputs[i], self.labels[i]

    def at(self, rows):
        """The samples at `rows`, indices or a mask."""
        return Parity(self.inputs[rows], self.task[rows], self.labels[rows])

    def split(self, held_out=0.2, seed=0):
        """Training and test samples, every task and label in both by its share. → (Parity, Parity)

        held_out: share of samples in the test part. ValueError where a task and label would be missing in one.
        """
        from sklearn.model_selection import train_test_split

        strata = 2 * self.task + self.labels
        train, test = train_test_split(
            np.arange(len(self)), test_size=held_out, random_state=int(seed), stratify=strata
        )
        return self.at(torch.from_numpy(train)), self.at(torch.from_numpy(test))

    def shuffle_labels(self, seed):
        """Control: the labels in a random order. Their share stays, what they say about the inputs goes."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(int(seed)))
        return replace(self, labels=self.labels[order])


def parity(n_tasks=3, n_bits=4, *, n=None, seed=0):
    """Samples of T tasks of B bits each. → Parity

    n: how many, different ones drawn at random by `seed`; None: all T·2^(T·B). ValueError for more than there are, for
    all of more than 2²⁴, and for more than 56 bits in total.
    """
    if min(n_tasks, n_bits) < 1 or n_tasks * n_bits > 56:
        raise ValueError(f"expected at least one task of one bit, 56 bits in all, got {n_tasks} of {n_bits}")
    total = n_tasks << (n_tasks * n_bits)
    if n is None and total > ENUMERABLE:
        raise ValueError(f"{n_tasks} tasks of {n_bits} bits have {total} inputs: say how many to draw (n)")
    if n is not None and not 1 <= n <= total:
        raise ValueError(f"n must be between 1 and {total}, got {n}")
    index = torch.arange(total) if n is None else _draw(n, total, torch.Generator().manual_seed(int(seed)))
    task, pattern = index % n_tasks, index // n_tasks
    bits = pattern[:, None] >> torch.arange(n_tasks * n_bits) & 1
    own = bits.view(-1, n_tasks, n_bits)[torch.arange(len(index)), task]
    inputs = torch.cat([nn.functional.one_hot(task, n_tasks), bits], 1).float()
    return Parity(inputs, task, own.sum(1) % 2)


def possible_features(n_tasks=3, n_bits=4):
    """How many features there can be in T tasks of B bits, by four ways to count. → dict of int

    dimensions: of the inputs, whose tasks sum to one; inputs: T + T·B; states: a task, a bit on, a bit off;
    patterns: the values of the active task's bits, on which alone the label depends, T·2^B.
    """
    n_inputs = n_tasks + n_tasks * n_bits
    return {
        "dimensions": n_inputs - 1, "inputs": n_inputs, "states": n_inputs + n_tasks * n_bits,
        "patterns": n_tasks * 2**n_bits,
    }  # fmt: skip


def _draw(n, total, generator):
    """n different integers below `total`, in random order."""
    if total <= ENUMERABLE:
        return torch.randperm(total, generator=generator)[:n]
    drawn = torch.empty(0, dtype=torch.long)
    while len(drawn) < n:
        more = torch.randint(total, (n,), generator=generator)
        drawn = torch.cat([drawn, more]).unique()
    return drawn[torch.randperm(len(drawn), generator=generator)[:n]]


def _network(n_inputs, width, dropout, generator):
    """An untrained network as torch.nn.Linear initialises it, from a generator of its own."""
    network = nn.Sequential(
        OrderedDict(
            hidden=nn.Linear(n_inputs, width), dropout=nn.Dropout(dropout), relu=nn.ReLU(), out=nn.Linear(width, 1)
        )
    )
    for layer in (network.hidden, network.out):
        bound = layer.in_features**-0.5
        for p in layer.parameters():
            p.data = (torch.rand(p.shape, generator=generator) * 2 - 1) * bound
    return network.requires_grad_(False).eval()


def train_networks(data, *, seeds, dropout, width=64, epochs=300, batch_size=64, lr=1e-3):
    """Train one network per seed and dropout rate, all at once. → list of torch.nn.Sequential, in evaluation mode

    data: Parity; seeds, dropout: K integers and K rates, one each a network. A seed decides initial weights, the order
    of the samples and the dropout of its own network, so that a network does not depend on its neighbours.
    Binary cross-entropy by Adam with step size `lr`. The networks' layers are hidden, dropout, relu and out.
    epochs = 0 gives untrained networks. Raises ValueError for lengths that differ, and for a rate outside [0, 1).
    """
    seeds, dropout = [int(seed) for seed in seeds], [float(rate) for rate in dropout]
    if len(seeds) != len(dropout):
        raise ValueError(f"{len(seeds)} seeds for {len(dropout)} dropout rates: expected as many of each")
    if not all(0 <= rate < 1 for rate in dropout):
        raise ValueError(f"dropout must be at least 0 and below 1, got {dropout}")
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    n_inputs = data.inputs.shape[1]
    networks = [_network(n_inputs, width, p, g) for p, g in zip(dropout, generators, strict=True)]
    stacked = {name: torch.stack([n.state_dict()[name] for n in networks]) for name in networks[0].state_dict()}
    adam = descent.Adam(stacked)
    adam.aim(stacked, [lr] * len(seeds))
    for x, y, mask in _batches(data, generators, dropout, width, batch_size, epochs):
        adam.step(_gradients(stacked, x, y, mask))
    for k, network in enumerate(networks):
        network.load_state_dict({name: values[k].clone() for name, values in stacked.items()})
    return networks


def _batches(data, generators, dropout, width, batch_size, epochs):
    """Yield inputs (K, B, d), labels (K, B) and dropout masks (K, B, h) or None; each network's own stream."""
    inputs, labels = data.inputs, data.labels.float()
    for _ in progress(range(epochs), desc="parity networks"):
        order = torch.stack([torch.randperm(len(data), generator=g) for g in generators])
        for chunk in order.split(AHEAD * batch_size, dim=1):
            masks = _masks(chunk.shape[1], width, generators, dropout)
            for start in range(0, chunk.shape[1], batch_size):
                rows = slice(start, start + batch_size)
                index = chunk[:, rows]
                yield inputs[index], labels[index], masks[:, rows] if masks is not None else None


def _masks(n_rows, width, generators, dropout):
    """What dropout multiplies by (K, n, h): 0 with the network's rate p, else 1/(1−p). None where no rate is above 0."""
    if not any(dropout):
        return None
    masks = torch.ones(len(dropout), n_rows, width)
    for mask, g, p in zip(masks, generators, dropout, strict=True):
        if p:
            mask.bernoulli_(1 - p, generator=g).div_(1 - p)
    return masks


def _gradients(weights, x, y, mask):
    """Gradients of each network's mean binary cross-entropy, by hand: ∂logit = (σ(logit) − y) / B. → dict"""
    first, second = weights["hidden.weight"], weights["out.weight"]
    h = torch.baddbmm(weights["hidden.bias"][:, None], x, first.mT)
    if mask is not None:
        h *= mask
    h.relu_()
    logit = torch.baddbmm(weights["out.bias"][:, None], h, second.mT)
    g = logit.sigmoid_().sub_(y[..., None]).div_(y.shape[1])
    back = torch.ops.aten.threshold_backward(g @ second, h, 0)
    if mask is not None:
        back *= mask
    return {
        "hidden.weight": back.mT @ x, "hidden.bias": back.sum(1), "out.weight": g.mT @ h, "out.bias": g.sum(1),
    }  # fmt: skip


@torch.no_grad()
def hidden(network, data, site="pre"):
    """Hidden activations (n, h) of a network on Parity, without dropout: before ("pre") or after ("post") the ReLU."""
    if site not in ("pre", "post"):
        raise ValueError(f"site must be 'pre' or 'post', got {site!r}")
    h = network.hidden(data.inputs)
    return h if site == "pre" else network.relu(h)


@torch.no_grad()
def share_correct(network, data):
    """Share of the samples of Parity that a network in evaluation mode labels correctly."""
    return ((network(data.inputs)[:, 0] > 0) == data.labels.bool()).double().mean().item()


@functools.lru_cache(maxsize=16)
def _task(seed, shuffled=False):
    """Training and test samples of a run's seed; with shuffled labels for training where asked."""
    train, test = parity().split(0.2, seed=10**9 + seed)
    return train.shuffle_labels(2 * 10**9 + seed) if shuffled else train, test


@functools.lru_cache(maxsize=64)
def _networks(seed, shuffled, width, dropout, epochs):
    """The networks of a run, one a dropout rate; runs that differ only in the SAE share them within a process."""
    train, _ = _task(seed, shuffled)
    return train_networks(train, seeds=[seed] * len(dropout), dropout=dropout, width=width, epochs=epochs)


def _prepared(state, seed, site, rows, width, dropout, epochs):
    """Networks, the samples they were trained and tested on, and the activations (n, h) of each to fit and to read."""
    shuffled = state == "shuffled labels"
    networks = _networks(seed, shuffled, width, dropout, 0 if state == "untrained" else epochs)
    samples = read = _task(seed, shuffled)
    if rows == "released":
        read = [data.at((data.task == 0) & (data.inputs[:, 3:7].sum(1) % 2 == 0)) for data in samples]
        read[0] = read[0].at(slice(RELEASED_ROWS))
    x = [[hidden(network, data, site) for network in networks] for data in read]
    if state == "shuffled columns":
        x = [[shuffle_columns(h, 3 * 10**9 + seed) for h in part] for part in x]
    return networks, samples, x


def _config(recipe, n_codes, l1, epochs):
    return RECIPES[recipe].but(n_codes=n_codes, l1=l1, epochs=epochs, steps=None)


def _check_run(recipe, state, rows):
    for name, value, known in (("recipe", recipe, RECIPES), ("state", state, STATES), ("rows", rows, ROWS)):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def dictionary_run(
    *, recipe, l1, expansion, state, seed, site="pre", rows="all", n_sae=1, width=64, net_epochs=300, sae_epochs=800
):
    """One run for `sweep`: a network, SAEs of D = expansion·width codes on its hidden layer. → a row per SAE and look

    recipe: of RECIPES, with its own unit of `l1`; state: of STATES; site: as `hidden` takes it; rows: "all" training
    samples, or "released", the RELEASED_ROWS that the paper's code comes to read (one task, even parity).
    A look is taken after each of LOOKS epochs, half-way and at the end: F on the rows fitted, and on the test samples.
    """
    _check_run(recipe, state, rows)
    (network,), (_, test), ((x,), (held_out,)) = _prepared(state, seed, site, rows, width, (0.0,), net_epochs)
    config = _config(recipe, int(expansion * width), l1, sae_epochs)
    about = {"accuracy": share_correct(network, test)}
    fits = sae.fit_stack(x, config, seeds=_sae_seeds(seed, n_sae), snapshots=_rounds(sae_epochs), label="dictionary")
    return [about | {"sae_seed": j} | look for j, fit in enumerate(fits) for look in _looks(fit, config, x, held_out)]


def dropout_run(
    *, width, recipe, l1, state, seed, site="pre", rows="all", n_rates=10, n_sae=1, net_epochs=300, sae_epochs=400
):
    """One run for `sweep`: a network a dropout rate from 0 to 0.9, SAEs of 4·width codes on each. → a row per SAE, look

    Parameters as `dictionary_run` takes them. `accuracy_train` is on the labels trained on. Beside F a row holds how
    polysemantic codes and neurons are (`metrics.polysemanticity`), and the same of the network's own first weights.
    """
    _check_run(recipe, state, rows)
    rates = tuple(round(0.9 * i / max(1, n_rates - 1), 3) for i in range(n_rates))
    networks, (train, test), x = _prepared(state, seed, site, rows, width, rates, net_epochs)
    config = _config(recipe, 4 * width, l1, sae_epochs)
    made = []
    for j, sae_seed in enumerate(_sae_seeds(seed, n_sae)):
        fits = sae.fit_stack(
            torch.stack(x[0]), config, seeds=[sae_seed] * n_rates, snapshots=_rounds(sae_epochs), label=f"h = {width}"
        )
        for rate, network, fit, *parts in zip(rates, networks, fits, *x, strict=True):
            about = {"dropout": rate, "sae_seed": j, "accuracy": share_correct(network, test)}
            about |= {"accuracy_train": share_correct(network, train), **_wiring(network)}
            made += [about | look for look in _looks(fit, config, *parts)]
    return made


def _sae_seeds(seed, n_sae):
    return [10**6 * (j + 1) + seed for j in range(n_sae)]


def _rounds(sae_epochs):
    """When to look: after LOOKS, half-way, and at the end."""
    return (*LOOKS, sae_epochs // 2, sae_epochs)


def _looks(fit, config, x, held_out):
    """What each snapshot of a fit reads on the rows fitted, and its F on the rows held out. → dicts"""
    names = ("n_codes", "effective_features", "psi", "hill_0", "hill_2", "fvu", "l0", "dead")
    _, per_round = config.rounds_for(len(x))
    for epochs, look in fit.snapshots.items():
        seen = reading(look, x, "hidden")
        read = {name: seen[name] for name in (*names, "neurons_per_code", "codes_per_neuron")}
        apart = reading(look, held_out, "hidden")["effective_features"]
        yield {"epochs": epochs, "steps": epochs * per_round, **read, "held_out_features": apart}


def _wiring(network):
    """How polysemantic the network's own first weights are: neurons an input reaches, inputs a neuron reads."""
    W = network.hidden.weight.T
    neurons, inputs = metrics.polysemanticity(W, torch.ones(len(W)))
    return {"neurons_per_input": neurons, "inputs_per_neuron": inputs}
