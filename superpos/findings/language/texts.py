"""Texts for language models, from this Python itself, from files or from the Hugging Face hub, as token ids.

python:PART              the standard library of the running interpreter, and its reference manual (pydoc_data), without
                         tests and tables of characters; PART is train, fit or read, disjoint by file
files:GLOB               a file a text; .jsonl: a line a text, its "text"
hub:NAME:SPLIT:COLUMN    a data set of the hub, or a local folder that `datasets` can read, streamed
"""

import glob
import hashlib
import itertools
import json
import os
import re
import sysconfig
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from superpos import seeds
from superpos.settings import Count, Whole, one_of, settings

__all__ = ["PARTS", "SOURCES", "Draw", "Tokens", "python_texts", "read_texts", "tokenize", "train_tokenizer"]

SOURCES = ("python:PART", "files:GLOB", "hub:NAME:SPLIT:COLUMN")
PARTS = {"train": range(14), "fit": range(14, 17), "read": range(17, 20)}  # twentieths of the files
SHUFFLED = 10_000  # texts of a stream among which the next one is drawn
LIBRARY = Path(sysconfig.get_paths()["stdlib"])
LEFT_OUT = re.compile(  # folders
    r"pydoc_data|(site|dist)-packages|tests?|idle_test|encodings|lib2to3|idlelib|turtledemo|config-.*"
)


@settings
class Draw:
    """Some texts of one of SOURCES, as a model sees them.

    A text is a window of at most `context` tokens: with `windows` "first" the first ones of a text, with "all" each piece
    of it of that length (a last one shorter than 2 is left out). `n_texts` of them are drawn by `seed`.
    """

    texts: str
    n_texts: Count
    seed: Whole
    context: Count = 512
    windows: Literal["first", "all"] = "first"


@dataclass(frozen=True)
class Tokens:
    """Token ids of n texts, one after the other, and the length of each.

    `prefix` is the number of special tokens that the tokenizer puts before each text.
    """

    ids: Int[Tensor, " total"]
    lengths: Int[Tensor, " n"]
    prefix: int = 0

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def starts(self) -> Int[Tensor, " n"]:
        """Where each text begins."""
        return self.lengths.cumsum(0) - self.lengths

    def shuffled(self, seed: int, stream: str = "language.shuffle") -> "Tokens":
        """The control: all tokens in a random order over all texts, whose lengths and special tokens stay.

        Every token is there as often as before, and what precedes it tells nothing.
        """
        place = torch.arange(len(self.ids)) - self.starts.repeat_interleave(self.lengths)
        moved = (place >= self.prefix).nonzero()[:, 0]
        ids = self.ids.clone()
        ids[moved] = self.ids[moved[torch.randperm(len(moved), generator=seeds.generator(stream, seed))]]
        return replace(self, ids=ids)

    def batches(
        self, budget: int, start: int = 0, stops: Collection[int] = ()
    ) -> Iterator[tuple[int, Int[Tensor, "B T"], Bool[Tensor, "B T"]]]:
        """Yield batches of texts from number `start` on: the number of the first, ids, and a mask of the real tokens.

        Texts keep their order and are padded on the right with 0 to at most `budget` tokens (a text longer than that is a
        batch alone). No batch reaches over one of `stops`, numbers of texts.
        """
        texts, lengths = self.ids.split(self.lengths.tolist()), self.lengths.tolist()
        while start < len(self):
            end, longest = start + 1, lengths[start]
            while end < len(self) and end not in stops and max(longest, lengths[end]) * (end + 1 - start) <= budget:
                longest, end = max(longest, lengths[end]), end + 1
            ids = torch.nn.utils.rnn.pad_sequence([text.long() for text in texts[start:end]], batch_first=True)
            yield start, ids, torch.arange(longest) < self.lengths[start:end, None]
            start = end

    def fingerprint(self) -> str:
        """What tells these texts from others: 16 hexadecimal digits."""
        content = self.ids.numpy().tobytes() + self.lengths.numpy().tobytes()
        return hashlib.sha256(content).hexdigest()[:16]


def python_texts(part: str) -> list[str]:
    """Texts of one of PARTS of this Python's library and manual, in a fixed order.

    A file's part is decided by its name alone, so that versions of Python share most of each part. A text that stands in
    two files is that of the first. Raises ValueError for another part.
    """
    from pydoc_data.topics import topics

    one_of("the part of Python's texts", part, PARTS)
    paths: list[Path] = []
    for folder, inner, files in os.walk(LIBRARY):
        inner[:] = [name for name in inner if not LEFT_OUT.fullmatch(name)]
        paths += [Path(folder, name) for name in files if name.endswith(".py")]
    first: dict[str, str] = {}
    for path in sorted(paths):
        first.setdefault(path.read_text(encoding="utf-8", errors="replace"), path.relative_to(LIBRARY).as_posix())
    for name, text in sorted(topics.items()):
        first.setdefault(text, f"topic {name}")
    twentieth = {text: hashlib.sha256(name.encode()).digest()[0] % 20 for text, name in first.items() if text.strip()}
    return [text for text, place in twentieth.items() if place in PARTS[part]]


