"""Files of tensors that are whole or not there, and what a training needs to go on after a stop."""

import json
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

__all__ = ["put_back", "read", "state_of", "write"]


def write(path, tensors, about):
    """Write tensors {name: tensor} and `about`, which JSON can hold, to a safetensors file in one move."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(_apart(tensors), fresh, {"superpos": json.dumps(about)})
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def _apart(tensors):
    """Tensors in memory of their own each, as the format asks; copied only where they are not already."""
    apart, taken = {}, set()
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        memory = value.untyped_storage()
        if memory.data_ptr() in taken or memory.nbytes() != value.nbytes:
            value = value.clone()
        taken.add(value.untyped_storage().data_ptr())
        apart[name] = value
    return apart


def read(path, needed=()):
    """What `write` wrote. → tensors, about ({} for a file of another kind).

    ValueError for a file whose `about` lacks a name in `needed`; SafetensorError for one that was cut short.
    """
    with safe_open(path, "pt") as file:
        about = json.loads((file.metadata() or {}).get("superpos", "{}"))
        lacking = [name for name in needed if name not in about]
        if lacking:
            raise ValueError(
                f"{path} is a file of another kind: it does not say {', '.join(lacking)}; name another file"
            )
        return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118 - not a mapping


def state_of(model, optimizer, generator):
    """Weights, the optimizer's moments, and the generator, as tensors by name."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for i, values in optimizer.state_dict()["state"].items():
        found = {name: value for name, value in values.items() if value is not None}
        tensors |= {f"optimizer.{i}.{name}": torch.as_tensor(value) for name, value in found.items()}
    return tensors | {"generator": generator.get_state()}


def put_back(tensors, model, optimizer, generator):
    """Set a model, its optimizer and a generator to what `state_of` gave; other tensors are passed over."""
    states, weights = {}, {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "model":
            weights[rest] = value
        elif kind == "optimizer":
            i, _, what = rest.partition(".")
            states.setdefault(int(i), {})[what] = value
    model.load_state_dict(weights)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    generator.set_state(tensors["generator"])
