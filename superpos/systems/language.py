"""F of a language model's layers: any causal model of the Hugging Face hub, published dictionaries or SAEs of our own.

The sites, and what is summed there, are those of `superpos.systems.survey`; texts those of `superpos.systems.texts`. On a
machine with a network this is what the paper did with Pythia-70M, a run a draw of texts:

    sweep.run(language_run, sweep.expand(
        model="EleutherAI/pythia-70m-deduped", dictionaries=["marks", "eleuther"],
        texts="hub:monology/pile-uncopyrighted:train:text", seed=[0, 1, 2], n_texts=20_000, context=512,
    ), "book/results/pythia.csv", n_jobs=1)
"""

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

import torch
from filelock import FileLock

from superpos import dictionaries as published
from superpos import sae
from superpos.data import data_root
from superpos.systems.pretraining import silent_transformers, small_model
from superpos.systems.survey import FIRST_TOKENS, Survey, chosen_sites, collect, enough, site_modules
from superpos.systems.texts import tokenize
from superpos.usage import PRODUCTS

__all__ = ["FITS", "SHUFFLES", "language_run", "load_model", "loss_of"]

FIT_TEXTS = 17 * 10**8  # stream of the seeds by which texts to fit are drawn
FITS = {  # SAEs of our own; a TopK one needs no penalty
    "l1": sae.PROTOCOL,
    "topk": sae.PROTOCOL.but(activation="topk", k=32, loss="mse"),
}
SHUFFLES = ("none", "read", "both")
LOSS_TEXTS = 32  # texts on which the model's own loss is taken


def load_model(name, device="cpu"):
    """A causal language model with its tokenizer, in float32 and evaluation mode, by nnsight. → nnsight.TransformersModel

    name: of the Hugging Face hub (name@revision: as Pythia's training steps are published), a local folder in its format,
    or a small model of our own ("small:…", trained first if need be). Only safetensors are loaded. FileNotFoundError, with
    the remedy, where model or network are missing.
    """
    folder = _folder_of(name)
    import nnsight
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with silent_transformers():
        model = (
            AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, dtype=torch.float32).to(device).eval()
        )
    wrapped = nnsight.TransformersModel(model, task="text-generation", tokenizer=AutoTokenizer.from_pretrained(folder))
    site_modules(wrapped)
    return wrapped


def _folder_of(name):
    if name.partition(":")[0] == "small":
        return small_model(name)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        repository, _, revision = name.partition("@")
        folder = published.fetch(repository, ("*.json", "*.safetensors", "*.txt", "*.model"), revision or None)
    if not (folder / "config.json").exists():
        raise FileNotFoundError(f"{name} is no model in Hugging Face's format: it holds no config.json")
    if not list(folder.glob("*.safetensors")):
        raise FileNotFoundError(
            f"{name} holds no safetensors, and pickles are not read because they could run any program; "
            "save it again with model.save_pretrained(FOLDER) of a current transformers, and name that folder"
        )
    return folder


@torch.no_grad()
def loss_of(model, tokens, n_texts=LOSS_TEXTS):
    """Mean loss of the model's next-token predictions on the first texts, in nats a token."""
    module = model._module
    device, total, count = next(module.parameters()).device, 0.0, 0
    for text in tokens.ids.split(tokens.lengths.tolist())[:n_texts]:
        ids = text.long()[None].to(device)
        logits = module(input_ids=ids).logits[0, :-1].float()
        total += torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
        count += len(text) - 1
    return total / count


