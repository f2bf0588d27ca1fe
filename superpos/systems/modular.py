"""Arithmetic modulo a prime, a task on which networks first memorise and then, all at once, generalise (grokking).

    input (a, b) with 0 ≤ a, b < p        label (a ∘ b) mod p,  ∘ one of +, −, ×, a² + b
    mlp:   h = W_l E[a] + W_r E[b] + c,   logits = U · GELU(h) + d          (E shared by both paths)
    transformer:  one layer without normalisation on the tokens a, b, =, read at the last (Nanda et al. 2023)

K networks of one kind train at once, full batch, by AdamW. Every checkpoint can be read for accuracy, F, LLC and more.
"""

import math
import warnings
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from superpos import llc, metrics, sae
from superpos.activations import shuffle_columns
from superpos.measurement import reading
from superpos.progress import progress

__all__ = [
    "LLC_SETTINGS",
    "NETWORKS",
    "OPERATIONS",
    "READINGS",
    "SITES",
    "STATES",
    "VARIATIONS",
    "Modular",
    "Training",
    "build",
    "checkpoint_run",
    "code_tuning",
    "estimate_llc",
    "fourier_power",
    "modular",
    "per_network",
    "sites",
    "timeline_bars",
    "timeline_run",
    "train_networks",
    "variation_run",
]

STREAMS = {  # seeds of one run must not meet: the SAE has the seed itself
    "rows": 5 * 10**8, "split": 10**9, "weights": 2 * 10**9, "labels": 3 * 10**9, "hot": 4 * 10**9, "cold": 4 * 10**9 + 10**8,
}  # fmt: skip
SITES = ("embedding", "pre", "post")
STATES = ("weight decay", "no weight decay", "shuffled labels")
READINGS = {  # two codes a neuron but for the paper's, which has four
    "protocol": sae.PROTOCOL.but(expansion=2.0),
    "mean unit": sae.PROTOCOL.but(expansion=2.0, unit_norm=False, init="xavier", scale="none", loss="l1_mean", l1=3.0),
    "published": sae.PUBLISHED_FAST,
}
LLC_SETTINGS = {  # inverse temperature nβ, localization γ and step ε of the chains
    "hot": {"n_beta": 2.0, "localization": 5.0, "lr": 1e-2},
    "cold": {"n_beta": 512 / math.log(512), "localization": 100.0, "lr": 1e-3},
}
LLC_BATCH = 512
VARIATIONS = {  # of our protocol: what is changed in its configuration
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
TOP_FREQUENCIES = 5
OPERATIONS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "a2+b": lambda a, b: a * a + b,
}


def _generator(stream, seed):
    return torch.Generator().manual_seed(STREAMS[stream] + int(seed))


@dataclass(frozen=True)
class Modular:
    """Pairs (n, 2) of integers below the modulus p, and their labels (n,)."""

    inputs: torch.Tensor
    labels: torch.Tensor
    modulus: int

    def __len__(self):
        return len(self.inputs)

    def split(self, share=0.4, seed=0):
        """A random `share` of the pairs to train on, and the rest. → (Modular, Modular)"""
        if not 0 < share < 1:
            raise ValueError(f"share must be above 0 and below 1, got {share}")
        order = torch.randperm(len(self), generator=_generator("split", seed))
        n = min(max(1, round(share * len(self))), len(self) - 1)
        return tuple(Modular(self.inputs[rows], self.labels[rows], self.modulus) for rows in (order[:n], order[n:]))

    def shuffled(self, seed=0):
        """The same pairs with their labels in a random order, which nothing but memory can tell. → Modular"""
        order = torch.randperm(len(self), generator=_generator("labels", seed))
        return Modular(self.inputs, self.labels[order], self.modulus)


