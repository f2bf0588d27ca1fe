"""Algorithms in N neurons: compiled programs compressed by one matrix W, and the same transformers trained from scratch.

    compressed stream:  r = W h        every block reads ReLU(Wᵀ r) and writes W · (its output)        W (N, M)

h is the residual stream of the compiled program, M wide; all weights but W are frozen (Lindner et al. 2023, section 5;
Bereska 2025). A solution in N neurons is one in N + 1, with a row of zeros.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from superpos import seeds
from superpos.activations import Rows, shuffle_columns
from superpos.findings.algorithms.programs import Attention, Compiled, Task, Transformer, share_right
from superpos.progress import progress

__all__ = ["Trained", "compress", "compress_features", "compressed", "features", "stream_rows", "train_from_scratch"]

ROWS = 10_000  # rows of a stream that an SAE fits and reads
LENGTH = {"compressed": 50, "scratch": 20}  # sequences of each length in a batch


def compressed(compiled: Compiled, W: Float[Tensor, "*K N M"]) -> Transformer:
    """The compiled model on a stream compressed by one W, or by each of K; only W takes a gradient.

    Raises ValueError for a W of another width.
    """
    if W.shape[-1] != compiled.n_neurons:
        raise ValueError(f"W must be (…, N, {compiled.n_neurons}) for program {compiled.name!r}, got {tuple(W.shape)}")
    model = copy.deepcopy(compiled.model)
    model.W = nn.Parameter((W if W.ndim == 2 else W[:, None]).detach().clone())
    return model.eval()


@dataclass(frozen=True)
class Trained:
    """K networks of one size: their streams after each layer, and the share of tokens and of sequences answered right.

    W of the compressed ones; after_reads: share of sequences right after the first phase; loss: the last, of the phase that was
    kept, whose units differ.
    """

    streams: list[Float[Tensor, "K n T N"]]
    tokens: Float[Tensor, " K"]
    sequences: Float[Tensor, " K"]
    loss: Float[Tensor, " K"]
    W: Float[Tensor, "K N M"] | None = None
    after_reads: Float[Tensor, " K"] | None = None


@dataclass(frozen=True)
class Block:
    """A block that does something, cut to the coordinates that it reads and writes, with every state that it meets.

    module: attention, MLP or unembedding; states: the different rows of the stream that it reads; index: which state each
    position is in; reads: coordinates; target: its output, a row a state, or of attention (n, T, d).
    """

    module: nn.Module
    states: Float[Tensor, "s M"]
    index: Int[Tensor, "n T"]
    reads: Int[Tensor, " c"]
    target: Tensor

    def loss(
        self, x: Float[Tensor, "K s c"], chosen: Int[Tensor, " b"], real: Bool[Tensor, "b T"]
    ) -> Float[Tensor, " K"]:
        """Smooth L1 distance of the block's output on x to its target, a mean over states, or over positions `chosen`."""
        if not isinstance(self.module, Attention):
            return _distance(self.module(x), self.target).mean(-1)
        block, index = self.module, self.index[chosen]
        q, k, v = (block.heads(part(x))[:, index] for part in (block.query, block.key, block.value))
        out = block.out(block.mix(q, k, v, real).flatten(-2))
        return (_distance(out, self.target[chosen]) * real).sum((-1, -2)) / real.sum()


def _distance(x: Tensor, target: Tensor) -> Tensor:
    """Smooth L1, summed over the last axis."""
    return nn.functional.smooth_l1_loss(x, target.expand_as(x), reduction="none").sum(-1)


def blocks(compiled: Compiled) -> list[Block]:
    """The blocks of a compiled model that write anything, in order, the unembedding last."""
    model, task, found = compiled.model, compiled.task, []
    r = model.embed(task.tokens)
    for module in (part for layer in model.layers for part in (layer.attention, layer.mlp)):
        out = module(r, task.real) if isinstance(module, Attention) else module(r)
        writes = _ends(module)[1][0].weight.abs().sum(1).nonzero()[:, 0]
        if len(writes):
            found.append(_block(module, r, out[..., writes], writes, task.real))
        r = r + out
    return [*found, _block(model.unembed, r, model.unembed(r), slice(None), task.asked)]


def _ends(module: nn.Module) -> tuple[list, list]:
    """The linear maps that a block reads with, and those that it writes with (none: it writes as it reads)."""
    if isinstance(module, Attention):
        return [module.query, module.key, module.value], [module.out]
    return ([module[0]], [module[-1]]) if isinstance(module, nn.Sequential) else ([module], [])


