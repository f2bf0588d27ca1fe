"""Published dictionaries of language models, read by name or by folder.

    z = act(W_enc (x − s) + b_enc)      act: ReLU, or the k largest of ReLU (TopK); s: b_dec, or nothing
    x' = W_decᵀ z + b_dec

    saelens     cfg.json, sae_weights.safetensors: W_enc (N, D), b_enc (D,), W_dec (D, N), b_dec (N,)     (SAELens)
    sparsify    cfg.json, sae.safetensors: encoder.weight (D, N), encoder.bias (D,), W_dec (D, N), b_dec (N,)
    superpos    one file, as `superpos.sae.SparseAutoencoder.save` writes it

What a configuration asks for is done, or refused by name. Only safetensors are read: a pickle can run any program.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from superpos.sae import SparseAutoencoder

__all__ = [
    "PUBLISHED",
    "Dictionary",
    "fetch",
    "load",
    "locate",
    "save_saelens",
    "save_sparsify",
]

PUBLISHED = {  # site: (repository, folder); {layer} is filled in
    "marks": {  # Marks et al. 2024, ReLU + L1, for pythia-70m-deduped, in SAELens's format
        "embed": ("ctigges/pythia-70m-deduped__res-sm_processed", "e-res-sm"),
        "attention": ("ctigges/pythia-70m-deduped__att-sm_processed", "{layer}-att-sm"),
        "mlp": ("ctigges/pythia-70m-deduped__mlp-sm_processed", "{layer}-mlp-sm"),
        "residual": ("ctigges/pythia-70m-deduped__res-sm_processed", "{layer}-res-sm"),
    },
    "eleuther": {  # EleutherAI, TopK, for pythia-70m-deduped, in sparsify's format; none for the embedding
        "attention": ("EleutherAI/sae-pythia-70m-deduped-32k", "layers.{layer}.attention"),
        "mlp": ("EleutherAI/sae-pythia-70m-deduped-32k", "layers.{layer}.mlp"),
        "residual": ("EleutherAI/sae-pythia-70m-deduped-32k", "layers.{layer}"),
    },
}
HOOKS = {  # site: what TransformerLens calls it
    "embed": ("hook_resid_pre", "hook_embed"),
    "attention": ("hook_attn_out",),
    "mlp": ("hook_mlp_out",),
    "residual": ("hook_resid_post",),
}
FILES = {"saelens": "sae_weights.safetensors", "sparsify": "sae.safetensors"}
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True)
class Dictionary:
    """A dictionary of D codes for N neurons, float32: ``encode (n, N) → (n, D)``, ``decode (n, D) → (n, N)``.

    encoder (D, N), encoder_bias (D,), dictionary (D, N) and bias (N,) of the decoder; subtracted (N,): what is taken
    from x before encoding, or None; k: codes kept a row, or None for all; name: where it came from; about: its
    configuration as published. ValueError, with the name, for shapes that do not fit, or weights that are not finite.
    """

    encoder: torch.Tensor
    encoder_bias: torch.Tensor
    dictionary: torch.Tensor
    bias: torch.Tensor
    subtracted: torch.Tensor | None = None
    k: int | None = None
    name: str = "dictionary"
    about: dict | None = None

    def __post_init__(self):
        if self.encoder.ndim != 2:
            raise ValueError(f"{self.name}: the encoder must be (codes, neurons), got {tuple(self.encoder.shape)}")
        D, N = self.encoder.shape
        expected = {"encoder_bias": (D,), "dictionary": (D, N), "bias": (N,), "subtracted": (N,)}
        for field, shape in expected.items():
            values = getattr(self, field)
            if values is not None and tuple(values.shape) != shape:
                raise ValueError(f"{self.name}: {field} must be {shape}, got {tuple(values.shape)}")
        for field in ("encoder", *expected):
            values = getattr(self, field)
            if values is None:
                continue
            finite = bool(torch.isfinite(values.sum()))  # counting takes longer than reading the file
            bad = 0 if finite else values.numel() - int(torch.isfinite(values).sum())
            if bad:
                raise ValueError(f"{self.name}: {field} holds {bad} of {values.numel()} values that are not finite")
            object.__setattr__(self, field, values.float())
        if self.k is not None and not 1 <= self.k <= D:
            raise ValueError(f"{self.name}: k must be between 1 and its {D} codes, got {self.k}")

    @property
    def n_codes(self):
        return len(self.encoder)

    @property
    def n_neurons(self):
        return self.encoder.shape[1]

    @classmethod
    def of(cls, sae, name="superpos"):
        """A fitted `superpos.sae.SparseAutoencoder` as a Dictionary; what divides x goes into its encoder."""
        bias = sae.dictionary.new_zeros(sae.encoder.shape[1]) if sae.decoder_bias is None else sae.decoder_bias
        return cls(
            sae.encoder / sae.scale, sae.encoder_bias, sae.dictionary * sae.scale, bias * sae.scale, None,
            sae.config.k, name,
        )  # fmt: skip

    def to(self, device):
        """The same dictionary on a device."""
        if self.encoder.device == torch.device(device):
            return self
        tensors = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return Dictionary(**(vars(self) | tensors))

    def centred(self, x):
        """x (n, N) in float32, less what is subtracted. ValueError for another width."""
        if x.shape[-1] != self.n_neurons:
            raise ValueError(f"{self.name} reads {self.n_neurons} neurons, got activations {tuple(x.shape)}")
        x = x.to(self.encoder)
        return x if self.subtracted is None else x - self.subtracted

    @torch.no_grad()
    def encode(self, x):
        """Codes z (n, D) of activations x (n, N), all held at once: for few rows (`superpos.usage` is for many)."""
        z = torch.addmm(self.encoder_bias, self.centred(x), self.encoder.T).relu_()
        if self.k is None:
            return z
        values, places = z.topk(self.k, dim=-1)
        return torch.zeros_like(z).scatter_(-1, places, values)

    @torch.no_grad()
    def decode(self, z):
        """Reconstruction x' (n, N) of codes z (n, D)."""
        return z @ self.dictionary + self.bias


