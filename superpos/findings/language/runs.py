"""One run: F at every site of a language model, read by released dictionaries or by SAEs of our own. And the chapter's runs.

The sites are those of `superpos.findings.language.task`, the texts those of `superpos.findings.language.texts`. On a machine
with a network this is what the paper did with Pythia-70M, a run a draw of texts:

    sweep.run(language_run, sweep.expand(
        LanguageRun, model="EleutherAI/pythia-70m-deduped", dictionaries=["marks", "eleuther"], products="bfloat16",
        texts="hub:monology/pile-uncopyrighted:train:text", seed=[1, 2, 3], n_texts=20_000, context=512,
    ), "book/results/pythia.csv", n_jobs=1)
"""

import contextlib
import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock

from superpos import dictionaries, sae, seeds, sweep
from superpos.data import data_root
from superpos.dictionaries import Dictionary
from superpos.findings.language import releases
from superpos.findings.language.survey import Survey, collect, enough
from superpos.findings.language.task import Reading, chosen_sites, load_model, loss_of
from superpos.findings.language.texts import Draw, Tokens, tokenize
from superpos.settings import Count, NotNegative, Positive, settings

__all__ = ["READINGS", "VARIATIONS", "Fit", "FittedRun", "LanguageRun", "grid", "language_run", "varied"]

READINGS = {  # SAEs of our own; a TopK one needs no penalty
    "fit:l1": sae.PROTOCOL,
    "fit:topk": sae.PROTOCOL.but(activation="topk", k=32, loss="mse"),
}


@settings
class LanguageRun:
    """A model, as `load_model` takes it, read by one release of dictionaries on one draw of texts.

    `dictionaries` are "marks" or "eleuther" (`releases.RELEASES`; "marks@FOLDER": the same folders below a local one), or a
    path with {site} in it. `sites` are "all", or names or kinds separated by commas; those without a dictionary are left
    out. `shuffled` "read" is the control on tokens in random order (`Tokens.shuffled`). The draw's seed decides texts and
    tokens drawn and SAEs, each by a stream of its own; that of a small model stands in its name.
    """

    model: str
    dictionaries: str
    draw: Draw
    sites: str = "all"
    shuffled: Literal["none", "read", "both"] = "none"
    reading: Reading = Reading()

    def __post_init__(self) -> None:
        if self.shuffled == "both" and not isinstance(self, FittedRun):
            raise ValueError(f"shuffled must be 'none' or 'read' for {self.dictionaries}, which are not fitted")


@settings
class Fit:
    """SAEs of our own, with `expansion` codes a neuron and `sae_steps` steps, fitted to some tokens of other texts.

    These are `fit_rows` tokens of `n_fit_texts` of `fit_texts`, cut as the texts that are read. `l1` is λ in the sum
    unit; a TopK SAE keeps `k` codes instead.
    """

    fit_texts: str = "python:fit"
    n_fit_texts: Count = 1600
    fit_rows: Count = 100_000
    sae_steps: Count = 10_000
    expansion: Positive = 8.0
    k: Count = 32
    l1: NotNegative = sae.PROTOCOL.l1


@settings
class FittedRun(LanguageRun):
    """As LanguageRun, read by SAEs of our own of one of READINGS; with `shuffled` "both" they are fitted to disorder, too."""

    dictionaries: Literal["fit:l1", "fit:topk"]
    fit: Fit = Fit()

    def __post_init__(self) -> None:
        if self.fit.fit_texts == self.draw.texts:
            raise ValueError(f"fit_texts must be another source than the {self.draw.texts!r} that are read")

    @property
    def sae(self) -> sae.Settings:
        """The settings of its SAEs."""
        plain = READINGS[self.dictionaries].but(
            steps=self.fit.sae_steps, expansion=self.fit.expansion, products=self.reading.products
        )
        return plain.but(k=self.fit.k) if plain.k else plain.but(l1=self.fit.l1)


def language_run(run: LanguageRun, *, folder: str | Path | None = None) -> list[dict[str, Any]]:
    """F at every site of one model, by one kind of dictionary, on one draw of texts: a row a site.

    `folder` keeps SAEs of our own for other runs that would fit the same (None: they go with the run). The columns are those
    of `Survey.rows`; loss (of the model, in nats a token, on the texts as read); enough (`enough`); and the revisions of
    model and dictionary, where they are of the hub. Everything is checked before the texts are read. A run that was stopped
    goes on from its last minute.
    """
    model = load_model(run.model, "cuda" if torch.cuda.is_available() else "cpu")
    modules, config, seed = chosen_sites(model, run.sites), model._module.config, run.draw.seed
    limit = getattr(config, "max_position_embeddings", run.draw.context)
    if run.draw.context > limit:
        raise ValueError(f"context must be at most the {limit} tokens that {run.model} can see, got {run.draw.context}")
    own, fitted = data_root() / "language" / "runs" / _digest(run), isinstance(run, FittedRun)
    found = {} if fitted else _released(run.dictionaries, modules, config.hidden_size)
    tokens = _tokens(run.model, model.tokenizer, run.draw, "language.windows")
    tokens = tokens if run.shuffled == "none" else tokens.shuffled(seed)
    found = _fitted(run, model, modules, Path(folder or own)) if fitted else found
    survey = Survey(model, tokens, found, run.reading, seed, own / "survey.safetensors").run()
    shared = {"loss": loss_of(model, tokens), "model_revision": _revision(config.name_or_path)}
    rows = [row | shared for row in survey.rows()]
    for row in rows:
        row["enough"] = enough(row["curve_texts"], row["curve_features"])
        row["dictionary_revision"] = _revision(found[row["site"]].name)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(own)
    return rows