def modular(modulus=53, operation="+"):
    """All p² pairs of an operation modulo a prime p. → Modular. ValueError for another operation, or no prime."""
    if operation not in OPERATIONS:
        raise ValueError(f"operation must be one of {', '.join(OPERATIONS)}, got {operation!r}")
    if modulus < 2 or any(modulus % i == 0 for i in range(2, math.isqrt(modulus) + 1)):
        raise ValueError(f"modulus must be a prime, got {modulus}")
    a, b = torch.meshgrid(torch.arange(modulus), torch.arange(modulus), indexing="ij")
    pairs = torch.stack([a.flatten(), b.flatten()], 1)
    return Modular(pairs, OPERATIONS[operation](*pairs.T) % modulus, modulus)


class MLP(nn.Module):
    """The two-path network. Layers to read: embedding (n, 2, e), pre (n, h) and post (n, h), around the GELU."""

    def __init__(self, modulus, embed=12, hidden=48):
        super().__init__()
        self.embedding = nn.Embedding(modulus, embed)
        self.left, self.right = nn.Linear(embed, hidden, bias=False), nn.Linear(embed, hidden)
        self.pre, self.post = nn.Identity(), nn.GELU()
        self.out = nn.Linear(hidden, modulus)

    def forward(self, pairs):
        a, b = self.embedding(pairs).unbind(1)
        return self.out(self.post(self.pre(self.left(a) + self.right(b))))


