"""What dictionaries say of a language model's sites over any number of texts, in one pass that can stop and go on.

    site         what is read there (B, T, N), N the width of the residual stream
    embed        the residual stream before the first layer (GPT-2: with positions)
    attention.i  what the attention of layer i adds to the stream
    mlp.i        what its MLP adds
    residual.i   the stream after layer i

Shares accumulate Σ|z| over all tokens of all texts (Bereska 2025). Padding is never read. The first token of a text, whose
activations are unlike any other's, is read like the others unless it is dropped.
"""

import time
from pathlib import Path

import pandas as pd
import torch

from superpos import checkpoint, metrics
from superpos.dictionaries import Dictionary
from superpos.measurement import baselines
from superpos.progress import progress
from superpos.usage import Usage, unexplained

__all__ = [
    "FIRST_TOKENS",
    "KINDS",
    "Survey",
    "chosen_sites",
    "collect",
    "curves",
    "enough",
    "marks",
    "outputs",
    "site_modules",
]

KINDS = ("embed", "attention", "mlp", "residual")
STREAMS = {"rows": 16 * 10**8, "fit rows": 18 * 10**8}  # seeds of one run must not meet
FAMILIES = {  # embed, layer, attention, mlp
    "gpt_neox": ("gpt_neox.embed_in", "gpt_neox.layers.{}", "attention", "mlp"),
    "gpt2": ("transformer.drop", "transformer.h.{}", "attn", "mlp"),
    "llama": ("model.embed_tokens", "model.layers.{}", "self_attn", "mlp"),
}
FAMILIES |= dict.fromkeys(("mistral", "qwen2", "qwen3"), FAMILIES["llama"])
FIRST_TOKENS = ("keep", "drop")
SAVED = 60  # seconds between checkpoints of a survey
SAME = 1e-5  # of the mean length of rows: nearer ones are the same
TOLERANCE = 0.02  # of F, within which a curve has settled


def site_modules(model):
    """The module of every site. → dict site: name, in the order in which a forward pass finishes them

    ValueError for a model of a family that is not known here.
    """
    config = model._module.config
    if config.model_type not in FAMILIES:
        raise ValueError(f"models of type {config.model_type!r} are not known here; known are {', '.join(FAMILIES)}")
    embed, layer, attention, mlp = FAMILIES[config.model_type]
    found = {"embed": embed}
    for i in range(config.num_hidden_layers):
        at = layer.format(i)
        found |= {f"attention.{i}": f"{at}.{attention}", f"mlp.{i}": f"{at}.{mlp}", f"residual.{i}": at}
    return found


def chosen_sites(model, sites):
    """The modules of some sites: "all", or names or kinds separated by commas. ValueError for an unknown one."""
    known = site_modules(model)
    if sites == "all":
        return known
    words = [word.strip() for word in sites.split(",")]
    for word in words:
        if word not in known and word not in KINDS:
            raise ValueError(
                f"unknown site {word!r}; the model has {', '.join(known)}, or {', '.join(KINDS)} for all layers"
            )
    return {site: name for site, name in known.items() if site in words or site.partition(".")[0] in words}


@torch.no_grad()
def outputs(model, ids, mask, modules):
    """Activations (B, T, N) at some sites, for ids and mask (B, T). → dict site: tensor; the pass stops after the last

    modules: {site: module}, in calling order. ValueError, naming the site, for an output of another shape.
    """
    device = next(model._module.parameters()).device
    kept = {}

    def keep(site, output):
        # a clone, because a later operation may change it in place
        kept[site] = (output[0] if isinstance(output, tuple | list) else output).detach().clone()

    with model.trace(input_ids=ids.to(device), attention_mask=mask.long().to(device)) as tracer:
        for site, name in modules.items():
            keep(site, model.get(name).output)
        tracer.stop()
    width = model._module.config.hidden_size
    for site, x in kept.items():
        if tuple(x.shape) != (*ids.shape, width):
            raise ValueError(
                f"site {site} ({modules[site]}) gave shape {tuple(x.shape)}, expected {(*ids.shape, width)}"
            )
    return kept


def _rows(model, tokens, modules, budget, first_token, start=0, stops=()):
    """Yield (number of the text after the batch, {site: rows (n, N) of the tokens that are read})."""
    for number, ids, mask in tokens.batches(budget, start, stops):
        seen = outputs(model, ids, mask, modules)
        if first_token == "drop":
            mask[:, 0] = False
        for site, x in seen.items():
            seen[site] = x[mask.to(x.device)]
        yield number + len(ids), seen


def _n_read(tokens, first_token):
    return len(tokens.ids) - (len(tokens) if first_token == "drop" else 0)


def _places(n, n_chosen, stream, seed):
    """Which of n tokens are drawn, in order."""
    generator = torch.Generator().manual_seed(STREAMS[stream] + int(seed))
    return torch.randperm(n, generator=generator)[:n_chosen].sort().values


