"""The claims on grokking. Their rules and the history of these stand in notebooks/full/06_grokking.yaml.

The paper reads F before the activation by its own recipe ("published"); by our protocol, and after the activation, a number is of
another protocol. What has no counterpart in the paper is a check, or stands elsewhere.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from superpos.answers import Answer, said, side
from superpos.claims import (
    CHECK,
    ELSEWHERE,
    PAPER,
    UNKNOWN,
    Claim,
    Estimate,
    MeetsPaper,
    NearZero,
    OnSide,
    Rule,
    mean_of,
)
from superpos.findings.grokking import analysis, transitions
from superpos.sweep import Rows

UNIT = "network"
OURS, AFTER, TIMED = "our protocol", "after the activation, our protocol", "our protocol, our own time of a moment"


@dataclass(frozen=True)
class OneRun:
    """For a number of the paper's that is of one run: as MeetsPaper, but open where our range holds zero."""

    error: float = 0.0

    def __call__(self, paper: float | None, ours: Estimate) -> str:
        """The word."""
        return "open" if ours.low <= 0 <= ours.high else MeetsPaper(self.error)(paper, ours)

    def agrees(self, paper: float | None) -> str:
        """What our range must be for "agrees", in words."""
        return f"{MeetsPaper(self.error).agrees(paper)}, and does not hold zero"

    def differs(self, paper: float | None) -> str:
        """What our range must be for "differs", in words."""
        return f"{MeetsPaper(self.error).differs(paper)} and does not hold zero"


def one_run_of(values: pd.Series) -> Estimate:
    """Mean of one value a network, with the range in which one more network lies: t · s · √(1 + 1/n) to each side."""
    mean, n = float(np.mean(values)), len(values)
    reach = stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) * math.sqrt(1 + 1 / n)
    return Estimate(mean, mean - reach, mean + reach, "Student t range of one more run, 95%", UNIT, n)


def one_correlation_of(r: pd.Series) -> Estimate:
    """As `one_run_of`, for correlations: by Fisher's z, so that the range stays within ±1."""
    z = one_run_of(np.arctanh(r))
    ends = (float(np.tanh(value)) for value in (z.value, z.low, z.high))
    return Estimate(*ends, "Student t range of Fisher's z of one more run, 95%", UNIT, z.n)


def _claim(name, text, estimate, rule, paper=None, table=PAPER, protocol=""):
    where = "grokking on (a + b) mod 53" if table == PAPER else ""
    source, limits = "grokking.csv", (-1, 1) if name.startswith("r_") else (-math.inf, math.inf)
    return Claim(f"grokking.{name}", f"Grokking: {text}", source, estimate, rule, paper, where, table, protocol, limits)


def _mean(name: str, text: str, values: pd.Series, rule: Rule, table: str = PAPER, protocol: str = "") -> Claim:
    values = values.dropna()
    nothing = Estimate(*(float("nan"),) * 3, "none: fewer than two networks", UNIT, len(values))
    return _claim(name, text, mean_of(values, UNIT) if len(values) > 1 else nothing, rule, None, table, protocol)


RECIPE = ", by the paper's recipe"
READ_BY = {
    "": OURS,
    ", published": "",
}  # what names a reading of F before the activation: what is other than the paper's


def drops_from_peak(rows: Rows) -> list[Claim]:
    """The size of F's fall from its peak, by the protocol and by the paper's reading; the paper's curve is read off to ± 3."""
    text, ours = "relative fall of F from its peak to the end, pre-activation", "(range of one run)"
    rule, paper = OneRun(3 / 175 + 3 * 153 / 175**2), 1 - 153 / 175
    protocol, published = (one_run_of(analysis.peak_falls(rows, f"F, pre{by}")["drop"]) for by in ("", ", published"))
    return [
        _claim("f_drop", f"{text} {ours}", protocol, rule, paper, protocol=OURS),
        _claim("f_drop_published", f"{text}, by the paper's recipe {ours}", published, rule, paper),
    ]


def falls(rows: Rows) -> list[Claim]:
    """F falls from before the transition to the end: before and after the activation, and in other networks."""
    text, by_recipe = "F falls from before the transition to the end", analysis.falls(rows, "F, pre, published")
    found = [
        _mean("f_fall", text, analysis.falls(rows, "F, pre"), OnSide(1), protocol=OURS),
        _mean("f_fall_published", f"{text}, by the paper's recipe", by_recipe, OnSide(1)),
        _mean(
            "f_fall_post",
            f"{text}, read after the activation",
            analysis.falls(rows, "F, post"),
            OnSide(1),
            protocol=AFTER,
        ),
    ]
    for name, net in {"wide": "MLP, 128 neurons", "transformer": "transformer, 512 neurons"}.items():
        fell = analysis.falls(rows, "F, pre", net)
        found.append(_mean(f"{name}_f_fall", f"{text} ({net})", fell, OnSide(1), ELSEWHERE))
    return found


