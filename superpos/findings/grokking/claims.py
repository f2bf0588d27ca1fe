"""The claims on grokking. Their rules and the history of these stand in notebooks/full/06_grokking.yaml."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from superpos.claims import Claim, Estimate, MeetsPaper, NearZero, OnSide, Rule, mean_of
from superpos.findings.grokking import analysis, transitions
from superpos.sweep import Rows

UNIT = "network"


@dataclass(frozen=True)
class OneRun:
    """For a number of the paper's that is of one run: as MeetsPaper, but open where our range holds zero."""

    error: float = 0.0

    def __call__(self, paper: float | None, ours: Estimate) -> str:
        """The word."""
        return "open" if ours.low <= 0 <= ours.high else MeetsPaper(self.error)(paper, ours)


def one_run_of(values: pd.Series) -> Estimate:
    """Mean of one value a network, with the range in which one more network lies: t · s · √(1 + 1/n) to each side."""
    mean, n = float(np.mean(values)), len(values)
    reach = stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) * math.sqrt(1 + 1 / n)
    return Estimate(mean, mean - reach, mean + reach, "Student t range of one more run, 95%", UNIT, n)


def _claim(name, text, estimate, rule, paper=None):
    where = "grokking on (a + b) mod 53"
    return Claim(f"grokking.{name}", f"Grokking: {text}", "grokking.csv", estimate, rule, paper, where)


def _mean(name: str, text: str, values: pd.Series, rule: Rule) -> Claim:
    values = values.dropna()
    nothing = Estimate(*(float("nan"),) * 3, "none: fewer than two networks", UNIT, len(values))
    return _claim(name, text, mean_of(values, UNIT) if len(values) > 1 else nothing, rule)


def drops_from_peak(rows: Rows) -> list[Claim]:
    """The size of F's fall from its peak, by the protocol and by the paper's reading; the paper's curve is read off to ± 3."""
    text, ours = "relative fall of F from its peak to the end, pre-activation", "(range of one run)"
    rule, paper = OneRun(3 / 175 + 3 * 153 / 175**2), 1 - 153 / 175
    protocol, published = (one_run_of(analysis.peak_falls(rows, f"F, pre{by}")["drop"]) for by in ("", ", published"))
    return [
        _claim("f_drop", f"{text} {ours}", protocol, rule, paper),
        _claim("f_drop_published", f"{text}, by the paper's recipe {ours}", published, rule, paper),
    ]


def falls(rows: Rows) -> list[Claim]:
    """F falls from before the transition to the end: before and after the activation, and in other networks."""
    text = "F falls from before the transition to the end"
    found = [
        _mean("f_fall", text, analysis.falls(rows, "F, pre"), OnSide(1)),
        _mean("f_fall_post", "the same after the activation", analysis.falls(rows, "F, post"), OnSide(1)),
    ]
    for name, net in {"wide": "MLP, 128 neurons", "transformer": "transformer, 512 neurons"}.items():
        found.append(_mean(f"{name}_f_fall", f"{text} ({net})", analysis.falls(rows, "F, pre", net), OnSide(1)))
    return found


def falls_over_controls(rows: Rows) -> list[Claim]:
    """F does not fall where nothing is understood, and falls more where something is."""
    decay, without, shuffled = (analysis.falls(rows, "F, pre", state=state) for state in analysis.STATES)
    return [
        _mean("control_drop", "F does not fall without weight decay", without, NearZero(0.05)),
        _mean("fall_over_control", "F falls more than with no weight decay", decay - without, OnSide(1)),
        _mean("fall_over_shuffled", "F falls more than with shuffled labels", decay - shuffled, OnSide(1)),
    ]


def sharpness(rows: Rows) -> list[Claim]:
    """The paper's "sharp", as a direction: more than half of the fall, and more than time alone would give."""
    fell = analysis.peak_falls(rows, "F, pre")
    inside = Estimate(*transitions.ratio_interval(fell.inside, fell.fall), "jackknife, 95%", UNIT, len(fell))
    over = transitions.pseudo_values(fell.inside, fell.fall) - fell.time
    return [
        _claim("sharpness", "more than half of the fall of F happens in the transition", inside, OnSide(1, than=0.5)),
        _mean("sharp_over_time", "the transition's share of the fall exceeds its share of the time", over, OnSide(1)),
    ]


def correlations(rows: Rows) -> list[Claim]:
    """F goes with the LLC: as strongly as in the paper, beyond the trend, and beyond other networks' LLC."""
    cold, hot = (analysis.correlations(rows, setting, "F, pre") for setting in ("cold", "hot"))
    text = "F goes with its own LLC more than with that of other networks"
    return [
        _claim("r_llc_raw", "r of F and LLC, cold (range of one run)", one_run_of(cold.raw), OneRun(), 0.908),
        _claim("r_llc_raw_hot", "r of F and LLC, hot (range of one run)", one_run_of(hot.raw), OneRun(), 0.908),
        _mean("r_llc_detrended", "changes of F and LLC (cold) go together", cold.detrended, OnSide(1)),
        _mean("r_llc_over_null", text, cold.excess, OnSide(1)),
    ]


def first_mover(rows: Rows) -> Claim:
    """Some measure tells of the transition before test accuracy does."""
    found = analysis.first_movers(rows)
    text = f"some measure moves before test accuracy, in steps ({found.measure.mode()[0]})"
    return _mean("first_mover", text, found.lead, OnSide(-1))


def f_lead(rows: Rows) -> Claim:
    """F moves when test accuracy does, if it has a moment of its own."""
    found = analysis.leads(rows).query("measure == 'F, pre'")
    text = "F falls steepest when test accuracy rises steepest, in steps"
    return _mean("f_lead", text, found.lead if found.edge.mean() < 0.5 else found.lead[:0], NearZero(100.0))


CLAIMS = (drops_from_peak, falls, falls_over_controls, sharpness, correlations, first_mover, f_lead)
