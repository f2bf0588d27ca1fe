"""RASP programs compiled by Tracr (Lindner et al. 2023), carried over to torch, a transformer that nnsight can read.

    r₀ = write(token + position)        r ← r + write(attention(read(r)))        r ← r + write(mlp(read(r)))
    logits = unembed(read(r))

without layer norm; `read` and `write` are the identity unless the stream is compressed. The stream after layer l is the
output of the module `residual.l` (`residual.0`: of the embedding). Sequences of several lengths lie in one tensor: they end with
padding, which no position attends to.
"""

import functools
import itertools
import pkgutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor, nn

from superpos.descent import finite_loss

__all__ = ["PROGRAMS", "Compiled", "Task", "Transformer", "compile_program", "difference_to_jax", "share_right"]

BOS, PAD = "BOS", "PAD"
MOST = 2**16  # sequences that are listed one by one
NOT_ASKED = -1
PROGRAMS = ("reverse", "sort", "sort_unique", "histogram", "parentheses")


@dataclass(frozen=True)
class Task:
    """What a program is asked: tokens, BOS first and padded at the end, and the answer at each of them.

    An answer is an index into `outputs`, or the number itself where outputs is empty; NOT_ASKED (NaN for numbers) at BOS, at
    padding, and where the program gives nothing. `vocabulary` says what each token index stands for.
    """

    tokens: Int[Tensor, "n T"]
    answers: Real[Tensor, "n T"]
    vocabulary: tuple
    outputs: tuple

    def __len__(self):
        return len(self.tokens)

    @property
    def pad(self) -> int:
        """Index of the padding token."""
        return self.vocabulary.index(PAD)

    @property
    def real(self) -> Bool[Tensor, "n T"]:
        """The positions that are not padding."""
        return self.tokens != self.pad

    @property
    def asked(self) -> Bool[Tensor, "n T"]:
        """The positions with an answer."""
        return self.answers != NOT_ASKED if self.outputs else ~self.answers.isnan()


class Attention(nn.Module):
    """Attention of H heads without a causal mask, as Tracr has it: a head's scores are divided by √key size."""

    def __init__(self, n_neurons: int, n_heads: int, key_size: int) -> None:
        super().__init__()
        self.n_heads, self.key_size = n_heads, key_size
        self.query, self.key, self.value = (nn.Linear(n_neurons, n_heads * key_size) for _ in range(3))
        self.out = nn.Linear(n_heads * key_size, n_neurons)

    def forward(self, x: Float[Tensor, "*K n T N"], real: Bool[Tensor, "n T"]) -> Float[Tensor, "*K n T N"]:
        q, k, v = (self.heads(part(x)) for part in (self.query, self.key, self.value))
        return self.out(self.mix(q, k, v, real).flatten(-2))

    def heads(self, x: Float[Tensor, "*K T Hk"]) -> Float[Tensor, "*K T H k"]:
        """The part of each head."""
        return x.unflatten(-1, (self.n_heads, self.key_size))

    def mix(self, q: Tensor, k: Tensor, v: Tensor, real: Bool[Tensor, "n T"]) -> Float[Tensor, "*K n T H k"]:
        """What every position gathers from those that are real, of queries, keys and values as `heads` gives them."""
        scores = q.transpose(-2, -3) @ k.transpose(-2, -3).mT / self.key_size**0.5
        weights = scores.masked_fill(~real[:, None, None, :], -1e30).softmax(-1)
        return (weights @ v.transpose(-2, -3)).transpose(-2, -3)


class Layer(nn.Module):
    def __init__(self, n_neurons: int, n_heads: int, key_size: int, hidden_size: int) -> None:
        super().__init__()
        self.attention = Attention(n_neurons, n_heads, key_size)
        self.mlp = nn.Sequential(nn.Linear(n_neurons, hidden_size), nn.ReLU(), nn.Linear(hidden_size, n_neurons))


