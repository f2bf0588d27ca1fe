"""A small language model, each of its MLPs and attentions read by several readings."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from superpos import seeds
from superpos.findings.language.pretraining import Small
from superpos.findings.language.task import Reading, chosen_sites, load_model, loss_of, read_rows
from superpos.findings.language.texts import Draw, Tokens, tokenize
from superpos.readings import ALL, names_in, read_by
from superpos.settings import Count, Positive, settings


@settings
class Reread:
    """A network, untrained where its `steps` are 0, and what reads `n_rows` tokens of `n_texts` windows of texts at some sites.

    readings: names of `superpos.readings`, with semicolons between; length: of the training of what reads, 1 for the whole.
    The seed of the network decides the texts and tokens drawn as well, so that a network is read on the same tokens before
    its training and after it.
    """

    network: Small
    sites: str = "attention,mlp"
    texts: str = "python:read"
    n_texts: Count = 400
    n_rows: Count = 8_000
    readings: str = ALL
    length: Positive = 1.0

    def __post_init__(self) -> None:
        names_in(self.readings)


def reread_run(run: Reread) -> list[dict[str, Any]]:
    """A row a site and a reading, with the network's loss on the texts, in nats a token."""
    model, seed = load_model(str(run.network)), run.network.seed
    modules = chosen_sites(model, run.sites)
    draw = Draw(texts=run.texts, n_texts=run.n_texts, seed=seed, context=run.network.context, windows="all")
    tokens = tokenize(draw, model.tokenizer, "language.windows")
    about, rows = {"loss": loss_of(model, tokens)}, []
    for site, module in modules.items():
        x, text = _drawn(model, tokens, {site: module}, run.n_rows, seed)
        kind, _, layer = site.partition(".")
        asked = {"seed": seeds.seed("language.sae", seed), "label": site, "sample": text, "length": run.length}
        found = read_by(names_in(run.readings), x, **asked)
        rows += [{"site": site, "kind": kind, "layer": int(layer or -1)} | about | row for row in found]
    return rows


def _drawn(
    model: Any, tokens: Tokens, modules: dict[str, str], n_rows: int, seed: int
) -> tuple[Float[Tensor, "n N"], Int[Tensor, " n"]]:
    """The rows of one site at tokens drawn at random, and the text of each. All tokens where there are no more than asked."""
    (site,) = modules
    read = torch.cat([of[site] for _, of in read_rows(model, tokens, modules, Reading())])
    text = torch.arange(len(tokens.lengths)).repeat_interleave(tokens.lengths.long())
    picked = torch.randperm(len(read), generator=seeds.generator("language.rows", seed))[:n_rows].sort().values
    return read[picked], text[picked]
