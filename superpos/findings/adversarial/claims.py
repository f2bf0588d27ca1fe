"""The claims about adversarial training: H1, H2, Fashion-MNIST (chapter 08), H3 and ResNet-18 (chapter 09).

Their rules stand, with their history, in notebooks/full/08_under_attack.yaml and 09_room_to_spare.yaml. The paper's update
is that of its code, which leaks a gradient ("leak"); the corrected one is another protocol.
"""

import itertools
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats

from superpos import statistics
from superpos.answers import Answer, said, side
from superpos.claims import PAPER, Claim, Estimate, MeetsPaper, OnSide, mean_of, not_run
from superpos.findings.adversarial import analysis, naming, slopes
from superpos.findings.adversarial.analysis import FASHION, H2, H3
from superpos.sweep import Rows

SOURCE, OF_RESNET, WIDE = "adversarial.csv", "adversarial_resnet.csv", "adversarial_resnet_wide.csv"
CORRECTED = "corrected update"
ATTACKS, CONDITION = "adversarial training", "condition: data set, architecture and number of classes"
SHORT = "a short training on few images"
KIND = "random effects, t (Hartung, Knapp, Sidik and Jonkman), 95%"


def _by_update(rows: Rows) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """For each update what it adds to an id, what is other than the paper's protocol, and the conditions of H2 under it."""
    conditions = analysis.h2_slopes(rows)
    for update, suffix, other in (("leak", "", ""), ("corrected", "_corrected", CORRECTED)):
        yield suffix, other, conditions[conditions["update"] == update]


def _pooled(table: pd.DataFrame, unit: str) -> Estimate:
    """Slopes pooled with random effects; not run where there are fewer than two."""
    if len(table) < 2:
        return not_run(unit, len(table))
    pool = statistics.pool(table.slope, table.variance)
    return Estimate(pool["mean_re"], pool["low_re"], pool["high_re"], KIND, unit, len(table))


def h1(rows: Rows) -> Iterator[Claim]:
    """Adversarial training does not always lower F: at least one slope surely lies above zero (Holm's test)."""
    for suffix, other, mine in _by_update(rows):
        text = f"Adversarial training does not always lower F: conditions with a slope above zero, of {len(mine)}{_in(other)}"
        above, below = analysis.surely(mine.p_above).sum(), analysis.surely(mine.p_below).sum()
        counts = float((mine.slope > 0).sum()), float(above), float(len(mine) - below)
        estimate, where = (
            Estimate(*counts, "Holm's test over all conditions, 5% a side", CONDITION, len(mine)),
            f"{ATTACKS}, H1",
        )
        limits = (0.0, float(len(mine)))
        yield Claim(
            f"adversarial.h1{suffix}", text, SOURCE, estimate, OnSide(1, 0.5), None, where, PAPER, other, limits
        )


def _in(other: str) -> str:
    return f", {other}" if other else ""


def h2_slope(rows: Rows) -> Iterator[Claim]:
    """The slope of F on the radius falls with the number of classes."""
    rule, where = MeetsPaper(1.96 * H2[1], nonzero=True), f"{ATTACKS}, H2"
    for suffix, other, mine in _by_update(rows):
        text = f"Slope of F on ε falls with the classes, a step of their code{_in(other)}"
        estimate, name = _pooled(analysis.lines(mine), "data set and architecture"), f"adversarial.h2_slope{suffix}"
        yield Claim(name, text, SOURCE, estimate, rule, H2[0], where, PAPER, other)


def fashion_minus_mnist(rows: Rows) -> Iterator[Claim]:
    """The slope of F on the radius is lower on Fashion-MNIST than on MNIST."""
    rule, where = MeetsPaper(1.96 * FASHION[1], nonzero=True), f"{ATTACKS}, H2"
    for suffix, other, mine in _by_update(rows):
        text, name = (
            f"Slope of F on ε, Fashion-MNIST minus MNIST{_in(other)}",
            f"adversarial.fashion_minus_mnist{suffix}",
        )
        estimate = _pooled(analysis.differences(mine, "fashion-mnist", "mnist"), "number of classes and architecture")
        yield Claim(name, text, SOURCE, estimate, rule, FASHION[0], where, PAPER, other)


