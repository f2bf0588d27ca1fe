"""What people bring as data → batches of what a model takes, each sample with its number, padding marked.

a tensor, an array, a dict of these (tokenizer output), a list, a Dataset (torch's or Hugging Face's)      some samples are drawn
an IterableDataset                                                                                       its samples, as they come
a DataLoader, an iterator                                                                                its batches, as they come

A sample or batch is a tensor, a text, token ids, a tuple of which the first parts are read, or a dict, of which those entries are
read that the model's forward takes (`superpos.forward`). A batch may be a list of samples, as some collate functions make it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from superpos.data import LabelledImages
from superpos.forward import MASKS, Takes

__all__ = ["Batch", "Batches"]


@dataclass
class Batch:
    """Arguments of one call of a model for some samples, the number of each sample, and which tokens are no padding."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    index: Int[Tensor, " B"]
    mask: Bool[Tensor, "B T"] | None = None

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        args = tuple(one.to(device) if isinstance(one, Tensor) else one for one in self.args)
        kwargs = {name: one.to(device) if isinstance(one, Tensor) else one for name, one in self.kwargs.items()}
        return Batch(args, kwargs, self.index, self.mask)

    def rolled(self) -> "Batch":
        """The same with the last sample first; what has no axis of samples stays."""
        n = len(self.index)

        def turned(one: Any) -> Any:
            return one.roll(1, 0) if isinstance(one, Tensor) and one.ndim and len(one) == n else one

        mask = None if self.mask is None else self.mask.roll(1, 0)
        kwargs = {name: turned(one) for name, one in self.kwargs.items()}
        return Batch(tuple(map(turned, self.args)), kwargs, self.index.roll(1), mask)


