"""The claims about adversarial training: H1, H2 and Fashion-MNIST (chapter “Under attack”), H3 and ResNet-18 (“Room to spare”).

Their rules stand, with their history, in notebooks/full/08_under_attack.yaml and 09_room_to_spare.yaml.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats

from superpos import statistics
from superpos.claims import Claim, Estimate, MeetsPaper, OnSide, not_run
from superpos.findings.adversarial import analysis, slopes
from superpos.findings.adversarial.analysis import FASHION, H2, H3
from superpos.sweep import Rows

SOURCE, OF_RESNET = "adversarial.csv", "adversarial_resnet.csv"
KIND = "random effects, t (Hartung, Knapp, Sidik and Jonkman), 95%"


def _by_update(rows: Rows) -> Iterator[tuple[str, str, pd.DataFrame, int]]:
    """For each update what it adds to a claim's id and text, the conditions of H2 under it, and how many networks they have."""
    conditions = analysis.h2_slopes(rows)
    for update, suffix, words in (("leak", "", ""), ("corrected", "_corrected", ", corrected update")):
        mine = conditions[conditions["update"] == update]
        yield suffix, words, mine, int(mine.n.sum())


def _pooled(table: pd.DataFrame, n: int) -> Estimate:
    """Slopes pooled with random effects; not run where there are fewer than two."""
    if len(table) < 2:
        return not_run("network", n)
    pool = statistics.pool(table.slope, table.variance)
    return Estimate(pool["mean_re"], pool["low_re"], pool["high_re"], KIND, "network", n)


def h1(rows: Rows) -> Iterator[Claim]:
    """Adversarial training does not always lower F: at least one slope surely lies above zero (Holm's test)."""
    for suffix, words, mine, n in _by_update(rows):
        text = (
            f"Adversarial training does not always lower F: conditions with a slope above zero, of {len(mine)}{words}"
        )
        above, below = analysis.surely(mine.p_above).sum(), analysis.surely(mine.p_below).sum()
        counts = float((mine.slope > 0).sum()), float(above), float(len(mine) - below)
        estimate = Estimate(*counts, "Holm's test over all conditions, 5% a side", "network", n)
        yield Claim(f"adversarial.h1{suffix}", text, SOURCE, estimate, OnSide(1, 0.5), None, "adversarial training, H1")


def h2_slope(rows: Rows) -> Iterator[Claim]:
    """The slope of F on the radius falls with the number of classes."""
    rule = MeetsPaper(1.96 * H2[1], nonzero=True)
    for suffix, words, mine, n in _by_update(rows):
        text = f"Slope of F on ε falls with the classes, a step of their code{words}"
        estimate = _pooled(analysis.lines(mine), n)
        yield Claim(f"adversarial.h2_slope{suffix}", text, SOURCE, estimate, rule, H2[0], "adversarial training, H2")


def fashion_minus_mnist(rows: Rows) -> Iterator[Claim]:
    """The slope of F on the radius is lower on Fashion-MNIST than on MNIST."""
    rule, where = MeetsPaper(1.96 * FASHION[1], nonzero=True), "adversarial training, H2"
    for suffix, words, mine, n in _by_update(rows):
        text = f"Slope of F on ε, Fashion-MNIST minus MNIST{words}"
        estimate = _pooled(analysis.differences(mine, "fashion-mnist", "mnist"), n)
        yield Claim(f"adversarial.fashion_minus_mnist{suffix}", text, SOURCE, estimate, rule, FASHION[0], where)


