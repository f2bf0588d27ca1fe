"""RASP programs compiled by Tracr (Lindner et al. 2023), carried over to torch, a transformer that nnsight can read.

    r₀ = write(token + position)        r ← r + write(attention(read(r)))        r ← r + write(mlp(read(r)))
    logits = unembed(read(r))

without layer norm; `read` and `write` are the identity in a compiled model. The stream after layer l is the output of
the module `residual.l` (`residual.0`: of the embedding). Sequences of several lengths lie in one tensor: they end with
padding, which no position attends to.
"""

import functools
import importlib
import itertools
import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

__all__ = ["PROGRAMS", "Compiled", "Task", "Transformer", "compile_program", "difference_to_jax", "share_right"]

BOS, PAD = "BOS", "PAD"
MOST = 2**16  # sequences that are listed one by one
NOT_ASKED = -1
PROGRAMS = {
    "reverse": {},
    "sort": {},
    "sort_unique": {"distinct": True},
    "histogram": {},
    "parentheses": {"vocabulary": ("(", ")")},
}


@dataclass(frozen=True)
class Task:
    """What a program is asked: tokens (n, T), BOS first and padded at the end, and answers (n, T).

    answers: index into `outputs`, or the number itself where outputs is empty; NOT_ASKED (NaN for numbers) at BOS, at
    padding, and where the program gives nothing. vocabulary: what each token index stands for.
    """

    tokens: torch.Tensor
    answers: torch.Tensor
    vocabulary: tuple
    outputs: tuple

    def __len__(self):
        return len(self.tokens)

    @property
    def pad(self):
        """Index of the padding token."""
        return self.vocabulary.index(PAD)

    @property
    def real(self):
        """Mask (n, T) of the positions that are not padding."""
        return self.tokens != self.pad

    @property
    def asked(self):
        """Mask (n, T) of the positions with an answer."""
        return self.answers != NOT_ASKED if self.outputs else ~self.answers.isnan()


class Attention(nn.Module):
    """Attention of H heads without a causal mask, as Tracr has it: a head's scores are divided by √key size."""

    def __init__(self, n_neurons, n_heads, key_size):
        super().__init__()
        self.n_heads, self.key_size = n_heads, key_size
        self.query, self.key, self.value = (nn.Linear(n_neurons, n_heads * key_size) for _ in range(3))
        self.out = nn.Linear(n_heads * key_size, n_neurons)

    def forward(self, x, real):
        q, k, v = (self.heads(part(x)) for part in (self.query, self.key, self.value))
        return self.out(self.mix(q, k, v, real).flatten(-2))

    def heads(self, x):
        """(…, T, H·k) → (…, T, H, k)"""
        return x.unflatten(-1, (self.n_heads, self.key_size))

    def mix(self, q, k, v, real):
        """What every position gathers: (…, T, H, k). real: mask (B, T) of the positions that may be attended to."""
        scores = q.transpose(-2, -3) @ k.transpose(-2, -3).mT / self.key_size**0.5
        weights = scores.masked_fill(~real[:, None, None, :], -1e30).softmax(-1)
        return (weights @ v.transpose(-2, -3)).transpose(-2, -3)


class Layer(nn.Module):
    def __init__(self, n_neurons, n_heads, key_size, hidden_size):
        super().__init__()
        self.attention = Attention(n_neurons, n_heads, key_size)
        self.mlp = nn.Sequential(nn.Linear(n_neurons, hidden_size), nn.ReLU(), nn.Linear(hidden_size, n_neurons))


class Plain(nn.Module):
    """A residual stream of the width of the blocks: read and written as it is."""

    def read(self, r):
        return r

    def write(self, y):
        return y


class Transformer(nn.Module):
    """The transformer that heads this module. tokens (B, T) → logits (B, T, outputs); shape: see `Compiled.shape`.

    stream: an object with `read` and `write`, module or not (None: the stream is as wide as the blocks).
    """

    def __init__(self, n_neurons, n_tokens, n_positions, n_outputs, pad, shape, stream=None):
        super().__init__()
        n_layers, n_heads, key_size, hidden_size = shape
        self.pad = pad
        self.token, self.position = nn.Embedding(n_tokens, n_neurons), nn.Embedding(n_positions, n_neurons)
        self.layers = nn.ModuleList(Layer(n_neurons, n_heads, key_size, hidden_size) for _ in range(n_layers))
        self.unembed = nn.Linear(n_neurons, n_outputs, bias=False)
        self.stream = Plain() if stream is None else stream
        self.residual = nn.ModuleList(nn.Identity() for _ in range(n_layers + 1))

    def forward(self, tokens):
        return self.streams(tokens)[1]

    def embed(self, tokens):
        return self.token(tokens) + self.position(torch.arange(tokens.shape[-1], device=tokens.device))

    def streams(self, tokens):
        """The residual stream after the embedding and each layer, (B, T, N) each, and the logits. → list, tensor"""
        real = tokens != self.pad
        read, write = self.stream.read, self.stream.write
        r = self.residual[0](write(self.embed(tokens)))
        after = [r]
        for layer, name in zip(self.layers, self.residual[1:], strict=True):
            r = r + write(layer.attention(read(r), real))
            r = name(r + write(layer.mlp(read(r))))
            after.append(r)
        return after, self.unembed(read(r))