def h3_slope(rows: Rows) -> Iterator[Claim]:
    """The slope of F on the radius rises with the logarithm of the width, in each architecture.

    The paper's +.220 is one number for both, in a base of the logarithm that it does not name: its sign is asked for.
    """
    conditions = analysis.h3_slopes(rows)
    for (architecture, name), update in itertools.product((("mlp1", "mlp"), ("cnn1", "cnn")), ("leak", "corrected")):
        mine = conditions[(conditions.architecture == architecture) & (conditions["update"] == update)]
        lines, other = analysis.lines(mine), "" if update == "leak" else CORRECTED
        ran = f"of width {', '.join(map(str, sorted(mine.width.unique())))}" if len(mine) else "not run"
        text = f"Slope of F on ε rises with ln(width), in sign{_in(other)}: {naming.word(architecture)} {ran}; {_sides(lines)}"
        estimate, suffix = _pooled(lines, "number of classes"), "" if update == "leak" else "_corrected"
        full, where = f"adversarial.h3_sign_{name}{suffix}", f"{ATTACKS}, H3"
        yield Claim(full, text, SOURCE, estimate, OnSide(1), H3[0], where, PAPER, other)


def _sides(lines: pd.DataFrame) -> str:
    """How many lines of each architecture surely rise or fall, by Holm's test over all."""
    surely = analysis.surely(2 * stats.norm.sf(lines.slope.abs() / lines.variance**0.5))
    signs = np.sign(lines.slope).where(surely, 0)
    return "; ".join(
        f"of {len(of)} numbers of classes {_do(int((of > 0).sum()), 'rise')}, {_do(int((of < 0).sum()), 'fall')}"
        for where, of in signs.groupby(lines["where"], sort=False)
    )


def _do(n: int, does: str) -> str:
    return f"{n} surely {does}{'s' if n == 1 else ''}"


def _of_resnet(rows: Rows, file: str) -> tuple[str, pd.DataFrame]:
    """What was run of ResNet-18 on CIFAR-10, in words, and its slopes."""
    table, _ = slopes.without_silent(rows[file.removesuffix(".csv")])
    table = table[table.dataset.str.contains("cifar10") & (table.n_classes == 10)]
    images = table.dataset.min()
    table = table[table.dataset == images]
    conditions, plain = analysis.with_intervals(slopes.slopes(table)), table[table.epsilon == 0]
    if plain.empty:
        return "ResNet-18, CIFAR-10: not run", conditions
    accuracies = plain.drop_duplicates(["width", "seed"]).groupby("width").accuracy_0.mean()
    accuracy = " to ".join(dict.fromkeys(f"{end:.2f}" for end in (accuracies.min(), accuracies.max())))
    sizes = "".join(f", {n} epochs on {m} images a class" for n, m in plain.groupby(["epochs", "per_class"]).groups)
    which = f"ResNet-18, CIFAR-10{'' if images == 'cifar10' else ' (JPEG copy)'}"
    return f"{which}{sizes} (clean test accuracy at ε = 0: {accuracy})", conditions


def _of_the_width(width: float) -> str:
    return "full width" if width == 1 else f"{width:g} of the width"


def resnet_width_slope(rows: Rows) -> Claim:
    """In ResNet-18 the slope rises with the logarithm of the width; open unless three widths were run."""
    which, conditions = _of_resnet(rows, WIDE)
    widths = ", ".join(map("{:g}".format, conditions.width)) or "none"
    estimate = not_run("seed, a network for each width and radius")
    if conditions.width.nunique() >= 3:
        by_seed = analysis.resnet_by_seed(slopes.without_silent(rows[WIDE.removesuffix(".csv")])[0])
        estimate = mean_of(analysis.on_width(by_seed), estimate.unit)
    text, where = f"{which}: slope of F on ε rises with ln(width); run at {widths}", f"{ATTACKS}, H3, ResNet-18"
    name, rule = "adversarial.resnet_width_slope", MeetsPaper(1.96 * 2.0)
    return Claim(name, text, WIDE, estimate, rule, 31.0, where, PAPER, SHORT)


def resnet_widths(rows: Rows) -> Iterator[Claim]:
    """The slope of F on the radius in ResNet-18 at each width, beside what is read off the paper's figure."""
    for file in (OF_RESNET, WIDE):
        which, conditions = _of_resnet(rows, file)
        where = f"{ATTACKS}, H3, ResNet-18, read off a figure"
        by_seed = analysis.resnet_by_seed(slopes.without_silent(rows[file.removesuffix(".csv")])[0])
        for row in conditions.itertuples():
            estimate = Estimate(row.slope, row.low, row.high, "Student t, 95%", "network", row.n)
            if file == WIDE:
                estimate = mean_of(by_seed[row.width], "seed, a network for each radius")
            text, paper = (
                f"{which}: slope of F on ε at {_of_the_width(row.width)}",
                {0.25: -1.6, 0.5: 10.0, 1.0: 44.0, 2.0: 78.0}[row.width],
            )
            name = f"adversarial.resnet_{row.width:g}{'_few' if file == OF_RESNET else ''}"
            yield Claim(name, text, file, estimate, MeetsPaper(1.0, True), paper, where, PAPER, SHORT)


