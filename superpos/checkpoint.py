"""Files of tensors that are whole or not there, and what a training needs to go on after a stop."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["put_back", "read", "state_of", "write"]

CONTIGUOUS = torch.contiguous_format  # the format of files asks for it, and for memory of each tensor's own


def write(path: str | Path, tensors: Mapping[str, Tensor], about: dict[str, Any]) -> None:
    """Write tensors by name, and `about`, which JSON can hold, to a safetensors file in one move."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        apart = {name: value.detach().cpu().clone(memory_format=CONTIGUOUS) for name, value in tensors.items()}
        save_file(apart, fresh, {"superpos": json.dumps(about)})
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def read(path: str | Path, needed: Sequence[str] = ()) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the `about` that `write` wrote; the latter is empty for a file that something else wrote.

    Raises ValueError, with the path, for a file that is no whole safetensors file, and where `about` lacks a name in `needed`.
    """
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("superpos", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no whole file of tensors in the safetensors format: {error}") from error
    if lacking := [name for name in needed if name not in about]:
        raise ValueError(f"{path} is a file of another kind: it does not say {', '.join(lacking)}; name another file")
    return tensors, about


def state_of(model: nn.Module, optimizer: Optimizer, generator: torch.Generator) -> dict[str, Tensor]:
    """Weights, the optimizer's moments, and the generator, as tensors by name."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for i, values in optimizer.state_dict()["state"].items():
        found = {name: value for name, value in values.items() if value is not None}
        tensors |= {f"optimizer.{i}.{name}": torch.as_tensor(value) for name, value in found.items()}
    return tensors | {"generator": generator.get_state()}


def put_back(tensors: Mapping[str, Tensor], model: nn.Module, optimizer: Optimizer, generator: torch.Generator) -> None:
    """Set a model, its optimizer and a generator to what `state_of` gave; other tensors are passed over."""
    states: dict[int, dict[str, Tensor]] = {}
    for name in tensors:
        if name.startswith("optimizer."):
            _, i, what = name.split(".", 2)
            states.setdefault(int(i), {})[what] = tensors[name]
    weights = {name.removeprefix("model."): tensors[name] for name in tensors if name.startswith("model.")}
    model.load_state_dict(weights)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    generator.set_state(tensors["generator"])
