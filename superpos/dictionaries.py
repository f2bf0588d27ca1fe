"""Dictionaries that others have trained: files read into one class.

    z = act(W_enc (x − s) + b_enc)      act: ReLU, the k largest of ReLU (TopK), or ReLU above a threshold; s: b_dec, or nothing
    x' = W_decᵀ z + b_dec

A gated SAE is one with a threshold: its gate W x + b_gate is open where its magnitude e^r W x + b_mag lies above
b_mag − e^r b_gate. Activations may be normalised row by row before, which is undone after.

    SAELens     cfg.json, sae_weights.safetensors: W_enc (N, D), b_enc (D,), W_dec (D, N), b_dec (N,); with a threshold (JumpReLU,
                as which BatchTopK SAEs are published), or b_gate, b_mag and r_mag in place of b_enc (gated)
    sparsify    cfg.json, sae.safetensors: encoder.weight (D, N), encoder.bias (D,), W_dec (D, N), b_dec (N,)
    superpos    one file, as `superpos.sae.SparseAutoencoder.save` writes it

What a configuration asks for is done, or refused by name. Only safetensors are read: a pickle can run any program.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from superpos.descent import keep_largest
from superpos.sae import SparseAutoencoder

__all__ = ["Dictionary", "load"]

SAELENS, SPARSIFY = "sae_weights.safetensors", "sae.safetensors"
WEIGHTS = {  # names in these files of the encoder, its bias, the decoder, its bias
    SAELENS: ("W_enc", "b_enc", "W_dec", "b_dec"),
    SPARSIFY: ("encoder.weight", "encoder.bias", "W_dec", "b_dec"),
}
GATED = ("b_gate", "b_mag", "r_mag")
DONE = {  # what a configuration may say, in SAELens's words of all versions and in sparsify's
    "architecture": ("standard", "topk", "jumprelu", "gated"),
    "activation_fn": ("relu", "topk"),
    "activation_fn_str": ("relu", "topk"),
    "activation": ("topk",),
    "normalize_activations": ("none", False, None, "layer_norm", "constant_norm_rescale"),
    "reshape_activations": ("none", None, "hook_z"),  # heads lie side by side in the rows that are read
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
    number of codes kept of each row, or None for all; codes that are not above their `threshold` are zero; `normalized` is
    how rows are normalised, by SAELens's names, or None; `name` says where it came from; `about` is its configuration as
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
    threshold: Tensor | None = None  # (D,)
    normalized: str | None = None

    foreign = True

    def __post_init__(self) -> None:
        if self.encoder.ndim != 2:
            raise ValueError(f"{self.name}: the encoder must be (codes, neurons), got {tuple(self.encoder.shape)}")
        D, N = self.encoder.shape
        expected = {"encoder": (D, N), "encoder_bias": (D,), "dictionary": (D, N), "bias": (N,), "subtracted": (N,)}
        expected["threshold"] = (D,)
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
        """Activations in float32, normalised, less what is subtracted. Raises ValueError for another width than N."""
        if x.shape[-1] != self.n_neurons:
            raise ValueError(f"{self.name} reads {self.n_neurons} neurons, got activations {tuple(x.shape)}")
        shift, scale = self._norm(x.to(self.encoder))
        x = x.to(self.encoder) if scale is None else (x.to(self.encoder) - shift) / scale
        return x if self.subtracted is None else x - self.subtracted

    def _norm(self, x):
        """What normalising takes from each row, and by what it divides it, as SAELens does."""
        if self.normalized == "layer_norm":
            return x.mean(-1, keepdim=True), x.std(-1, keepdim=True) + 1e-5
        if self.normalized == "constant_norm_rescale":
            return 0.0, x.norm(dim=-1, keepdim=True) / self.n_neurons**0.5
        return 0.0, None

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "n M"]) -> Float[Tensor, "n D"]:
        """Codes of activations, all held at once: for few rows (`superpos.usage.Usage` is for many)."""
        z = torch.addmm(self.encoder_bias, self.centred(x), self.encoder.T)
        z = (z if self.threshold is None else z.mul_(z > self.threshold)).relu_()
        return z if self.k is None else keep_largest(z, self.k)

    @torch.no_grad()
    def reconstruct(self, x: Float[Tensor, "n N"]) -> Float[Tensor, "n N"]:
        """What the codes of activations write, on the scale of these."""
        back, (shift, scale) = self.decode(self.encode(x)), self._norm(x.to(self.encoder))
        return back if scale is None else back * scale + shift

    @torch.no_grad()
    def decode(self, z: Float[Tensor, "n D"]) -> Float[Tensor, "n N"]:
        """Reconstructions of activations from codes."""
        if int(torch.count_nonzero(z)) < SPARSE * z.numel():
            return torch.sparse.mm(z.to_sparse(), self.dictionary) + self.bias
        return z @ self.dictionary + self.bias


def load(path: str | Path) -> Dictionary:
    """Read a dictionary in any of the three formats from a folder or file.

    Raises FileNotFoundError where the folder or its safetensors are missing, and ValueError, which names the path, for
    weights of another layout and for a configuration that asks for what is not done here.
    """
    path = Path(path)
    if path.is_file():
        return Dictionary.of(SparseAutoencoder.load(path), str(path))
    file = _file_of(path)
    about, weights = _read(path, file)
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
    encoder, bias, threshold = _thresholded(weights)
    encoder = encoder.T.contiguous() if file == SAELENS else encoder
    subtracted = weights["b_dec"] if about.get("apply_b_dec_to_input", True) else None
    norm = about.get("normalize_activations")
    norm = norm if norm in ("layer_norm", "constant_norm_rescale") else None
    rest = {"threshold": threshold, "normalized": norm}
    decoder = (weights["W_dec"], weights["b_dec"])
    found = Dictionary(encoder, bias, *decoder, subtracted, _kept(path, file, about), str(path), about, **rest)
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


def _read(path: Path, file: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and weights of a folder, named as SAELens does but for the encoder. ValueError for other names or types, and
    for a file that was cut short."""
    try:
        about = json.loads((path / "cfg.json").read_text())
    except ValueError as error:
        raise ValueError(f"{path / 'cfg.json'} is not whole JSON ({error}); fetch it again") from error
    if not isinstance(about, dict):
        raise ValueError(f"{path / 'cfg.json'} must hold an object, got {type(about).__name__}")
    try:
        weights = load_file(path / file)
    except SafetensorError as error:
        raise ValueError(f"{path / file} is not a whole safetensors file ({error}); fetch it again") from error
    factor = weights.pop("scaling_factor", None)
    if factor is not None and not bool((factor == 1).all()):
        raise ValueError(f"{path / file} holds a scaling_factor other than one, which is not done here")
    names = WEIGHTS[file]
    gated = file == SAELENS and about.get("architecture") == "gated"
    wanted = {names[0], *(GATED if gated else names[1:2]), *names[2:]}
    wanted |= {"threshold"} if about.get("architecture") == "jumprelu" else set()
    for what, others in (("lacks", wanted - weights.keys()), ("also holds", weights.keys() - wanted)):
        if others:
            raise ValueError(f"{path / file} {what} {', '.join(sorted(others))}; expected {', '.join(sorted(wanted))}")
    for name, values in weights.items():
        if not values.is_floating_point():
            raise ValueError(f"{path / file}: {name} must be floating-point, got {values.dtype}")
    weights = {{"encoder.weight": "W_enc", "encoder.bias": "b_enc"}.get(name, name): v for name, v in weights.items()}
    if weights["b_dec"].ndim == 2 and len(weights["b_dec"]) == 1:
        weights["b_dec"] = weights["b_dec"][0]
    return about, weights


def _thresholded(weights: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
    """Encoder, its bias and threshold, those of a gated SAE as the head of this module says."""
    if "b_gate" not in weights:
        return weights["W_enc"], weights["b_enc"], weights.get("threshold")
    size = weights["r_mag"].float().exp()
    return (
        weights["W_enc"].float() * size,
        weights["b_mag"],
        weights["b_mag"].float() - size * weights["b_gate"].float(),
    )


def _kept(path: Path, file: str, about: dict[str, Any]) -> int | None:
    """The number of codes kept of each row, None for all. ValueError for TopK without a number; sparsify's always are TopK."""
    asked = [about.get(name) for name in ("architecture", "activation_fn", "activation_fn_str")]
    if file == SAELENS and "topk" not in asked:
        return None
    k = about.get("k") or (about.get("activation_fn_kwargs") or {}).get("k")
    if not k:
        raise ValueError(f"{path}/cfg.json asks for topk but gives no k, the number of codes kept of each row")
    return int(k)
