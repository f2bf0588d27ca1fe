"""Algorithms in N neurons: compiled programs compressed by one matrix W, and the same transformers trained from scratch.

    compressed stream:  r = W h        every block reads ReLU(Wᵀ r) and writes W · (its output)        W (N, M)

h is the residual stream of the compiled program, M wide; all weights but W are frozen (Lindner et al. 2023, section 5;
Bereska 2025). A solution in N neurons is one in N + 1, with a row of zeros.
"""

import copy
import functools
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from superpos import metrics, sae
from superpos.activations import Rows, shuffle_columns
from superpos.measurement import reading
from superpos.progress import progress
from superpos.systems.programs import Attention, Transformer, compile_program, difference_to_jax, share_right

__all__ = [
    "CONTROLS",
    "READINGS",
    "ROUTES",
    "Compression",
    "Trained",
    "compress",
    "compress_features",
    "compressed",
    "control_run",
    "network_run",
    "program_run",
    "published_run",
    "toy_features",
    "train_from_scratch",
]

ROUTES = ("compressed", "scratch")
CONTROLS = ("toy", "compiled", "shuffled")
READINGS = {  # λ in the sum unit; codes a coordinate of the compiled stream, whatever N, or a neuron
    "main": {"l1": 0.5, "codes": 4, "of": "coordinate"},
    "small λ": {"l1": 0.1, "codes": 4, "of": "coordinate"},
    "4 N codes": {"l1": 0.5, "codes": 4, "of": "neuron"},
}
ROWS = 10_000  # rows of a stream that an SAE fits and reads
LENGTH = {"compressed": 50, "scratch": 20}  # sequences of each length in a batch
STREAM = 10**9  # data and weights must not share a seed


class Compression(nn.Module):
    """A residual stream of N neurons for blocks of M: W (N, M), or (K, 1, N, M) for K streams at once."""

    def __init__(self, W):
        super().__init__()
        self.W = nn.Parameter(W)

    def read(self, r):
        return torch.relu(r @ self.W)

    def write(self, y):
        return y @ self.W.mT


def compressed(compiled, W):
    """The compiled model on a stream compressed by W (N, M), or by each of W (K, N, M). → Transformer

    Only W takes a gradient. ValueError for a W of another width.
    """
    if W.shape[-1] != compiled.n_neurons:
        raise ValueError(f"W must be (…, N, {compiled.n_neurons}) for program {compiled.name!r}, got {tuple(W.shape)}")
    model = copy.deepcopy(compiled.model)
    model.stream = Compression(W.detach().clone() if W.ndim == 2 else W.detach()[:, None].clone())
    return model.eval()


@dataclass(frozen=True)
class Trained:
    """K networks of one size: streams after each layer [(K, n, T, N)], the share of tokens and sequences right (K,).

    W (K, N, M) of the compressed ones; after_reads: share of sequences right after the first phase; loss (K,): the last, of the
    phase that was kept, whose units differ.
    """

    streams: list
    tokens: torch.Tensor
    sequences: torch.Tensor
    loss: torch.Tensor
    W: torch.Tensor | None = None
    after_reads: torch.Tensor | None = None


@dataclass(frozen=True)
class Block:
    """A block that does something, cut to the coordinates that it reads and writes, with every state that it meets.

    module: attention, MLP or unembedding; states (s, M): the different rows of the stream that it reads; index (n, T):
    which state each position is in; reads: coordinates (c,); target: its output, (s, d), or of attention (n, T, d).
    """

    module: nn.Module
    states: torch.Tensor
    index: torch.Tensor
    reads: torch.Tensor
    target: torch.Tensor

    def loss(self, x, chosen, real):
        """Smooth L1 distance of the block's output on x (K, s, c) to its target, a mean over states or positions. → (K,)"""
        if not isinstance(self.module, Attention):
            return _distance(self.module(x), self.target).mean(-1)
        block, index = self.module, self.index[chosen]
        q, k, v = (block.heads(part(x))[:, index] for part in (block.query, block.key, block.value))
        out = block.out(block.mix(q, k, v, real).flatten(-2))
        return (_distance(out, self.target[chosen]) * real).sum((-1, -2)) / real.sum()


