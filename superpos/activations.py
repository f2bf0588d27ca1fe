"""Activations of any layer of any torch module or nnsight language model → rows (n, N), all layers in one pass.

Shapes: (B, N) is taken as it is; (B, T, N), a sequence, gives a row a token; (B, C, H, W), a feature map, gives
a row a position with N = C. Rows are drawn at random over samples *and* positions. Padding is never a row.

On a processor, rows beyond `IN_MEMORY` bytes lie in a memory-mapped temporary file, on the disk that TMPDIR names, in
the order in which they were read; the file has no name and goes with the tensor.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from superpos.data import LabelledImages
from superpos.progress import progress

__all__ = ["IN_MEMORY", "Rows", "read_activations", "shuffle_columns"]

IN_MEMORY = 2**30  # bytes of a layer's rows
PIECE = 8_192  # rows copied at once from one file to another


@dataclass(frozen=True)
class Rows:
    """Activations of one layer, and the sample that each row came from."""

    x: Float[Tensor, "n N"]
    sample: Int[Tensor, " n"]

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
) -> dict[str, Rows]:
    """Draw up to n_samples rows of each layer, float32, on `device` (or in a mapped file). → {layer: Rows}

    model: torch.nn.Module, or an nnsight model (language models: `data` is a list of texts, or token ids, a row a text).
    data: tensor of inputs, dataset of inputs or of (input, label) pairs, or a DataLoader of batches of either.
    layers: dotted module names, in any order. Samples are drawn at random without replacement; so are positions.
    The model runs in evaluation mode without gradients, stops after the last layer asked for, and is put back
    as it was. A module called more than once in a forward pass is read at its first call.
    Raises ValueError for an unknown layer (naming those that exist), one that is never called, empty data, or
    activations of a rank that cannot be told apart; these before the data is read through.
    """
    import nnsight

    layers = [layers] if isinstance(layers, str) else list(layers)
    wrapped = nnsight.NNsight(model) if isinstance(model, nn.Module) else model
    if not hasattr(wrapped, "trace"):
        raise TypeError(f"model must be a torch.nn.Module or an nnsight model, got {type(model).__name__}")
    if not getattr(wrapped, "dispatched", True):
        wrapped.dispatch()  # nnsight loads a model by name only when it is first needed
    module = wrapped._module
    _check_layers(module, layers)
    if n_samples < 2:
        raise ValueError(f"n_samples must be at least 2, got {n_samples}")
    source = _Source(data, n_samples, batch_size, seed, getattr(wrapped, "tokenizer", None))
    reservoirs = {name: _Reservoir(n_samples, seed) for name in layers}
    with _evaluation(module, device), torch.no_grad():
        place = _device_of(module) if device is None else device
        order = _calling_order(wrapped, source.first().to(place), layers)
        for batch in progress(source, desc="activations", total=source.n_batches):
            batch = batch.to(place)
            _forward(wrapped, batch, order, lambda name, output, batch=batch: reservoirs[name].add(output, batch, name))
    return {name: reservoirs[name].rows() for name in layers}


def _check_layers(module: nn.Module, layers: list[str]) -> None:
    known = dict(module.named_modules())
    unknown = [name for name in layers if name not in known or not name]
    if unknown or not layers:
        names = ", ".join(name for name in known if name)
        raise ValueError(f"unknown layer {unknown[0]!r}; the model has {names}" if unknown else "no layer was named")


def _device_of(module: nn.Module) -> torch.device:
    return next((p.device for p in module.parameters()), torch.device("cpu"))


@contextmanager
def _evaluation(module: nn.Module, device: torch.device | str | None) -> Iterator[None]:
    """`module` in evaluation mode inside `with`, on a device if one is given; modes and device are put back after."""
    home, modes = _device_of(module), {m: m.training for m in module.modules()}
    try:
        module.eval()
        if device is not None:
            module.to(device)
        yield
    finally:
        if device is not None:
            module.to(home)
        for m, training in modes.items():
            m.training = training


@dataclass
class _Batch:
    """Model inputs of some samples, the index of each, and a mask of real tokens where there is padding."""

    inputs: Any
    index: Int[Tensor, " B"]
    mask: Bool[Tensor, "B T"] | None = None

    def to(self, device: torch.device) -> "_Batch":
        words = isinstance(self.inputs, dict)
        inputs = {name: v.to(device) for name, v in self.inputs.items()} if words else self.inputs.to(device)
        return _Batch(inputs, self.index, self.mask)


class _Source:
    """Batches of the samples drawn: for data of known length a random choice, for a loader all it yields."""

    def __init__(self, data, n_samples, batch_size, seed, tokenizer=None):
        self.data, self.batch_size, self.tokenizer, self.chosen = data, batch_size, tokenizer, None
        if isinstance(data, DataLoader):
            self.n_batches = len(data) if hasattr(data.dataset, "__len__") else None
            return
        if not isinstance(data, torch.Tensor | Dataset | list | tuple) and not hasattr(data, "__getitem__"):
            raise TypeError(
                f"data must be a tensor, a dataset, a list of texts or a DataLoader, got {type(data).__name__}"
            )
        generator = torch.Generator().manual_seed(seed)
        self.chosen = torch.randperm(len(data), generator=generator)[:n_samples].sort().values
        self.n_batches = -(-len(self.chosen) // batch_size)

    def first(self) -> _Batch:
        """The first sample alone, to learn shapes from. ValueError if there is none."""
        inputs, index, mask = next(self._parts(), (None, (), None))
        if not len(index):
            raise ValueError("data is empty: it holds no sample")
        return self._batch(inputs[:1], index[:1], None if mask is None else mask[:1])

    def __iter__(self):
        return (self._batch(*part) for part in self._parts())

    def _parts(self):
        """Inputs, index, and attention mask or None, of one batch after the other."""
        if self.chosen is not None:
            yield from ((self._pick(index), index, None) for index in self.chosen.split(self.batch_size))
            return
        start = 0
        for batch in self.data:
            inputs = _inputs_of(batch)
            mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
            yield inputs, torch.arange(start, start + len(inputs)), mask
            start += len(inputs)

    def _pick(self, index):
        data = self.data.images if isinstance(self.data, LabelledImages) else self.data
        if isinstance(data, torch.Tensor):
            return data[index]
        samples = [_inputs_of(data[i]) for i in index.tolist()]
        return samples if isinstance(samples[0], str) else torch.stack([torch.as_tensor(s) for s in samples])

    def _batch(self, inputs, index, mask=None):
        if isinstance(inputs, torch.Tensor):
            if mask is None:
                return _Batch(inputs, index)
            return _Batch({"input_ids": inputs, "attention_mask": mask}, index, mask.bool())
        if self.tokenizer is None:
            raise TypeError("texts need a language model with a tokenizer (nnsight.TransformersModel)")
        tokens = self.tokenizer(list(inputs), return_tensors="pt", padding=True)
        return _Batch(tokens, index, tokens["attention_mask"].bool())


def _inputs_of(sample: Any) -> Any:
    """The inputs of a sample or batch that may come as (inputs, label …) or as {"input_ids": …}."""
    if isinstance(sample, Mapping):
        return sample["input_ids"]
    if isinstance(sample, tuple | list) and not all(isinstance(item, str) for item in sample):
        return sample[0]
    return sample


def _calling_order(wrapped: Any, batch: _Batch, layers: list[str]) -> list[str]:
    """`layers` in the order in which a forward pass finishes them, found with torch's own hooks on one sample."""
    order, modules = [], dict(wrapped._module.named_modules())
    hooks = [modules[name].register_forward_hook(lambda *_, name=name: order.append(name)) for name in layers]
    try:
        _forward(wrapped, batch, [])
    finally:
        for hook in hooks:
            hook.remove()
    missing = [name for name in layers if name not in order]
    if missing:
        raise ValueError(f"layer {missing[0]!r} is never called in a forward pass of the model")
    order = list(dict.fromkeys(order))
    _forward(wrapped, batch, order, lambda name, output: _check_shape(output, batch, name))
    return order


