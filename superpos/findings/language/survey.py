"""What dictionaries say of a language model's sites over any number of texts, in one pass that can stop and go on.

Shares accumulate Σ|z| over all tokens of all texts (Bereska 2025). Padding is never read. The first token of a text, whose
activations are unlike any other's, is read like the others unless it is dropped.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from superpos import checkpoint, metrics, seeds
from superpos.dictionaries import Dictionary
from superpos.findings.language.task import Reading, read_rows, site_modules
from superpos.findings.language.texts import Tokens
from superpos.measurement import baselines
from superpos.progress import progress
from superpos.settings import flat, one_of
from superpos.usage import Usage, unexplained

__all__ = ["Survey", "collect", "enough", "marks"]

SAVED = 60  # seconds between checkpoints of a survey
SAME = 1e-5  # of the mean length of rows: nearer ones are the same
TOLERANCE = 0.02  # of F, within which a curve has settled
CURVES = {"curve_features": "effective_features", "curve_hill_0": "hill_0", "curve_hill_2": "hill_2"}  # column: of what


class _Drawn:
    """The rows of some tokens drawn at random, the same at every site, as they come by."""

    def __init__(self, model, tokens, modules, n_rows, reading, generator):
        self.n_tokens = len(tokens.ids) - (len(tokens) if reading.first_token == "drop" else 0)
        self.places = torch.randperm(self.n_tokens, generator=generator)[:n_rows].sort().values
        self.x = {site: torch.zeros(len(self.places), model._module.config.hidden_size) for site in modules}
        self.n_seen = 0

    def see(self, seen: dict[str, Float[Tensor, "n N"]]) -> None:
        """The rows of the next tokens at each site."""
        n = len(next(iter(seen.values())))
        low, high = torch.searchsorted(self.places, torch.tensor([self.n_seen, self.n_seen + n])).tolist()
        at = self.places[low:high] - self.n_seen
        for site, rows in seen.items():
            self.x[site][low:high] = rows[at.to(rows.device)].float().cpu()
        self.n_seen += n


def collect(
    model: Any, tokens: Tokens, modules: dict[str, str], n_rows: int, reading: Reading, seed: int
) -> dict[str, Float[Tensor, "n N"]]:
    """Rows of tokens drawn at random, the same tokens at every site: n_rows × N × 4 bytes a site.

    Raises ValueError where the texts have fewer tokens.
    """
    drawn = _Drawn(model, tokens, modules, n_rows, reading, seeds.generator("language.fit_rows", seed))
    if n_rows > drawn.n_tokens:
        raise ValueError(f"{n_rows} rows were asked for, the texts have {drawn.n_tokens} tokens")
    with progress(total=len(tokens), desc="rows to fit") as bar:
        for done, seen in read_rows(model, tokens, modules, reading):
            drawn.see(seen)
            bar.update(done - bar.n)
    return drawn.x


def marks(n: int) -> list[int]:
    """Numbers of texts at which F is noted: 1, 2, 5, 10, 20, 50 … and n."""
    return sorted({m for m in (d * 10**e for e in range(12) for d in (1, 2, 5)) if m < n} | {n})


class Survey:
    """Sums of codes at several sites over all texts, one dictionary a site; stops and goes on.

    `model` is an nnsight.TransformersModel; `dictionaries` hold a `Dictionary`, or any object with `encode`, by site; `seed`
    draws the rows; `path` is of a checkpoint, written every minute in one move ("": none). Beside the model's own memory a
    survey holds the dictionaries, sites × budget × N × 4 bytes of activations, sites × n_rows × N × 4 of rows drawn, and what
    one `Usage` a site holds: nothing grows with the number of tokens but their ids. Raises ValueError for sites that the model
    does not have, and for dictionaries of another width.
    """

    def __init__(
        self,
        model: Any,
        tokens: Tokens,
        dictionaries: dict[str, Any],
        reading: Reading,
        seed: int,
        path: str | Path = "",
    ) -> None:
        known, weights = site_modules(model), next(model._module.parameters()).detach()
        for site in dictionaries:
            one_of("the site of a dictionary", site, known)
        if not dictionaries:
            raise ValueError("no dictionary given")
        self.model, self.tokens, self.reading, self.path = model, tokens, reading, Path(path) if path else None
        self.modules = {site: name for site, name in known.items() if site in dictionaries}
        self.usages = {site: Usage(dictionaries[site], reading.products, weights.device) for site in self.modules}
        width = model._module.config.hidden_size
        of_sites = {site: _known_by(usage.sae, site, width) for site, usage in self.usages.items()}
        about = {"model": float(weights.double().sum()), "texts": tokens.fingerprint(), "dictionaries": of_sites}
        self._about = about | {"seed": int(seed)} | flat(reading)
        generator = seeds.generator("language.rows", seed)
        self.drawn = _Drawn(model, tokens, self.modules, reading.n_rows, reading, generator)
        self.done, self.marks, self.curve = 0, marks(len(tokens)), {site: [] for site in self.modules}

    def run(self) -> "Survey":
        """Read all texts that are not read yet."""
        self._resume()
        saved, bar = time.monotonic(), progress(total=len(self.tokens), initial=self.done, desc="texts")
        several = read_rows(self.model, self.tokens, self.modules, self.reading, self.done, self.marks)
        for self.done, seen in several:
            self.drawn.see(seen)
            for site, rows in seen.items():
                self.usages[site].add(rows)
                if self.done in self.marks:
                    noted = self.usages[site].reading(1)
                    self.curve[site].append([noted[name] for name in CURVES.values()])
            if self.path and time.monotonic() - saved > SAVED:
                self._save()
                saved = time.monotonic()
            bar.update(self.done - bar.n)
        bar.close()
        return self

    def rows(self) -> list[dict[str, Any]]:
        """A row a site: F, ψ, Hill numbers, l0, dead, fvu, baselines, and the curves of F and Hill numbers.

        curve_texts, curve_features, curve_hill_0 and curve_hill_2 are words of one cell, separated by spaces.
        """
        return [self._row(site) for site in self.modules]

    def _row(self, site):
        usage, x = self.usages[site], self.drawn.x[site]
        kind, _, layer = site.partition(".")
        columns = {"site": site, "kind": kind, "layer": int(layer) if layer else -1, "n_neurons": x.shape[1]}
        columns |= {"n_codes": len(usage.totals), "n_tokens": usage.n_rows} | usage.reading(x.shape[1])
        columns["fvu"] = unexplained(usage.sae, x.to(usage.totals.device))
        columns |= baselines(x, site) | {"intrinsic_dimension": _dimension(x)}
        curve = {"curve_texts": self.marks[: len(self.curve[site])]}
        curve |= dict(zip(CURVES, zip(*self.curve[site], strict=True), strict=True))
        return columns | {name: " ".join(f"{value:.6g}" for value in values) for name, values in curve.items()}

    def _save(self):
        tensors = {f"{site}/x": x for site, x in self.drawn.x.items()}
        for site, usage in self.usages.items():
            tensors |= {f"{site}/totals": usage.totals, f"{site}/active": usage.active}
        about = {"settings": self._about, "done": self.done, "n_read": self.drawn.n_seen, "curve": self.curve}
        checkpoint.write(self.path, tensors, about)

    def _resume(self):
        if not (self.path and self.path.exists()):
            return
        tensors, about = checkpoint.read(self.path, ("settings", "done", "n_read", "curve"))
        other = ", ".join(name for name, value in self._about.items() if about["settings"].get(name) != value)
        if other:
            raise ValueError(f"{self.path} is a checkpoint of another survey: {other} differ; name another file")
        for site, usage in self.usages.items():
            device = "cpu" if usage.totals is None else usage.totals.device
            usage.totals, usage.active = (tensors[f"{site}/{name}"].to(device) for name in ("totals", "active"))
            usage.n_rows, self.drawn.x[site] = about["n_read"], tensors[f"{site}/x"]
        self.done, self.curve, self.drawn.n_seen = about["done"], about["curve"], about["n_read"]


def _known_by(sae, site, n_neurons):
    """What tells a dictionary from others: its name, and the sum of its encoder. ValueError for one of another width."""
    if not isinstance(sae, Dictionary):
        return sae.name
    if sae.n_neurons != n_neurons:
        raise ValueError(f"{sae.name} reads {sae.n_neurons} neurons, but the site {site} has {n_neurons}")
    return f"{sae.name} {float(sae.encoder.double().sum()):.12g}"


def _dimension(x):
    """TwoNN of the rows of x that differ by more than rounding; NaN for fewer than 10.

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


def enough(texts: str, features: str, tolerance: float = TOLERANCE) -> float:
    """Number of texts that were enough: the first of a curve after which F stays within `tolerance` of its last value.

    `texts` and `features` are the words of `Survey.rows`. NaN where that is more than half of all texts: a curve that is
    still moving has not shown that it was enough.
    """
    numbers, values = (np.array(words.split(), dtype=float) for words in (texts, features))
    near = np.abs(values / values[-1] - 1) <= tolerance
    settled = numbers[np.logical_and.accumulate(near[::-1])[::-1]]
    return float(settled[0]) if settled.size and settled[0] <= numbers[-1] / 2 else float("nan")
