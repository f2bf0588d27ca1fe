"""Which axis of a layer's output holds the neurons, which the samples.

Neurons. The rule goes by the module itself, or by the last module of a known kind whose output had as many axes, and says
nothing rather than guess:
1. An axis that was asked for (`axis=`), counted as in the output; several are joined to one, as heads and their neurons are.
2. A layer of a known kind: convolutions, batch norms, pooling and their like have channels on axis 1; linear, norm, embedding,
   recurrent and attention modules have neurons last.
3. An output of the shape that the known module gave has its layout: an activation, a block that ends in it.
4. Else the axis at the known place, if it alone has the known module's width; or another axis that alone has it, if the known
   output had fewer or more axes, or if four follow a linear module; or, of four axes after a linear module's three, the two
   whose product it is (heads, neurons of a head).
5. A block that holds others, after channels: axis 1 where no axis has the width, as where maps are concatenated.
6. Where no module of a known kind ran: the last axis of two or three.

Samples are on axis 0. Where the shape leaves it open, `superpos.hooks.Watch` runs a batch once more in another order, and
sees which axis follows: 0, with k rows in a row for each sample if it is k times as long, or with all samples k times over; or 1,
as in modules that take time first. Where that cannot be tried, modules of torch's own that take time first have samples on
axis 1. Anything else is refused, and the error says how to ask.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

__all__ = ["History", "Known", "Layout", "layout_of", "rank_of", "takes_time_first", "unclear_samples"]

CONV, NORM = nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase
POOLS = (
    nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd, nn.modules.pooling._LPPoolNd, nn.Upsample, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
    nn.PixelShuffle, nn.PixelUnshuffle, nn.LocalResponseNorm, nn.Unfold, nn.Fold, nn.ChannelShuffle,
)  # fmt: skip
LAST = (nn.Linear, nn.Bilinear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.EmbeddingBag, nn.MultiheadAttention)
WIDTHS = (  # attribute of a module that holds its width; of LayerNorm the last of its shape
    "out_channels", "out_features", "num_features", "num_channels", "normalized_shape", "embedding_dim", "embed_dim", "nf",
)  # fmt: skip
LIKE = ("RMSNorm", "LayerNorm", "Conv1D")  # classes of other libraries that end so have neurons last
FLAT = ("LayerNorm1d", "LayerNorm2d", "LayerNorm3d")  # and these have channels on axis 1


@dataclass(frozen=True)
class Known:
    """What a module of a known kind tells of an output: the width of its own, whether of channels, and the shape it gave.

    itself: it is the layer in question; holds: the layer holds other modules; inside: it takes time first, or is part of a
    module that does; same: it is the known output, or was made from it number by number; samples: where samples were seen to be.
    """

    width: int | None = None
    channels: bool = False
    shape: tuple[int, ...] = ()
    itself: bool = False
    holds: bool = False
    inside: bool = False
    same: bool = False
    samples: Literal["first", "second", "apart"] | None = None


@dataclass(frozen=True)
class Layout:
    """Where samples and neurons are in an output: the axis of samples, and the axis or axes that are joined to neurons."""

    sample: int
    neurons: tuple[int, ...]
    apart: bool = False  # axis 0 holds all samples, then all again, as views laid one after the other do

    def __str__(self) -> str:
        return ",".join(map(str, self.neurons))


class History:
    """What the modules that ran in a forward pass tell of the axes of outputs."""

    def __init__(self) -> None:
        self.last, self.by_rank, self.place = Known(), {}, {}

    def ran(self, module: nn.Module, shape: tuple[int, ...], given: Any = (), made: Any = (0,)) -> None:
        """A module gave an output of some shape; given and made: where its input and its output lie in memory."""
        rank = len(shape)
        before = self.by_rank.get(rank, Known())
        known = _kind(module, before)
        if known is not None:
            width = known.width or (shape[1] if known.channels and rank > 1 else None)
            self.last = self.by_rank[rank] = replace(known, shape=shape, width=width)
            self.place[rank] = made
        elif before.shape == shape and self.place.get(rank) == given and not any(True for _ in module.children()):
            self.place[rank] = made

    def at(self, module: nn.Module, shape: tuple[int, ...], inside: bool = False, made: Any = ()) -> Known:
        """What is known of an output of some shape that lies at `made`. inside: of a module in one that takes time first."""
        known = self.by_rank.get(len(shape), self.last)
        return replace(
            known,
            itself=_kind(module, Known()) is not None,
            holds=any(True for _ in module.children()),
            inside=inside or takes_time_first(module),
            same=self.place.get(len(shape)) == made,
        )


def takes_time_first(module: nn.Module) -> bool:
    """Whether a recurrent or attention module of torch's own was made with batch_first=False."""
    if isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
        return not module.self_attn.batch_first
    return isinstance(module, nn.RNNBase | nn.MultiheadAttention | nn.Transformer) and not module.batch_first