def h3_slope(rows: Rows) -> Iterator[Claim]:
    """The slope of F on the radius rises with the logarithm of the width."""
    conditions, rule = analysis.h3_slopes(rows), MeetsPaper(1.96 * H3[1], nonzero=True)
    lines = analysis.lines(conditions)
    for name, words in (("mlp", ""), ("cnn", ""), ("corrected", ", corrected update")):
        mine = lines[lines.claim == name]
        used = conditions[(conditions.claim == name) & conditions.line.isin(mine.line)]
        widths = used.groupby("where", sort=False).width.unique()
        ran = "; ".join(f"{where} {', '.join(map(str, sorted(some)))}" for where, some in widths.items())
        text = f"Slope of F on ε rises with ln(width){words}: {ran}; {_sides(mine)}"
        text = text if ran else f"Slope of F on ε{words}: not run"
        estimate = _pooled(mine, int(used.n.sum()))
        yield Claim(f"adversarial.h3_slope_{name}", text, SOURCE, estimate, rule, H3[0], "adversarial training, H3")


def _sides(lines: pd.DataFrame) -> str:
    """How many lines of each architecture surely rise or fall, by Holm's test over all."""
    surely = analysis.surely(2 * stats.norm.sf(lines.slope.abs() / lines.variance**0.5))
    signs = np.sign(lines.slope).where(surely, 0)
    return "; ".join(
        f"{where}: of {len(of)} numbers of classes {(of > 0).sum()} surely rise, {(of < 0).sum()} surely fall"
        for where, of in signs.groupby(lines["where"], sort=False)
    )


def _of_resnet(rows: Rows) -> tuple[str, pd.DataFrame]:
    """What was run of ResNet-18 on CIFAR-10, in words, and its slopes."""
    table, _ = slopes.without_silent(rows["adversarial_resnet"])
    table = table[table.dataset.str.contains("cifar10") & (table.n_classes == 10)]
    images = table.dataset.min()
    table = table[table.dataset == images]
    conditions, plain = analysis.with_intervals(slopes.slopes(table)), table[table.epsilon == 0]
    if plain.empty:
        return "ResNet-18, CIFAR-10: not run", conditions
    accuracy = plain.drop_duplicates(["width", "seed"]).accuracy_0.mean()
    sizes = "".join(f", {n} epochs on {m} images a class" for n, m in plain.groupby(["epochs", "per_class"]).groups)
    which = f"ResNet-18, CIFAR-10{'' if images == 'cifar10' else ' (JPEG copy)'}"
    return f"{which}{sizes}, test accuracy {accuracy:.2f}", conditions


def resnet_width_slope(rows: Rows) -> Claim:
    """In ResNet-18 the slope rises with the logarithm of the width; open unless three widths were run."""
    which, conditions = _of_resnet(rows)
    widths, n = ", ".join(map("{:g}".format, conditions.width)) or "none", int(conditions.n.sum())
    estimate = not_run("network", n)
    if conditions.width.nunique() >= 3:
        fit = statistics.meta_slope(np.log(conditions.width), conditions.slope, conditions.variance)
        estimate = Estimate(fit["slope_re"], fit["low_re"], fit["high_re"], "random effects, t, 95%", "network", n)
    text, where = (
        f"{which}: slope of F on ε rises with ln(width); run at {widths}",
        "adversarial training, H3, ResNet-18",
    )
    return Claim("adversarial.resnet_width_slope", text, OF_RESNET, estimate, MeetsPaper(1.96 * 2.0), 31.0, where)


def resnet_quarter(rows: Rows) -> Claim:
    """In ResNet-18 of a quarter of its width the slope of F on the radius is a little below zero."""
    which, conditions = _of_resnet(rows)
    quarter = conditions[conditions.width == 0.25]
    estimate = not_run("network")
    for row in quarter.itertuples():  # one, or none
        estimate = Estimate(row.slope, row.low, row.high, "Student t, 95%", "network", row.n)
    text, where = (
        f"{which}: slope of F on ε at a quarter of the width",
        "adversarial training, H3, ResNet-18, read off a figure",
    )
    return Claim("adversarial.resnet_quarter", text, OF_RESNET, estimate, MeetsPaper(1.0, True), -1.6, where)


UNDER_ATTACK = (h1, h2_slope, fashion_minus_mnist)
ROOM_TO_SPARE = (h3_slope, resnet_width_slope, resnet_quarter)
CLAIMS = (*UNDER_ATTACK, *ROOM_TO_SPARE)
