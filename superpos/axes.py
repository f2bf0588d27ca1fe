"""Which axis of a layer's output holds the neurons, which the samples.

The rule, in this order:
1. An axis that was asked for, counted as in the output (`axis=`); several are joined to one, as heads and their neurons are.
2. The width of the last module of a known kind that gave an output of as many axes (else: that ran), the layer itself included.
   Convolutions and batch norms have channels on axis 1; linear, norm, embedding, recurrent and attention modules have neurons
   last. If the axis that is expected has that width it is taken; else the only axis of that width; else the two axes whose
   product it is (heads, neurons of a head).
3. Where no axis has it: axis 1 after channels, as where maps are concatenated; the last axis of (samples, tokens, neurons).
4. Where no module of a known kind ran: the last axis of two or three.
Anything else is refused, and the error says how to ask. Samples are on axis 0, or on axis 1 of a module that takes time first
and after it. Where axis 0 is k times as long as there are samples, each has k rows in a row there.
"""

import math
from dataclasses import dataclass, replace

from torch import nn

__all__ = ["History", "Known", "Layout", "joined", "layout_of"]

CHANNELS = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)
WIDTHS = (  # attribute of a module that holds its width; of LayerNorm the last of its shape
    "out_channels", "out_features", "num_features", "num_channels", "normalized_shape", "embedding_dim", "embed_dim", "nf",
)  # fmt: skip
LAST = (nn.Linear, nn.Bilinear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.EmbeddingBag, nn.MultiheadAttention)
LIKE = ("RMSNorm", "LayerNorm", "Conv1D")  # classes of other libraries that end so have neurons last


@dataclass(frozen=True)
class Known:
    """A module of a known kind that ran: its width, whether that is of channels, and whether time comes first."""

    width: int | None = None
    channels: bool = False
    time_first: bool = False
    itself: bool = False  # whether that module is the layer in question
    among: bool = False  # whether the layer holds other modules, which may turn axes after the known one


@dataclass(frozen=True)
class Layout:
    """Where samples and neurons are in an output: the axis of samples, and the axis or axes that are joined to neurons."""

    sample: int
    neurons: tuple[int, ...]

    def __str__(self) -> str:
        return ",".join(map(str, self.neurons))


class History:
    """What the modules that ran in a forward pass tell of the axes of outputs."""

    def __init__(self) -> None:
        self.last, self.by_rank = Known(), {}

    def ran(self, module: nn.Module, rank: int) -> None:
        """A module gave an output of so many axes."""
        known = _kind(module, self.by_rank.get(rank, self.last))
        if known is not None:
            self.last = self.by_rank[rank] = known

    def at(self, module: nn.Module, rank: int) -> Known:
        """What is known of an output of so many axes that a module gave just now."""
        known = self.by_rank.get(rank, replace(self.last, among=True))
        itself = _kind(module, Known()) is not None
        return replace(known, itself=itself, among=(known.among or any(True for _ in module.children())) and not itself)


def _kind(module: nn.Module, before: Known) -> Known | None:
    """What a module tells; None for one of no known kind."""
    if isinstance(module, nn.RNNBase):
        size = module.proj_size or module.hidden_size
        return Known(size * (2 if module.bidirectional else 1), False, not module.batch_first)
    if type(module).__name__ == "Permute" and before.width and len(getattr(module, "dims", ())) >= 3:
        place = list(module.dims).index(1 if before.channels else len(module.dims) - 1)
        return replace(before, channels=place == 1)
    width = _width(module)
    if isinstance(module, CHANNELS) and width:
        return Known(width, True, False)
    if isinstance(module, nn.MultiheadAttention):
        return Known(width, False, not module.batch_first)
    if width and (isinstance(module, LAST) or type(module).__name__.endswith(LIKE)):
        return replace(before, width=width, channels=False)
    return None


def _width(module: nn.Module) -> int | None:
    for name in WIDTHS:
        value = getattr(module, name, None)
        if isinstance(value, int):
            return value
        if isinstance(value, tuple) and len(value) == 1:
            return value[0]
    weight = getattr(module, "weight", None) if type(module).__name__.endswith(LIKE) else None
    return len(weight) if getattr(weight, "ndim", 0) == 1 else None


def layout_of(
    shape: tuple[int, ...], n: int, known: Known, label: str, axis: int | tuple[int, ...] | None = None
) -> Layout:
    """The layout of an output of some shape for n samples. Raises ValueError, with `label` and the shape, where none fits."""
    told = f"{label} gave shape {shape} for {n} samples"
    if len(shape) < 2:
        raise ValueError(f"{told}; expected ({n}, …, neurons)")
    sample = _sample_axis(shape, n, known, told)
    if axis is not None:
        return Layout(sample, _asked(axis, shape, sample, told))
    others = [i for i in range(len(shape)) if i != sample]
    if len(others) == 1:
        return Layout(sample, (others[0],))
    expected = others[0] if known.channels else others[-1]
    wide = [i for i in others if shape[i] == known.width]
    unclear = len(wide) > 1 and len(shape) > 3 and known.among and not known.channels
    if known.width is not None and not unclear:
        if expected in wide or len(wide) == 1:
            return Layout(sample, (expected if expected in wide else wide[0],))
        pairs = [(i, others[-1]) for i in others[:-1] if shape[i] * shape[-1] == known.width and shape[-1] > 1]
        if not wide and len(others) == 3 and len(pairs) == 1:
            return Layout(sample, pairs[0])
    if len(others) == 2 or (known.channels and known.width is not None and not unclear):
        return Layout(sample, (expected,))
    raise ValueError(
        f"{told}, whose axis of neurons cannot be told: give it, axis=1 for channels first, axis=-1 for channels last, "
        "axis=(2, 3) for heads and the neurons of each"
    )


def _sample_axis(shape, n, known, told):
    if known.time_first and len(shape) == 3 and (shape[1] == n or known.itself):
        if shape[1] == n:
            return 1
        raise ValueError(
            f"{told}. Its samples are on axis 1, because it was made with batch_first=False: give batches whose first axis "
            "counts samples, and let the model turn them, or make it with batch_first=True"
        )
    if n and shape[0] >= n and shape[0] % n == 0:
        return 0
    raise ValueError(f"{told}; expected ({n}, …, neurons)")


def _asked(axis, shape, sample, told):
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    turned = tuple(i + len(shape) if i < 0 else i for i in axes)
    if not turned or len(set(turned)) < len(turned) or any(not 0 <= i < len(shape) or i == sample for i in turned):
        raise ValueError(f"{told}: axis must be one or more of its other axes than {sample}, got {axis!r}")
    return turned


def joined(shape: tuple[int, ...], layout: Layout) -> int:
    """The number of neurons N."""
    return math.prod(shape[i] for i in layout.neurons)
