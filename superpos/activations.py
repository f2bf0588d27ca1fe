"""Activations of any layer of any torch module or nnsight language model → rows (n, N), all layers in one pass.

A row is a sample, or one of its positions or tokens; `superpos.axes` has the rule by which neurons are told from these, and
`superpos.inputs` what data may be. Rows are drawn at random over samples *and* positions. Padding is never a row.

On a processor, rows beyond `IN_MEMORY` bytes lie in a memory-mapped temporary file, on the disk that TMPDIR names, in
the order in which they were read; the file has no name and goes with the tensor.
"""

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from superpos.axes import Layout, layout_of
from superpos.forward import Takes
from superpos.hooks import Output, Tap, Watch, network_of, prepared, taps
from superpos.inputs import Batch, Batches
from superpos.progress import progress
from superpos.settings import whole_number

__all__ = ["IN_MEMORY", "Rows", "read_activations", "shuffle_columns"]

IN_MEMORY = 2**30  # bytes of a layer's rows
PIECE = 8_192  # rows copied at once from one file to another


@dataclass(frozen=True)
class Rows:
    """Activations of one layer, sample and position (padding not counted) that each row came from, and how they were read.

    `axis` says which axis or axes of the output the neurons are, `rows_per_sample` how many rows a sample has, on average, and
    `length` how many positions that are no padding the sample of each row has.
    """

    x: Float[Tensor, "n N"]
    sample: Int[Tensor, " n"]
    position: Int[Tensor, " n"] | None = None
    length: Int[Tensor, " n"] | None = None
    axis: str = ""
    rows_per_sample: float = 1.0

    def split(self, held_out: float, seed: int = 0) -> tuple[Float[Tensor, "fitted N"], Float[Tensor, "read N"]]:
        """Rows to fit and rows to read, no sample in both; `held_out` is the share of samples that are only read.

        The samples held out are drawn by `seed`; held_out = 0 gives all rows twice. Raises ValueError if either part
        would hold fewer than 2 rows.
        """
        if not held_out:
            return self.x, self.x
        samples = self.sample.unique()
        shuffled = samples[torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))]
        read = torch.isin(self.sample, shuffled[: max(1, round(held_out * len(samples)))])
        if min(int(read.sum()), int((~read).sum())) < 2:
            raise ValueError(f"{len(samples)} samples are too few to hold out a share of {held_out}")
        return _rows_at(self.x, (~read).nonzero()[:, 0]), _rows_at(self.x, read.nonzero()[:, 0])


def read_activations(
    model: Any,
    data: Any,
    layers: str | Sequence[str],
    *,
    n_samples: int = 10_000,
    seed: int = 0,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    axis: int | Sequence[int] | dict[str, int | Sequence[int]] | None = None,
    leave_out: Sequence[int] = (),
    mask: str | None = None,
) -> dict[str, Rows]:
    """Draw up to n_samples rows of each layer, float32, on `device` (or in a mapped file). → {layer: Rows}

    model: torch.nn.Module, or an nnsight model, whose edits count. It runs in evaluation mode without gradients, and is put
    back exactly as it was; two threads that read one model take turns.
    data: a tensor or array of inputs, a dict of these, a list of samples, texts or token ids, a dataset, a DataLoader, or an
    iterator of batches (`superpos.inputs`). Of data of known length samples are drawn at random without replacement; the rest
    is read as it comes, once. Random numbers that model or data draw from torch's own generator are those of `seed`.
    layers: dotted module names, in any order; NAME@2 is the second call of a layer in a forward pass, NAME@all are all.
    axis: the axis of the neurons in the outputs, or the axes that are joined (heads and the neurons of each), for all layers
    or by layer (None: `superpos.axes` decides). leave_out: positions of a sample that are not read, counted from 0, or from the
    end as −1, padding not counted: (0,) leaves out the first token, whose activations are huge in many language models. mask: the
    name of the mask that counts for these layers where a batch holds several streams of tokens, "" for none.

    Warns of a layer that is called more than once in a forward pass (its first call is read) or in some batches only. Raises
    ValueError for an unknown layer (naming those that exist), one that is never called, empty data, an output whose axes
    cannot be told, and a mask that does not fit an output; TypeError for data, models and outputs that cannot be read.
    """
    whole_number("n_samples", n_samples, 2)
    whole_number("batch_size", batch_size, 1)
    module = network_of(model)
    asked = taps(module, layers)
    of_layer = axis if isinstance(axis, dict) else dict.fromkeys([tap.name for tap in asked], axis)
    unknown = [name for name in of_layer if name not in [tap.name for tap in asked]]
    if unknown:
        raise ValueError(f"axis names {unknown[0]!r}, which is none of the layers {', '.join(t.name for t in asked)}")
    reservoirs = {tap.name: _Reservoir(n_samples, seed, tuple(leave_out)) for tap in asked}

    def see(tap: Tap, output: Output, batch: Batch) -> None:
        reservoirs[tap.name].add(output, batch, tap.name, of_layer.get(tap.name))

    tokenizer = getattr(model, "tokenizer", None) if model is not module else None
    with prepared(module, device, seed) as place, Watch(model, module, asked, see) as watch:
        batches = Batches(data, Takes.of(module), n_samples, batch_size, seed, tokenizer, mask)
        for batch in progress(batches, desc="activations", total=batches.n_batches):
            watch.run(batch.to(place))
    for tap in asked:
        _say(tap, watch)
    return {tap.name: reservoirs[tap.name].rows(tap.name) for tap in asked}


