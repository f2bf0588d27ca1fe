"""A raw batch → the arguments that a model's forward takes, and the masks that say which tokens are no padding.

A dict gives by name what the forward takes by name, or, where it knows none of the names, its only input. Of a tuple as many
parts are taken as the forward must have, and the mask after them if that is its next name. Labels are left out unless they
are needed. Masks count whether the model takes them or not; where a batch holds several streams of tokens (encoder and
decoder, text and images) it must be said whose mask is meant.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

__all__ = ["MASKS", "Arguments", "Takes"]

TARGETS = ("label", "labels", "target", "targets", "y")
MASKS = {  # and whether true marks padding
    "attention_mask": False, "decoder_attention_mask": False, "src_key_padding_mask": True, "tgt_key_padding_mask": True,
    "key_padding_mask": True,
}  # fmt: skip
UNCLEAR = ("mask", "masks", "padding_mask", "pad_mask")
LENGTHS = ("lengths", "seq_lengths", "seq_lens", "input_lengths", "x_lengths")
STREAMS = {  # names that begin so are inputs of one stream
    "decoder": ("decoder_input", "tgt"), "images": ("pixel_values",), "sound": ("input_features", "input_values"),
    "text": ("input_ids", "inputs_embeds", "src"),
}  # fmt: skip
INPUTS = ("x", "input", "inputs", "features", "image", "images", "img", "data")  # names that are surely inputs
WRAPPERS = ("module", "_orig_mod")  # of parallel and compiled models: the model itself


@dataclass
class Arguments:
    """Arguments of one call of a model, and the masks found: true for tokens that are no padding."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    masks: dict[str, Bool[Tensor, "B T"]] = field(default_factory=dict)
    streams: tuple[str, ...] = ()

    def mask(self, wanted: str | None) -> Bool[Tensor, "B T"] | None:
        """The mask of a name, none for "", and for None the only one. ValueError where that is not clear."""
        if wanted == "" or (wanted is None and not self.masks):
            return None
        names = ", ".join(self.masks) or "none"
        if wanted is not None:
            if wanted not in self.masks:
                raise ValueError(
                    f"mask must be one of the masks that a batch holds ({names}), or empty, got {wanted!r}"
                )
            return self.masks[wanted]
        if len(self.masks) > 1 or len(self.streams) > 1:
            streams = " and ".join(self.streams) or "several streams"
            raise ValueError(
                f"a batch holds {streams} and the masks {names}: say whose padding is meant, mask={next(iter(self.masks))!r}, or "
                "mask='' for layers without any, and read layers of different streams by a call each"
            )
        return next(iter(self.masks.values()))


