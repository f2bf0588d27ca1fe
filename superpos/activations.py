"""Activations of any layer of any torch module or nnsight language model → rows (n, N), all layers in one pass.

Shapes: (B, N) is taken as it is; (B, T, N), a sequence, gives a row a token; (B, C, H, W), a feature map, gives
a row a position with N = C. Rows are drawn at random over samples *and* positions. Padding is never a row.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader, Dataset

from superpos.data import LabelledImages
from superpos.progress import progress

__all__ = ["Rows", "read_activations", "shuffle_columns"]


@dataclass(frozen=True)
class Rows:
    """Activations x (n, N) of one layer, and the sample (n,) that each row came from."""

    x: torch.Tensor
    sample: torch.Tensor

    def split(self, held_out, seed=0):
        """Rows to fit and rows to read, no sample in both; `held_out` is the share of samples that are only read.

        The samples held out are drawn by `seed`; held_out = 0 gives all rows twice. ValueError if either part
        would hold fewer than 2 rows.
        """
        if not held_out:
            return self.x, self.x
        samples = self.sample.unique()
        shuffled = samples[torch.randperm(len(samples), generator=torch.Generator().manual_seed(int(seed)))]
        read = torch.isin(self.sample, shuffled[: max(1, round(held_out * len(samples)))])
        if min(int(read.sum()), int((~read).sum())) < 2:
            raise ValueError(f"{len(samples)} samples are too few to hold out a share of {held_out}")
        return self.x[~read], self.x[read]


def read_activations(model, data, layers, *, n_samples=10_000, seed=0, batch_size=256, device=None):
    """Draw up to n_samples rows of each layer. → dict layer: Rows, all on `device`, float32

    model: torch.nn.Module, or an nnsight model (language models: `data` is a list of texts, or token ids (n, T)).
    data: tensor of inputs, dataset of inputs or of (input, label) pairs, or a DataLoader of batches of either.
    layers: dotted module names, in any order. Samples are drawn at random without replacement; so are positions.
    The model runs in evaluation mode without gradients, stops after the last layer asked for, and is put back
    as it was. A module called more than once in a forward pass is read at its first call.
    Raises ValueError for an unknown layer (naming those that exist), one that is never called, empty data, or
    activations of a rank that cannot be told apart; these before the data is read through.
    """
    import nnsight

    layers = [layers] if isinstance(layers, str) else list(layers)
    wrapped = nnsight.NNsight(model) if isinstance(model, torch.nn.Module) else model
    if not hasattr(wrapped, "trace"):
        raise TypeError(f"model must be a torch.nn.Module or an nnsight model, got {type(model).__name__}")
    if not getattr(wrapped, "dispatched", True):
        wrapped.dispatch()  # nnsight loads a model by name only when it is first needed
    module = wrapped._module
    _check_layers(module, layers)
    if n_samples < 2:
        raise ValueError(f"n_samples must be at least 2, got {n_samples}")
    source = _Source(data, n_samples, batch_size, seed, getattr(wrapped, "tokenizer", None))
    target = device
    device = torch.device(device) if device is not None else _device_of(module)
    with _Evaluation(module, target), torch.no_grad():
        order = _calling_order(wrapped, source.first().to(device), layers)
        reservoirs = {name: _Reservoir(n_samples, seed) for name in layers}
        for batch in progress(source, desc="activations", total=source.n_batches):
            batch = batch.to(device)
            for name, output in _forward(wrapped, batch, order).items():
                reservoirs[name].add(*_rows(output, batch, name))
    return {name: reservoirs[name].rows() for name in layers}


def _check_layers(module, layers):
    known = dict(module.named_modules())
    unknown = [name for name in layers if name not in known or not name]
    if unknown or not layers:
        names = ", ".join(name for name in known if name)
        raise ValueError(f"unknown layer {unknown[0]!r}; the model has {names}" if unknown else "no layer was named")


def _device_of(module):
    return next((p.device for p in module.parameters()), torch.device("cpu"))


class _Evaluation:
    """Context: `module` in evaluation mode, on a device if one is given; modes and device are put back after."""

    def __init__(self, module, device):
        self.module, self.device = module, device

    def __enter__(self):
        self.home = _device_of(self.module)
        self.modes = {m: m.training for m in self.module.modules()}
        self.module.eval()
        if self.device is not None:
            self.module.to(self.device)

    def __exit__(self, *_):
        if self.device is not None:
            self.module.to(self.home)
        for m, training in self.modes.items():
            m.training = training


@dataclass
class _Batch:
    """Model inputs of B samples, the index (B,) of each, and a mask (B, T) of real tokens where there is padding."""

    inputs: object
    index: torch.Tensor
    mask: torch.Tensor | None = None

    def to(self, device):
        if isinstance(self.inputs, dict):
            inputs = {name: value.to(device) for name, value in self.inputs.items()}
        else:
            inputs = self.inputs.to(device)
        return _Batch(inputs, self.index, self.mask)


class _Source:
    """Batches of the samples drawn: for data of known length a random choice, for a loader all it yields."""

    def __init__(self, data, n_samples, batch_size, seed, tokenizer=None):
        self.data, self.batch_size, self.tokenizer = data, batch_size, tokenizer
        self.is_loader = isinstance(data, DataLoader)
        if self.is_loader:
            self.n_batches = len(data) if hasattr(data.dataset, "__len__") else None
            return
        if not isinstance(data, torch.Tensor | Dataset | list | tuple) and not hasattr(data, "__getitem__"):
            raise TypeError(
                f"data must be a tensor, a dataset, a list of texts or a DataLoader, got {type(data).__name__}"
            )
        if len(data) == 0:
            raise ValueError("data is empty: it holds no sample")
        generator = torch.Generator().manual_seed(int(seed))
        self.chosen = torch.randperm(len(data), generator=generator)[:n_samples].sort().values
        self.n_batches = -(-len(self.chosen) // batch_size)

    def first(self):
        """The first sample alone, to learn shapes from."""
        if not self.is_loader:
            return self._batch(self._pick(self.chosen[:1]), self.chosen[:1])
        batch = next(iter(self.data), None)
        if batch is None:
            raise ValueError("data is empty: the loader yields no batch")
        mask = _mask_of(batch)
        return self._batch(_inputs_of(batch)[:1], torch.arange(1), None if mask is None else mask[:1])

    def __iter__(self):
        if not self.is_loader:
            for index in self.chosen.split(self.batch_size):
                yield self._batch(self._pick(index), index)
            return
        start = 0
        for batch in self.data:
            inputs = _inputs_of(batch)
            yield self._batch(inputs, torch.arange(start, start + len(inputs)), _mask_of(batch))
            start += len(inputs)

    def _pick(self, index):
        if isinstance(self.data, torch.Tensor):
            return self.data[index]
        if isinstance(self.data, LabelledImages):
            return self.data.images[index]
        samples = [_inputs_of(self.data[i]) for i in index.tolist()]
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


def _inputs_of(sample):
    """The inputs of a sample or batch that may come as (inputs, label …) or as {"input_ids": …}."""
    if isinstance(sample, Mapping):
        return sample["input_ids"]
    if isinstance(sample, tuple | list) and not all(isinstance(item, str) for item in sample):
        return sample[0]
    return sample


def _mask_of(batch):
    """The attention mask (B, T) of a batch of tokens, or None."""
    return batch.get("attention_mask") if isinstance(batch, Mapping) else None


def _calling_order(wrapped, batch, layers):
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
    for name, output in _forward(wrapped, batch, order).items():
        _rows(output, batch, name)  # a rank that cannot be read is found here, before the data is read through
    return order


def _forward(wrapped, batch, order):
    """Run the model by nnsight up to the last of `order` (to its end where that is empty). → dict name: output"""
    import nnsight

    words = batch.inputs if isinstance(batch.inputs, dict) else None
    with wrapped.trace(**words) if words else wrapped.trace(batch.inputs) as tracer:
        read = nnsight.save({})
        for name in order:
            read[name] = _detached(wrapped.get(name).output)
        if order:
            tracer.stop()
    return read


def _detached(output):
    """A copy of a module's output (of its first part, for a tuple), safe from later in-place operations."""
    output = output[0] if isinstance(output, tuple | list) else output
    return output.clone()