def _say(tap: Tap, watch: Watch) -> None:
    """Errors and warnings about how often a layer was called."""
    n, most, told = watch.batches_with[tap], watch.most_calls[tap], f"layer {tap.name!r}"
    if not n:
        raise ValueError(
            f"{told} is never called in a forward pass of the model; if the module around it uses its weights by itself, as "
            "attention does, read that one"
        )
    if tap.call and most < tap.call:
        raise ValueError(f"{told}: the layer is called {most} times in a forward pass, not {tap.call}")
    if n < watch.n_batches:
        warnings.warn(
            f"{told} was called in {n} of {watch.n_batches} batches only; its rows come from these", stacklevel=3
        )
    if tap.call is None and most > 1:
        warnings.warn(
            f"{told} is called {most} times in a forward pass; its first call is read: {tap.module}@2 is the second, "
            f"{tap.module}@all are all of them",
            stacklevel=3,
        )


def _real(output: Output, batch: Batch, shape: tuple[int, ...], name: str, step: bool) -> Bool[Tensor, "n P"] | None:
    """Which positions of the samples are no padding, where there are any; ValueError for a mask of another length."""
    mask = batch.mask if output.mask is None else output.mask
    n = len(batch.index)
    positions = shape.numel() // n
    if mask is None or (positions == 1 and mask.shape[1] != 1):
        if mask is not None and step:
            raise ValueError(
                f"layer {name!r} gives a row a sample in each call, and which calls are of padding cannot be told; mask='' reads "
                "them all"
            )
        return None  # no positions: a vector for the whole sample
    if mask.shape != (n, positions):
        raise ValueError(
            f"layer {name!r} has {positions} positions a sample, and the mask {tuple(mask.shape)} counts {mask.shape[1]} "
            "tokens: which of the positions are padding cannot be told; mask='' reads all of them"
        )
    return mask.cpu()


def _left_in(real: Bool[Tensor, "n P"], leave_out: tuple[int, ...]) -> Bool[Tensor, "n P"]:
    """The positions that are no padding and not left out; counted among those that are no padding."""
    place = real.long().cumsum(1) - 1
    from_end = place - real.sum(1, keepdim=True)
    left = real.clone()
    for position in leave_out:
        left &= (place if position >= 0 else from_end) != position
    return left


def _allocate(n: int, n_neurons: int, device: torch.device) -> Tensor:
    """An empty float32 tensor (n, N): on the device, or, on the processor and past IN_MEMORY, in a mapped file."""
    if not _in_file(n, n_neurons, device):
        return torch.empty(n, n_neurons, device=device)
    with tempfile.TemporaryFile() as file:  # the mapping outlives it
        return torch.from_numpy(np.memmap(file, np.float32, "w+", shape=(n, n_neurons)))


def _in_file(n: int, n_neurons: int, device: torch.device) -> bool:
    return device.type == "cpu" and 4 * n * n_neurons > IN_MEMORY


def _rows_at(x: Tensor, index: Tensor) -> Tensor:
    """Rows of x (n, N) by index (m,), copied piece by piece where they go to a file."""
    if not _in_file(len(index), x.shape[1], x.device):
        return x[index.to(x.device)]
    picked = _allocate(len(index), x.shape[1], x.device)
    for start in range(0, len(index), PIECE):
        picked[start : start + PIECE] = x[index[start : start + PIECE]]
    return picked