def falls_over_controls(rows: Rows) -> list[Claim]:
    """F does not fall where nothing is understood, and falls more where something is."""
    decay, without, shuffled = (analysis.falls(rows, "F, pre", state=state) for state in analysis.STATES)
    over = {"control": ("with no weight decay", without), "shuffled": ("with shuffled labels", shuffled)}
    return [
        _mean("control_drop", "F does not fall without weight decay", without, NearZero(0.05), CHECK),
        *(
            _mean(f"fall_over_{key}", f"F falls more than {words}", decay - other, OnSide(1), CHECK)
            for key, (words, other) in over.items()
        ),
    ]


def sharpness(rows: Rows) -> list[Claim]:
    """The paper's "sharp", as a direction: more than half of the fall, by each reading; and more than time alone would give."""
    found = []
    for by, other in READ_BY.items():
        fell = analysis.peak_falls(rows, f"F, pre{by}")
        inside = Estimate(*transitions.ratio_interval(fell.inside, fell.fall), "jackknife, 95%", UNIT, len(fell))
        text = f"more than half of the fall of F happens in the transition{RECIPE if by else ''}"
        found.append(_claim(f"sharpness{by.replace(', ', '_')}", text, inside, OnSide(1, than=0.5), protocol=other))
        over = transitions.pseudo_values(fell.inside, fell.fall) - fell.time
        text = f"the transition's share of the fall exceeds its share of the time{RECIPE if by else ''}"
        found.append(_mean(f"sharp_over_time{by.replace(', ', '_')}", text, over, OnSide(1), CHECK))
    return found


def correlations(rows: Rows) -> list[Claim]:
    """F goes with the LLC: as strongly as in the paper, by each reading; beyond the trend, and beyond other networks' LLC.

    The paper's setting of the LLC, on which r hangs, is not known: nothing is decided.
    """
    found = []
    for by, other in READ_BY.items():
        for setting, suffix in (("cold", ""), ("hot", "_hot")):
            r = one_correlation_of(analysis.correlations(rows, setting, f"F, pre{by}").raw)
            text = f"r of F and LLC, {setting}{RECIPE if by else ''} (range of one run)"
            name = f"r_llc_raw{by.replace(', ', '_')}{suffix}"
            how = other or UNKNOWN
            found.append(_claim(name, text, r, OneRun(), 0.908, protocol=how))
    cold = analysis.correlations(rows, "cold", "F, pre")
    text = "F goes with its own LLC more than with that of other networks"
    return [
        *found,
        _mean("r_llc_detrended", "changes of F and LLC (cold) go together", cold.detrended, OnSide(1), CHECK),
        _mean("r_llc_over_null", text, cold.excess, OnSide(1), CHECK),
    ]


def first_mover(rows: Rows) -> Claim:
    """Some measure tells of the transition before test accuracy does."""
    found = analysis.first_movers(rows)
    text = f"some measure moves before test accuracy, in steps ({found.measure.mode()[0]})"
    return _mean("first_mover", text, found.lead, OnSide(-1), ELSEWHERE)


def f_lead(rows: Rows) -> Claim:
    """F moves when test accuracy does, if it has a moment of its own."""
    found = analysis.leads(rows).query("measure == 'F, pre'")
    text = "F falls steepest when test accuracy rises steepest, in steps"
    return _mean(
        "f_lead", text, found.lead if found.edge.mean() < 0.5 else found.lead[:0], NearZero(100.0), protocol=TIMED
    )


def _moved(ours: Estimate) -> str:
    """A relative fall in words and percent, with its interval."""
    does = side(ours, 0, "falls by", "rises by", "")
    sign = -100 if ours.high < 0 else 100
    low, high = sorted((sign * ours.low, sign * ours.high))
    percent = said(Estimate(sign * ours.value, low, high, ours.kind, ours.unit, ours.n))
    return f"{does} {percent} percent" if does else f"neither surely falls nor rises (a fall of {percent} percent)"


def answer(rows: Rows) -> Answer:
    """What the chapter on grokking comes to."""
    found = {claim.id: claim.estimate for claim in falls(rows)}
    before, after, recipe = (found[f"grokking.f_fall{one}"] for one in ("", "_post", "_published"))
    apart = side(before, 0, "falls", "rises", "") != side(after, 0, "falls", "rises", "")
    again = rows["grokking_reread"].seed.nunique()
    files = ("grokking", "grokking_reread", "grokking_timeline", "grokking_variations")
    return Answer(
        "06_grokking", "Does the number of features fall when a network stops memorising and understands?",
        f"When a network groks, F {_moved(before)} where it is read before the activation function, {'but' if apart else 'and'} "
        f"{_moved(after)} where it is read after it, by this book's protocol; by the paper's recipe, read before it, F "
        f"{_moved(recipe)}.",
        f"{before.n} networks that learn addition modulo 53; intervals over networks, {before.kind}. “How sure” is of {again} "
        "other networks.",
        tuple(f"{name}.csv" for name in files),
    )  # fmt: skip


ANSWERS = (answer,)
CLAIMS = (drops_from_peak, falls, falls_over_controls, sharpness, correlations, first_mover, f_lead)
CHAPTERS = {"grokking.": "06_grokking"}