def fetch(repository, patterns=("*.json", "*.safetensors"), revision=None):
    """The files of a repository of the Hugging Face hub that fit the patterns. → Path of a local folder

    revision: a branch, tag or commit; None: the newest.

    Taken from the local cache where they lie there. FileNotFoundError, with the remedy, without a network or a
    repository.
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


def locate(source, site, root=None):
    """Folder or file of the dictionary of a site. → Path, or None where `source` has none for that site

    source: "marks" or "eleuther" (PUBLISHED; on the hub, or below the folder `root`), or a path with {site} in it.
    site: "embed", or "attention", "mlp", "residual" and a layer, as in "mlp.3". Raises ValueError for another source.
    """
    if "{site}" in source:
        return Path(source.format(site=site)).expanduser()
    if source not in PUBLISHED:
        raise ValueError(
            f"dictionaries must be one of {', '.join(PUBLISHED)}, or a path with {{site}} in it, got {source!r}"
        )
    kind, _, layer = site.partition(".")
    if kind not in PUBLISHED[source]:
        return None
    repository, folder = PUBLISHED[source][kind]
    folder = folder.format(layer=layer)
    if root:
        return Path(root) / folder
    try:
        path = fetch(repository, [f"{folder}/*.json", f"{folder}/*.safetensors"]) / folder
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error} Here that is {source}@FOLDER, one for all repositories of {source}."
        ) from error
    if not path.is_dir():
        raise FileNotFoundError(
            f"{source} has no dictionary for {site}: {repository} holds no {folder} (or there is no network, and only "
            "other folders of it are in the local cache)"
        )
    return path


def load(path, n_neurons=None, site=None):
    """Read a dictionary in any of the three formats from a folder or file. → Dictionary

    n_neurons, site: what it must fit. Raises FileNotFoundError where the folder or its safetensors are missing, and
    ValueError, naming the path, for weights of another layout, or a configuration that asks for what is not done here.
    """
    path = Path(path)
    if path.is_file():
        found = Dictionary.of(SparseAutoencoder.load(path), str(path))
    else:
        found = {"saelens": _from_saelens, "sparsify": _from_sparsify}[_format_of(path)](path, site)
    if n_neurons is not None and found.n_neurons != n_neurons:
        raise ValueError(
            f"{path} reads {found.n_neurons} neurons, but the site{f' {site}' if site else ''} has {n_neurons}: "
            "name the dictionaries of this model, or the model of these dictionaries"
        )
    return found


def _format_of(path):
    if not path.is_dir():
        raise FileNotFoundError(f"there is no dictionary at {path}: expected a folder with cfg.json and safetensors")
    for name, file in FILES.items():
        if (path / file).exists():
            if not (path / "cfg.json").exists():
                raise FileNotFoundError(f"{path} holds {file} but no cfg.json, which says how to read it")
            return name
    there = sorted(p.name for p in path.iterdir())
    pickled = [name for name in there if name.endswith(PICKLES)]
    if pickled:
        raise FileNotFoundError(
            f"{path} holds {pickled[0]}, a pickle, which is not read because it could run any program; convert it with "
            "the package that wrote it (SAELens: sae.save_model, sparsify: sae.save_to_disk) and name that folder"
        )
    raise FileNotFoundError(
        f"{path} holds none of {', '.join(FILES.values())}; it holds {', '.join(there) or 'nothing'}"
    )


def _read(path, file, shapes):
    """Configuration and weights of a folder, checked for names and types. → dict, dict"""
    about = json.loads((path / "cfg.json").read_text())
    try:
        with safe_open(path / file, "pt") as opened:
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise ValueError(f"{path / file} is not a whole safetensors file ({error}); fetch it again") from error
    for what, names in (("lacks", set(shapes) - set(weights)), ("also holds", set(weights) - set(shapes))):
        if names:
            raise ValueError(f"{path / file} {what} {', '.join(sorted(names))}; expected {', '.join(shapes)}")
    for name, values in weights.items():
        if values.dtype not in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
            raise ValueError(f"{path / file}: {name} must be floating-point, got {values.dtype}")
    return about, weights


def _refuse(path, about, allowed):
    """ValueError for a configuration that asks for what is not done here. allowed: {name: values that are done}"""
    for name, values in allowed.items():
        if name in about and about[name] not in values:
            known = " or ".join(map(repr, values))
            raise ValueError(f"{path}/cfg.json: {name} is {about[name]!r}; here only {known} is done")


def _check_size(path, about, sizes, found):
    for name, value in zip(sizes, found, strict=True):
        if about.get(name) not in (None, 0, value):
            raise ValueError(f"{path}: cfg.json says {name} = {about[name]}, the weights have {value}")


def _from_saelens(path, site):
    """SAELens, also of versions before 6: z = act((x − b_dec) W_enc + b_enc), subtracting unless told not to."""
    about, weights = _read(path, FILES["saelens"], ("W_enc", "b_enc", "W_dec", "b_dec"))
    extra = about.get("metadata") or {}
    _refuse(
        path, about, {
            "architecture": ("standard", "topk"), "activation_fn": ("relu", "topk"), "activation_fn_str": ("relu", "topk"),
            "normalize_activations": ("none", False, None), "reshape_activations": ("none", None),
            "rescale_acts_by_decoder_norm": (False, None), "finetuning_scaling_factor": (False, None),
            "apply_b_dec_to_input": (True, False),
        },
    )  # fmt: skip
    loaded = extra.get("model_from_pretrained_kwargs") or about.get("model_from_pretrained_kwargs") or {}
    changed = [name for name, value in loaded.items() if name in ("center_writing_weights", "fold_ln") and value]
    if changed:
        raise ValueError(
            f"{path}/cfg.json: it was fitted to a model loaded with {changed[0]}, whose activations differ from those of the "
            "model as published, which are read here"
        )
    _check_hook(path, site, next((d[n] for d in (extra, about) for n in ("hook_name", "hook_point") if d.get(n)), None))
    k = about.get("k") or (about.get("activation_fn_kwargs") or {}).get("k")
    wants_k = "topk" in (about.get("architecture"), about.get("activation_fn"), about.get("activation_fn_str"))
    if wants_k and not k:
        raise ValueError(f"{path}/cfg.json asks for topk but gives no k")
    _check_size(path, about, ("d_in", "d_sae"), weights["W_enc"].shape)
    subtracts = about.get("apply_b_dec_to_input", True)
    return Dictionary(
        weights["W_enc"].T.contiguous(), weights["b_enc"], weights["W_dec"], weights["b_dec"],
        weights["b_dec"] if subtracts else None, int(k) if wants_k else None, str(path), about,
    )  # fmt: skip


def _check_hook(path, site, hook):
    """ValueError if a configuration names another hook (as TransformerLens counts them) than that of the site."""
    if not (site and hook):
        return
    kind, _, layer = site.partition(".")
    if kind in HOOKS and hook not in [f"blocks.{layer or 0}.{name}" for name in HOOKS[kind]]:
        raise ValueError(f"{path}/cfg.json: it was fitted at {hook}, which is not the site {site}")


def _from_sparsify(path, site):
    """sparsify: the k largest of ReLU(W_enc (x − b_dec) + b_enc)."""
    about, weights = _read(path, FILES["sparsify"], ("encoder.weight", "encoder.bias", "W_dec", "b_dec"))
    no = (False, None)
    _refuse(path, about, {"activation": ("topk",), "transcode": no, "skip_connection": no, "signed": no})
    if not about.get("k"):
        raise ValueError(f"{path}/cfg.json gives no k, the number of codes kept a row")
    _check_size(path, about, ("num_latents", "d_in"), weights["encoder.weight"].shape)
    return Dictionary(
        weights["encoder.weight"], weights["encoder.bias"], weights["W_dec"], weights["b_dec"], weights["b_dec"],
        int(about["k"]), str(path), about,
    )  # fmt: skip


def save_saelens(dictionary, folder, hook=None):
    """Write a dictionary in SAELens's format. ValueError for one that subtracts something else than its own bias."""
    weights = {
        "W_enc": dictionary.encoder.T, "b_enc": dictionary.encoder_bias, "W_dec": dictionary.dictionary, "b_dec": dictionary.bias,
    }  # fmt: skip
    about = {
        "architecture": "standard" if dictionary.k is None else "topk", "d_in": dictionary.n_neurons, "d_sae": dictionary.n_codes,
        "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": _subtracts_bias(dictionary),
        "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.0.0"} | ({"hook_name": hook} if hook else {}),
    }  # fmt: skip
    _write(folder, FILES["saelens"], weights, about | ({} if dictionary.k is None else {"k": dictionary.k}))