def _rows(output, batch, name):
    """Output → rows (n, N) and the sample index (n,) of each; padded tokens are left out."""
    n = len(batch.index)
    if output.ndim < 2 or len(output) != n:
        raise ValueError(f"layer {name!r} gave shape {tuple(output.shape)} for {n} samples; expected ({n}, …, neurons)")
    if output.ndim >= 4:
        output = output.movedim(1, -1)
    positions = output[0, ..., 0].numel()
    rows, sample = output.reshape(n * positions, -1).float(), batch.index.repeat_interleave(positions)
    if batch.mask is not None and output.ndim == 3:
        real = batch.mask.reshape(-1).to(rows.device)
        return rows[real], sample[real.cpu()]
    return rows, sample


class _Reservoir:
    """A uniform sample of at most n rows of a stream: each row gets a random key, the n smallest stay."""

    def __init__(self, n, seed):
        self.n, self.generator = n, torch.Generator().manual_seed(int(seed))
        self.keys = self.x = self.sample = None

    def add(self, x, sample):
        keys = torch.rand(len(x), generator=self.generator, dtype=torch.float64)
        if self.keys is not None and len(self.keys) == self.n:
            below = (keys < self.keys.max()).nonzero()[:, 0]
            keys, x, sample = keys[below], x[below.to(x.device)], sample[below]
        if self.keys is not None:
            keys, x, sample = (torch.cat(pair) for pair in ((self.keys, keys), (self.x, x), (self.sample, sample)))
        if len(keys) > self.n:
            keep = keys.topk(self.n, largest=False).indices
            keys, x, sample = keys[keep], x[keep.to(x.device)], sample[keep]
        self.keys, self.x, self.sample = keys, x, sample

    def rows(self):
        order = self.keys.argsort()
        return Rows(self.x[order.to(self.x.device)], self.sample[order])


def shuffle_columns(x, seed):
    """Control: each column of x (n, N) in a random order of its own. Keeps every neuron's values, breaks what they share."""
    generator = torch.Generator().manual_seed(int(seed))
    return torch.stack([column[torch.randperm(len(x), generator=generator)] for column in x.cpu().T], dim=1).to(
        x.device
    )