def _distance(x, target):
    """Smooth L1, summed over the last axis."""
    return nn.functional.smooth_l1_loss(x, target.expand_as(x), reduction="none").sum(-1)


def _blocks(compiled):
    """The blocks of a compiled model that write anything, in order, the unembedding last. → list of Block"""
    model, task, found = compiled.model, compiled.task, []
    with torch.no_grad():
        r = model.embed(task.tokens)
        for layer in model.layers:
            for module in (layer.attention, layer.mlp):
                out = module(r, task.real) if isinstance(module, Attention) else module(r)
                last = module.out if isinstance(module, Attention) else module[-1]
                writes = last.weight.abs().sum(1).nonzero()[:, 0]
                if len(writes):
                    found.append(_block(module, r, out[..., writes], writes, task.real))
                r = r + out
        found.append(_block(model.unembed, r, model.unembed(r), slice(None), task.asked))
    return found


def _block(module, stream, out, writes, real):
    """One Block: its states are the different rows of `stream` (n, T, M) where `real`."""
    rows = stream[real]
    _, inverse = torch.unique((rows * 1e4).round(), dim=0, return_inverse=True)
    first = torch.zeros(int(inverse.max()) + 1, dtype=torch.long)
    first[inverse] = torch.arange(len(rows))
    index = torch.zeros(real.shape, dtype=torch.long)
    index[real] = inverse
    small = copy.deepcopy(module)
    entering = [small.query, small.key, small.value] if isinstance(small, Attention) else [_first(small)]
    reads = sum(part.weight.abs().sum(0) for part in entering).nonzero()[:, 0]
    for part in entering:
        part.weight = nn.Parameter(part.weight[:, reads], requires_grad=False)
    leaving = small.out if isinstance(small, Attention) else small[-1] if isinstance(small, nn.Sequential) else None
    if leaving is not None:
        leaving.weight = nn.Parameter(leaving.weight[writes], requires_grad=False)
        leaving.bias = nn.Parameter(leaving.bias[writes], requires_grad=False)
    target = out if isinstance(small, Attention) else out[real][first]
    return Block(small, rows[first], index, reads, target)


def _first(module):
    return module[0] if isinstance(module, nn.Sequential) else module


def compress(compiled, n_neurons, seeds, *, read_steps=8_000, block_steps=3_000):
    """Learn W (N, M) from each of K starts. → Trained

    Two phases, both on the compiled stream: first what each block reads, ReLU(WᵀW h) at the coordinates that it uses, is
    brought to h over all states it meets; then also what it makes of that to its output. Each by Adam with gradients
    clipped to norm one, its step falling to zero as a cosine. Of the ends of the two the one that answers more sequences is
    kept. All sequences are trained on: this asks whether a solution exists, not whether it generalises.
    Every used coordinate is to come back by itself: a solution that merges some is not looked for. The second phase draws
    its batches by the first seed. Raises ValueError for a program that answers with numbers, and for one whose stream
    holds negative values, which ReLU(Wᵀr) cannot give back.
    """
    _check_answers(compiled)
    blocks, seeds = _blocks(compiled), list(seeds)
    lowest = min(float(b.states[:, b.reads].min()) for b in blocks)
    if lowest < -1e-3:
        raise ValueError(
            f"program {compiled.name!r} reads values down to {lowest:.3g}, which ReLU(Wᵀr) cannot give back"
        )
    sizes, states = [len(b.states) for b in blocks], torch.cat([b.states for b in blocks])

    def read(W):
        parts = (states @ W.mT).split(sizes, dim=1)
        return [torch.relu(part @ W[:, :, b.reads]) for part, b in zip(parts, blocks, strict=True)]

    def reads(xs):
        pairs = zip(xs, blocks, strict=True)
        return sum(_distance(x, b.states[:, b.reads]).mean(-1) for x, b in pairs)

    draw = _batches(compiled.task, LENGTH["compressed"], seeds[0])

    def outputs(W):
        chosen, xs = draw(), read(W)
        real = compiled.task.real[chosen]
        return 0.1 * reads(xs) + sum(b.loss(x, chosen, real) for x, b in zip(xs, blocks, strict=True))

    first, loss = _descend(_start(n_neurons, compiled.n_neurons, seeds), lambda W: reads(read(W)), read_steps, 3e-2)
    W, loss_blocks = _descend(first, outputs, block_steps, 3e-3, eps=1e-4)
    shares = [_share_right(compiled, w) for w in (first, W)]
    kept = shares[1][1] >= shares[0][1]
    W, loss = torch.where(kept[:, None, None], W, first), torch.where(kept, loss_blocks, loss)
    tokens, sequences = (torch.where(kept, b, a) for a, b in zip(*shares, strict=True))
    with torch.no_grad():
        streams, _ = compressed(compiled, W).streams(compiled.task.tokens)
    return Trained(streams, tokens, sequences, loss, W, shares[0][1])


