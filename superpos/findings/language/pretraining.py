"""A small GPT-NeoX, of the class of Pythia, trained on Python's own library and manual: a language model on every machine.

    python -m superpos.findings.language.pretraining small:layers=6,width=128,steps=8000,seed=1

trains it (again), and prints the folder: Hugging Face's format, safetensors alone, read as any other model is.
"""

import json
import math
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from filelock import FileLock
from jaxtyping import Int
from pydantic import Field
from torch import Tensor, nn

from superpos import checkpoint, seeds
from superpos.data import data_root
from superpos.descent import finite_loss
from superpos.findings.language.texts import python_texts, train_tokenizer
from superpos.progress import progress, silent_transformers
from superpos.settings import Count, Positive, Whole, flat, settings

__all__ = ["Small", "small_model"]

WARM_UP = 0.05  # share of the training in which the step size rises
SAVED = 200  # steps between checkpoints
PIECE = 256  # texts tokenized at once
NUMBER = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")
CHARACTERS = 8  # about twice those of a token


@settings
class Small:
    """What decides a small model, but for the texts. As text: ``small:layers=6,width=128``, the rest as below.

    It has `layers` layers and a residual stream of `width` neurons (its MLPs have four times as many) in heads of 32, or 16
    below a width of 64; it knows `vocabulary` tokens and sees `context` of them. It is trained by `steps` steps of AdamW (0:
    not at all) on batches of `batch` windows, with a step size of at most `lr`, which rises over 5% of the steps and falls
    as a cosine to a tenth. `seed` decides the weights and the order of the windows.
    """

    layers: Count = 6
    width: Annotated[int, Field(ge=16, multiple_of=16)] = 128
    vocabulary: Annotated[int, Field(ge=257)] = 2048
    context: Annotated[int, Field(ge=2)] = 256
    steps: Whole = 8000
    batch: Count = 16
    lr: Positive = 2e-3
    seed: Whole = 1

    @classmethod
    def parse(cls, text: str) -> "Small":
        """Read ``small:name=value,…``. Raises TypeError for an unknown name, ValueError for a value that does not fit."""
        words = text.removeprefix("small").removeprefix(":").split(",")
        words = dict(word.partition("=")[::2] for word in words if word)
        return cls(**{name: json.loads(value) if NUMBER.fullmatch(value) else value for name, value in words.items()})

    def __str__(self) -> str:
        return "small:" + ",".join(f"{name}={value}" for name, value in flat(self).items())

    def rate(self, step: int) -> float:
        """Step size at a step, counted from zero."""
        rising = max(1, round(WARM_UP * self.steps))
        if step < rising:
            return self.lr * (step + 1) / rising
        return self.lr * (0.55 + 0.45 * math.cos(math.pi * (step - rising) / max(1, self.steps - rising)))


def model_in_words(model: str) -> str:
    """The text of a small model in words."""
    one = Small.parse(model)
    return (
        f"{one.layers} layers, {one.width} neurons, a vocabulary of {one.vocabulary:,}, texts of {one.context} tokens, "
        f"{one.steps:,} steps on {one.batch} texts each"
    )


def small_model(small: Small | str, root: str | Path | None = None) -> Path:
    """The folder of a small model, or of its text, trained first unless it lies there.

    It lies below `root`, by default `language` below `superpos.data.data_root()`. Several processes may ask for one model: the
    first trains it, the others wait. A training that was stopped goes on from its last checkpoint.
    """
    small = Small.parse(small) if isinstance(small, str) else small
    root = Path(root) if root else data_root() / "language"
    folder = root / str(small).replace(":", "-").replace(",", "-")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "model.safetensors").exists():
            _make(small, folder)
    return folder


def _make(small: Small, folder: Path) -> None:
    from transformers import AutoTokenizer

    texts = python_texts("train")
    if not (folder / "tokenizer.json").exists():
        train_tokenizer(texts, small.vocabulary, folder)
    model = _untrained(small)
    if small.steps:
        ids = _stream(AutoTokenizer.from_pretrained(folder), _enough(small, texts))
        _train(small, model, ids, folder / "training.safetensors")
    with silent_transformers():
        model.save_pretrained(folder / "finished")  # whole or not there: `model.safetensors` is moved in last
    for name in sorted(os.listdir(folder / "finished"), key=lambda name: name == "model.safetensors"):
        os.replace(folder / "finished" / name, folder / name)
    (folder / "finished").rmdir()
    (folder / "training.safetensors").unlink(missing_ok=True)


def _enough(small: Small, texts: Sequence[str]) -> list[str]:
    """As many texts, in an order that the seed decides, as a short training could see; all of them for a long one."""
    order = torch.randperm(len(texts), generator=seeds.generator("language.texts", small.seed)).tolist()
    sizes = torch.tensor([len(texts[i]) for i in order]).cumsum(0)
    seen = int((sizes <= CHARACTERS * small.steps * small.batch * small.context).sum())
    return [texts[i] for i in order[: seen + 1]]


def _untrained(small: Small) -> nn.Module:
    """The network with the weights that its seed decides."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    size = {"vocab_size": small.vocabulary, "hidden_size": small.width, "num_hidden_layers": small.layers}
    size |= {"intermediate_size": 4 * small.width, "max_position_embeddings": small.context}
    heads = small.width // (32 if small.width >= 64 else 16)
    config = GPTNeoXConfig(**size, num_attention_heads=heads, bos_token_id=0, eos_token_id=0, use_cache=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.seed("language.weights", small.seed))
        return GPTNeoXForCausalLM(config)


def _stream(tokenizer: Any, texts: list[str]) -> Int[Tensor, " total"]:
    """All texts as one stream of token ids, each ended by the end of a text."""
    ids = []
    for start in range(0, len(texts), PIECE):
        for one in tokenizer(texts[start : start + PIECE], verbose=False).input_ids:
            ids.append(torch.tensor([*one, tokenizer.eos_token_id], dtype=torch.int32))
    return torch.cat(ids)


def _train(small: Small, model: nn.Module, ids: Int[Tensor, " total"], path: Path) -> None:
    """Train a model. Weights, moments and generator are written to `path` every SAVED steps, so that a kill costs no more."""
    optimizer = torch.optim.AdamW(
        model.train().parameters(), lr=small.lr, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    generator, done = seeds.generator("language.batches", small.seed), 0
    if path.exists():
        tensors, about = checkpoint.read(path, ("done",))
        checkpoint.put_back(tensors, model, optimizer, generator)
        done = about["done"]
    for step in progress(range(done, small.steps), desc=str(small), initial=done, total=small.steps):
        optimizer.param_groups[0]["lr"] = small.rate(step)
        at = torch.randint(len(ids) - small.context, (small.batch, 1), generator=generator)
        windows = ids[at + torch.arange(small.context + 1)].long()
        logits = model(input_ids=windows[:, :-1]).logits
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        finite_loss(loss, f"{small}: the loss in step {step}")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % SAVED == 0:
            checkpoint.write(path, checkpoint.state_of(model, optimizer, generator), {"done": step + 1})
    model.eval()


if __name__ == "__main__":
    print(small_model(sys.argv[1] if len(sys.argv) > 1 else Small()))