def read_texts(source: str, seed: int = 0) -> Iterable[str]:
    """Texts of one of SOURCES: a list in a fixed order, or for the hub an iterator in an order drawn by `seed`.

    Raises ValueError for another source, FileNotFoundError with the remedy where files, data set or network are missing.
    """
    kind, _, rest = source.partition(":")
    if kind == "python":
        return python_texts(rest)
    if kind == "files":
        return _texts_of_files(rest)
    if kind == "hub" and len(rest.rsplit(":", 2)) == 3:
        return _texts_of_hub(*rest.rsplit(":", 2), seed)
    raise ValueError(f"texts must be one of {', '.join(SOURCES)}, got {source!r}")


def _texts_of_files(pattern: str) -> list[str]:
    found = sorted(map(Path, glob.glob(str(Path(pattern).expanduser()), recursive=True)))
    contents = {path: path.read_text(encoding="utf-8", errors="replace") for path in found if path.is_file()}
    if not contents:
        raise FileNotFoundError(f"no file fits {pattern!r}; expected a pattern such as texts/**/*.txt")
    texts = []
    for path, content in contents.items():
        texts += [json.loads(line)["text"] for line in content.splitlines()] if path.suffix == ".jsonl" else [content]
    return [text for text in texts if text.strip()]


def _texts_of_hub(name: str, split: str, column: str, seed: int) -> Iterator[str]:
    import datasets

    try:
        stream = datasets.load_dataset(name, split=split, streaming=True)
    except (OSError, datasets.exceptions.DatasetNotFoundError) as error:
        raise FileNotFoundError(
            f"the data set {name} could not be reached on the Hugging Face hub ({type(error).__name__}). Check the name and "
            "the network, or name texts that are here: files:GLOB, or python:read, which are on every machine"
        ) from error
    first = next(iter(stream), None)
    if first is None or column not in first:
        raise ValueError(f"{name}, split {split}: no column {column!r}; it has {', '.join(first or ['no rows'])}")
    stream = stream.shuffle(seed=seeds.seed("language.windows", seed), buffer_size=SHUFFLED)
    return (row[column] for row in stream if row[column].strip())


def tokenize(draw: Draw, tokenizer: Any, stream: str = "language.windows") -> Tokens:
    """The texts of a draw as token ids.

    Those of files and of Python are drawn at random without replacement from a stream of `superpos.seeds`; those of the hub
    as its shuffled stream gives them. Special tokens that the tokenizer puts before a text are put before every window, and
    count. Raises ValueError where there are too few texts, or too few tokens in a context.
    """
    prefix = torch.tensor(tokenizer("").input_ids, dtype=torch.int32)
    if draw.context < len(prefix) + 2:
        raise ValueError(f"context must be at least {len(prefix) + 2}, got {draw.context}")
    texts = read_texts(draw.texts, draw.seed)
    cut = _windows(texts, tokenizer, draw.context - len(prefix), draw.windows)
    found = list(cut if isinstance(texts, list) else itertools.islice(cut, draw.n_texts))
    if len(found) < draw.n_texts:
        here = f"{draw.texts} has {len(found)} texts of up to {draw.context} tokens"
        raise ValueError(f"{here}, {draw.n_texts} were asked for")
    if isinstance(texts, list):
        order = torch.randperm(len(found), generator=seeds.generator(stream, draw.seed))[: draw.n_texts]
        found = [found[i] for i in order.tolist()]
    ids = torch.cat([part for window in found for part in (prefix, window)])
    return Tokens(ids, torch.tensor([len(prefix) + len(window) for window in found]), len(prefix))


def _windows(texts: Iterable[str], tokenizer: Any, size: int, windows: str) -> Iterator[Tensor]:
    options = {"truncation": True, "max_length": size} if windows == "first" else {}
    texts = iter(texts)
    while several := list(itertools.islice(texts, 64)):
        for ids in tokenizer(several, add_special_tokens=False, verbose=False, **options).input_ids:
            yield from (w for w in torch.tensor(ids, dtype=torch.int32).split(size) if len(w) >= 2)


def train_tokenizer(texts: Iterable[str], vocabulary: int, folder: str | Path) -> Any:
    """A byte-level BPE tokenizer of `vocabulary` tokens fitted to texts, saved to a folder in Hugging Face's format.

    It is byte-level, so that any text can be read without an unknown token; pairs are merged, because a layer of a model
    that reads single bytes would be busy with spelling. Raises ValueError for fewer tokens than there are bytes.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    letters = pre_tokenizers.ByteLevel.alphabet()
    if vocabulary <= len(letters):
        raise ValueError(f"vocabulary must be above {len(letters)}, the bytes and the end of a text, got {vocabulary}")
    end = "<|endoftext|>"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    options = {"vocab_size": vocabulary, "special_tokens": [end], "initial_alphabet": letters, "show_progress": False}
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(**options))
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end)
    wrapped.save_pretrained(folder)
    return wrapped
