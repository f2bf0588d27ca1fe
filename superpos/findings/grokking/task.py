"""Arithmetic modulo a prime, a task on which networks first memorise and then, all at once, generalise (grokking).

    input (a, b) with 0 ≤ a, b < p        label (a ∘ b) mod p,  ∘ one of +, −, ×, a² + b
    mlp:   h = W_l E[a] + W_r E[b] + c,   logits = U · GELU(h) + d          (E shared by both paths)
    transformer:  one layer without normalisation on the tokens a, b, =, read at the last (Nanda et al. 2023)

A network trains on all training pairs at every step, by AdamW, and is kept at some steps (checkpoints).
"""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from superpos import metrics, seeds
from superpos.descent import finite_loss
from superpos.progress import progress
from superpos.settings import Whole, settings

SITES = ("embedding", "pre", "post")
STATES = ("weight decay", "no weight decay", "shuffled labels")
OPERATIONS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "a2+b": lambda a, b: a * a + b,
}
Pairs = tuple[Int[Tensor, "_ 2"], Int[Tensor, " _"]]  # a and b, and their labels


@settings
class Network:
    """One network: what it is, what it learns, and how it is trained.

    width: hidden neurons h; the embedding (the transformer's stream) is a quarter as wide; state: one of STATES; share: of all
    pairs that are trained on. Raises ValueError for a modulus that is no prime.
    """

    width: Annotated[int, Field(ge=4, multiple_of=4)]
    seed: Whole
    steps: Whole
    architecture: Literal["mlp", "transformer"] = "mlp"
    state: Literal["weight decay", "no weight decay", "shuffled labels"] = "weight decay"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.4
    operation: Literal["+", "-", "*", "a2+b"] = "+"
    modulus: int = 53

    def __post_init__(self) -> None:
        if self.modulus < 2 or any(self.modulus % i == 0 for i in range(2, math.isqrt(self.modulus) + 1)):
            raise ValueError(f"modulus must be a prime, got {self.modulus}")

    def pairs(self) -> Pairs:
        """All p² pairs."""
        inputs = torch.cartesian_prod(*[torch.arange(self.modulus)] * 2)
        return inputs, OPERATIONS[self.operation](*inputs.T) % self.modulus

    def split(self) -> tuple[Pairs, Pairs]:
        """A random `share` of the pairs to train on, and the rest.

        Shuffled labels are those of the training pairs in a random order, which nothing but memory can tell.
        """
        inputs, labels = self.pairs()
        order = torch.randperm(len(labels), generator=seeds.generator("grokking.split", self.seed))
        n = min(max(1, round(self.share * len(labels))), len(labels) - 1)
        first, rest = order[:n], order[n:]
        if self.state == "shuffled labels":
            labels[first] = labels[first][torch.randperm(n, generator=seeds.generator("grokking.labels", self.seed))]
        return (inputs[first], labels[first]), (inputs[rest], labels[rest])

    def build(self) -> "MLP | Transformer":
        """The untrained network, as torch initialises it."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds.seed("grokking.weights", self.seed))
            return {"mlp": MLP, "transformer": Transformer}[self.architecture](self.modulus, self.width)


class MLP(nn.Module):
    """The two-path network of `width` neurons with GELU. pre: the hidden layer before the activation."""

    lr = 3e-3

    def __init__(self, modulus: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(modulus, width // 4)
        self.left, self.right = nn.Linear(width // 4, width, bias=False), nn.Linear(width // 4, width)
        self.post, self.out = nn.GELU(), nn.Linear(width, modulus)

    def pre(self, pairs: Int[Tensor, "n 2"]) -> Float[Tensor, "n h"]:
        a, b = self.embedding(pairs).unbind(1)
        return self.left(a) + self.right(b)

    def forward(self, pairs: Int[Tensor, "n 2"]) -> Float[Tensor, "n p"]:
        return self.out(self.post(self.pre(pairs)))


class Transformer(nn.Module):
    """One layer of four heads, no normalisation, read at the token "=" (Nanda et al. 2023, section 3).

    Its MLP has `width` = 4d neurons with ReLU on a stream of width d; tokens are 0 … p−1 and "="; embeddings start at N(0, 1/d).
    stream: that of the last token after the attention; pre: the hidden layer before the activation.
    """

    lr = 1e-3

    def __init__(self, modulus: int, width: int) -> None:
        super().__init__()
        d, self.equals = width // 4, modulus
        self.embedding, self.position = nn.Embedding(modulus + 1, d), nn.Embedding(3, d)
        for table in (self.embedding, self.position):
            nn.init.normal_(table.weight, std=d**-0.5)
        self.query, self.key, self.value, self.mix = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.into, self.post = nn.Linear(d, width), nn.ReLU()
        self.outof, self.out = nn.Linear(width, d), nn.Linear(d, modulus, bias=False)

    def stream(self, pairs: Int[Tensor, "n 2"]) -> Float[Tensor, "n d"]:
        r = self.embedding(nn.functional.pad(pairs, (0, 1), value=self.equals)) + self.position.weight
        last, (n, n_tokens, d) = r[:, -1], r.shape
        keys, values = (f(r).view(n, n_tokens, 4, -1) for f in (self.key, self.value))
        query = self.query(r[:, -1]).view(n, 4, -1)
        weights = (torch.einsum("nhd,nthd->nth", query, keys) / (d // 4) ** 0.5).softmax(1)
        return last + self.mix(torch.einsum("nth,nthd->nhd", weights, values).reshape(n, d))

    def pre(self, pairs: Int[Tensor, "n 2"]) -> Float[Tensor, "n h"]:
        return self.into(self.stream(pairs))

    def forward(self, pairs: Int[Tensor, "n 2"]) -> Float[Tensor, "n p"]:
        r = self.stream(pairs)
        return self.out(r + self.outof(self.post(self.into(r))))


@dataclass(frozen=True)
class Training:
    """A network in evaluation mode, the pairs it was trained on and the rest, and its parameters at each step that was kept."""

    template: MLP | Transformer
    data: tuple[Pairs, Pairs]
    states: dict[int, dict[str, Tensor]]

    def network(self, step: int) -> MLP | Transformer:
        """The network at a step."""
        network = copy.deepcopy(self.template)
        network.load_state_dict(self.states[step])
        return network

    @torch.no_grad()
    def scores(self, step: int) -> dict[str, float]:
        """Loss and accuracy at a step on training and test pairs: loss_train, accuracy_train, loss_test, accuracy_test."""
        found = {}
        for part, (inputs, labels) in zip(("train", "test"), self.data, strict=True):
            logits = _logits(self.template, {name: values[None] for name, values in self.states[step].items()}, inputs)
            right = (logits.argmax(-1) == labels).double().mean()
            found |= {f"loss_{part}": float(_loss(logits, labels)), f"accuracy_{part}": float(right)}
        return found


def _logits(network, states, inputs):
    """Logits (1, n, p) of a stack of one network, whose products round as those behind the committed rows."""
    return vmap(lambda state: functional_call(network, state, (inputs,)))(states)


def _loss(logits, labels):
    """Mean cross-entropy."""
    return nn.functional.cross_entropy(logits.transpose(1, 2), labels[None], reduction="none").mean(1).sum()


def train(network: Network, keep: Iterable[int] = ()) -> Training:
    """Train a network, whose parameters all decay, and keep it at some steps (0: before training) and at the last.

    Raises FloatingPointError if a loss is not finite.
    """
    data, keep, kept, model = network.split(), {*keep, network.steps}, {}, network.build()
    states = {name: values.detach().clone().requires_grad_() for name, values in stack_module_state([model])[0].items()}
    decay = 0.0 if network.state == "no weight decay" else 1.0
    optimizer = torch.optim.AdamW(states.values(), lr=model.lr, weight_decay=decay, fused=True)
    for step in progress(range(network.steps + 1), desc="modular networks"):
        if step in keep:
            kept[step] = {name: values.detach()[0].clone() for name, values in states.items()}
        if step < network.steps:
            loss = _loss(_logits(model, states, data[0][0]), data[0][1])
            finite_loss(loss, f"the loss in step {step}")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return Training(model.eval(), data, kept)


@torch.no_grad()
def sites(network: MLP | Transformer, inputs: Int[Tensor, "n 2"]) -> dict[str, Float[Tensor, "_ _"]]:
    """What each of SITES says of pairs: the embedding has a row for each number, the others a row for each pair."""
    pre = network.pre(inputs)
    numbers = network.embedding.weight.detach()[: int(inputs.max()) + 1]  # the transformer's last token is none
    return {"embedding": numbers, "pre": pre, "post": network.post(pre)}


def fourier_power(embedding: ArrayLike) -> Float[np.ndarray, " frequencies"]:
    """Share of each frequency 1 … (p − 1)/2 in the power of the p rows of an embedding, whose mean is left out.

    A network that has generalised keeps a few frequencies (Nanda et al. 2023, section 4).
    """
    power = np.abs(np.fft.rfft(np.asarray(embedding, dtype=np.float64), axis=0)[1:]) ** 2
    return metrics.shares(power.sum(1))


def code_tuning(z: Float[Tensor, "n D"], inputs: Int[Tensor, "n 2"]) -> Float[Tensor, "3 D"]:
    """Share of the variance of each code that a, b or (a + b) mod p alone explains, zero for a silent code.

    `inputs` are all pairs, each once. For an additive code the shares of a and b sum to one.
    """
    z, p = z.double(), int(inputs.max()) + 1
    means = [z.new_zeros(p, z.shape[1]).index_add_(0, group, z) / p for group in (*inputs.T, inputs.sum(1) % p)]
    explained, spread = torch.stack([mean.var(0, correction=0) for mean in means]), z.var(0, correction=0)
    return torch.where(spread > 1e-12, explained / spread.clamp_min(1e-12), 0.0)