def _kind(module: nn.Module, before: Known) -> Known | None:
    """Width and side of a module's output; None for one of no known kind."""
    name = type(module).__name__
    if isinstance(module, nn.RNNBase):
        size = module.proj_size or module.hidden_size
        return Known(size * (2 if module.bidirectional else 1))
    if name == "Permute" and before.width and len(getattr(module, "dims", ())) == len(before.shape):
        place = list(module.dims).index(1 if before.channels else len(module.dims) - 1)
        return Known(before.width, place == 1) if place in (1, len(module.dims) - 1) else None
    if isinstance(module, POOLS):
        return Known(None, True)
    width = _width(module)
    first = name in FLAT or getattr(module, "data_format", "") == "channels_first"
    if width and (isinstance(module, (CONV, NORM, nn.GroupNorm)) or (first and name.endswith((*FLAT, *LIKE)))):
        return Known(width, True)
    if width and (isinstance(module, LAST) or name.endswith(LIKE)):
        return Known(width)
    return None


def _width(module: nn.Module) -> int | None:
    for name in WIDTHS:
        value = getattr(module, name, None)
        if isinstance(value, int):
            return value
        if isinstance(value, tuple) and len(value) == 1:
            return value[0]
    weight = getattr(module, "weight", None) if type(module).__name__.endswith((*LIKE, *FLAT)) else None
    return len(weight) if getattr(weight, "ndim", 0) == 1 else None


def rank_of(module: nn.Module) -> int | None:
    """How many axes the output of a convolution or of a batch norm for maps must have."""
    name = type(module).__name__
    if isinstance(module, CONV) and name[-1] == "d":
        return int(name[-2]) + 2
    return {"2d": 4, "3d": 5}.get(name[-2:]) if isinstance(module, NORM) else None


def layout_of(
    shape: tuple[int, ...], n: int, known: Known, label: str, axis: int | tuple[int, ...] | None = None
) -> Layout:
    """The layout of an output of some shape for n samples. Raises ValueError, with `label` and the shape, where none fits."""
    told = f"{label} gave shape {shape} for {n} samples"
    if len(shape) < 2:
        raise ValueError(f"{told}; expected ({n}, …, neurons)")
    sample = {"first": 0, "second": 1, "apart": 0}.get(known.samples or "")
    sample = _sample_axis(shape, n, known, told) if sample is None else sample
    apart = known.samples == "apart"
    if axis is not None:
        return Layout(sample, _asked(axis, shape, sample, told), apart)
    neurons = _neurons(shape, [i for i in range(len(shape)) if i != sample], known)
    if neurons is None:
        raise ValueError(
            f"{told}, whose axis of neurons cannot be told: give it, axis=1 for channels first, axis=-1 for channels last, "
            "axis=(2, 3) for heads and the neurons of each"
        )
    return Layout(sample, neurons, apart)


def unclear_samples(shape: tuple[int, ...], n: int, inputs: Iterable[tuple[int, ...]]) -> bool:
    """Whether the shape of an output leaves open which axis counts the n samples."""
    if n < 2 or len(shape) < 2:
        return False
    if shape[0] == n:
        return n in shape[1:-1] or any(n in given[1:] for given in inputs)
    return shape[0] % n == 0 or (len(shape) > 2 and shape[1] == n)


def _neurons(shape: tuple[int, ...], others: list[int], known: Known) -> tuple[int, ...] | None:
    """The rule at the head of this module, from 2 on; None where it says nothing."""
    place, rank = (others[0] if known.channels else others[-1]), len(shape)
    if len(others) == 1 or known.itself:
        return (place,)
    if known.width is None:
        return (others[-1],) if len(others) == 2 else None
    wide, same_rank = [i for i in others if shape[i] == known.width], rank == len(known.shape)
    surely = len(wide) == 1 or known.same or (known.holds if known.channels else rank == 3)
    if same_rank and tuple(shape) == known.shape and surely:
        return (place,)
    if len(wide) == 1 and (wide[0] == place or not same_rank or (rank == 4 and not known.channels)):
        return (wide[0],)
    pairs = [(i, others[-1]) for i in others[:-1] if shape[i] * shape[-1] == known.width and shape[-1] > 1]
    if not wide and not known.channels and rank == 4 and len(known.shape) == 3 and len(pairs) == 1:
        return pairs[0]
    return (place,) if not wide and known.channels and same_rank and known.holds else None


def _sample_axis(shape: tuple[int, ...], n: int, known: Known, told: str) -> int:
    """Where samples are if that was not seen: shapes leave it open for one sample, or for samples that are all alike."""
    if known.inside:
        if len(shape) == 3 and shape[1] == n:
            return 1
        raise ValueError(
            f"{told}. Its samples are on axis 1, because it was made with batch_first=False: give batches whose first axis "
            "counts samples, and let the model turn them, or make it with batch_first=True"
        )
    if n and shape[0] % n == 0:
        return 0
    if len(shape) > 2 and shape[1] == n:
        return 1
    raise ValueError(f"{told}; expected ({n}, …, neurons)")


def _asked(axis: int | tuple[int, ...], shape: tuple[int, ...], sample: int, told: str) -> tuple[int, ...]:
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    turned = tuple(i + len(shape) if i < 0 else i for i in axes)
    if not turned or len(set(turned)) < len(turned) or any(not 0 <= i < len(shape) or i == sample for i in turned):
        raise ValueError(f"{told}: axis must be one or more of its other axes than {sample}, got {axis!r}")
    return turned