def language_run(
    model, dictionaries, texts, seed, n_texts, *, context=512, windows="first", sites="all", shuffled="none", first_token="keep",
    products="float32", budget=8192, n_rows=2000, fit_texts="", n_fit_texts=0, fit_rows=100_000, sae_steps=10_000,
    expansion=8.0, k=32, l1=sae.PROTOCOL.l1, folder=None,
):  # fmt: skip
    """A run for a sweep: F at every site of one model, read by one kind of dictionary on one draw of texts. → a row a site

    model: as `load_model` takes it. dictionaries: "marks" or "eleuther" (`superpos.dictionaries.PUBLISHED`; "marks@FOLDER":
    the same folders below a local one), a path with {site} in it, or "fit:l1", "fit:topk": SAEs of our own (FITS, with
    `expansion` codes a neuron, `sae_steps` steps, and λ `l1` in the sum unit, or `k` for TopK), fitted to `fit_rows` tokens
    of `n_fit_texts` of `fit_texts`, a source that must not be that of the reading. texts, n_texts, context, windows: what is read
    (`superpos.systems.texts.tokenize`). seed: decides texts and tokens drawn and SAEs, each by a stream of its own; that of a
    small model stands in its name.
    shuffled: control on tokens in random order (`Tokens.shuffled`): "none", "read" (dictionaries stay), or "both" (our SAEs
    are fitted to such tokens, too). sites: "all", or names or kinds separated by commas; those without a dictionary are
    left out. products: of the reading, and of the fits of our own. folder: keeps SAEs of our own for other runs that would
    fit the same (None: they go with the run). Others: `Survey`.
    Columns: those of `Survey.rows`; loss (of the model, nats a token, on the texts as read); enough (`enough`); the
    revisions of model and dictionary, where they are of the hub.
    Everything is checked before the texts are read. A run that was stopped goes on from its last minute.
    """
    arguments = {name: value for name, value in locals().items() if name != "folder"}
    _check(dictionaries, texts, fit_texts, n_fit_texts, shuffled=shuffled, first_token=first_token, products=products)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded = load_model(model, device)
    modules = chosen_sites(loaded, sites)
    limit = getattr(loaded._module.config, "max_position_embeddings", context)
    if context > limit:
        raise ValueError(f"context must be at most the {limit} tokens that {model} can see, got {context}")
    own = data_root() / "language" / "runs" / _digest(arguments)
    fits, cut = dictionaries.startswith("fit:"), {"context": context, "windows": windows}
    found = None if fits else _published(dictionaries, modules, loaded._module.config.hidden_size)
    tokens = tokenize(texts, loaded.tokenizer, n_texts, **cut, seed=seed)
    tokens = tokens if shuffled == "none" else tokens.shuffled(seed)
    if fits:
        sample = tokenize(fit_texts, loaded.tokenizer, n_fit_texts, **cut, seed=FIT_TEXTS + int(seed))
        sample = sample.shuffled(FIT_TEXTS + int(seed)) if shuffled == "both" else sample
        config = FITS[dictionaries.removeprefix("fit:")].but(
            steps=sae_steps, expansion=float(expansion), products=products
        )
        config = config.but(k=k) if config.k else config.but(l1=float(l1))
        rest = {"n_rows": fit_rows, "seed": seed, "first_token": first_token, "budget": budget}
        place = Path(folder) / _digest(model, sample.fingerprint(), config, rest) if folder else own
        found = _fitted(loaded, sample, modules, config, place, **rest)
    survey = Survey(
        loaded, tokens, found, first_token=first_token, products=products, budget=budget, n_rows=n_rows, seed=seed,
        path=own / "survey.safetensors", device=device,
    ).run()  # fmt: skip
    loss = loss_of(loaded, tokens)
    rows = [row | {"loss": loss, "enough": enough(row["curve_texts"], row["curve_features"])} for row in survey.rows()]
    rows = [row | {"model_revision": _revision(loaded._module.config.name_or_path)} for row in rows]
    rows = [row | {"dictionary_revision": _revision(found[row["site"]].name)} for row in rows]
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(own)
    return rows


def _digest(*what):
    """What tells arguments from others: 16 hexadecimal digits."""
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


def _check(dictionaries, texts, fit_texts, n_fit_texts, **choices):
    known = {"shuffled": SHUFFLES, "first_token": FIRST_TOKENS, "products": PRODUCTS}
    for name, value in choices.items():
        if value not in known[name]:
            raise ValueError(f"{name} must be one of {', '.join(known[name])}, got {value!r}")
    if not dictionaries.startswith("fit:"):
        if fit_texts or choices["shuffled"] == "both":
            raise ValueError(f"{dictionaries} are not fitted: leave fit_texts empty, and shuffled 'none' or 'read'")
        return
    if dictionaries.removeprefix("fit:") not in FITS:
        raise ValueError(
            f"SAEs to fit must be one of {', '.join(f'fit:{name}' for name in FITS)}, got {dictionaries!r}"
        )
    if not fit_texts or fit_texts == texts or n_fit_texts < 1:
        raise ValueError(
            f"{dictionaries} needs fit_texts, a source other than the {texts!r} that are read, and n_fit_texts; "
            f"got {fit_texts!r} and {n_fit_texts}"
        )


def _revision(path):
    """The revision that a file of the hub's cache is of; "" for other paths."""
    parts = Path(path).parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-1] else ""


def _published(source, modules, n_neurons):
    """Dictionaries of all sites that have one, each checked. → dict site: Dictionary"""
    name, _, root = source.partition("@")
    found = {site: published.locate(name, site, root or None) for site in modules}
    found = {site: path for site, path in found.items() if path is not None}
    if not found:
        raise ValueError(f"{source} has no dictionary for {', '.join(modules)}")
    return {site: published.load(path, n_neurons, site) for site, path in found.items()}


def _fitted(model, tokens, modules, config, folder, *, n_rows, seed, first_token, budget):
    """An SAE of our own for every site, kept in `folder` as soon as it is fitted. → dict site: Dictionary"""
    paths = {site: folder / f"{site}.safetensors" for site in modules}
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):  # of two runs that ask for the same, one fits
        missing = {site: name for site, name in modules.items() if not paths[site].exists()}
        rows = {}
        if missing:
            rows = collect(model, tokens, missing, n_rows, seed=seed, first_token=first_token, budget=budget)
        for site in missing:
            fitted = sae.fit(rows.pop(site), config, seed=seed, label=site)
            fitted.save(folder / "fresh")
            os.replace(folder / "fresh", paths[site])
    return {site: published.load(path) for site, path in paths.items()}
