"""Texts for language models, from this Python itself, from files or from the Hugging Face hub, as token ids.

    python:PART              the standard library of the running interpreter, and its reference manual (pydoc_data), without
                             tests and tables of characters; PART is train, fit or read, disjoint by file
    files:GLOB               a file a text; .jsonl: a line a text, its "text"
    hub:NAME:SPLIT:COLUMN    a data set of the hub, or a local folder that `datasets` can read, streamed

A text as a model sees it is a window of at most `context` tokens: the first ones of a text, or every window of it.
"""

import glob
import hashlib
import itertools
import json
import os
import sysconfig
from dataclasses import dataclass, replace
from pathlib import Path

import torch

__all__ = ["PARTS", "SOURCES", "Tokens", "python_texts", "read_texts", "tokenize", "train_tokenizer"]

SOURCES = ("python:PART", "files:GLOB", "hub:NAME:SPLIT:COLUMN")
PARTS = {"train": range(14), "fit": range(14, 17), "read": range(17, 20)}  # twentieths of the files
SHUFFLED = 10_000  # texts of a stream among which the next one is drawn
LIBRARY = Path(sysconfig.get_paths()["stdlib"])
LEFT_OUT = {
    "pydoc_data",
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idle_test",
    "encodings",
    "lib2to3",
    "idlelib",
    "turtledemo",
}
STREAMS = {"windows": 11 * 10**8, "shuffle": 12 * 10**8}  # seeds of one run must not meet


def _generator(stream, seed):
    return torch.Generator().manual_seed(STREAMS[stream] + int(seed))


@dataclass(frozen=True)
class Tokens:
    """Token ids (total,) of n texts, one after the other, and the length (n,) of each; 4 bytes a token.

    prefix: special tokens that the tokenizer puts before each text.
    """

    ids: torch.Tensor
    lengths: torch.Tensor
    prefix: int = 0

    def __len__(self):
        return len(self.lengths)

    @property
    def starts(self):
        """Where each text begins (n,)."""
        return self.lengths.cumsum(0) - self.lengths

    def shuffled(self, seed):
        """Control: all tokens in a random order over all texts, whose lengths and special tokens stay. → Tokens

        Every token is there as often as before; what precedes it tells nothing.
        """
        place = torch.arange(len(self.ids)) - self.starts.repeat_interleave(self.lengths)
        moved = (place >= self.prefix).nonzero()[:, 0]
        ids = self.ids.clone()
        ids[moved] = self.ids[moved[torch.randperm(len(moved), generator=_generator("shuffle", seed))]]
        return replace(self, ids=ids)

    def batches(self, budget, start=0, stops=()):
        """Yield batches of texts from number `start` on: (number of the first, ids (B, T), mask (B, T) of real tokens).

        Texts keep their order and are padded on the right with 0 to at most `budget` tokens (a text longer than that is a
        batch alone). No batch reaches over one of `stops`, numbers of texts.
        """
        starts, lengths, stops = self.starts.tolist(), self.lengths.tolist(), set(stops)
        while start < len(self):
            end, longest = start + 1, lengths[start]
            while end < len(self) and end not in stops and max(longest, lengths[end]) * (end + 1 - start) <= budget:
                longest, end = max(longest, lengths[end]), end + 1
            texts = [self.ids[starts[i] : starts[i] + lengths[i]].long() for i in range(start, end)]
            mask = torch.arange(longest) < torch.tensor([len(text) for text in texts])[:, None]
            yield start, torch.nn.utils.rnn.pad_sequence(texts, batch_first=True), mask
            start = end

    def fingerprint(self):
        """What tells these texts from others: 16 hexadecimal digits."""
        content = self.ids.numpy().tobytes() + self.lengths.numpy().tobytes()
        return hashlib.sha256(content).hexdigest()[:16]


def python_texts(part):
    """Texts of one of PARTS of this Python's library and manual, in a fixed order. → list of str

    A file's part is decided by its name alone, so that versions of Python share most of each part.
    """
    if part not in PARTS:
        raise ValueError(f"the part of Python's texts must be one of {', '.join(PARTS)}, got {part!r}")
    first = {}  # a text that stands in two files is that of the first
    for name, text in _named_texts():
        if text.strip():
            first.setdefault(text, name)
    return [text for text, name in first.items() if _twentieth(name) in PARTS[part]]


def _named_texts():
    from pydoc_data.topics import topics

    for path in _library(LIBRARY):
        yield path.relative_to(LIBRARY).as_posix(), path.read_text(encoding="utf-8", errors="replace")
    yield from ((f"topic {name}", text) for name, text in sorted(topics.items()))