class _Reservoir:
    """A uniform sample of at most n rows of a stream: each row gets a random key, the n smallest stay."""

    def __init__(self, n, seed, leave_out=()):
        self.n, self.generator, self.leave_out = n, torch.Generator().manual_seed(seed), leave_out
        self.keys = torch.empty(0, dtype=torch.float64)
        self.sample, self.position, self.length = (torch.empty(0, dtype=torch.long) for _ in range(3))
        self.x: Tensor | None = None
        self.axes, self.offered, self.samples, self._last = set(), 0, 0, None

    def add(self, output: Output, batch: Batch, name: str, axis: Any = None) -> None:
        """Offer all rows of a layer's output for a batch; only those that stay are copied. ValueError for a shape."""
        n = len(batch.index)
        axis = axis if axis is None or isinstance(axis, int) else tuple(axis)
        layout = layout_of(tuple(output.x.shape), n, output.known, f"layer {name!r}", axis)
        self.axes.add(str(layout))
        x, width = _neurons_last(output.x, layout, n)
        shape = x.shape[: x.ndim - width]
        rows = torch.arange(shape.numel())
        real = _real(output, batch, shape, name, "@" in name)
        places = torch.arange(shape.numel() // n).expand(n, -1) if real is None else real.long().cumsum(1) - 1
        if self.leave_out:
            real = torch.ones_like(places, dtype=torch.bool) if real is None else real
            real = _left_in(real, self.leave_out)
        rows = rows if real is None else rows[real.reshape(-1)]
        self.offered, self.samples = self.offered + len(rows), self.samples + (n if batch is not self._last else 0)
        self._last = batch
        keys = torch.rand(len(rows), generator=self.generator, dtype=torch.float64)
        if len(self.keys) == self.n:
            below = keys < self.keys.max()
            rows, keys = rows[below], keys[below]
        slots, chosen = self._slots(keys)
        self._make_room(x.shape[len(shape) :].numel(), x.device, name)
        rows = rows[chosen]
        picked = x[torch.unravel_index(rows.to(x.device), shape)].flatten(1)
        self.x[slots.to(self.x.device)] = picked.to(self.x)
        self.sample[slots] = batch.index[rows // places.shape[1]]
        self.position[slots] = places.reshape(-1)[rows]
        self.length[slots] = (places.amax(1) + 1)[rows // places.shape[1]]

    def _make_room(self, n_neurons, device, name):
        """Room for all rows held, twice as much each time it runs out; never for more than n. ValueError for another width."""
        have, need = 0 if self.x is None else len(self.x), len(self.keys)
        if have and self.x.shape[1] != n_neurons:
            raise ValueError(f"layer {name!r} gave {n_neurons} neurons after {self.x.shape[1]}: one width is expected")
        if need > have or self.x is None:
            held, self.x = self.x, _allocate(min(self.n, max(need, 2 * have)), n_neurons, device)
            for start in range(0, have, PIECE):
                piece = held[start : start + PIECE]
                self.x[start : start + len(piece)] = piece

    def _slots(self, keys):
        """Which of the new keys stay, and the slots that they take: free ones, then those of rows that go."""
        held = len(self.keys)
        if held + len(keys) <= self.n:
            self.keys = torch.cat([self.keys, keys])
            self._grow(len(keys))
            return torch.arange(held, held + len(keys)), torch.arange(len(keys))
        together = torch.cat([self.keys, keys])
        stays = torch.zeros(len(together), dtype=torch.bool)
        stays[together.topk(min(self.n, len(together)), largest=False).indices] = True
        chosen = stays[held:].nonzero()[:, 0]
        gone = (~stays[:held]).nonzero()[:, 0]
        grown = min(self.n, held + len(chosen))
        slots = torch.cat([torch.arange(held, grown), gone])
        self.keys = torch.cat([self.keys, torch.empty(grown - held, dtype=torch.float64)])
        self._grow(grown - held)
        self.keys[slots] = keys[chosen]
        return slots, chosen

    def _grow(self, by):
        """Room for so many more rows in what is told of each."""
        for name in ("sample", "position", "length"):
            values = getattr(self, name)
            setattr(self, name, torch.cat([values, values.new_empty(by)]))

    def rows(self, name: str) -> Rows:
        """The rows that stayed: in random order, or, where they lie in a file, in the order of their slots."""
        if not len(self.keys):
            raise ValueError(f"layer {name!r} gave no row: all positions are padding or left out")
        about = {"axis": " or ".join(sorted(self.axes)), "rows_per_sample": self.offered / self.samples}
        if _in_file(*self.x.shape, self.x.device):
            return Rows(self.x[: len(self.keys)], self.sample, self.position, self.length, **about)
        order = self.keys.argsort()
        told = (one[order] for one in (self.sample, self.position, self.length))
        return Rows(self.x[order.to(self.x.device)], *told, **about)


def _neurons_last(x: Tensor, layout: Layout, n: int) -> tuple[Tensor, int]:
    """An output for n samples with samples first and its axes of neurons last, and how many these are."""
    if layout.apart:
        x = x.unflatten(0, (-1, n)).transpose(0, 1).flatten(0, 1)
    others = [i for i in range(x.ndim) if i != layout.sample and i not in layout.neurons]
    return x.permute(layout.sample, *others, *layout.neurons), len(layout.neurons)


def shuffle_columns(x: Float[Tensor, "n N"], seed: int) -> Float[Tensor, "n N"]:
    """Control: each column in a random order of its own. Keeps every neuron's values, breaks what they share."""
    generator = torch.Generator().manual_seed(seed)
    columns = [column[torch.randperm(len(x), generator=generator)] for column in x.cpu().T]
    return torch.stack(columns, dim=1).to(x.device)