def _block(module: nn.Module, stream: Tensor, out: Tensor, writes: Tensor | slice, real: Tensor) -> Block:
    """One Block: its states are the different rows of `stream` (n, T, M) where `real`."""
    rows = stream[real]
    _, inverse = torch.unique((rows * 1e4).round(), dim=0, return_inverse=True)
    one_of_each = torch.zeros(int(inverse.max()) + 1, dtype=torch.long)
    one_of_each[inverse] = torch.arange(len(rows))
    index = torch.zeros(real.shape, dtype=torch.long)
    index[real] = inverse
    small = copy.deepcopy(module)
    entering, leaving = _ends(small)
    reads = sum(part.weight.abs().sum(0) for part in entering).nonzero()[:, 0]
    for part in entering:
        part.weight = nn.Parameter(part.weight[:, reads], requires_grad=False)
    for part in leaving:
        part.weight, part.bias = (nn.Parameter(p[writes], requires_grad=False) for p in (part.weight, part.bias))
    target = out if isinstance(small, Attention) else out[real][one_of_each]
    return Block(small, rows[one_of_each], index, reads, target)


def compress(
    compiled: Compiled, n_neurons: int, starts: Sequence[int], *, steps: int = 8_000, block_steps: int = 3_000
) -> Trained:
    """Learn W from each of K starts, numbers of the seeds of W.

    Two phases, both on the compiled stream: first what each block reads, ReLU(WᵀW h) at the coordinates that it uses, is
    brought to h over all states it meets; then also what it makes of that to its output. Each by Adam with gradients
    clipped to norm one, its step falling to zero as a cosine. Of the ends of the two the one that answers more sequences is
    kept. All sequences are trained on: this asks whether a solution exists, not whether it generalises.
    Every used coordinate is to come back by itself: a solution that merges some is not looked for. The second phase draws
    its batches by the first start. Raises ValueError for a program that answers with numbers, and for one whose stream
    holds negative values, which ReLU(Wᵀr) cannot give back.
    """
    _check_answers(compiled)
    task, parts = compiled.task, blocks(compiled)
    lowest = min(float(b.states[:, b.reads].min()) for b in parts)
    if lowest < -1e-3:
        raise ValueError(f"{compiled.name!r} reads values down to {lowest:.3g}, which ReLU(Wᵀr) cannot give back")
    sizes, states = [len(b.states) for b in parts], torch.cat([b.states for b in parts])

    def read(W: Tensor) -> list[Tensor]:
        streams = (states @ W.mT).split(sizes, dim=1)
        return [torch.relu(stream @ W[:, :, b.reads]) for stream, b in zip(streams, parts, strict=True)]

    def reads(xs: list[Tensor]) -> Tensor:
        return sum(_distance(x, b.states[:, b.reads]).mean(-1) for x, b in zip(xs, parts, strict=True))

    draw = batches(task, LENGTH["compressed"], starts[0])

    def outputs(W: Tensor) -> Tensor:
        chosen, xs = draw(), read(W)
        return 0.1 * reads(xs) + sum(b.loss(x, chosen, task.real[chosen]) for x, b in zip(xs, parts, strict=True))

    first, loss = _learn(_start(n_neurons, compiled.n_neurons, starts), lambda W: reads(read(W)), steps, 3e-2)
    W, loss_blocks = _learn(first, outputs, block_steps, 3e-3, eps=1e-4)
    with torch.no_grad():
        ends = [share_right(compressed(compiled, w)(task.tokens), task) for w in (first, W)]
        kept = ends[1][1] >= ends[0][1]
        W, loss = torch.where(kept[:, None, None], W, first), torch.where(kept, loss_blocks, loss)
        tokens, sequences = (torch.where(kept, b, a) for a, b in zip(*ends, strict=True))
        return Trained(compressed(compiled, W).streams(task.tokens)[0], tokens, sequences, loss, W, ends[0][1])


def _check_answers(compiled: Compiled) -> None:
    if not compiled.task.outputs:
        raise ValueError(f"program {compiled.name!r} answers with numbers; expected one that answers with tokens")


def _start(n_neurons: int, n_coordinates: int, starts: Sequence[int]) -> Float[Tensor, "K N M"]:
    """Random W, each from its own seed; columns of length one on average."""
    generators = [seeds.generator("algorithms.compression", start) for start in starts]
    return torch.stack([torch.randn(n_neurons, n_coordinates, generator=g) for g in generators]) / n_neurons**0.5


def batches(task: Task, each: int, start: int) -> Callable[[], Int[Tensor, " b"]]:
    """A function that draws the sequences of a batch, `each` of every length."""
    generator, lengths = seeds.generator("algorithms.batches", start), task.real.sum(1)
    pools = [(lengths == length).nonzero()[:, 0] for length in lengths.unique()]
    return lambda: torch.cat([p[torch.randint(len(p), (each,), generator=generator)] for p in pools])


def _learn(W: Tensor, loss: Callable, steps: int, lr: float, eps: float = 1e-8) -> tuple[Tensor, Tensor]:
    """Descend on K weights (K, N, M) at once, the gradient of each clipped to norm one. → W, the last losses (K,)"""
    W = W.clone().requires_grad_()

    def gradients() -> tuple[list[Tensor], Tensor]:
        losses = loss(W)
        (g,) = torch.autograd.grad(losses.sum(), W)
        return [g / g.flatten(1).norm(dim=1).clamp(min=1)[:, None, None]], losses.detach()

    last = _descend([W], gradients, steps, lr, eps, f"W, {W.shape[1]} neurons")
    return W.detach(), last