@dataclass
class Batches:
    """Batches of at most `n_samples` samples drawn at random by `seed`, or of all that a loader, stream or iterator gives.

    tokenizer: makes tokens of texts; mask: the name of the mask that counts, where a batch holds several, or "". Raises
    TypeError for data of a kind that is not known here and for texts without a tokenizer, ValueError for data that hold no
    sample.
    """

    data: Any
    takes: Takes
    n_samples: int
    batch_size: int = 256
    seed: int = 0
    tokenizer: Any = None
    mask: str | None = None
    n_batches: int | None = field(default=None, init=False)
    _seen: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.data = _plain(self.data)
        if isinstance(self.data, str | bytes) or not (
            hasattr(self.data, "__getitem__") or isinstance(self.data, Iterable)
        ):
            raise TypeError(
                "data must be a tensor, an array, a dict of these, a list, a dataset, a DataLoader or an iterator of "
                f"batches, got {type(self.data).__name__}"
            )
        if self._is_drawn():
            n = min(len(_Table(self.data)), self.n_samples)
            self.n_batches = max(1, (n + self.batch_size - 2) // self.batch_size)
        elif isinstance(self.data, DataLoader) and not isinstance(self.data.dataset, IterableDataset):
            self.n_batches = len(self.data)

    def _is_drawn(self) -> bool:
        if isinstance(self.data, DataLoader | IterableDataset | Iterator):
            return False
        return hasattr(self.data, "__getitem__") and hasattr(self.data, "__len__")

    def __iter__(self) -> Iterator[Batch]:
        any_sample = False
        for raw, index in self._drawn() if self._is_drawn() else self._numbered():
            batch = self._batch(raw, index)
            any_sample = any_sample or len(batch.index) > 0
            if len(batch.index):
                yield batch
        if not any_sample:
            raise ValueError("data is empty: it holds no sample")

    def _drawn(self) -> Iterator[tuple[Any, Tensor]]:
        table = _Table(self.data)
        generator = torch.Generator().manual_seed(self.seed)
        chosen = torch.randperm(len(table), generator=generator)[: self.n_samples].sort().values
        pieces = list(chosen.split(self.batch_size)) if len(chosen) else []
        if len(pieces) > 1 and len(pieces[-1]) == 1:  # a batch of one is no batch to a model that squeezes
            pieces[-2:] = [torch.cat(pieces[-2:])]
        for index in pieces:
            yield table.at(index), index

    def _numbered(self) -> Iterator[tuple[Any, None]]:
        if not isinstance(self.data, IterableDataset):
            yield from ((batch, None) for batch in self.data)
            return
        held = []
        for sample in self.data:
            held.append(sample)
            if len(held) == self.batch_size:
                yield _collated(held), None
                held = []
        if held:
            yield _collated(held), None

    def _batch(self, raw: Any, index: Tensor | None) -> Batch:
        raw = _of_samples(raw)
        if isinstance(raw, str) or _texts(raw):
            raw = self._tokens([raw] if isinstance(raw, str) else list(raw))
        given = self.takes.arranged(_tensors(raw))
        tensors = [one for one in (*given.args, *given.kwargs.values()) if isinstance(one, Tensor) and one.ndim]
        if not tensors:
            got = type(given.args[0]).__name__ if given.args else "nothing"
            raise TypeError(f"a batch must be a tensor, a dict or tuple of tensors, or texts, got {got}")
        n = max(len(one) for one in tensors)
        if index is None:
            index = torch.arange(self._seen, self._seen + n)
            self._seen += n
        return Batch(given.args, given.kwargs, index, given.mask(self.mask))

    def _tokens(self, texts: list[str]) -> Mapping[str, Any]:
        if self.tokenizer is None:
            raise TypeError(
                "texts need a language model with a tokenizer (nnsight.TransformersModel); or give what a tokenizer makes "
                "of them: tokenizer(texts, return_tensors='pt', padding=True)"
            )
        if getattr(self.tokenizer, "pad_token", None) is not None:
            return self.tokenizer(texts, return_tensors="pt", padding=True)
        return _collated([{"input_ids": ids} for ids in self.tokenizer(texts)["input_ids"]])


class _Table:
    """Data of known length: samples by their numbers."""

    def __init__(self, data: Any) -> None:
        self.data = data.images if isinstance(data, LabelledImages) else data
        self.columns = isinstance(self.data, Mapping)
        if self.columns:
            sizes = {name: len(value) for name, value in self.data.items() if _is_column(value)}
            if not sizes or len(set(sizes.values())) > 1:
                raise ValueError(f"data is a dict whose entries must be of one length, got {sizes}")
            self.n = next(iter(sizes.values()))
        else:
            self.n = len(self.data)

    def __len__(self) -> int:
        return self.n

    def at(self, index: Int[Tensor, " B"]) -> Any:
        if self.columns:
            return _columns_at(self.data, index)
        if isinstance(self.data, Tensor):
            return self.data[index.to(self.data.device)]
        if isinstance(self.data, np.ndarray):
            return _tensors(self.data[index.numpy()])
        return _collated([self.data[i] for i in index.tolist()])


def _columns_at(data: Mapping[str, Any], index: Int[Tensor, " B"]) -> dict[str, Any]:
    """Some samples of a dict of columns; what is not as long as the columns are is left out."""
    found = {name: value for name, value in data.items() if _is_column(value)}
    lists = {
        name: [value[i] for i in index.tolist()] for name, value in found.items() if isinstance(value, list | tuple)
    }
    return {name: _Table(value).at(index) for name, value in found.items() if name not in lists} | _columns(lists)


def _is_column(value: Any) -> bool:
    return isinstance(value, list | tuple) or len(getattr(value, "shape", ())) > 0


def _plain(data: Any) -> Any:
    """Tables of pandas as arrays and lists. TypeError for tables of other than numbers, and for several splits at once."""
    kind = type(data).__name__
    if kind == "DataFrame":
        if not all(dtype.kind in "fiub" for dtype in data.dtypes):
            raise TypeError("data is a DataFrame with columns of other than numbers: give the columns that are inputs")
        return data.to_numpy(np.float32)
    if kind == "Series":
        return data.tolist()
    arrays = isinstance(data, tuple) and all(getattr(one, "shape", ()) for one in data)
    if arrays and len(data) > 1 and len({len(one) for one in data}) == 1 and len(data[0]) > 1:
        raise TypeError(
            f"data is a tuple of {len(data)} arrays of {len(data[0])} each: give the inputs alone, or, for a model that takes "
            "several, torch.utils.data.TensorDataset(*data); a graph with its adjacency is iter([(nodes, adjacency)])"
        )
    if kind in ("DatasetDict", "IterableDatasetDict"):
        raise TypeError(f"data is a {kind} of {', '.join(data)}: give one of them")
    return data


def _of_samples(raw: Any) -> Any:
    """A raw batch that is a list of samples as one batch; the first part of one that holds texts or dicts beside labels."""
    if isinstance(raw, nn.utils.rnn.PackedSequence):
        raise TypeError("a batch is a PackedSequence: give the padded batch and let the model pack it")
    if not isinstance(raw, tuple | list) or not raw:
        return raw
    head = raw[0]
    if isinstance(head, Mapping):
        return _collated(raw) if len(raw) > 1 and all(isinstance(one, Mapping) for one in raw) else head
    if not isinstance(head, tuple | list):
        return raw
    if head and all(isinstance(one, str) for one in head):
        return list(head)
    if isinstance(raw, list) or _numbers(head):
        return _collated(raw)
    return _collated(head)  # inputs and labels apart, each a tuple of samples


def _numbers(value: Any) -> bool:
    """Whether a sample is token ids or other plain numbers."""
    number = (int, float, np.integer, np.floating)
    return isinstance(value, tuple | list) and bool(value) and all(isinstance(one, number) for one in value)


def _texts(value: Any) -> bool:
    return isinstance(value, tuple | list) and bool(value) and isinstance(value[0], str)


def _tensors(value: Any) -> Any:
    """Arrays as tensors, floating-point ones in torch's own width; also inside of dicts and tuples."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiubc":
        made = torch.from_numpy(np.ascontiguousarray(value))
        return made.float() if made.dtype == torch.float64 else made
    if isinstance(value, Mapping):
        lists = {
            name: one for name, one in value.items() if isinstance(one, list) and one and not isinstance(one[0], str)
        }
        return {name: _tensors(one) for name, one in value.items()} | _columns(lists)
    if isinstance(value, tuple | list):
        return _tensors(np.asarray(value)) if _numbers(value) else tuple(_tensors(one) for one in value)
    return value


def _collated(samples: Sequence[Any]) -> Any:
    """Samples as one batch. Token ids of unequal lengths are padded on the right, and a mask says where."""
    first = samples[0]
    if isinstance(first, str):
        return list(samples)
    if isinstance(first, Mapping):
        for sample in samples:
            if missing := first.keys() - sample.keys():
                raise ValueError(f"data: a sample lacks {', '.join(sorted(missing))}, which the first one has")
        return _columns({name: [sample[name] for sample in samples] for name in first})
    if isinstance(first, tuple) or (isinstance(first, list) and not _numbers(first)):
        if not first:
            raise ValueError("a sample is empty: expected a tensor, a text, a dict or a tuple of these")
        if isinstance(first[0], str | Mapping):
            return _collated([sample[0] for sample in samples])
        kinds = [isinstance(part, Tensor | np.ndarray | int | float | np.number) or _numbers(part) for part in first]
        n = max(1, kinds.index(False) if False in kinds else len(kinds))
        return tuple(_stacked([sample[i] for sample in samples], f"part {i}") for i in range(n))
    if _lengths(samples) is not None:
        return _columns({"input_ids": samples})
    return _stacked(samples, "data")


def _columns(columns: dict[str, Sequence[Any]]) -> dict[str, Any]:
    """The columns that hold numbers as tensors, others as they are; and a mask, if some had to be padded and none is there."""
    found: dict[str, Any] = {}
    for name, values in columns.items():
        if not (isinstance(values[0], Tensor | np.ndarray | int | float | np.number) or _numbers(values[0])):
            found[name] = list(values)
            continue
        lengths = _lengths(values)
        if lengths is None:
            found[name] = _stacked(values, name)
            continue
        found[name] = torch.nn.utils.rnn.pad_sequence([torch.as_tensor(v) for v in values], batch_first=True)
        if not columns.keys() & MASKS.keys():
            found["attention_mask"] = torch.arange(int(lengths.max())) < lengths[:, None]
    return found


def _lengths(values: Sequence[Any]) -> Int[Tensor, " B"] | None:
    """The lengths of lines of whole numbers, where they differ."""
    try:
        tensors = [torch.as_tensor(value) for value in values]
    except (TypeError, ValueError, RuntimeError):
        return None
    if {t.ndim for t in tensors} != {1} or any(t.is_floating_point() for t in tensors):
        return None
    lengths = torch.tensor([len(t) for t in tensors])
    return lengths if len(lengths.unique()) > 1 else None


def _stacked(values: Sequence[Any], name: str) -> Tensor:
    """Values as one tensor. TypeError for what holds no numbers, ValueError for shapes that do not go together."""
    made = [_tensors(value if isinstance(value, Tensor) else np.asarray(value)) for value in values]
    if not all(isinstance(one, Tensor) for one in made):
        kind = type(values[0]).__name__
        raise TypeError(f"{name}: a sample must be a tensor, an array, numbers or a text, got {kind}")
    shapes = sorted({tuple(one.shape) for one in made})
    if len(shapes) > 1:
        raise ValueError(f"{name}: samples must be of one shape, got {', '.join(map(str, shapes[:3]))}")
    return torch.stack(made)