@dataclass(frozen=True)
class Takes:
    """What a model's forward takes: names in order, those it must be given, and whether it takes any name."""

    names: tuple[str, ...] = ()
    must: tuple[str, ...] = ()
    anything: bool = True

    @classmethod
    def of(cls, module: nn.Module) -> "Takes":
        """Read from the signature of `forward`, of the model itself where it is wrapped."""
        while type(module).__name__ in ("DataParallel", "DistributedDataParallel", "OptimizedModule"):
            module = next(getattr(module, name) for name in WRAPPERS if name in module._modules)
        try:
            parameters = list(inspect.signature(type(module).forward).parameters.values())[1:]  # without self
        except (TypeError, ValueError):  # a forward written in C
            return cls()
        named = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        must = tuple(p.name for p in named if p.default is p.empty and p.kind is not p.KEYWORD_ONLY)
        return cls(tuple(p.name for p in named), must, any(p.kind is p.VAR_KEYWORD for p in parameters))

    def arranged(self, raw: Any) -> Arguments:
        """A raw batch as arguments. Raises ValueError, with the names found, for what does not fit."""
        if isinstance(raw, Mapping):
            return self._by_name(raw)
        return self._by_place(raw) if isinstance(raw, tuple | list) else Arguments((raw,), {})

    def _by_place(self, parts: tuple[Any, ...] | list[Any]) -> Arguments:
        n = max(1, len(self.must))
        while n < min(len(parts), len(self.names)) and self.names[n] in MASKS and _marks_padding(parts[n], parts[0]):
            n += 1
        if self.names and len(parts) > len(self.names) + 2:
            raise ValueError(
                f"a batch is a {type(parts).__name__} of {len(parts)} parts, and the model's forward takes "
                f"{', '.join(self.names)}: give one tensor whose first axis counts samples"
            )
        taken = tuple(parts[:n])
        return Arguments(taken, {}, _masks(dict(zip(self.names, taken, strict=False))))

    def _by_name(self, raw: Mapping[str, Any]) -> Arguments:
        tensors = {name: value for name, value in raw.items() if isinstance(value, Tensor) and value.ndim}
        if unclear := [name for name in tensors if name in UNCLEAR and tensors[name].ndim == 2]:
            raise ValueError(
                f"a batch holds {unclear[0]!r}, which may mean what is real or what is padding: name it attention_mask (true "
                "where a token is real) or src_key_padding_mask (true where it is padding)"
            )
        masks = _masks(tensors)
        inputs = {name: value for name, value in tensors.items() if name not in TARGETS or name in self.must}
        inputs |= {name: value for name, value in tensors.items() if name in TARGETS[2:] and name in self.names}
        taken = {
            name: value for name, value in inputs.items() if name in self.names or (self.anything and name in MASKS)
        }
        plain = {name: value for name, value in inputs.items() if name not in MASKS and name not in LENGTHS}
        if not taken.keys() - MASKS.keys() - set(LENGTHS):  # no name that it knows: one input may stand for the first
            sure = _streams(plain) or plain.keys() & set(INPUTS)
            left = [] if sure else [name for name in raw if name not in tensors and name not in TARGETS]
            if len(plain) == 1 and len(self.must) <= 1 and not left and not (self.anything and not self.names):
                return Arguments(tuple(plain.values()), self._renamed(taken, masks), masks, _streams(inputs))
            taken = inputs if self.anything and plain else {}
        missing = [name for name in self.must if name not in taken]
        if missing or not taken:
            kinds = {name: "" if name in tensors else f" ({_kind(value)})" for name, value in raw.items()}
            holds = ", ".join(f"{name}{kind}" for name, kind in kinds.items()) or "nothing"
            wants = ", ".join(self.names) or "arguments of any name"
            raise ValueError(f"a batch holds {holds}, and the model's forward takes {wants}")
        return Arguments((), self._renamed(taken, masks), masks, _streams(inputs))

    def _renamed(self, taken: dict[str, Any], masks: dict[str, Tensor]) -> dict[str, Any]:
        """The mask that was given, also by the one other name by which a forward takes masks."""
        others = [name for name in self.names if name in MASKS and name not in taken]
        if len(masks) == 1 and len(others) == 1 and not taken.keys() & MASKS.keys():
            (mask,) = masks.values()
            return taken | {others[0]: ~mask if MASKS[others[0]] else mask}
        return taken


def _kind(value: Any) -> str:
    one = value[0] if isinstance(value, list | tuple) and value else value
    return f"{type(value).__name__} of {type(one).__name__}" if one is not value else type(value).__name__


def _streams(inputs: dict[str, Any]) -> tuple[str, ...]:
    return tuple(
        name for name, starts in STREAMS.items() if any(key.startswith(starts) for key in inputs if key not in MASKS)
    )


def _marks_padding(part: Any, first: Any) -> bool:
    """Whether a part of a tuple looks like a mask of the first: as many tokens, zeros and ones, padding at one end of each."""
    if not (
        isinstance(part, Tensor) and isinstance(first, Tensor) and part.ndim == 2 and part.shape == first.shape[:2]
    ):
        return False
    if not bool(((part == 0) | (part == 1)).all()):
        return False
    return bool(((part[:, 1:].int() - part[:, :-1].int()) != 0).sum(1).le(1).all())


def _masks(inputs: dict[str, Any]) -> dict[str, Bool[Tensor, "B T"]]:
    """The masks among named inputs, true for what is no padding. ValueError for one that is not (samples, tokens)."""
    found = {}
    for name, value in inputs.items():
        if name in MASKS and isinstance(value, Tensor):
            if value.ndim != 2:
                raise ValueError(f"{name} must be (samples, tokens), got {tuple(value.shape)}")
            found[name] = (value == 0) if MASKS[name] else (value != 0)
        if name in LENGTHS and isinstance(value, Tensor) and value.ndim == 1 and not value.is_floating_point():
            longest = max(
                (one.shape[1] for one in inputs.values() if isinstance(one, Tensor) and one.ndim > 1), default=0
            )
            found[name] = torch.arange(longest) < value.cpu()[:, None]
    return found