def _check_answers(compiled):
    if not compiled.task.outputs:
        raise ValueError(f"program {compiled.name!r} answers with numbers; expected one that answers with tokens")


def _share_right(compiled, W):
    with torch.no_grad():
        return share_right(compressed(compiled, W)(compiled.task.tokens), compiled.task)


def _start(n_neurons, n_coordinates, seeds):
    """Random W (K, N, M), each from its own seed; columns of length one on average."""
    if n_neurons < 1:
        raise ValueError(f"n_neurons must be at least 1, got {n_neurons}")
    drawn = [torch.randn(n_neurons, n_coordinates, generator=torch.Generator().manual_seed(int(s))) for s in seeds]
    return torch.stack(drawn) / n_neurons**0.5


def _batches(task, each, seed):
    """A function that draws the sequences of a batch, `each` of every length. → callable → indices (b,)"""
    generator = torch.Generator().manual_seed(STREAM + int(seed))
    lengths = task.real.sum(1)
    pools = [(lengths == length).nonzero()[:, 0] for length in lengths.unique()]
    return lambda: torch.cat([p[torch.randint(len(p), (each,), generator=generator)] for p in pools])


def _descend(W, loss, steps, lr, eps=1e-8):
    """Adam on K weights (K, N, M) at once, the gradient of each clipped to norm one. → W, the last losses (K,)"""
    W = W.clone().requires_grad_()
    optimiser = torch.optim.Adam([W], lr=lr, eps=eps)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    last = torch.full((len(W),), math.nan)
    for _ in progress(range(steps), desc=f"W, {W.shape[1]} neurons"):
        optimiser.zero_grad()
        last = loss(W)
        last.sum().backward()
        W.grad /= W.grad.flatten(1).norm(dim=1).clamp(min=1)[:, None, None]
        optimiser.step()
        schedule.step()
    return W.detach(), last.detach()