class Transformer(nn.Module):
    """The transformer that heads this module, for a task, with blocks of M neurons; shape: see `Compiled`.

    `W`, None at first, may be set to a matrix (N, M), or to K of them (K, 1, N, M), that the blocks read and write through:
    the residual stream then has N neurons, read(r) = ReLU(Wᵀ r) and write(y) = W y.
    """

    def __init__(self, n_neurons: int, task: Task, shape: tuple[int, int, int, int]) -> None:
        super().__init__()
        n_layers, n_heads, key_size, hidden_size = shape
        self.pad = task.pad
        self.token = nn.Embedding(len(task.vocabulary), n_neurons)
        self.position = nn.Embedding(task.tokens.shape[1], n_neurons)
        self.layers = nn.ModuleList(Layer(n_neurons, n_heads, key_size, hidden_size) for _ in range(n_layers))
        self.unembed = nn.Linear(n_neurons, max(len(task.outputs), 1), bias=False)
        self.register_parameter("W", None)
        self.residual = nn.ModuleList(nn.Identity() for _ in range(n_layers + 1))

    def forward(self, tokens: Int[Tensor, "n T"]) -> Float[Tensor, "*K n T outputs"]:
        return self.streams(tokens)[1]

    def read(self, r: Float[Tensor, "*K n T N"]) -> Float[Tensor, "*K n T M"]:
        """What blocks see of a stream."""
        return r if self.W is None else torch.relu(r @ self.W)

    def write(self, y: Float[Tensor, "*K n T M"]) -> Float[Tensor, "*L n T N"]:
        """What the output of a block adds to the stream."""
        return y if self.W is None else y @ self.W.mT

    def embed(self, tokens: Int[Tensor, "n T"]) -> Float[Tensor, "n T M"]:
        """What the embedding writes."""
        return self.token(tokens) + self.position(torch.arange(tokens.shape[-1], device=tokens.device))

    def streams(self, tokens: Int[Tensor, "n T"]) -> tuple[list[Tensor], Float[Tensor, "*K n T outputs"]]:
        """The residual stream after the embedding and after each layer, and the logits."""
        real, read, write = tokens != self.pad, self.read, self.write
        after = [self.residual[0](write(self.embed(tokens)))]
        for layer, name in zip(self.layers, self.residual[1:], strict=True):
            r = after[-1] + write(layer.attention(read(after[-1]), real))
            after.append(name(r + write(layer.mlp(read(r)))))
        return after, self.unembed(read(after[-1]))


@dataclass(frozen=True)
class Compiled:
    """A compiled program: its task, the torch model (frozen), the label of each of the M coordinates, JAX's model.

    shape: layers, heads, size of a head's keys, hidden neurons of an MLP.
    """

    name: str
    task: Task
    model: Transformer
    labels: tuple
    shape: tuple[int, int, int, int]
    jax: Any

    @property
    def n_neurons(self) -> int:
        """M, the width of the compiled residual stream."""
        return len(self.labels)


