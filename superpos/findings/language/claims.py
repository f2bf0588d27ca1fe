"""What was found in a small language model of our own. The rules, written before any row, stand in notebooks/full/07_layers.yaml.

The model is not the paper's, so that nothing here has a word for or against it: the paper's numbers stand beside.
"""

import math

import pandas as pd

from superpos import statistics
from superpos.answers import Answer, join, said, side
from superpos.claims import CHECK, ELSEWHERE, Claim, Estimate, MeetsPaper, NearZero, OnSide, Rule, mean_of
from superpos.findings.language import analysis
from superpos.findings.language.analysis import L1, STREAM, UNTRAINED
from superpos.sweep import Rows

UNIT, WHERE = "network", "Pythia-70M, layer by layer"


def _claim(name: str, text: str, ours: Estimate, rule: Rule, paper: float | None = None, where: str = WHERE) -> Claim:
    text, table = f"Small GPT-NeoX of our own: {text}", CHECK if name == "kinds_agree" else ELSEWHERE
    return Claim(f"layers.{name}", text, "layers.csv", ours, rule, paper, where, table)


def _above_one(name: str, text: str, ratios: pd.Series, paper: float | None = None, where: str = WHERE) -> Claim:
    """That a ratio is above 1: geometric mean of one a network."""
    ours = Estimate(*statistics.geometric_interval(ratios), "Student t of logarithms, 95%", UNIT, len(ratios))
    return _claim(name, text, ours, OnSide(1, than=1), paper, where)


def peak_site(rows: Rows) -> Claim:
    """The second MLP has more features than any other site."""
    by_site = analysis.sites(rows, L1).pivot(index="seed", columns="site", values="F")
    places = by_site.idxmax(axis=1).value_counts()
    told = join(
        [f"{analysis.site_in_words(site)} in {count} of {len(by_site)} networks" for site, count in places.items()]
    )
    text = f"F of the second MLP over the largest of any other site (ours is largest at: {told})"
    return _above_one("peak_site", text, by_site["mlp.1"] / by_site.drop(columns="mlp.1").max(axis=1), 10.5 / 6.9)


def mlp_over_attention(rows: Rows) -> list[Claim]:
    """MLPs have more features than attentions; and how much of that is there before training."""
    ratio, before = (analysis.mlp_over_attention(rows, reading) for reading in (L1, UNTRAINED))
    return [
        _above_one("mlp_over_attention", "F of MLPs over F of attention", ratio, 36.9 / 17.0),
        _above_one(
            "mlp_over_attention_gain",
            "F of MLPs over F of attention, divided by that ratio before training",
            ratio / before,
            where="",
        ),
    ]


def hunchback(rows: Rows) -> list[Claim]:
    """F of the stream peaks where the paper's does and rises inside, as TwoNN does, and both peak together."""
    stream, twonn = (analysis.peaks(rows, measure, STREAM) for measure in ("F, L1", "TwoNN dimension"))
    place, rise = (
        "depth at which F of the residual stream peaks",
        "inside the residual stream over the larger of its ends",
    )
    at, at_F = twonn["at"].mean(), stream["at"].mean()
    together = f"depth at which TwoNN peaks in the residual stream ({at:.2f}) minus that at which F peaks ({at_F:.2f})"
    a_layer = NearZero(1 / (analysis.sites(rows, L1).layer.max() + 1))
    return [
        _claim("hunchback", place, mean_of(stream["at"], UNIT), MeetsPaper(error=1 / 12), 2 / 6),
        _above_one("hunchback_rise", f"largest F {rise}", stream.rise, 6.9 / 4.2),
        _above_one("hunchback_rise_twonn", f"largest TwoNN dimension {rise}", twonn.rise),
        _claim("hunchback_twonn", together, mean_of(twonn["at"] - stream["at"], UNIT), a_layer),
    ]


def untrained_ratio(rows: Rows) -> Claim:
    """Training adds features."""
    text = "F of trained networks over F before training, all sites"
    return _above_one("untrained_ratio", text, analysis.ratio_to(rows, UNTRAINED), where="")


def samples_to_converge(rows: Rows) -> Claim:
    """After how many texts F of the first MLP is settled; without an interval if it is not in one of the networks."""
    enough = analysis.sites(rows, L1).query("site == 'mlp.0'").enough
    ours = Estimate(enough.mean(), math.nan, math.nan, "none: not settled in every network", UNIT, len(enough))
    if enough.notna().all():
        ours = Estimate(*statistics.geometric_interval(enough), "Student t of logarithms, 95%", UNIT, len(enough))
    text = "texts that are enough for F of the first MLP"
    return _claim("samples_to_converge", text, ours, OnSide(-1, than=20_000), 20_000.0)


def kinds_agree(rows: Rows) -> Claim:
    """Two kinds of SAE order the sites alike."""
    text = "ρ over sites of F by L1 and by TopK SAEs"
    return _claim("kinds_agree", text, mean_of(analysis.agreement(rows, "F, TopK"), UNIT), OnSide(1), where="")


def answer(rows: Rows) -> Answer:
    """What the chapter on layers comes to."""
    ratio, gain = (one.estimate for one in mlp_over_attention(rows))
    rise, table = hunchback(rows)[1].estimate, analysis.sites(rows, L1)
    largest = table.loc[table.groupby("seed").F.idxmax()].site.map(analysis.site_in_words).value_counts()
    more = side(
        ratio, 1, "more effective features than", "fewer effective features than", "about as many effective features as"
    )
    trained = side(
        gain,
        1,
        "a ratio that training raises",
        "a ratio that training lowers",
        "a ratio that training does not surely raise",
    )
    hunch = side(rise, 1, "a middle layer", "no middle layer", "no middle layer surely")
    of_pythia = "" if "pythia" in set(rows) else " Pythia, the paper's model, was not read."
    one, more_networks = table.iloc[0], rows["language_reread"].seed.nunique()
    return Answer(
        "07_layers", "Which parts of a language model hold most features, and do its middle layers hold more than both ends?",
        f"In small language models MLPs hold {more} attention, {said(ratio)} times as many, {trained}; F is largest at the "
        f"{largest.index[0]} in {largest.iloc[0]} of {ratio.n} networks, and {hunch} of the residual stream exceeds both ends.",
        f"{ratio.n} networks of {table.layer.max() + 1} layers and {one.n_neurons} neurons, trained on Python's library and "
        f"manual, with an SAE at each of {table.site.nunique()} sites; interval over networks, {ratio.kind}. “How sure” is of "
        f"{more_networks} further networks.{of_pythia}",
        ("layers.csv", "layers_variations.csv", "language_reread.csv"),
    )  # fmt: skip


ANSWERS = (answer,)
CLAIMS = (peak_site, mlp_over_attention, hunchback, untrained_ratio, samples_to_converge, kinds_agree)
CHAPTERS = {"layers.": "07_layers"}
