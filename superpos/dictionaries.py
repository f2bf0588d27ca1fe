"""Dictionaries that others have trained: files read into one class, and any object that encodes brought to one face.

    z = act(W_enc (x − s) + b_enc)      act: ReLU, or the k largest of ReLU (TopK); s: b_dec, or nothing
    x' = W_decᵀ z + b_dec

    SAELens     cfg.json, sae_weights.safetensors: W_enc (N, D), b_enc (D,), W_dec (D, N), b_dec (N,)
    sparsify    cfg.json, sae.safetensors: encoder.weight (D, N), encoder.bias (D,), W_dec (D, N), b_dec (N,)
    superpos    one file, as `superpos.sae.SparseAutoencoder.save` writes it

What a configuration asks for is done, or refused by name. Only safetensors are read: a pickle can run any program.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from superpos.descent import keep_largest
from superpos.sae import SparseAutoencoder

__all__ = ["Adapted", "Dictionary", "Top", "adapt", "load"]

SAELENS, SPARSIFY = "sae_weights.safetensors", "sae.safetensors"
WEIGHTS = {  # names in these files of the encoder, its bias, the decoder, its bias
    SAELENS: ("W_enc", "b_enc", "W_dec", "b_dec"),
    SPARSIFY: ("encoder.weight", "encoder.bias", "W_dec", "b_dec"),
}
DONE = {  # what a configuration may say, in SAELens's words of all versions and in sparsify's
    "architecture": ("standard", "topk"),
    "activation_fn": ("relu", "topk"),
    "activation_fn_str": ("relu", "topk"),
    "activation": ("topk",),
    "normalize_activations": ("none", False, None),
    "reshape_activations": ("none", None),
    "apply_b_dec_to_input": (True, False),
} | dict.fromkeys(
    ("rescale_acts_by_decoder_norm", "finetuning_scaling_factor", "transcode", "skip_connection", "signed"),
    (False, None),
)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
SPARSE = 0.05  # share of active codes below which decoding them alone is sooner


@dataclass(frozen=True)
class Dictionary:
    """A dictionary of D codes for N neurons, in float32, by the formula that heads this module.

    `dictionary` and `bias` are the decoder's; `subtracted` is what is taken from x before encoding, or None; `k` is the
    number of codes kept of each row, or None for all; `name` says where it came from; `about` is its configuration as
    published. Raises ValueError, which gives the name, for shapes that do not fit and for weights that are not finite.
    """

    encoder: Tensor  # (D, N); shapes are checked below, because files may hold others
    encoder_bias: Tensor  # (D,)
    dictionary: Tensor  # (D, N)
    bias: Tensor  # (N,)
    subtracted: Tensor | None = None  # (N,)
    k: int | None = None
    name: str = "dictionary"
    about: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.encoder.ndim != 2:
            raise ValueError(f"{self.name}: the encoder must be (codes, neurons), got {tuple(self.encoder.shape)}")
        D, N = self.encoder.shape
        expected = {"encoder": (D, N), "encoder_bias": (D,), "dictionary": (D, N), "bias": (N,), "subtracted": (N,)}
        for field, shape in expected.items():
            values = getattr(self, field)
            if values is None:
                continue
            if tuple(values.shape) != shape:
                raise ValueError(f"{self.name}: {field} must be {shape}, got {tuple(values.shape)}")
            finite = bool(torch.isfinite(values.sum()))  # counting takes longer than reading the file
            bad = 0 if finite else values.numel() - int(torch.isfinite(values).sum())
            if bad:
                raise ValueError(f"{self.name}: {field} holds {bad} of {values.numel()} values that are not finite")
            object.__setattr__(self, field, values.float())
        if self.k is not None and not 1 <= self.k <= D:
            raise ValueError(f"{self.name}: k must be between 1 and its {D} codes, got {self.k}")

    @property
    def n_codes(self) -> int:
        """The number of codes D."""
        return len(self.encoder)

    @property
    def n_neurons(self) -> int:
        """The number of neurons N."""
        return self.encoder.shape[1]

    @classmethod
    def of(cls, sae: SparseAutoencoder, name: str = "superpos") -> "Dictionary":
        """A fitted SAE as a Dictionary; what divides x goes into its weights."""
        bias = sae.dictionary.new_zeros(sae.encoder.shape[1]) if sae.decoder_bias is None else sae.decoder_bias
        weights = sae.encoder / sae.scale, sae.encoder_bias, sae.dictionary * sae.scale, bias * sae.scale
        return cls(*weights, k=sae.settings.k, name=name)

    def to(self, device: Any) -> "Dictionary":
        """The same dictionary on a device."""
        if self.encoder.device == torch.device(device):
            return self
        tensors = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Dictionary(**(vars(self) | tensors))

    def centred(self, x: Float[Tensor, "n M"]) -> Float[Tensor, "n N"]:
        """Activations in float32, less what is subtracted. Raises ValueError for another width than N."""
        if x.shape[-1] != self.n_neurons:
            raise ValueError(f"{self.name} reads {self.n_neurons} neurons, got activations {tuple(x.shape)}")
        x = x.to(self.encoder)
        return x if self.subtracted is None else x - self.subtracted

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "n M"]) -> Float[Tensor, "n D"]:
        """Codes of activations, all held at once: for few rows (`superpos.measurement.Usage` is for many)."""
        z = torch.addmm(self.encoder_bias, self.centred(x), self.encoder.T).relu_()
        return z if self.k is None else keep_largest(z, self.k)

    @torch.no_grad()
    def decode(self, z: Float[Tensor, "n D"]) -> Float[Tensor, "n N"]:
        """Reconstructions of activations from codes."""
        if int(torch.count_nonzero(z)) < SPARSE * z.numel():
            return torch.sparse.mm(z.to_sparse(), self.dictionary) + self.bias
        return z @ self.dictionary + self.bias


class Top(NamedTuple):
    """The codes of some rows as sparsify gives them: those that are kept, and which of all `n_codes` they are."""

    values: Float[Tensor, "n k"]
    places: Int[Tensor, "n k"]
    n_codes: int


@dataclass(frozen=True)
class Adapted:
    """A foreign SAE behind the face that a Dictionary has: `encode`, `decode`, `dictionary` and `name`.

    `codes` gives what the object's own `encode` gives: dense codes, or sparsify's top codes. `decode` is None where the
    object cannot decode dense codes, and `dictionary`, what each code writes to each neuron, where it does not say.
    """

    name: str
    codes: Callable[[Tensor], Tensor | Top]
    decode: Callable[[Tensor], Tensor] | None
    dictionary: Float[Tensor, "D N"] | None

    def encode(self, x: Float[Tensor, "n N"]) -> Float[Tensor, "n D"]:
        """Dense codes of activations. Raises TypeError where the object gives something else than codes."""
        codes = self.codes(x)
        if not isinstance(codes, Top):
            return codes
        return codes.values.new_zeros(len(x), codes.n_codes).scatter_(-1, codes.places, codes.values)


def adapt(sae: Any, label: str = "sae") -> Adapted | Dictionary:
    """Bring any SAE to one face, which has `encode`, `decode`, `dictionary` and `name`.

    `sae` is an SAE of SAELens, dictionary_learning, sparsify or superpos, or any object whose `encode` gives codes (rows,
    codes). Its dictionary is what it calls `dictionary` or, as SAELens and sparsify do, `W_dec`. Raises TypeError, which
    names `label`, for an object that has no `encode`.
    """
    if isinstance(sae, Adapted | Dictionary):
        return sae
    if isinstance(sae, str) or not hasattr(sae, "encode"):
        raise TypeError(f"{label} must have an encode method, got {type(sae).__name__}")
    dictionary = getattr(sae, "dictionary", getattr(sae, "W_dec", None))
    dictionary = None if dictionary is None else dictionary.detach()
    n_codes = getattr(sae, "num_latents", None)  # sparsify's alone have it, and decode nothing but top codes

    def codes(x: Tensor) -> Tensor | Top:
        given = sae.encode(x)
        if hasattr(given, "top_acts"):
            return Top(given.top_acts, given.top_indices, n_codes or len(dictionary))
        if not isinstance(given, Tensor) or given.ndim != 2:
            shape = getattr(given, "shape", "")
            raise TypeError(f"encode must give codes (rows, codes), got {type(given).__name__} {shape}")
        return given.to_dense() if given.is_sparse else given

    decode = None if n_codes else getattr(sae, "decode", None)
    return Adapted(getattr(sae, "name", type(sae).__name__), codes, decode, dictionary)


def load(path: str | Path) -> Dictionary:
    """Read a dictionary in any of the three formats from a folder or file.

    Raises FileNotFoundError where the folder or its safetensors are missing, and ValueError, which names the path, for
    weights of another layout and for a configuration that asks for what is not done here.
    """
    path = Path(path)
    if path.is_file():
        return Dictionary.of(SparseAutoencoder.load(path), str(path))
    file = _file_of(path)
    about, (encoder, *others) = _read(path, file)
    said = about | {name: value for name, value in (about.get("metadata") or {}).items() if value}
    for name in DONE.keys() & about.keys():
        if about[name] not in DONE[name]:
            known = " or ".join(map(repr, DONE[name]))
            raise ValueError(f"{path}/cfg.json: {name} is {about[name]!r}; here only {known} is done")
    for name in ("center_writing_weights", "fold_ln"):
        if (said.get("model_from_pretrained_kwargs") or {}).get(name):
            raise ValueError(
                f"{path}/cfg.json: it was fitted to a model loaded with {name}, whose activations differ from those of "
                "the model as published, which are read here"
            )
    subtracted = others[-1] if about.get("apply_b_dec_to_input", True) else None
    encoder = encoder.T.contiguous() if file == SAELENS else encoder
    found = Dictionary(encoder, *others, subtracted, _kept(path, file, about), str(path), about)
    for name, size in {"d_in": found.n_neurons, "d_sae": found.n_codes, "num_latents": found.n_codes}.items():
        if about.get(name) not in (None, 0, size):
            raise ValueError(f"{path}: cfg.json says {name} = {about[name]}, the weights have {size}")
    return found


def _file_of(path: Path) -> str:
    """The name of the file of weights in a folder. FileNotFoundError, with the remedy, where there is none to read."""
    if not path.is_dir():
        raise FileNotFoundError(f"there is no dictionary at {path}: expected a folder with cfg.json and safetensors")
    there = sorted(p.name for p in path.iterdir())
    for file in WEIGHTS:
        if file in there and "cfg.json" not in there:
            raise FileNotFoundError(f"{path} holds {file} but no cfg.json, which says how to read it")
        if file in there:
            return file
    pickled = [name for name in there if name.endswith(PICKLES)]
    if pickled:
        raise FileNotFoundError(
            f"{path} holds {pickled[0]}, a pickle, which is not read because it could run any program; convert it with "
            "the package that wrote it (SAELens: sae.save_model, sparsify: sae.save_to_disk) and name that folder"
        )
    raise FileNotFoundError(f"{path} holds none of {', '.join(WEIGHTS)}; it holds {', '.join(there) or 'nothing'}")


def _read(path: Path, file: str) -> tuple[dict[str, Any], list[Tensor]]:
    """Configuration and weights of a folder. ValueError for other names or types, and for a file that was cut short."""
    names = WEIGHTS[file]
    try:
        weights = load_file(path / file)
    except SafetensorError as error:
        raise ValueError(f"{path / file} is not a whole safetensors file ({error}); fetch it again") from error
    for what, others in (("lacks", set(names) - weights.keys()), ("also holds", weights.keys() - set(names))):
        if others:
            raise ValueError(f"{path / file} {what} {', '.join(sorted(others))}; expected {', '.join(names)}")
    for name, values in weights.items():
        if not values.is_floating_point():
            raise ValueError(f"{path / file}: {name} must be floating-point, got {values.dtype}")
    return json.loads((path / "cfg.json").read_text()), [weights[name] for name in names]


def _kept(path: Path, file: str, about: dict[str, Any]) -> int | None:
    """The number of codes kept of each row, None for all. ValueError for TopK without a number; sparsify's always are TopK."""
    asked = [about.get(name) for name in ("architecture", "activation_fn", "activation_fn_str")]
    if file == SAELENS and "topk" not in asked:
        return None
    k = about.get("k") or (about.get("activation_fn_kwargs") or {}).get("k")
    if not k:
        raise ValueError(f"{path}/cfg.json asks for topk but gives no k, the number of codes kept of each row")
    return int(k)