def _forward(wrapped: Any, batch: _Batch, order: list[str], see: Callable[[str, Tensor], None] | None = None) -> None:
    """Run the model by nnsight up to the last of `order` (to its end where that is empty), and `see` each output.

    An output is seen when it is made, before a later operation may change it in place.
    """
    words = batch.inputs if isinstance(batch.inputs, dict) else None
    with wrapped.trace(**words) if words else wrapped.trace(batch.inputs) as tracer:
        for name in order:
            see(name, _first(wrapped.get(name).output))
        if order:
            tracer.stop()


def _first(output):
    return output[0] if isinstance(output, tuple | list) else output


def _check_shape(output: Tensor, batch: _Batch, name: str) -> None:
    """ValueError for an output of a rank that cannot be read."""
    n = len(batch.index)
    if output.ndim < 2 or len(output) != n:
        raise ValueError(f"layer {name!r} gave shape {tuple(output.shape)} for {n} samples; expected ({n}, …, neurons)")


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

    def __init__(self, n, seed):
        self.n, self.generator = n, torch.Generator().manual_seed(seed)
        self.keys, self.sample = torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.long)
        self.x: Tensor | None = None

    def add(self, output: Tensor, batch: _Batch, name: str) -> None:
        """Offer all rows of a layer's output for a batch; only those that stay are copied. ValueError for a shape."""
        _check_shape(output, batch, name)
        output = output.movedim(1, -1) if output.ndim >= 4 else output
        shape = output.shape[:-1]
        rows = torch.arange(shape.numel())
        if batch.mask is not None and output.ndim == 3:
            rows = rows[batch.mask.reshape(-1).cpu()]
        keys = torch.rand(len(rows), generator=self.generator, dtype=torch.float64)
        if len(self.keys) == self.n:
            below = keys < self.keys.max()
            rows, keys = rows[below], keys[below]
        slots, chosen = self._slots(keys)
        self._make_room(output.shape[-1], output.device)
        rows = rows[chosen]
        picked = output[torch.unravel_index(rows.to(output.device), shape)]
        self.x[slots.to(self.x.device)] = picked.to(self.x)
        self.sample[slots] = batch.index[torch.unravel_index(rows, shape)[0]]

    def _make_room(self, n_neurons, device):
        """Room for all rows held, twice as much each time it runs out; never for more than n."""
        have, need = 0 if self.x is None else len(self.x), len(self.keys)
        if need > have:
            held, self.x = self.x, _allocate(min(self.n, max(need, 2 * have)), n_neurons, device)
            for start in range(0, have, PIECE):
                piece = held[start : start + PIECE]
                self.x[start : start + len(piece)] = piece

    def _slots(self, keys):
        """Which of the new keys stay, and the slots that they take: free ones, then those of rows that go."""
        held = len(self.keys)
        if held + len(keys) <= self.n:
            self.keys = torch.cat([self.keys, keys])
            self.sample = torch.cat([self.sample, torch.empty(len(keys), dtype=torch.long)])
            return torch.arange(held, held + len(keys)), torch.arange(len(keys))
        together = torch.cat([self.keys, keys])
        stays = torch.zeros(len(together), dtype=torch.bool)
        stays[together.topk(min(self.n, len(together)), largest=False).indices] = True
        chosen = stays[held:].nonzero()[:, 0]
        gone = (~stays[:held]).nonzero()[:, 0]
        grown = min(self.n, held + len(chosen))
        slots = torch.cat([torch.arange(held, grown), gone])
        self.keys = torch.cat([self.keys, torch.empty(grown - held, dtype=torch.float64)])
        self.sample = torch.cat([self.sample, torch.empty(grown - held, dtype=torch.long)])
        self.keys[slots] = keys[chosen]
        return slots, chosen

    def rows(self) -> Rows:
        """The rows that stayed: in random order, or, where they lie in a file, in the order of their slots."""
        if _in_file(*self.x.shape, self.x.device):
            return Rows(self.x[: len(self.keys)], self.sample)
        order = self.keys.argsort()
        return Rows(self.x[order.to(self.x.device)], self.sample[order])


def shuffle_columns(x: Float[Tensor, "n N"], seed: int) -> Float[Tensor, "n N"]:
    """Control: each column in a random order of its own. Keeps every neuron's values, breaks what they share."""
    generator = torch.Generator().manual_seed(seed)
    columns = [column[torch.randperm(len(x), generator=generator)] for column in x.cpu().T]
    return torch.stack(columns, dim=1).to(x.device)