class _Drawn:
    """The rows of some tokens, by number, as they come by."""

    def __init__(self, places, n_neurons):
        self.places, self.x = places, torch.zeros(len(places), n_neurons)

    def see(self, rows, first):
        """rows (n, N): of the tokens number first, first + 1, …"""
        lowest, highest = torch.searchsorted(self.places, torch.tensor([first, first + len(rows)])).tolist()
        at = self.places[lowest:highest] - first
        self.x[lowest:highest] = rows[at.to(rows.device)].float().cpu()


def collect(model, tokens, modules, n_rows, *, seed=0, first_token="keep", budget=8192):
    """Rows of tokens drawn at random, the same tokens at every site. → dict site: x (n_rows, N)

    Holds n_rows × N × 4 bytes a site.
    """
    n = _n_read(tokens, first_token)
    if n_rows > n:
        raise ValueError(f"{n_rows} rows were asked for, the texts have {n} tokens")
    places = _places(n, n_rows, "fit rows", seed)
    drawn = {site: _Drawn(places, model._module.config.hidden_size) for site in modules}
    first = 0
    bar = progress(total=len(tokens), desc="rows to fit")
    for done, seen in _rows(model, tokens, modules, budget, first_token):
        for site, rows in seen.items():
            drawn[site].see(rows, first)
        first += len(rows)
        bar.update(done - bar.n)
    bar.close()
    return {site: one.x for site, one in drawn.items()}


def marks(n):
    """Numbers of texts at which F is noted: 1, 2, 5, 10, 20, 50 … and n."""
    return sorted({m for m in (d * 10**e for e in range(12) for d in (1, 2, 5)) if m < n} | {n})


class Survey:
    """Sums of codes at several sites over all texts, one dictionary a site; stops and goes on.

    model: nnsight.TransformersModel; tokens: `superpos.systems.texts.Tokens`; dictionaries: {site: `Dictionary` or any
    object with `encode`}; first_token: "keep" or "drop"; products: of the encoders, "float32" or "bfloat16"; budget: tokens
    of a batch, padding included; n_rows: tokens drawn, by `seed`, for baselines and reconstruction; path: of a checkpoint,
    written every minute in one move.
    Memory beside the model's own: the dictionaries, sites × budget × N × 4 bytes of activations, sites × n_rows × N × 4 of
    rows drawn, and what one `Usage` a site holds. Nothing grows with the number of tokens but their ids.
    """

    def __init__(
        self, model, tokens, dictionaries, *, first_token="keep", products="float32", budget=8192, n_rows=2000, seed=0,
        path=None, device="cpu",
    ):  # fmt: skip
        if first_token not in FIRST_TOKENS:
            raise ValueError(f"first_token must be 'keep' or 'drop', got {first_token!r}")
        known = site_modules(model)
        self.modules = {site: name for site, name in known.items() if site in dictionaries}
        unknown = [site for site in dictionaries if site not in known]
        if unknown or not self.modules:
            raise ValueError(
                f"no site {unknown[0]!r}; the model has {', '.join(known)}" if unknown else "no dictionary given"
            )
        self.model, self.tokens, self.first_token, self.budget = model, tokens, first_token, budget
        self.path, self.marks = None if path is None else Path(path), marks(len(tokens))
        width = model._module.config.hidden_size
        for site, one in dictionaries.items():
            if isinstance(one, Dictionary) and one.n_neurons != width:
                raise ValueError(f"{one.name} reads {one.n_neurons} neurons, but the site {site} has {width}")
        self.usages = {site: Usage(dictionaries[site], products, device) for site in self.modules}
        n = _n_read(tokens, first_token)
        self.drawn = {site: _Drawn(_places(n, n_rows, "rows", seed), width) for site in self.modules}
        self.done, self.curve = 0, {site: [] for site in self.modules}
        self._settings = {
            "model": float(next(model._module.parameters()).detach().double().sum()), "texts": tokens.fingerprint(),
            "dictionaries": {site: _known_by(one) for site, one in dictionaries.items()},
            "first_token": first_token, "products": products, "n_rows": n_rows, "seed": int(seed),
        }  # fmt: skip

    def run(self):
        """Read all texts that are not read yet. → self"""
        self._resume()
        saved, bar = time.monotonic(), progress(total=len(self.tokens), initial=self.done, desc="texts")
        batches = _rows(self.model, self.tokens, self.modules, self.budget, self.first_token, self.done, self.marks)
        for done, seen in batches:
            for site, rows in seen.items():
                self.drawn[site].see(rows, self.usages[site].n_rows)
                self.usages[site].add(rows)
            self.done = done
            if done in self.marks:
                self._note()
            if self.path and time.monotonic() - saved > SAVED:
                self._save()
                saved = time.monotonic()
            bar.update(done - bar.n)
        bar.close()
        return self

    def _note(self):
        for site, usage in self.usages.items():
            reading = usage.reading(1)
            self.curve[site].append([reading[name] for name in ("effective_features", "hill_0", "hill_2")])

    def rows(self):
        """A row a site: F, ψ, Hill numbers, l0, dead, fvu, baselines, and the curves of F and Hill numbers. → list of dict

        curve_texts, curve_features, curve_hill_0, curve_hill_2: words of one cell, separated by spaces (`curves`).
        """
        return [self._row(site) for site in self.modules]

    def _row(self, site):
        usage, x = self.usages[site], self.drawn[site].x
        kind, _, layer = site.partition(".")
        columns = {"site": site, "kind": kind, "layer": int(layer) if layer else -1, "n_neurons": x.shape[1]}
        columns |= {"n_codes": len(usage.totals), "n_tokens": usage.n_rows} | usage.reading(x.shape[1])
        columns["fvu"] = unexplained(usage.dictionary, x.to(usage.totals.device))
        columns |= baselines(x, site) | {"intrinsic_dimension": _dimension(x)}
        curve = {"curve_texts": self.marks[: len(self.curve[site])]}
        names = ("curve_features", "curve_hill_0", "curve_hill_2")
        curve |= dict(zip(names, zip(*self.curve[site], strict=True), strict=True))
        return columns | {name: " ".join(f"{value:.6g}" for value in values) for name, values in curve.items()}

    def _save(self):
        tensors = {}
        for site, usage in self.usages.items():
            tensors |= {f"{site}/totals": usage.totals, f"{site}/active": usage.active, f"{site}/x": self.drawn[site].x}
        n_read = next(iter(self.usages.values())).n_rows
        about = {"settings": self._settings, "done": self.done, "n_read": n_read, "curve": self.curve}
        checkpoint.write(self.path, tensors, about)

    def _resume(self):
        if not (self.path and self.path.exists()):
            return
        tensors, about = checkpoint.read(self.path, ("settings", "done", "n_read", "curve"))
        other = [name for name, value in self._settings.items() if about["settings"].get(name) != value]
        if other:
            raise ValueError(
                f"{self.path} is a checkpoint of another survey: {', '.join(other)} differ; name another file"
            )
        for site, usage in self.usages.items():
            device = "cpu" if usage.totals is None else usage.totals.device
            usage.totals, usage.active = (tensors[f"{site}/{name}"].to(device) for name in ("totals", "active"))
            usage.n_rows, self.drawn[site].x = about["n_read"], tensors[f"{site}/x"]
        self.done, self.curve = about["done"], about["curve"]