def _library(folder):
    """Paths of the library's files, in order, without the folders LEFT_OUT."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_file() and entry.name.endswith(".py"):
            yield Path(entry.path)
        elif entry.is_dir() and entry.name not in LEFT_OUT and not entry.name.startswith("config-"):
            yield from _library(entry.path)


def _twentieth(name):
    return hashlib.sha256(name.encode()).digest()[0] % 20


def read_texts(source, seed=0):
    """Texts of one of SOURCES. → list of str, in a fixed order; for the hub an iterator, its order drawn by `seed`

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


def _texts_of_files(pattern):
    paths = sorted(Path(path) for path in glob.glob(str(Path(pattern).expanduser()), recursive=True))
    paths = [path for path in paths if path.is_file()]
    if not paths:
        raise FileNotFoundError(f"no file fits {pattern!r}; expected a pattern such as texts/**/*.txt")
    texts = []
    for path in paths:
        content = path.read_text(encoding="utf-8", errors="replace")
        texts += [json.loads(line)["text"] for line in content.splitlines()] if path.suffix == ".jsonl" else [content]
    return [text for text in texts if text.strip()]


def _texts_of_hub(name, split, column, seed):
    import datasets

    try:
        stream = datasets.load_dataset(name, split=split, streaming=True)
    except (OSError, datasets.exceptions.DatasetNotFoundError) as error:
        raise FileNotFoundError(
            f"the data set {name} could not be reached on the Hugging Face hub ({type(error).__name__}). Check the name and the "
            f"network, or name texts that are here: files:GLOB, or python:read, which are on every machine"
        ) from error
    first = next(iter(stream), None)
    if first is None or column not in first:
        raise ValueError(f"{name}, split {split}: no column {column!r}; it has {', '.join(first or ['no rows'])}")
    stream = stream.shuffle(seed=STREAMS["windows"] + int(seed), buffer_size=SHUFFLED)
    return (row[column] for row in stream if row[column].strip())


def tokenize(source, tokenizer, n_texts, *, context=512, windows="first", seed=0):
    """n texts drawn from a source, as a model sees them. → Tokens

    windows: "first", the first `context` tokens of each text, or "all", each text cut into windows of so many (a last
    one shorter than 2 is left out). Those of files and of Python are drawn at random by `seed` without replacement, those
    of the hub as its shuffled stream gives them. Special tokens that the tokenizer puts before a text are put before every
    window, and count. ValueError where there are fewer than n.
    """
    if windows not in ("first", "all"):
        raise ValueError(f"windows must be 'first' or 'all', got {windows!r}")
    if n_texts < 1:
        raise ValueError(f"n_texts must be at least 1, got {n_texts}")
    prefix = tokenizer("").input_ids
    if context < len(prefix) + 2:
        raise ValueError(f"context must be at least {len(prefix) + 2}, got {context}")
    texts = read_texts(source, seed)
    cut = _windows(texts, tokenizer, context - len(prefix), windows)
    found = list(itertools.islice(cut, n_texts) if not isinstance(texts, list) else cut)
    if len(found) < n_texts:
        raise ValueError(f"{source} has {len(found)} texts of up to {context} tokens, {n_texts} were asked for")
    if isinstance(texts, list):
        order = torch.randperm(len(found), generator=_generator("windows", seed))[:n_texts]
        found = [found[i] for i in order.tolist()]
    prefix = torch.tensor(prefix, dtype=torch.int32)
    return Tokens(
        torch.cat([part for ids in found for part in (prefix, ids)]),
        torch.tensor([len(prefix) + len(ids) for ids in found]), len(prefix),
    )  # fmt: skip


def _windows(texts, tokenizer, size, windows):
    options = {"truncation": True, "max_length": size} if windows == "first" else {}
    for several in _of(64, texts):
        for ids in tokenizer(several, add_special_tokens=False, verbose=False, **options).input_ids:
            yield from (w for w in torch.tensor(ids, dtype=torch.int32).split(size) if len(w) >= 2)


def _of(n, items):
    items = iter(items)
    while several := list(itertools.islice(items, n)):
        yield several


def train_tokenizer(texts, vocabulary, folder):
    """A byte-level BPE tokenizer of `vocabulary` tokens fitted to texts, saved to a folder in Hugging Face's format.

    Byte-level, so that any text can be read without an unknown token; pairs merged, because a layer of a model that
    reads single bytes would be busy with spelling. The same texts give the same tokenizer.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    letters = pre_tokenizers.ByteLevel.alphabet()
    if vocabulary <= len(letters):
        raise ValueError(f"vocabulary must be above {len(letters)}, the bytes and the end of a text, got {vocabulary}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=["<|endoftext|>"], initial_alphabet=letters, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
    wrapped.save_pretrained(folder)
    return wrapped