def _tokens(model: str, tokenizer: Any, draw: Draw, stream: str) -> Tokens:
    """`tokenize`; of a small model on Python's own texts, neither of which changes, only once in a process."""
    if model.startswith("small:") and draw.texts.startswith("python:"):
        return _tokens_of_python(tokenizer.name_or_path, draw, stream)
    return tokenize(draw, tokenizer, stream)


@functools.lru_cache(maxsize=8)
def _tokens_of_python(folder: str, draw: Draw, stream: str) -> Tokens:
    from transformers import AutoTokenizer

    return tokenize(draw, AutoTokenizer.from_pretrained(folder), stream)


def _digest(*what: Any) -> str:
    """What tells settings and others from others: 16 hexadecimal digits."""
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


def _revision(path: str) -> str:
    """The revision that a file of the hub's cache is of; "" for other paths."""
    parts = Path(path).parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-1] else ""


def _released(source: str, modules: dict[str, str], n_neurons: int) -> dict[str, Dictionary]:
    """Dictionaries of all sites that have one, each checked."""
    name, _, root = source.partition("@")
    paths = {site: releases.locate(name, site, root or None) for site in modules}
    found = {site: releases.load(path, n_neurons, site) for site, path in paths.items() if path is not None}
    if not found:
        raise ValueError(f"{source} has no dictionary for {', '.join(modules)}")
    return found


def _fitted(run: FittedRun, model: Any, modules: dict[str, str], folder: Path) -> dict[str, Dictionary]:
    """An SAE of our own for every site, kept in a folder below `folder` as soon as it is fitted."""
    fit, seed = run.fit, run.draw.seed
    draw = run.draw.but(texts=fit.fit_texts, n_texts=fit.n_fit_texts)
    tokens = _tokens(run.model, model.tokenizer, draw, "language.fit_windows")
    tokens = tokens.shuffled(seed, "language.fit_shuffle") if run.shuffled == "both" else tokens
    folder /= _digest(run.model, tokens.fingerprint(), run.sae, fit.fit_rows, seed, run.reading.first_token)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {site: folder / f"{site}.safetensors" for site in modules}
    with FileLock(folder / "lock"):  # of two runs that ask for the same, one fits
        missing = {site: name for site, name in modules.items() if not paths[site].exists()}
        rows = collect(model, tokens, missing, fit.fit_rows, run.reading, seed) if missing else {}
        for site in missing:
            fitted = sae.fit(rows.pop(site), run.sae, seed=seeds.seed("language.sae", seed), label=site)
            fitted.save(folder / "fresh")
            os.replace(folder / "fresh", paths[site])
    return {site: dictionaries.load(path) for site, path in paths.items()}


def grid(n_networks: int, model: dict[str, int], **values: Any) -> list[FittedRun]:
    """Small models of seeds 1, 2, …, read by SAEs that are fitted with the same seed: the runs of the chapter.

    Each is read by L1 and by TopK SAEs, before its training, and on tokens in random order by SAEs that are fitted to it or not.
    `model` are the settings of the small models but the seed; `values` the settings of the runs.
    """
    numbers = range(1, n_networks + 1)
    plain, before = ([_own(seed, model | steps, values) for seed in numbers] for steps in ({}, {"steps": 0}))
    topk = [one.but(dictionaries="fit:topk") for one in plain]
    mixed = [one.but(shuffled=shuffled) for shuffled in ("both", "read") for one in plain]
    return [*plain, *topk, *before, *mixed]


def _own(seed: int, model: dict[str, int], values: dict[str, Any]) -> FittedRun:
    name = "small:" + ",".join(f"{name}={value}" for name, value in {**model, "seed": seed}.items())
    fixed = {"dictionaries": "fit:l1", "texts": "python:read", "windows": "all", "context": model["context"]}
    return sweep.expand(FittedRun, model=name, seed=seed, **fixed | values)[0]


VARIATIONS: dict[str, Callable[[Fit], dict[str, Any]]] = {  # name: what other SAEs have other than ours
    "half λ": lambda fit: {"l1": fit.l1 / 2},
    "twice λ": lambda fit: {"l1": 2 * fit.l1},
    "half the codes": lambda fit: {"expansion": fit.expansion / 2},
    "twice the codes": lambda fit: {"expansion": 2 * fit.expansion},
    "TopK, half k": lambda fit: {"dictionaries": "fit:topk", "k": fit.k // 2},
    "TopK, twice k": lambda fit: {"dictionaries": "fit:topk", "k": 2 * fit.k},
    "twice the steps": lambda fit: {"sae_steps": 2 * fit.sae_steps},
    "no first tokens": lambda fit: {"first_token": "drop"},
    "other seed": lambda fit: {"seed": 1001},
    "third seed": lambda fit: {"seed": 1002},
}


def varied(run: FittedRun, names: Iterable[str], sites: str) -> list[FittedRun]:
    """A run under some of VARIATIONS, at some sites."""
    return [run.but(**VARIATIONS[name](run.fit), sites=sites) for name in names]