def _known_by(one):
    """Name of a dictionary, and the sum of its encoder. → str"""
    if isinstance(one, Dictionary):
        return f"{one.name} {float(one.encoder.double().sum()):.12g}"
    return type(one).__name__


def _dimension(x):
    """TwoNN of the rows of x (n, N) that differ by more than rounding; NaN for fewer than 10.

    Tokens that begin their texts alike have the same activations; the first MLP of a GPT-NeoX sees nothing but the token.
    Batches of another length round them otherwise, and TwoNN would take that for a distance.
    """
    x = x.double()
    near = torch.cdist(x, x) < SAME * x.square().sum(1).mean().sqrt()
    first = near.int().argmax(1) == torch.arange(len(x))
    try:
        return metrics.two_nn(x[first])
    except ValueError:
        return float("nan")


def enough(texts, features, tolerance=TOLERANCE):
    """Number of texts that were enough: the first of a curve after which F stays within `tolerance` of its last value.

    texts, features: the words of `Survey.rows`. NaN where that is the last, or more than half of all texts: a curve that is
    still moving has not shown that it was enough.
    """
    numbers, values = ([float(word) for word in words.split()] for words in (texts, features))
    settled = [i for i in range(len(values)) if all(abs(v / values[-1] - 1) <= tolerance for v in values[i:])]
    first = numbers[settled[0]] if settled else float("nan")
    return first if first <= numbers[-1] / 2 else float("nan")


def curves(table):
    """The curves in rows of `Survey.rows`. → DataFrame, a row a site and number of texts

    n_texts_read, effective_features, hill_0, hill_2 are those after so many texts; the other columns are kept.
    """
    names = {
        "curve_texts": "n_texts_read",
        "curve_features": "effective_features",
        "curve_hill_0": "hill_0",
        "curve_hill_2": "hill_2",
    }
    kept = [name for name in table if name not in names and name not in names.values()]
    parts = []
    for _, row in table.iterrows():
        values = {new: [float(word) for word in str(row[old]).split()] for old, new in names.items()}
        parts.append(pd.DataFrame(values).assign(**{name: row[name] for name in kept}))
    return pd.concat(parts, ignore_index=True)
