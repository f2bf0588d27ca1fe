"""Dictionaries of language models that others have released on the Hugging Face hub: where they lie, and how they come here."""

from pathlib import Path

from superpos import dictionaries
from superpos.dictionaries import Dictionary
from superpos.foreign import fetch

__all__ = ["RELEASES", "fetch", "load", "locate"]

RELEASES = {  # site: (repository, folder); {layer} is filled in
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


def locate(source: str, site: str, root: str | Path | None = None) -> Path | None:
    """The folder or file of the dictionary of a site, or None where the source has none for it.

    `source` is "marks" or "eleuther" (RELEASES; on the hub, or below the folder `root`), or a path with {site} in it.
    `site` is "embed", or "attention", "mlp" or "residual" and a layer, as in "mlp.3". Raises ValueError for another
    source, and FileNotFoundError where the release has no such dictionary or cannot be reached.
    """
    if "{site}" in source:
        return Path(source.format(site=site)).expanduser()
    if source not in RELEASES:
        raise ValueError(
            f"dictionaries must be one of {', '.join(RELEASES)}, or a path with {{site}} in it, got {source!r}"
        )
    kind, _, layer = site.partition(".")
    if kind not in RELEASES[source]:
        return None
    repository, folder = RELEASES[source][kind]
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


def load(path: str | Path, n_neurons: int, site: str) -> Dictionary:
    """Read the dictionary of a site with N neurons from a folder or file (`superpos.dictionaries.load`).

    Raises ValueError, which names the path, for a dictionary of another width, and for one that its configuration says
    was fitted at another hook (as TransformerLens calls them).
    """
    found = dictionaries.load(path)
    if found.n_neurons != n_neurons:
        raise ValueError(
            f"{path} reads {found.n_neurons} neurons, but the site {site} has {n_neurons}: "
            "name the dictionaries of this model, or the model of these dictionaries"
        )
    about = found.about or {}
    said = [d.get(name) for d in (about.get("metadata") or {}, about) for name in ("hook_name", "hook_point")]
    hook = next(filter(None, said), None)
    kind, _, layer = site.partition(".")
    if hook and kind in HOOKS and hook not in [f"blocks.{layer or 0}.{name}" for name in HOOKS[kind]]:
        raise ValueError(f"{path}/cfg.json: it was fitted at {hook}, which is not the site {site}")
    return found