@dataclass(frozen=True)
class Compiled:
    """A compiled program: its task, the torch model (frozen), the label of each of the M coordinates, JAX's model.

    shape: layers, heads, size of a head's keys, hidden neurons of an MLP.
    """

    name: str
    task: Task
    model: Transformer
    labels: tuple
    shape: tuple
    jax: object

    @property
    def n_neurons(self):
        """M, the width of the compiled residual stream."""
        return len(self.labels)


def compile_program(name, *, vocabulary=None, length=None, distinct=None, n=None, seed=0):
    """Compile a RASP program, and list what it is asked and answers. → Compiled, kept for the next call

    name: one of PROGRAMS, or "module:function", a function without arguments that returns a RASP program, or such a
    program. vocabulary: the tokens (default 1 to 5); length: the longest sequence (default 5); distinct: only sequences
    without repetition. The answers are those of Tracr's RASP interpreter, not of the compiled model. n: how many
    sequences to draw by `seed` (None: all, 2¹⁶ at most).
    Raises ValueError for an unknown name, NotImplementedError (Tracr's) for what cannot be compiled.
    """
    settings = PROGRAMS.get(name, {})
    vocabulary = tuple(settings.get("vocabulary", range(1, 6)) if vocabulary is None else vocabulary)
    distinct = settings.get("distinct", False) if distinct is None else distinct
    return _compile(name, vocabulary, 5 if length is None else length, bool(distinct), n, seed)


@functools.cache
def _compile(name, vocabulary, length, distinct, n, seed):
    """`compile_program` with all settings known."""
    if length < 1 or not vocabulary or {BOS, PAD} & set(vocabulary):
        raise ValueError(
            f"expected a length of at least 1 and tokens other than BOS and PAD, got {length}, {vocabulary}"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX looks for accelerators
        program = _program(name, vocabulary, length)
        from tracr.compiler.compiling import compile_rasp_to_model

        assembled = compile_rasp_to_model(program, set(vocabulary), length, compiler_bos=BOS, compiler_pad=PAD)
    sequences = _sequences(vocabulary, length, distinct, n, seed)
    task = _task(program, assembled, sequences, length)
    config = assembled.model_config
    shape = (config.num_layers, config.num_heads, config.key_size, config.mlp_hidden_size)
    return Compiled(name, task, _to_torch(assembled, task, shape), tuple(assembled.residual_labels), shape, assembled)


def _program(name, vocabulary, length):
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
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise ValueError(f"unknown program {name!r}; expected {', '.join(PROGRAMS)} or module:function")
    try:
        made = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"no program {name!r}: {error}") from error
    made = made() if callable(made) and not isinstance(made, rasp.SOp) else made
    if not isinstance(made, rasp.SOp):
        raise ValueError(f"{name!r} gave a {type(made).__name__}; expected a RASP program (tracr.rasp.rasp.SOp)")
    return made


def _sequences(vocabulary, length, distinct, n, seed):
    """All sequences of 1 … length tokens, or n of them, drawn without repetition."""
    choose = itertools.permutations if distinct else lambda tokens, k: itertools.product(tokens, repeat=k)
    most = sum(len(vocabulary) ** k for k in range(1, length + 1))
    if most <= MOST:
        every = [s for k in range(1, length + 1) for s in choose(vocabulary, k)]
        if n is None or n >= len(every):
            return every
        order = np.random.default_rng(seed).permutation(len(every))[:n]
        return [every[i] for i in sorted(order)]
    if n is None:
        raise ValueError(f"there are {most:,} sequences of up to {length} tokens: say how many to draw (n)")
    generator, drawn = np.random.default_rng(seed), set()
    for _ in range(1000 * n):
        if len(drawn) == n:
            break
        k = int(generator.integers(1, length + 1))
        tokens = generator.permutation(len(vocabulary))[:k] if distinct else generator.integers(len(vocabulary), size=k)
        drawn.add(tuple(vocabulary[i] for i in tokens))
    if len(drawn) < n:
        raise ValueError(f"only {len(drawn)} different sequences were found of the {n} asked for")
    return sorted(drawn, key=lambda s: (len(s), [vocabulary.index(t) for t in s]))