def save_sparsify(dictionary, folder):
    """Write a TopK dictionary in sparsify's format. ValueError for one without k, or that does not subtract its bias."""
    if dictionary.k is None or not _subtracts_bias(dictionary):
        raise ValueError("sparsify's format is for TopK dictionaries that subtract the decoder's bias")
    weights = {
        "encoder.weight": dictionary.encoder, "encoder.bias": dictionary.encoder_bias, "W_dec": dictionary.dictionary,
        "b_dec": dictionary.bias,
    }  # fmt: skip
    about = {
        "activation": "topk", "expansion_factor": dictionary.n_codes // dictionary.n_neurons, "normalize_decoder": True,
        "num_latents": dictionary.n_codes, "k": dictionary.k, "multi_topk": False, "skip_connection": False,
        "transcode": False, "d_in": dictionary.n_neurons,
    }  # fmt: skip
    _write(folder, FILES["sparsify"], weights, about)


def _subtracts_bias(dictionary):
    if dictionary.subtracted is None:
        return False
    if not torch.equal(dictionary.subtracted, dictionary.bias):
        raise ValueError("the published formats can subtract the decoder's bias before encoding, or nothing")
    return True


def _write(folder, file, weights, about):
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: values.clone(memory_format=torch.contiguous_format) for name, values in weights.items()}, folder / file
    )
    (folder / "cfg.json").write_text(json.dumps(about))
