"""A small GPT-NeoX, of the class of Pythia, trained on Python's own library and manual: a language model on every machine.

    python -m superpos.systems.pretraining small:layers=6,width=128,steps=8000,seed=1

trains it (again), and prints the folder: Hugging Face's format, safetensors alone, read as any other model is.
"""

import contextlib
import math
import os
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from filelock import FileLock

from superpos import checkpoint
from superpos.data import data_root
from superpos.progress import progress
from superpos.systems.texts import python_texts, train_tokenizer

__all__ = ["Small", "silent_transformers", "small_model"]

STREAMS = {"weights": 13 * 10**8, "batches": 14 * 10**8, "texts": 15 * 10**8}  # seeds of one run must not meet
WARM_UP = 0.05  # share of the training in which the step size rises
SAVED = 200  # steps between checkpoints
PIECE = 256  # texts tokenized at once
CHARACTERS = 8  # about twice those of a token


@dataclass(frozen=True)
class Small:
    """What decides a small model, but for the texts. As text: ``small:layers=6,width=128``, the rest as below.

    layers; width N of the residual stream (MLP: 4N) in heads of 32 neurons, or 16 below a width of 64; vocabulary and
    context, in tokens; steps of AdamW (0: untrained) on batches of `batch` windows, at most `lr`, rising over 5% of the
    steps and falling as a cosine to a tenth; seed of the weights and of the order of the windows.
    """

    layers: int = 6
    width: int = 128
    vocabulary: int = 2048
    context: int = 256
    steps: int = 8000
    batch: int = 16
    lr: float = 2e-3
    seed: int = 1

    def __post_init__(self):
        least = {"layers": 1, "width": 16, "vocabulary": 257, "context": 2, "steps": 0, "batch": 1, "seed": 0}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"{name} of a small model must be at least {value}, got {getattr(self, name)}")
        if self.width % 16:
            raise ValueError(f"width of a small model must be a multiple of 16, got {self.width}")
        if not self.lr > 0:
            raise ValueError(f"lr of a small model must be above 0, got {self.lr}")

    @classmethod
    def parse(cls, text):
        """Read ``small:name=value,…``. ValueError for an unknown name or a value that is no number."""
        kinds = {field.name: field.type for field in fields(cls)}
        options = {}
        for word in text.removeprefix("small").removeprefix(":").split(","):
            name, _, value = word.partition("=")
            if not word:
                continue
            if name not in kinds:
                raise ValueError(f"unknown {name!r} in {text!r}; a small model has {', '.join(kinds)}")
            try:
                options[name] = kinds[name](value)
            except ValueError:
                raise ValueError(f"{name} in {text!r} must be a number, got {value!r}") from None
        return cls(**options)

    def __str__(self):
        return "small:" + ",".join(f"{name}={value}" for name, value in asdict(self).items())

    def rate(self, step):
        """Step size at a step, counted from zero."""
        rising = max(1, round(WARM_UP * self.steps))
        if step < rising:
            return self.lr * (step + 1) / rising
        return self.lr * (0.55 + 0.45 * math.cos(math.pi * (step - rising) / max(1, self.steps - rising)))


def small_model(small, root=None):
    """The folder of a small model, trained first unless it lies there. → Path

    small: a `Small` or its text. root: by default `language` below `superpos.data.data_root()`. Several processes may ask
    for one model: the first trains it, the others wait. A training that was stopped goes on from its last checkpoint.
    """
    small = Small.parse(small) if isinstance(small, str) else small
    root = Path(root) if root else data_root() / "language"
    folder = root / str(small).replace(":", "-").replace(",", "-")
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "model.safetensors").exists():
            _train(small, folder)
    return folder


def _train(small, folder):
    from transformers import AutoTokenizer

    texts = python_texts("train")
    folder.mkdir(exist_ok=True)
    if not (folder / "tokenizer.json").exists():
        train_tokenizer(texts, small.vocabulary, folder)
    model = _untrained(small)
    if small.steps:
        ids = _stream(AutoTokenizer.from_pretrained(folder), _enough(small, texts))
        _Training(small, model, ids, folder / "training.safetensors").run()
    with silent_transformers():
        model.save_pretrained(folder / "finished")  # whole or not there: `model.safetensors` is moved in last
    for name in sorted(os.listdir(folder / "finished"), key=lambda name: name == "model.safetensors"):
        os.replace(folder / "finished" / name, folder / name)
    (folder / "finished").rmdir()
    (folder / "training.safetensors").unlink(missing_ok=True)


@contextlib.contextmanager
def silent_transformers():
    """transformers without progress bars of its own inside `with`."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _enough(small, texts):
    """As many texts, in an order that the seed decides, as a short training could see; all of them for a long one."""
    generator = torch.Generator().manual_seed(STREAMS["texts"] + small.seed)
    chosen, size = [], 0
    for i in torch.randperm(len(texts), generator=generator).tolist():
        chosen.append(texts[i])
        size += len(texts[i])
        if size > CHARACTERS * small.steps * small.batch * small.context:
            break
    return chosen


def _untrained(small):
    """The network with the weights that its seed decides."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=small.vocabulary, hidden_size=small.width, num_hidden_layers=small.layers,
        num_attention_heads=small.width // (32 if small.width >= 64 else 16), intermediate_size=4 * small.width,
        max_position_embeddings=small.context, bos_token_id=0, eos_token_id=0, use_cache=False,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(STREAMS["weights"] + small.seed)
        return GPTNeoXForCausalLM(config)


def _stream(tokenizer, texts):
    """All texts as one stream of token ids (total,), each ended by the end of a text."""
    ids = []
    for start in range(0, len(texts), PIECE):
        for one in tokenizer(texts[start : start + PIECE], verbose=False).input_ids:
            ids.append(torch.tensor([*one, tokenizer.eos_token_id], dtype=torch.int32))
    return torch.cat(ids)


class _Training:
    """A training that survives a kill: weights, moments and generator are written every SAVED steps, in one move."""

    def __init__(self, small, model, ids, path):
        self.small, self.model, self.ids, self.path = small, model.train(), ids, path
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=small.lr, betas=(0.9, 0.95), weight_decay=0.1, fused=True
        )
        self.generator = torch.Generator().manual_seed(STREAMS["batches"] + small.seed)
        self.losses = []

    def run(self):
        self._resume()
        steps = range(len(self.losses), self.small.steps)
        for step in progress(steps, desc=str(self.small), initial=steps.start, total=self.small.steps):
            self._step(step)
            if (step + 1) % SAVED == 0:
                self._save()
        self.model.eval()

    def _step(self, step):
        small = self.small
        for group in self.optimizer.param_groups:
            group["lr"] = small.rate(step)
        at = torch.randint(len(self.ids) - small.context, (small.batch, 1), generator=self.generator)
        windows = self.ids[at + torch.arange(small.context + 1)].long()
        logits = self.model(input_ids=windows[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        if not torch.isfinite(loss):
            raise FloatingPointError(f"{small}: the loss became {loss.item()} in step {step}")
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.losses.append(loss.item())

    def _save(self):
        tensors = checkpoint.state_of(self.model, self.optimizer, self.generator)
        checkpoint.write(self.path, tensors, {"small": str(self.small), "losses": self.losses})

    def _resume(self):
        if self.path.exists():
            tensors, about = checkpoint.read(self.path, ("small", "losses"))
            checkpoint.put_back(tensors, self.model, self.optimizer, self.generator)
            self.losses = about["losses"]


if __name__ == "__main__":
    print(small_model(sys.argv[1] if len(sys.argv) > 1 else Small()))