def _task(program, assembled, sequences, length):
    """The task of a program: encoded sequences and the answers of the RASP interpreter."""
    encoding = assembled.input_encoder.encoding_map
    vocabulary = tuple(sorted(encoding, key=encoding.get))
    known = getattr(assembled.output_encoder, "encoding_map", {})
    outputs = tuple(sorted(known, key=known.get))
    tokens = torch.full((len(sequences), length + 1), encoding[PAD])
    answers = torch.full((len(sequences), length + 1), NOT_ASKED if outputs else float("nan"))
    for i, sequence in enumerate(sequences):
        tokens[i, : len(sequence) + 1] = torch.tensor([encoding[t] for t in (BOS, *sequence)])
        for j, value in enumerate(program(list(sequence)), 1):
            if value is not None:
                answers[i, j] = known[value] if outputs else float(value)
    return Task(tokens, answers, vocabulary, outputs)


def _to_torch(assembled, task, shape):
    """The compiled weights in a torch transformer, all frozen."""
    weights = {
        name: {k: torch.from_numpy(np.array(v)) for k, v in part.items()} for name, part in assembled.params.items()
    }
    M = len(assembled.residual_labels)
    n_outputs = max(len(task.outputs), 1)
    model = Transformer(M, len(task.vocabulary), task.tokens.shape[1], n_outputs, task.pad, shape)
    state = {
        "token.weight": weights["token_embed"]["embeddings"],
        "position.weight": weights["pos_embed"]["embeddings"],
        "unembed.weight": _unembedding(assembled, M).T,
    }
    ours = {"attn/query": "attention.query", "attn/key": "attention.key", "attn/value": "attention.value"}
    ours |= {"attn/linear": "attention.out", "mlp/linear_1": "mlp.0", "mlp/linear_2": "mlp.2"}
    for layer, (theirs, name) in itertools.product(range(shape[0]), ours.items()):
        part = weights[f"transformer/layer_{layer}/{theirs}"]
        state |= {f"layers.{layer}.{name}.weight": part["w"].T, f"layers.{layer}.{name}.bias": part["b"]}
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def _unembedding(assembled, n_neurons):
    """The matrix (M, outputs) that Tracr projects the last stream with, found by what it makes of unit vectors."""
    import haiku as hk
    import jax.numpy as jnp

    @hk.without_apply_rng
    @hk.transform
    def unembed(x):
        return assembled.get_compiled_model().unembed(x, use_unembed_argmax=False)

    rows = np.array(unembed.apply({}, jnp.eye(n_neurons)))
    return torch.from_numpy(rows.reshape(n_neurons, -1))


def difference_to_jax(compiled):
    """The largest absolute difference between torch's residual stream and JAX's, over all sequences, layers and neurons."""
    import jax.numpy as jnp

    task, largest = compiled.task, 0.0
    lengths = task.real.sum(1)
    for length in lengths.unique():
        tokens = task.tokens[lengths == length, :length]
        with torch.no_grad():
            ours, _ = compiled.model.streams(tokens)
        theirs = compiled.jax.forward(compiled.jax.params, jnp.array(tokens.numpy())).transformer_output
        for mine, its in zip(ours, [theirs.input_embeddings, *theirs.residuals[1::2]], strict=True):
            difference = float((mine - torch.from_numpy(np.array(its))).abs().max())
            if not math.isfinite(difference):
                raise ValueError(f"the compiled streams of {compiled.name!r} hold NaN or infinity")
            largest = max(largest, difference)
    return largest


def share_right(logits, task):
    """Share of asked tokens and of whole sequences answered right, of logits (…, n, T, outputs). → two tensors (…)

    A number counts as right within 0.001; a position with logits that are NaN or infinite is wrong.
    """
    broken = ~logits.isfinite().all(-1)
    wrong = (logits[..., 0] - task.answers).abs() > 1e-3 if not task.outputs else logits.argmax(-1) != task.answers
    wrong = (wrong | broken) & task.asked
    asked = task.asked.sum()
    return 1 - wrong.sum((-1, -2)) / asked, 1 - wrong.any(-1).float().mean(-1)