def train_from_scratch(compiled, n_neurons, seeds, *, steps=3_000, lr=1e-2):
    """Train K transformers of the compiled one's shape with N neurons in their stream on its task. → Trained

    Cross-entropy at the asked positions, Adam with gradients of each network clipped to norm one and a cosine step,
    batches of as many sequences of each length, from all that there are. Raises ValueError as `compress` does.
    """
    _check_answers(compiled)
    task, seeds = compiled.task, list(seeds)
    networks = [_untrained(compiled, n_neurons, seed) for seed in seeds]
    weights, _ = torch.func.stack_module_state(networks)
    base = networks[0].to("meta")

    def loss(weights, tokens, answers):
        logits = torch.func.functional_call(base, weights, (tokens,))
        return nn.functional.cross_entropy(logits.flatten(0, 1), answers.flatten(), ignore_index=-1)

    gradient = torch.func.vmap(torch.func.grad_and_value(loss), in_dims=(0, None, None))
    optimiser = torch.optim.Adam(weights.values(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    draw, last = _batches(task, LENGTH["scratch"], seeds[0]), torch.full((len(seeds),), math.nan)
    for _ in progress(range(steps), desc=f"from scratch, {n_neurons} neurons"):
        chosen = draw()
        gradients, last = gradient(weights, task.tokens[chosen], task.answers[chosen])
        norm = sum(g.flatten(1).square().sum(1) for g in gradients.values()).sqrt().clamp(min=1)
        for name, value in weights.items():
            value.grad = gradients[name] / norm.view(-1, *[1] * (value.ndim - 1))
        optimiser.step()
        schedule.step()
    streams, logits = _run_stack(base, weights, task.tokens)
    return Trained(streams, *share_right(logits, task), last.detach())


def _untrained(compiled, n_neurons, seed):
    """A transformer of the compiled one's shape, as torch initialises it from a seed of its own stream."""
    if n_neurons < 1:
        raise ValueError(f"n_neurons must be at least 1, got {n_neurons}")
    task = compiled.task
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2 * STREAM + int(seed))
        sizes = (len(task.vocabulary), task.tokens.shape[1], len(task.outputs))
        return Transformer(n_neurons, *sizes, task.pad, compiled.shape)


class _Streams(nn.Module):
    """`Transformer.streams` as a forward pass, for functional_call."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens):
        return self.model.streams(tokens)


def _run_stack(base, weights, tokens):
    """Streams [(K, n, T, N)] and logits (K, n, T, outputs) of K networks."""
    whole, streams, logits = _Streams(base), [], []
    with torch.no_grad():
        for k in range(len(next(iter(weights.values())))):
            one = {f"model.{name}": value[k] for name, value in weights.items()}
            after, out = torch.func.functional_call(whole, one, (tokens,))
            streams.append(after)
            logits.append(out)
    return [torch.stack(site) for site in zip(*streams, strict=True)], torch.stack(logits)


def toy_features(activity, n_features, n, seed):
    """Rows (n, M) of features that are 1 with probability `activity`, each for itself, and 0 else.

    Raises ValueError for an activity outside (0, 1).
    """
    if not 0 < activity < 1:
        raise ValueError(f"activity must be between 0 and 1, got {activity}")
    generator = torch.Generator().manual_seed(STREAM + int(seed))
    return (torch.rand(n, n_features, generator=generator) < activity).float()


def compress_features(rows, n_neurons, seeds, *, steps=8_000):
    """Learn W (K, N, M) so that ReLU(WᵀW f) is f over rows f (n, M): the first phase of `compress`, and nothing to compute."""

    def loss(W):
        return _distance(torch.relu(rows @ W.mT @ W), rows).mean(-1)

    return _descend(_start(n_neurons, rows.shape[1], list(seeds)), loss, steps, 3e-2)[0]


def network_run(route, program, n_neurons, seed, n_networks, steps, block_steps, sae_steps, keep=None):
    """A run for a sweep: K networks of one program and size, and F of their residual streams. → rows

    route: one of ROUTES; seed: of the first network, the others follow; steps: of the first phase, or of the training from
    scratch; block_steps: of the second phase of a compression; keep: a folder for the W of the best start (safetensors).
    One row a network, layer (0: the embedding) and one of READINGS. Every stream is brought to the mean length of the
    compiled one at its layer, and λ is in the sum unit, so that the pressure is one at every N.
    """
    if route not in ROUTES:
        raise ValueError(f"unknown route {route!r}; expected one of {', '.join(ROUTES)}")
    compiled, seeds = compile_program(program), range(seed, seed + n_networks)
    if route == "scratch":
        trained = train_from_scratch(compiled, n_neurons, seeds, steps=steps)
    else:
        trained = compress(compiled, n_neurons, seeds, read_steps=steps, block_steps=block_steps)
    with torch.no_grad():
        native, _ = compiled.model.streams(compiled.task.tokens)
    rows = []
    for layer, (stream, own) in enumerate(zip(trained.streams, native, strict=True)):
        length = own[compiled.task.real].norm(dim=-1).mean()
        of_layer = [_rows(stream[k], compiled.task.real, length, seed) for k, seed in enumerate(seeds)]
        rows += _read_all(of_layer, seeds, compiled.n_neurons, sae_steps, layer=layer)
    for row in rows:
        k = row["network"] - seed
        row |= {"tokens": trained.tokens[k], "sequences": trained.sequences[k], "loss": trained.loss[k]}
        row["after_reads"] = math.nan if trained.after_reads is None else trained.after_reads[k]
        row["psi_frobenius"] = math.nan if trained.W is None else metrics.frobenius_superposition(trained.W[k])
    if keep and trained.W is not None:
        best = int(trained.sequences.argmax())
        Path(keep).mkdir(parents=True, exist_ok=True)
        about = {"program": program, "network": str(seed + best), "sequences": f"{trained.sequences[best]:.6f}"}
        save_file({"W": trained.W[best].contiguous()}, f"{keep}/{program}_{n_neurons:02d}.safetensors", about)
    return rows


def published_run(program, n_neurons, sae_seed, epochs, folder):
    """A run for a sweep: F of one kept network by the recipe of the paper's code, its stream as it is. → a row a layer

    folder: where `network_run` kept W; epochs: at most, of an SAE's training. FileNotFoundError if there is none.
    """
    compiled = compile_program(program)
    path = Path(folder) / f"{program}_{n_neurons:02d}.safetensors"
    if not path.exists():
        raise FileNotFoundError(f"no compression of {program} to {n_neurons} neurons at {path}")
    model = compressed(compiled, load_file(path)["W"])
    with torch.no_grad():
        streams, logits = model.streams(compiled.task.tokens)
    tokens, sequences = share_right(logits, compiled.task)
    rows = []
    for layer, stream in enumerate(streams):
        x = stream[compiled.task.real]
        x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(STREAM + sae_seed))[:ROWS]]
        fit = sae.fit(x, sae.PUBLISHED.but(epochs=epochs), seed=sae_seed)
        row = {"layer": layer, "tokens": tokens, "sequences": sequences, "epochs_run": len(fit.history)}
        rows.append(row | reading(fit, x, f"{program}, {n_neurons} neurons, layer {layer}"))
    return rows


def _rows(stream, real, length, seed):
    """Up to ROWS rows of a stream (n, T, N) at real positions, brought to a mean length. → Rows"""
    sample = torch.arange(len(real))[:, None].expand_as(real)[real]
    x = stream[real]
    chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(STREAM + seed))[:ROWS]
    return Rows(x[chosen] * (length / x.norm(dim=-1).mean()), sample[chosen])


def _read_all(rows, seeds, n_coordinates, sae_steps, **columns):
    """F of each of K sets of Rows by each of READINGS; half_way: F after half the SAE's training. → rows of a table"""
    parts, table = [r.split(0.2, seed) for r, seed in zip(rows, seeds, strict=True)], []
    for name, how in READINGS.items():
        for (fitted, read), seed in zip(parts, seeds, strict=True):
            n_codes = how["codes"] * (n_coordinates if how["of"] == "coordinate" else fitted.shape[1])
            config = sae.PROTOCOL.but(scale="none", n_codes=n_codes, l1=how["l1"], steps=sae_steps)
            half = max(1, config.rounds_for(len(fitted))[0] // 2)
            fit = sae.fit(fitted, config, seed=seed, snapshots=[half], label=name)
            label = f"network {seed} {columns}, {name}"
            row = columns | {"network": seed, "reading": name, "l1": how["l1"]} | reading(fit, read, label)
            table.append(row | {"half_way": reading(fit.snapshots[half], read, label)["effective_features"]})
    return table


def control_run(kind, activity, n_neurons, seed, n_networks, steps, sae_steps):
    """A run for a sweep: M features with nothing to compute, compressed to N neurons, and F of those. → rows

    kind: "toy", 45 features as `toy_features` gives them; "compiled", the last stream of the compiled reversal; "shuffled", the
    same with the columns in random orders, so that every feature keeps its own activity and loses the company it keeps.
    activity: of the toys (None for the others). One row a start and reading; right: share of rows in which every feature
    read is on the right side of half its largest value.
    """
    if kind not in CONTROLS:
        raise ValueError(f"unknown control {kind!r}; expected one of {', '.join(CONTROLS)}")
    if (activity is None) == (kind == "toy"):
        raise ValueError(f"activity must be given for toys, and only there; got {activity} for {kind!r}")
    compiled, seeds = compile_program("reverse"), range(seed, seed + n_networks)
    fitted = _features(kind, activity, compiled, 2_000, seed)
    read = _features(kind, activity, compiled, ROWS, seed + 1)
    length = read.norm(dim=-1).mean()
    W = compress_features(fitted, n_neurons, seeds, steps=steps)
    streams = [read @ w.T for w in W]
    half = read.amax(0) / 2
    right = [
        ((torch.relu(x @ w) > half) == (read > half)).all(1).float().mean() for x, w in zip(streams, W, strict=True)
    ]
    scaled = [Rows(x * (length / x.norm(dim=-1).mean()), torch.arange(len(x))) for x in streams]
    rows = _read_all(scaled, seeds, compiled.n_neurons, sae_steps)
    return [row | {"right": right[row["network"] - seed]} for row in rows]


def _features(kind, activity, compiled, n, seed):
    """Rows (n, M) of the features of a control."""
    if kind == "toy":
        return toy_features(activity, compiled.n_neurons, n, seed)
    x = _last_stream(compiled.name)
    generator = torch.Generator().manual_seed(STREAM + seed)
    x = x[torch.randint(len(x), (n,), generator=generator)]
    return shuffle_columns(x, STREAM + seed) if kind == "shuffled" else x


@functools.cache
def _last_stream(program):
    compiled = compile_program(program)
    with torch.no_grad():
        return compiled.model.streams(compiled.task.tokens)[0][-1][compiled.task.real]


def program_run(program):
    """A run for a sweep: a compiled program, how exact the port is, and how sparse its features are. → a row a layer

    difference: `difference_to_jax`; n_read: coordinates that some block reads; rank: singular values of the stream above
    0.001 of the largest; states: its different rows; used: coordinates that are ever on; activity: mean share of rows
    in which such a one is on; on: mean number on in a row; truth: F of the coordinates themselves, exp of the entropy of
    their shares of the total, which an SAE would read that found each of them.
    """
    compiled = compile_program(program)
    task, difference = compiled.task, difference_to_jax(compiled)
    n_read = len(torch.cat([block.reads for block in _blocks(compiled)]).unique())
    with torch.no_grad():
        streams, logits = compiled.model.streams(task.tokens)
    tokens, sequences = share_right(logits, task)
    shared = {
        "difference": difference,
        "tokens": tokens,
        "sequences": sequences,
        "n_sequences": len(task),
        "n_read": n_read,
    }
    rows = []
    for layer, stream in enumerate(streams):
        x = stream[task.real]
        on = x.abs() > 1e-3
        spectrum = torch.linalg.svdvals(x.double())
        rows.append(
            shared
            | {"layer": layer, "n_neurons": compiled.n_neurons, "rank": int((spectrum > 1e-3 * spectrum[0]).sum())}
            | {"states": len(torch.unique((x * 1e4).round(), dim=0)), "used": int(on.any(0).sum())}
            | {"truth": metrics.effective_features(metrics.code_shares(x))}
            | {"activity": on.float().mean(0)[on.any(0)].mean(), "on": on.float().sum(1).mean()}
        )
    return rows