def _networks(rows: Rows, architectures: tuple[str, ...]) -> str:
    """How many networks of some architectures under the paper's update the slopes rest on, in words."""
    table = rows["adversarial"].query("architecture in @architectures and (update == 'leak' or epsilon == 0)")
    each = table.drop_duplicates(slopes.NETWORK)
    return f"{len(each)} networks, {each.seed.nunique()} for each case and radius ε of the attacks"


def answer_attack(rows: Rows) -> Answer:
    """What the chapter on attacks and the number of classes comes to."""
    cases, more = next(h1(rows)), next(h2_slope(rows)).estimate
    n, up, down = cases.estimate.n, int(cases.estimate.low), cases.estimate.n - int(cases.estimate.high)
    clean = analysis.clean_alone(rows).side
    clean_up, clean_down = int((clean == "above").sum()), int((clean == "below").sum())
    always = {"agrees": "Not always", "differs": "Yes, always"}.get(cases.word, "Not surely")
    turn = side(more, 0, "more classes make it rise more", "more classes make it fall more", "")
    turn = turn or "whether more classes make it fall more is open"
    return Answer(
        "08_under_attack", "Does a network that is trained against attacks end up with fewer features?",
        f"{always}: with stronger attacks F, the number of features, surely rises in {up} of {n} cases and surely falls in "
        f"{down}; {turn} (a step of classes changes the slope of F by {said(more)}).",
        f"{_networks(rows, analysis.DEEP)}; a case is a data set (MNIST, Fashion-MNIST), a network (MLP, CNN) and a number of "
        f"classes. “Surely”: {cases.estimate.kind}. F is read on clean and on attacked images; on clean ones alone it "
        f"surely rises in {clean_up} and surely falls in {clean_down} cases. "
        f"A step leads from one of 2, 3, 5 and 10 classes to the next; interval: {more.kind}, over {more.n} pairs of "
        f"data set and network.",
        (SOURCE, "adversarial_readings.csv", "adversarial_reread.csv"),
    )  # fmt: skip


def answer_width(rows: Rows) -> Answer:
    """What the chapter on attacks and the width of networks comes to."""
    mlp, _, cnn, _ = h3_slope(rows)
    large = resnet_width_slope(rows).estimate
    found = {"MLPs": mlp.estimate, "CNNs": cnn.estimate, "a briefly trained ResNet-18": large}
    does = ("keep more features, or lose fewer", "keep fewer features, or lose more", "may do either")
    told = [f"in {name} wider networks {side(one, 0, *does)} ({said(one)})" for name, one in found.items()]
    radii = [rows[name.removesuffix(".csv")].epsilon.max() for name in (SOURCE, WIDE)]
    return Answer(
        "09_room_to_spare", "Does a wider network keep more features when it is trained against attacks?",
        f"Under attack, {'; '.join(told)}.",
        f"{_networks(rows, analysis.SHALLOW)}; a case is an MLP or CNN of one hidden layer, its width and a number of MNIST's "
        "classes. In brackets: by how much the slope of F on ε, relative to F without attacks, changes where ln(width) grows by "
        f"one; ε goes to {radii[0]:g}, and to {radii[1]:.3f} for ResNet-18. Intervals: {mlp.estimate.kind}, over "
        f"{mlp.estimate.n} numbers of classes; for ResNet-18 {large.kind}, over {large.n} seeds.",
        (SOURCE, OF_RESNET, WIDE, "adversarial_readings.csv", "adversarial_reread.csv"),
    )  # fmt: skip


ANSWERS = (answer_attack, answer_width)
UNDER_ATTACK = (h1, h2_slope, fashion_minus_mnist)
ROOM_TO_SPARE = (h3_slope, resnet_width_slope, resnet_widths)
CLAIMS = (*UNDER_ATTACK, *ROOM_TO_SPARE)
CHAPTERS = {  # the longest beginning counts
    "adversarial.": "08_under_attack",
    "adversarial.h3": "09_room_to_spare",
    "adversarial.resnet": "09_room_to_spare",
}