class Transformer(nn.Module):
    """One layer, no normalisation, read at the token "=" (Nanda et al. 2023, section 3). Layers: embedding, pre, post.

    width d, of `heads` heads; an MLP of 4d neurons with ReLU; tokens 0 … p−1 and "="; embeddings start at N(0, 1/d).
    """

    def __init__(self, modulus, width=128, heads=4):
        super().__init__()
        self.heads, self.equals = heads, modulus
        self.embedding, self.position = nn.Embedding(modulus + 1, width), nn.Embedding(3, width)
        for table in (self.embedding, self.position):
            nn.init.normal_(table.weight, std=width**-0.5)
        self.query, self.key, self.value, self.mix = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.into, self.pre, self.post = nn.Linear(width, 4 * width), nn.Identity(), nn.ReLU()
        self.outof, self.out = nn.Linear(4 * width, width), nn.Linear(width, modulus, bias=False)

    def forward(self, pairs):
        tokens = nn.functional.pad(pairs, (0, 1), value=self.equals)
        r = self.embedding(tokens) + self.position.weight
        r = r[:, -1] + self._attended(r)
        return self.out(r + self.outof(self.post(self.pre(self.into(r)))))

    def _attended(self, r):
        """What the attention adds to the last position (n, d)."""
        n, n_tokens, width = r.shape
        keys, values = (f(r).view(n, n_tokens, self.heads, -1) for f in (self.key, self.value))
        query = self.query(r[:, -1]).view(n, self.heads, -1)
        weights = (torch.einsum("nhd,nthd->nth", query, keys) / (width // self.heads) ** 0.5).softmax(1)
        return self.mix(torch.einsum("nth,nthd->nhd", weights, values).reshape(n, width))


NETWORKS = {"mlp": MLP, "transformer": Transformer}


def build(kind, modulus, seed, **options):
    """An untrained network as torch initialises it, from a seed of its own stream. ValueError for an unknown kind."""
    if kind not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(NETWORKS)}, got {kind!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(STREAMS["weights"] + int(seed))
        return NETWORKS[kind](modulus, **options)


def per_network(network, states, pairs):
    """Logits (K, n, p) of K networks of one kind: `states` is a dict of their parameters (K, …).

    pairs: (n, 2), shared by all, or (K, n, 2).
    """
    shared = None if pairs.ndim == 2 else 0
    return vmap(lambda state, x: functional_call(network, state, (x,)), in_dims=(0, shared))(states, pairs)


@dataclass(frozen=True)
class Training:
    """K networks at each step that was kept: `states` is a dict step: {name: (K, …)}, `seeds` their seeds."""

    kind: str
    data: tuple
    seeds: tuple
    states: dict
    options: dict

    def network(self, seed, step):
        """One network as a torch module, in evaluation mode."""
        place = self.seeds.index(seed)
        network = build(self.kind, self.data[0].modulus, seed, **self.options)
        network.load_state_dict({name: values[place] for name, values in self.states[step].items()})
        return network.eval()

    @torch.no_grad()
    def scores(self, step):
        """Loss and accuracy of every network at a step, on training and test pairs. → list of dict, one a seed"""
        rows = [{"seed": seed, "step": step} for seed in self.seeds]
        template = build(self.kind, self.data[0].modulus, 0, **self.options).eval()
        for part, data in zip(("train", "test"), self.data, strict=True):
            logits = per_network(template, self.states[step], data.inputs)
            right = (logits.argmax(-1) == data.labels).double().mean(1)
            for row, loss, share in zip(rows, _losses(logits, data.labels), right, strict=True):
                row |= {f"loss_{part}": float(loss), f"accuracy_{part}": float(share)}
        return rows


def _losses(logits, labels):
    """Mean cross-entropy of each network (K,), from logits (K, n, p)."""
    losses = nn.functional.cross_entropy(logits.transpose(1, 2), labels.expand(len(logits), -1), reduction="none")
    return losses.mean(1)


def train_networks(data, *, seeds, kind="mlp", steps=4000, keep=(), lr=3e-3, weight_decay=1.0, **options):
    """Train one network per seed on all training pairs at every step. → Training

    data: (train, test) of Modular; keep: steps to keep besides the last (0: before training); options: of the network.
    AdamW decays all parameters. A seed decides its own network alone. FloatingPointError if a loss is not finite.
    """
    train, _ = data
    seeds, keep = tuple(int(seed) for seed in seeds), {*keep, steps}
    networks = [build(kind, train.modulus, seed, **options) for seed in seeds]
    states = {name: values.detach().clone() for name, values in stack_module_state(networks)[0].items()}
    states = OrderedDict((name, values.requires_grad_()) for name, values in states.items())
    optimizer = torch.optim.AdamW(states.values(), lr=lr, weight_decay=weight_decay, fused=True)
    kept = {}
    for step in progress(range(steps + 1), desc="modular networks"):
        if step in keep:
            kept[step] = {name: values.detach().clone() for name, values in states.items()}
        if step == steps:
            break
        losses = _losses(per_network(networks[0], states, train.inputs), train.labels)
        if not torch.isfinite(losses).all():
            raise FloatingPointError(f"the losses became {losses.tolist()} in step {step}")
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
    return Training(kind, tuple(data), seeds, kept, dict(options))


def sites(network, pairs):
    """What the layers SITES of a network say of pairs (n, 2). → dict: embedding (p, e), one row a number; pre, post (n, h)"""
    seen = {}
    hooks = [
        getattr(network, name).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
        for name in ("pre", "post")
    ]
    try:
        with torch.no_grad():
            network(pairs)
    finally:
        for hook in hooks:
            hook.remove()
    return {"embedding": network.embedding.weight.detach()[: int(pairs.max()) + 1], **seen}


def fourier_power(embedding):
    """Share of each frequency 1 … (p − 1)/2 in the power of the rows of an embedding (p, e), the mean left out. → (p // 2,)

    Nanda et al. 2023: a network that has generalised keeps a few frequencies.
    """
    power = np.abs(np.fft.rfft(np.asarray(embedding, dtype=np.float64), axis=0)[1:]) ** 2
    return metrics.shares(power.sum(1))


def code_tuning(z, inputs, modulus):
    """Share of the variance of each code z (n, D) that a, b or a + b alone explains. → (3, D), zero for a silent code

    inputs: all pairs (n, 2), each once. For an additive code the shares of a and b sum to one.
    """
    z = z.double()
    spread = z.var(0, correction=0)
    groups = (inputs[:, 0], inputs[:, 1], inputs.sum(1) % modulus)
    means = [z.new_zeros(modulus, z.shape[1]).index_add_(0, group, z) / modulus for group in groups]
    explained = torch.stack([mean.var(0, correction=0) for mean in means])
    return torch.where(spread > 1e-12, explained / spread.clamp_min(1e-12), 0.0)


def estimate_llc(training, steps, setting, *, n_chains=3, n_draws=150, burn_in=100, seed=0):
    """The LLC of the first network of a training at each of some steps, on its training pairs. → llc.Chains

    setting: one of LLC_SETTINGS; all steps are sampled as one stack, in batches of 512 pairs (or all).
    """
    train = training.data[0]
    template = build(training.kind, train.modulus, 0, **training.options)
    states = {
        name: torch.stack([training.states[step][name][0] for step in steps]) for name in training.states[steps[0]]
    }

    def loss(state, pairs, labels):
        return nn.functional.cross_entropy(functional_call(template, state, (pairs,)), labels)

    return llc.sample_chains(
        loss, states, (train.inputs, train.labels), **LLC_SETTINGS[setting], n_chains=n_chains, n_draws=n_draws,
        burn_in=burn_in, batch_size=min(LLC_BATCH, len(train)), seed=STREAMS[setting] + int(seed),
    )  # fmt: skip


def _trained(network, hidden, state, seed, operation, modulus, share, steps, every):
    """One network with its checkpoints, and all pairs. The embedding is a quarter as wide as the hidden layer."""
    if state not in STATES:
        raise ValueError(f"state must be one of {', '.join(STATES)}, got {state!r}")
    if hidden < 4 or hidden % 4:
        raise ValueError(f"hidden must be a multiple of 4, got {hidden}")
    pairs = modular(modulus, operation)
    train, test = pairs.split(share, seed)
    train = train.shuffled(seed) if state == "shuffled labels" else train
    width = {"mlp": {"embed": hidden // 4, "hidden": hidden}, "transformer": {"width": hidden // 4}}
    training = train_networks(
        (train, test), seeds=[seed], kind=network, steps=steps, keep=range(0, steps, every),
        lr={"mlp": 3e-3, "transformer": 1e-3}[network], weight_decay=0.0 if state == "no weight decay" else 1.0, **width[network],
    )  # fmt: skip
    return training, pairs


def checkpoint_run(
    network, hidden, state, seed, share, every, steps, sae_steps, llc_draws, readings, *, operation="+", modulus=53
):  # fmt: skip
    """A run for a sweep: one network trained once, and at each `every` steps all that the chapter follows. → rows

    network: "mlp" or "transformer"; hidden: neurons h (the embedding, the transformer's width, is h/4); state: one of STATES;
    share: of the pairs to train on; sae_steps: of each SAE; llc_draws: after a burn-in of 100, of 3 chains (0: no LLC);
    readings: names of READINGS, of which "published" reads the site `pre` alone. Columns end in their site, reading or LLC
    setting; fourier_share: of the five strongest frequencies; frequencies: their effective number. A row a checkpoint.
    """
    names = [name.strip() for name in readings.split(",")]
    for name in names:
        if name not in READINGS:
            raise ValueError(f"unknown reading {name!r}; expected one of {', '.join(READINGS)}")
    training, pairs = _trained(network, hidden, state, seed, operation, modulus, share, steps, every)
    marks = sorted(training.states)
    rows = [training.scores(step)[0] for step in marks]
    networks = [training.network(seed, step) for step in marks]
    seen = [sites(one, pairs.inputs) for one in networks]
    for row, one, at in zip(rows, networks, seen, strict=True):
        row |= _plain(one, at)
    for site in SITES:
        x = torch.stack([at[site] for at in seen])
        for name in names:
            if name != "published" or site == "pre":
                for row, columns in zip(rows, _read(x, site, name, sae_steps, seed, pairs), strict=True):
                    row |= columns
    for setting in LLC_SETTINGS if llc_draws else ():
        with warnings.catch_warnings():  # troubles are kept as a column
            warnings.filterwarnings("ignore", "LLC of weights")
            chains = estimate_llc(training, marks, setting, n_draws=llc_draws, seed=seed)
        columns = zip(chains.estimate, chains.error, chains.drift, chains.negative, chains.troubles(), strict=True)
        for row, (value, error, drift, negative, trouble) in zip(rows, columns, strict=True):
            row |= {f"llc_{setting}": value, f"llc_error_{setting}": error, f"llc_drift_{setting}": drift}
            row |= {f"llc_negative_{setting}": negative, f"llc_trouble_{setting}": trouble}
    return [{name: value for name, value in row.items() if name != "seed"} for row in rows]


def _plain(network, at):
    """What needs no SAE: norm of the weights, rank and participation ratio of each site, Fourier power of the embedding."""
    power = fourier_power(at["embedding"])
    columns = {"weight_norm": math.sqrt(sum(float(w.detach().square().sum()) for w in network.parameters()))}
    columns["fourier_share"] = np.sort(power)[::-1][:TOP_FREQUENCIES].sum()
    columns["frequencies"] = metrics.effective_features(power)
    for site, x in at.items():
        x = x.double()
        columns[f"effective_rank_{site}"] = metrics.effective_rank(x - x.mean(0))
        columns[f"participation_{site}"] = metrics.participation_ratio(x)
    return columns


def _read(x, site, name, sae_steps, seed, pairs):
    """F of a stack of activations x (K, n, N) by one reading, and its quality. → K dicts

    Read on a fifth of the rows, held out (the embedding, which has only p, on those fitted); half: F half way.
    """
    config = _config(site, name, sae_steps)
    fitted, read = _parts(x, site, seed)
    n_rounds, _ = config.rounds_for(fitted.shape[1])
    fits = _fit(fitted, config, seed, f"{site}, {name}", [max(1, n_rounds // 2)] if config.steps else [])
    suffix, table = f"{site}_{name.replace(' ', '_')}", []
    for k, (fit, rows) in enumerate(zip(fits, read, strict=True)):
        seen = reading(fit, rows, f"{site}, {name}, checkpoint {k}")
        columns = {f"features_{suffix}": seen["effective_features"]} | {
            f"{q}_{suffix}": seen[q] for q in ("fvu", "l0", "dead")
        }
        for half in fit.snapshots.values():
            columns[f"half_{suffix}"] = reading(half, rows, f"{site}, {name}, half way")["effective_features"]
        if site != "embedding" and name == "protocol":
            z = fit.encode(x[k])
            by = code_tuning(z, pairs.inputs, pairs.modulus) @ torch.as_tensor(metrics.code_shares(z))
            columns |= {f"tuned_{what}_{site}": value for what, value in zip(("a", "b", "sum"), by, strict=True)}
        table.append(columns)
    return table


def _config(site, name, sae_steps):
    """A reading at a site; the embedding, which has few rows and coordinates, gets four codes a coordinate."""
    config = READINGS[name] if name == "published" else READINGS[name].but(steps=sae_steps)
    return config.but(expansion=4.0) if site == "embedding" else config


def _parts(x, site, seed):
    """The rows to fit and to read of x (K, n, N), the same pairs at every checkpoint."""
    if site == "embedding":
        return x, x
    order = torch.randperm(x.shape[1], generator=_generator("rows", seed))
    n_read = x.shape[1] // 5
    return x[:, order[n_read:]], x[:, order[:n_read]]


def _fit(x, config, seed, label, snapshots):
    """An SAE a checkpoint, all from one seed, so that what differs between checkpoints is the network alone."""
    return sae.fit_stack(x, config, seeds=[seed] * len(x), snapshots=snapshots, label=label)


def timeline_run(network, hidden, seed, site, every, steps, sae_steps, *, operation="+", modulus=53, share=0.4):
    """A run for a sweep: the dictionary and the embedding at each checkpoint of a network. → a row a checkpoint

    Lists are words of one cell, separated by spaces. shares: of the codes, largest first; tuned: for each of those which
    explains most of it, "a", "b", "s" (the sum) or "-" (none a half); spectrum: the Fourier power of the embedding.
    """
    training, pairs = _trained(network, hidden, "weight decay", seed, operation, modulus, share, steps, every)
    marks = sorted(training.states)
    seen = [sites(training.network(seed, step), pairs.inputs) for step in marks]
    x = torch.stack([at[site] for at in seen])
    fitted, _ = _parts(x, site, seed)
    fits = _fit(fitted, _config(site, "protocol", sae_steps), seed, f"{site}, timeline", [])
    rows = []
    for step, at, rows_at, fit in zip(marks, seen, x, fits, strict=True):
        z = fit.encode(rows_at)
        p = metrics.code_shares(z)
        order = np.argsort(-p)
        tuned = code_tuning(z, pairs.inputs, pairs.modulus)[:, order.copy()]
        best = ["abs"[i] if value > 0.5 else "-" for i, value in zip(tuned.argmax(0), tuned.amax(0), strict=True)]
        spectrum = " ".join(f"{v:.4f}" for v in fourier_power(at["embedding"]))
        words = {"shares": " ".join(f"{v:.5f}" for v in p[order]), "tuned": "".join(best), "spectrum": spectrum}
        rows.append({"step": step, "effective_features": metrics.effective_features(p), **words})
    return rows


def timeline_bars(table, least=0.001):
    """The lists of `timeline_run`'s rows as bars. → DataFrame (step, panel, place, kind, value), ordered by panel and kind

    panel "code": shares of at least `least`, place by size, kind what explains the code; panel "frequency": Fourier power.
    """
    kinds = {"a": "a", "b": "b", "s": "a + b", "-": "none alone"}
    bars = []
    for row in table.itertuples():
        for k, (share, what) in enumerate(zip(map(float, row.shares.split()), row.tuned, strict=True), 1):
            if share >= least:
                bars.append((row.step, "code", k, kinds[what], share))
        bars += [(row.step, "frequency", k, "power", float(word)) for k, word in enumerate(row.spectrum.split(), 1)]
    bars = pd.DataFrame(bars, columns=["step", "panel", "place", "kind", "value"])
    order = [*kinds.values(), "power"]
    return bars.sort_values("kind", key=lambda kind: kind.map(order.index), kind="stable").sort_values(
        "panel", kind="stable"
    )


def variation_run(hidden, seed, first, steps, sae_steps, *, operation="+", modulus=53, share=0.4):
    """A run for a sweep: F of one MLP at two steps, `first` and the last, by our protocol varied. → rows

    A row a step, a site (pre, post) and one of VARIATIONS.
    """
    training, pairs = _trained("mlp", hidden, STATES[0], seed, operation, modulus, share, steps, first)
    marks, rows = (first, steps), []
    for site in SITES[1:]:
        x = torch.stack([sites(training.network(seed, step), pairs.inputs)[site] for step in marks])
        for name, changes in VARIATIONS.items():
            length = 2 * sae_steps if name == "trained twice as long" else sae_steps
            k = hidden // 4 if "activation" in changes else None
            config = READINGS["protocol"].but(steps=length, k=k, **changes)
            rows_of = (
                torch.stack([shuffle_columns(one, STREAMS["rows"] + seed) for one in x])
                if name == "columns shuffled"
                else x
            )
            fitted, read = _parts(rows_of, site, seed)
            fits = _fit(fitted, config, seed + 1000 if name == "another seed" else seed, f"{site}, {name}", [])
            for step, fit, one in zip(marks, fits, read, strict=True):
                rows.append(
                    {"step": step, "site": site, "variation": name} | reading(fit, one, f"{site}, {name}, step {step}")
                )
    return rows