def _descend(weights: list, gradients: Callable, steps: int, lr: float, eps: float, words: str) -> Tensor:
    """Adam whose step falls to zero as a cosine, on gradients and losses as they are given. → the last losses"""
    optimiser, last = torch.optim.Adam(weights, lr=lr, eps=eps), torch.full((len(weights[0]),), math.nan)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    for _ in progress(range(steps), desc=words):
        found, last = gradients()
        for weight, gradient in zip(weights, found, strict=True):
            weight.grad = gradient
        optimiser.step()
        schedule.step()
    return last


def train_from_scratch(
    compiled: Compiled, n_neurons: int, starts: Sequence[int], *, steps: int = 3_000, lr: float = 1e-2
) -> Trained:
    """Train K transformers of the compiled one's shape with N neurons in their stream on its task.

    Cross-entropy at the asked positions, Adam with gradients of each network clipped to norm one and a cosine step,
    batches of as many sequences of each length, from all that there are. Raises ValueError as `compress` does.
    """
    _check_answers(compiled)
    task, networks = compiled.task, [untrained(compiled, n_neurons, start) for start in starts]
    weights, _ = torch.func.stack_module_state(networks)
    base, draw = copy.deepcopy(networks[0]).to("meta"), batches(task, LENGTH["scratch"], starts[0])

    def loss(weights: dict[str, Tensor], tokens: Tensor, answers: Tensor) -> Tensor:
        logits = torch.func.functional_call(base, weights, (tokens,))
        return nn.functional.cross_entropy(logits.flatten(0, 1), answers.flatten(), ignore_index=-1)

    gradient = torch.func.vmap(torch.func.grad_and_value(loss), in_dims=(0, None, None))

    def gradients() -> tuple[list[Tensor], Tensor]:
        chosen = draw()
        found, losses = gradient(weights, task.tokens[chosen], task.answers[chosen])
        norm = sum(g.flatten(1).square().sum(1) for g in found.values()).sqrt().clamp(min=1)
        return [found[name] / norm.view(-1, *[1] * (w.ndim - 1)) for name, w in weights.items()], losses.detach()

    last = _descend(list(weights.values()), gradients, steps, lr, 1e-8, f"from scratch, {n_neurons} neurons")
    for k, network in enumerate(networks):
        network.load_state_dict({name: value[k] for name, value in weights.items()})
    with torch.no_grad():
        streams, logits = zip(*(network.streams(task.tokens) for network in networks), strict=True)
    streams = [torch.stack(site) for site in zip(*streams, strict=True)]
    return Trained(streams, *share_right(torch.stack(logits), task), last)


def untrained(compiled: Compiled, n_neurons: int, start: int) -> Transformer:
    """A transformer of the compiled one's shape, as torch initialises it from the seed of a start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.seed("algorithms.scratch", start))
        return Transformer(n_neurons, compiled.task, compiled.shape)


def features(kind: str, activity: float | None, compiled: Compiled, n_rows: int, seed: int) -> Float[Tensor, "n M"]:
    """Rows of as many features as the compiled program has coordinates.

    kind: "toy", each feature by itself 1 with probability `activity` and 0 else; "compiled", rows of the program's last
    stream; "shuffled", the same with every column in a random order of its own.
    """
    if kind == "toy":
        generator = seeds.generator("algorithms.rows", seed)
        return (torch.rand(n_rows, compiled.n_neurons, generator=generator) < activity).float()
    x = compiled.model.streams(compiled.task.tokens)[0][-1][compiled.task.real]
    x = x[torch.randint(len(x), (n_rows,), generator=seeds.generator("algorithms.rows", seed))]
    return shuffle_columns(x, seeds.seed("algorithms.columns", seed)) if kind == "shuffled" else x


def compress_features(
    rows: Float[Tensor, "n M"], n_neurons: int, starts: Sequence[int], *, steps: int = 8_000
) -> Float[Tensor, "K N M"]:
    """Learn W so that ReLU(WᵀW f) is f over rows f: the first phase of `compress`, and nothing to compute."""

    def loss(W: Tensor) -> Tensor:
        return _distance(torch.relu(rows @ W.mT @ W), rows).mean(-1)

    return _learn(_start(n_neurons, rows.shape[1], starts), loss, steps, 3e-2)[0]


def stream_rows(stream: Float[Tensor, "n T N"], real: Bool[Tensor, "n T"], length: Any, seed: int) -> Rows:
    """Up to ROWS rows of a stream at real positions, brought to a mean length."""
    sample = torch.arange(len(real))[:, None].expand_as(real)[real]
    x = stream[real]
    chosen = torch.randperm(len(x), generator=seeds.generator("algorithms.rows", seed))[:ROWS]
    return Rows(x[chosen] * (length / x.norm(dim=-1).mean()), sample[chosen])