@functools.cache
def compile_program(name: str, *, vocabulary: tuple | None = None, length: int = 5) -> Compiled:
    """Compile a RASP program, and list what it is asked and answers. The result is kept for the next call.

    name: one of PROGRAMS, or "module:function", a function without arguments that returns a RASP program, or such a
    program. vocabulary: the tokens (default 1 to 5); length: of the longest sequence. All sequences are listed (for
    sort_unique those without repetition); the answers are those of Tracr's RASP interpreter, not of the compiled model.
    Raises ValueError for an unknown name or too many sequences, NotImplementedError (Tracr's) for what cannot be compiled.
    """
    vocabulary = vocabulary or (("(", ")") if name == "parentheses" else tuple(range(1, 6)))
    if length < 1 or {BOS, PAD} & set(vocabulary):
        raise ValueError(f"expected a length of at least 1, tokens other than BOS and PAD, got {length}, {vocabulary}")
    most = sum(len(vocabulary) ** k for k in range(1, length + 1))
    if most > MOST:
        raise ValueError(
            f"there are {most:,} sequences of up to {length} tokens, more than the {MOST:,} that can be listed"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX looks for accelerators
        program = _program(name, vocabulary, length)
        from tracr.compiler.compiling import compile_rasp_to_model

        assembled = compile_rasp_to_model(program, set(vocabulary), length, compiler_bos=BOS, compiler_pad=PAD)
    choose = itertools.permutations if name == "sort_unique" else lambda tokens, k: itertools.product(tokens, repeat=k)
    sequences = [s for k in range(1, length + 1) for s in choose(vocabulary, k)]
    task = _task(program, assembled, sequences, length)
    config = assembled.model_config
    shape = (config.num_layers, config.num_heads, config.key_size, config.mlp_hidden_size)
    return Compiled(name, task, _to_torch(assembled, task, shape), tuple(assembled.residual_labels), shape, assembled)


def _program(name: str, vocabulary: tuple, length: int) -> Any:
    """The RASP program of a name."""
    from tracr.compiler import lib
    from tracr.rasp import rasp

    if name in PROGRAMS:
        return {
            "reverse": lambda: lib.make_reverse(rasp.tokens),
            "sort": lambda: lib.make_sort(rasp.tokens, rasp.tokens, max_seq_len=length, min_key=min(vocabulary)),
            "sort_unique": lambda: lib.make_sort_unique(rasp.tokens, rasp.tokens),
            "histogram": lib.make_hist,
            "parentheses": lambda: lib.make_shuffle_dyck(["".join(map(str, vocabulary))]),
        }[name]()
    if ":" not in name:
        raise ValueError(f"unknown program {name!r}; expected {', '.join(PROGRAMS)} or module:function")
    try:
        made = pkgutil.resolve_name(name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"no program {name!r}: {error}") from error
    made = made() if callable(made) and not isinstance(made, rasp.SOp) else made
    if not isinstance(made, rasp.SOp):
        raise ValueError(f"{name!r} gave a {type(made).__name__}; expected a RASP program (tracr.rasp.rasp.SOp)")
    return made


def _task(program: Any, assembled: Any, sequences: Sequence[tuple], length: int) -> Task:
    """The task of a program: encoded sequences and the answers of the RASP interpreter."""
    encoding = assembled.input_encoder.encoding_map
    known = getattr(assembled.output_encoder, "encoding_map", {})
    vocabulary, outputs = (tuple(sorted(names, key=names.get)) for names in (encoding, known))
    tokens = torch.full((len(sequences), length + 1), encoding[PAD])
    answers = torch.full((len(sequences), length + 1), NOT_ASKED if outputs else float("nan"))
    for i, sequence in enumerate(sequences):
        tokens[i, : len(sequence) + 1] = torch.tensor([encoding[t] for t in (BOS, *sequence)])
        for j, value in enumerate(program(list(sequence)), 1):
            if value is not None:
                answers[i, j] = known[value] if outputs else float(value)
    return Task(tokens, answers, vocabulary, outputs)


def _to_torch(assembled: Any, task: Task, shape: tuple[int, int, int, int]) -> Transformer:
    """The compiled weights in a torch transformer, all frozen."""
    n_neurons, weights = len(assembled.residual_labels), assembled.params
    state = {
        "token.weight": weights["token_embed"]["embeddings"],
        "position.weight": weights["pos_embed"]["embeddings"],
        "unembed.weight": _unembedding(assembled, n_neurons).T,
    }
    ours = {f"attn/{name}": f"attention.{name}" for name in ("query", "key", "value")}
    ours |= {"attn/linear": "attention.out", "mlp/linear_1": "mlp.0", "mlp/linear_2": "mlp.2"}
    for layer, (theirs, name) in itertools.product(range(shape[0]), ours.items()):
        part = weights[f"transformer/layer_{layer}/{theirs}"]
        state |= {f"layers.{layer}.{name}.weight": part["w"].T, f"layers.{layer}.{name}.bias": part["b"]}
    model = Transformer(n_neurons, task, shape)
    model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()})
    return model.eval().requires_grad_(False)


def _unembedding(assembled: Any, n_neurons: int) -> Float[np.ndarray, "M outputs"]:
    """The matrix that Tracr projects the last stream with, found by what it makes of unit vectors."""
    import haiku as hk
    import jax.numpy as jnp

    model = hk.transform(lambda x: assembled.get_compiled_model().unembed(x, use_unembed_argmax=False))
    return np.array(model.apply({}, None, jnp.eye(n_neurons))).reshape(n_neurons, -1)


def difference_to_jax(compiled: Compiled) -> float:
    """The largest absolute difference between torch's residual stream and JAX's, over all sequences, layers and neurons.

    Raises FloatingPointError where a stream holds NaN or infinity.
    """
    import jax
    import jax.numpy as jnp

    task, found, forward = compiled.task, [], jax.jit(compiled.jax.forward)
    lengths = task.real.sum(1)
    for length in lengths.unique():
        tokens = task.tokens[lengths == length, :length]
        ours, _ = compiled.model.streams(tokens)
        theirs = forward(compiled.jax.params, jnp.array(tokens.numpy())).transformer_output
        for mine, its in zip(ours, [theirs.input_embeddings, *theirs.residuals[1::2]], strict=True):
            found.append((mine - torch.from_numpy(np.array(its))).abs().max())
    finite_loss(torch.stack(found), f"differences between the streams of {compiled.name!r} in torch and JAX")
    return float(max(found))


def share_right(logits: Float[Tensor, "*K n T outputs"], task: Task) -> tuple[Float[Tensor, "*K"], Float[Tensor, "*K"]]:
    """Share of asked tokens and of whole sequences answered right.

    A number counts as right within 0.001; a position with logits that are NaN or infinite is wrong.
    """
    broken = ~logits.isfinite().all(-1)
    wrong = (logits[..., 0] - task.answers).abs() > 1e-3 if not task.outputs else logits.argmax(-1) != task.answers
    wrong = (wrong | broken) & task.asked
    return 1 - wrong.sum((-1, -2)) / task.asked.sum(), 1 - wrong.any(-1).float().mean(-1)
