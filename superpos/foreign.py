"""SAEs of others: any object that encodes, brought to the face that a Dictionary has; and published ones by name."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import Float, Int
from torch import Tensor, nn

from superpos.dictionaries import Dictionary, load
from superpos.sae import SparseAutoencoder

__all__ = ["Adapted", "Top", "adapt", "fetch", "published"]


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
    foreign: bool = True  # False for SAEs that are fitted here

    def encode(self, x: Float[Tensor, "n N"]) -> Float[Tensor, "n D"]:
        """Dense codes of activations. Raises TypeError where the object gives something else than codes."""
        codes = self.codes(x)
        if not isinstance(codes, Top):
            return codes
        return codes.values.new_zeros(len(x), codes.n_codes).scatter_(-1, codes.places, codes.values)

    def reconstruct(self, x: Float[Tensor, "n N"]) -> Float[Tensor, "n N"]:
        """What the codes of activations write. TypeError where the object cannot decode."""
        if self.decode is None:
            raise TypeError(f"{self.name} cannot decode dense codes")
        return self.decode(self.encode(x))


def adapt(sae: Any, label: str = "sae") -> Adapted | Dictionary:
    """Bring any SAE to one face, which has `encode`, `decode`, `dictionary` and `name`.

    `sae` is an SAE of SAELens, dictionary_learning, sparsify or superpos, or any object whose `encode` gives codes (rows,
    codes). Its dictionary is what it calls `dictionary`, `W_dec` as SAELens and sparsify do, or the weights of its linear
    `decoder` as dictionary_learning does. Raises TypeError, which names `label`, for an object that has no `encode`.
    """
    if isinstance(sae, Adapted | Dictionary):
        return sae
    if isinstance(sae, str) or not hasattr(sae, "encode"):
        raise TypeError(f"{label} must have an encode method, got {type(sae).__name__}")
    dictionary = getattr(sae, "dictionary", getattr(sae, "W_dec", None))
    if dictionary is None and isinstance(getattr(sae, "decoder", None), nn.Linear):  # as dictionary_learning has it
        dictionary = sae.decoder.weight.T
    dictionary = None if dictionary is None else dictionary.detach()
    n_codes = getattr(sae, "num_latents", None)  # sparsify's alone have it, and decode nothing but top codes
    tensors = [*sae.parameters()] if isinstance(sae, nn.Module) else [] if dictionary is None else [dictionary]
    like = next((one for one in tensors if one.is_floating_point()), None)
    name = getattr(sae, "name", type(sae).__name__)

    def codes(x: Tensor) -> Tensor | Top:
        if dictionary is not None and x.shape[1] != dictionary.shape[1]:
            raise ValueError(f"{name} reads {dictionary.shape[1]} neurons, got activations {tuple(x.shape)}")
        with _evaluated(sae):
            given = sae.encode(x if like is None else x.to(like))
        return _checked_codes(given, x, name, n_codes or (0 if dictionary is None else len(dictionary)))

    def decode(z: Tensor) -> Tensor:
        with _evaluated(sae):
            return sae.decode(z if like is None else z.to(like)).float()

    ours = isinstance(sae, SparseAutoencoder)
    decodes = not n_codes and hasattr(sae, "decode")
    return Adapted(name, codes, decode if decodes else None, dictionary, not ours)


@contextmanager
def _evaluated(sae: Any) -> Iterator[None]:
    """A torch module in evaluation mode inside `with`: BatchTopK SAEs keep other codes while they are trained."""
    modes = {m: m.training for m in sae.modules()} if isinstance(sae, nn.Module) else {}
    try:
        for module in modes:
            module.training = False
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _checked_codes(given: Any, x: Tensor, name: str, n_codes: int) -> Tensor | Top:
    """What an `encode` gave for x, in float32. TypeError for what are no codes, ValueError for another number of rows."""
    if hasattr(given, "top_acts"):
        given = Top(given.top_acts.float(), given.top_indices, n_codes)
        n = len(given.values)
    else:
        if not isinstance(given, Tensor) or given.ndim != 2:
            shape = getattr(given, "shape", "")
            raise TypeError(f"encode must give codes (rows, codes), got {type(given).__name__} {shape}")
        given = (given.to_dense() if given.is_sparse else given).float()
        n = len(given)
    if n != len(x):
        raise ValueError(f"{name}: encode gave codes for {n} rows, got {len(x)}")
    return given


def published(name: str, site: str = "", device: Any = "cpu") -> Adapted | Dictionary:
    """A published SAE by the names that people use, downloaded where it is not here yet.

    The name is one of

    a local folder          `site` lies below it; read by `load`
    OWNER/NAME on the hub   a repository of Hugging Face as sparsify publishes: `site` is its hookpoint; read by `load`
    a release of SAELens    `site` is the id of one SAE; read by SAELens, which has to be installed

    Raises FileNotFoundError, with the remedy, where there is neither folder nor network nor SAELens.
    """
    if (folder := Path(name).expanduser()).is_dir():
        return load(folder / site)
    if "/" in name:
        return load(
            fetch(name, [f"{site}/*.{kind}" if site else f"*.{kind}" for kind in ("json", "safetensors")]) / site
        ).to(device)
    try:
        from sae_lens import SAE
    except ImportError as error:
        raise FileNotFoundError(
            f"{name} is no folder here; as a release of SAELens it needs pip install sae-lens"
        ) from error
    try:
        found = SAE.from_pretrained(name, site, device=str(device))
    except (OSError, ValueError, KeyError) as error:
        raise FileNotFoundError(f"SAELens gave no SAE {site!r} of the release {name!r}: {error}") from error
    return adapt(found[0] if isinstance(found, tuple) else found)


def fetch(repository: str, patterns: Sequence[str] = ("*.json", "*.safetensors"), revision: str | None = None) -> Path:
    """The local folder that holds the files of a repository of the Hugging Face hub which fit the patterns.

    They are taken from the local cache where they lie there. `revision` is a branch, tag or commit (None: the newest).
    Raises FileNotFoundError, which says the remedy, where there is no such repository, or neither cache nor network.
    """
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(patterns)))
    except HFValidationError as error:
        raise FileNotFoundError(f"there is no folder {repository!r}, and it is no name on the hub ({error})") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise FileNotFoundError(
            f"{repository} is not in the local cache and could not be fetched from the Hugging Face hub "
            f"({type(error).__name__}). Check the name and the network; "
            f"or copy it here from a machine that has one (hf download {repository} --local-dir FOLDER) and name FOLDER."
        ) from error
