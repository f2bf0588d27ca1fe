"""What the paper says of dictionaries and of dropout on sparse parity, held against committed rows.

The rules stand, with their history, in `notebooks/full/03_dictionary.yaml` and `notebooks/full/04_dropout.yaml`. The paper's
protocol is that of its code: which rows it reads, after the ReLU, for how long. All inputs, longer trainings and
the sum unit are protocols of ours.
"""

import numpy as np
import pandas as pd

from superpos import statistics
from superpos.answers import Answer, join, number
from superpos.claims import ELSEWHERE, PAPER, Claim, Estimate, MeetsPaper, NearZero, OnSide, Rule, mean_of
from superpos.findings.parity import analysis
from superpos.sae import PUBLISHED
from superpos.sweep import Rows

END_POINTS = {"0.01": (27, 690), "0.1": (20, 60), "1": (18, 33)}  # λ: F at 32 and at 1,024 codes, read off the figure
LOG_RANGE = float(np.log(1024 / 32))
RATIO_ERROR = 2 * 0.05  # relative, of a ratio of two numbers that are each read off a figure to 5%
PLATEAU = 0.1  # a slope within ± this much levels off: a quarter more features for eight times the codes
LARGE, OUTER = (2.0, 4.0, 8.0, 16.0), (0.5, 16.0)  # codes a neuron
INTERVALS = {  # of a value: how its interval was made, and its unit
    "slope": ("Student t, 95%", "network"),
    "rho": ("Student t of Fisher's z, 95%", "seed, a network for each rate"),
    "fall": ("Student t, 95%", "seed, two networks"),
}
OURS = "all inputs, before the ReLU"
POSSIBLE = {"slope": (-np.inf, np.inf), "rho": (-1.0, 1.0), "fall": (-np.inf, 1.0)}
SCALING, DROPS = "dictionary scaling, figure of F against dictionary size", "dropout, figure of F against the rate"


def _each(name: str, words: str, lines: pd.DataFrame, value: str, rule: Rule, where: str) -> list[Claim]:
    """A claim for each line of a table, whose columns complete id and words; a column `paper` holds the paper's numbers.

    A column `protocol` says what is other than the paper's, "" where nothing is. Without `where` it stands elsewhere.
    """
    return [
        Claim(
            name.format(**line),
            f"Sparse parity: {words.format(**line)}",
            f"{name.split('.')[0]}.csv",
            Estimate(*(line[column] for column in (value, "low", "high")), *INTERVALS[value], line["count"]),
            rule,
            line.get("paper"),
            where,
            PAPER if where else ELSEWHERE,
            line.get("protocol", ""),
            POSSIBLE[value],
        )
        for line in lines.to_dict("records")
    ]


def _slopes(rows: Rows, reading: str, expansions: tuple[float, ...]) -> pd.DataFrame:
    """Slopes of a reading at the paper's λ, between some sizes, with the `state` of its SAEs and the paper's slope."""
    table = analysis.labelled(rows["dictionary"])
    table = table[(table.reading == reading) & table.expansion.isin(expansions) & table.l1.isin(END_POINTS)]
    lines = analysis.slopes(analysis.end(table)).join(analysis.settled(table, ["l1"]).state, "l1")
    ours = {"all inputs": OURS, analysis.LONG: "", analysis.SHORT: "networks trained for 100 epochs"}
    lines["protocol"] = ours.get(reading, "")
    return lines.assign(paper=[float(np.log(END_POINTS[l1][1] / END_POINTS[l1][0])) / LOG_RANGE for l1 in lines.l1])


def grows(rows: Rows) -> list[Claim]:
    """F grows with the dictionary in a straight line at the weakest λ."""
    lines, words = _slopes(rows, "all inputs", LARGE), "F grows with D at λ = {l1} (slope of ln F, {state})"
    rule = MeetsPaper(RATIO_ERROR / LOG_RANGE)
    return _each("dictionary.slope_l1_{l1}", words, lines[lines.l1 == "0.01"], "slope", rule, SCALING)


def levels_off(rows: Rows) -> list[Claim]:
    """F levels off with the dictionary at the other λ; and, which is no claim of the paper's, at all λ in the sum unit."""
    name, words, rule = (
        "dictionary.slope_l1_{l1}",
        "F levels off with D at λ = {l1} (slope of ln F, {state})",
        NearZero(PLATEAU),
    )
    lines, of_sum = (_slopes(rows, reading, LARGE).drop(columns="paper") for reading in ("all inputs", "sum unit"))
    found = _each(name, words, lines[lines.l1 != "0.01"], "slope", rule, SCALING)
    words = words.replace("{l1}", "{l1} in the sum unit")
    return found + _each("dictionary.slope_l1_sum_{l1}", words, of_sum, "slope", rule, "")


def released_growth(rows: Rows) -> list[Claim]:
    """As released, F grows from the smallest dictionary to the largest as the paper's end points say.

    The length of the networks' training that was fixed first, 300 epochs, has the word; that of the released script, which took
    its place after rows had been seen, stands beside.
    """
    found: list[Claim] = []
    for reading, suffix, epochs in ((analysis.LONG, "", 300), (analysis.SHORT, "_100_epochs", 100)):
        words = (
            f"growth of F with D at λ = {{l1}}, as released, networks of {epochs} epochs (slope of ln F, end to end)"
        )
        lines, rule = _slopes(rows, reading, OUTER), MeetsPaper(RATIO_ERROR / LOG_RANGE)
        found += _each(f"dictionary.released{suffix}_l1_{{l1}}", words, lines, "slope", rule, SCALING)
    return found


def _ends(rows: Rows) -> pd.DataFrame:
    """SAEs at the end of training, with what their reading adds to the id (`prefix`) and the words (`which`) of a claim."""
    table = analysis.labelled(rows["dropout"], analysis.DROPOUT)
    run_on, released = table[table.reading == "all inputs"], analysis.end(table[table.reading == analysis.LONG])
    which = "all inputs, " + run_on.width.map(analysis.settled(run_on, ["width"]).state)
    run_on = run_on.assign(prefix="", which=which, protocol=OURS)
    released = released.assign(prefix="released_", which="as released", protocol="")
    return pd.concat([analysis.end(run_on), released])


def falls_with_dropout(rows: Rows) -> list[Claim]:
    """F falls with dropout at every width."""
    lines = analysis.ranks(_ends(rows), analysis.F, ("prefix", "which", "protocol", "width"))
    words = "F falls with dropout at h = {width}, {which} (ρ)"
    return _each("dropout.{prefix}rho_h{width}", words, lines, "rho", OnSide(-1), DROPS)


def fall_at_32(rows: Rows) -> list[Claim]:
    """With 32 neurons F falls from 52 without dropout to 21 at the rate 0.9."""
    by, rule = ["prefix", "which", "protocol", "width"], MeetsPaper(RATIO_ERROR * 21 / 52)
    falls = analysis.falls(_ends(rows).query("width == '32'"), by).reset_index()
    lines = statistics.summarize(falls, by, "fall").assign(paper=1 - 21 / 52)
    words = "relative fall of F from dropout 0 to 0.9 at h = {width}, {which}"
    return _each("dropout.{prefix}fall_h{width}", words, lines, "fall", rule, DROPS)


def spreads(rows: Rows) -> list[Claim]:
    """Dropout spreads a feature, here an input, over more neurons."""
    lines = analysis.ranks(_ends(rows).query("reading == 'all inputs'"), "neurons_per_input")
    lines["protocol"] = "neurons that an input reaches, a measure of ours"
    words = "dropout spreads an input over more neurons at h = {width} (ρ)"
    return _each("dropout.spread_h{width}", words, lines, "rho", OnSide(1), "dropout, why F falls")


def _slope_words(ours: Estimate) -> str:
    """What a slope says of F, by the rule for a plateau."""
    side = "grows" if ours.value > 0 else "falls"
    return {"agrees": "levels off", "open": "may level off", "differs": side}[NearZero(PLATEAU)(None, ours)]


def _told(ours: Estimate, times: float = 1, unit: str = "") -> str:
    """An estimate and its interval in two digits."""
    value, low, high = (number(times * one, 2) for one in (ours.value, ours.low, ours.high))
    return f"{value}{unit} [{low} to {high}{unit}]"


def answer_dictionary(rows: Rows) -> Answer:
    """What the chapter on dictionaries comes to."""
    weak, strong = min(END_POINTS, key=float), max(END_POINTS, key=float)
    lines = {name: _slopes(rows, name, LARGE).set_index("l1") for name in (analysis.LONG, "all inputs")}
    released, long, firm = (
        Estimate(*lines[name].loc[l1, ["slope", "low", "high"]], *INTERVALS["slope"], int(lines[name].loc[l1, "count"]))
        for name, l1 in ((analysis.LONG, weak), ("all inputs", weak), ("all inputs", strong))
    )
    slower = " more slowly" if _slope_words(long) == "grows" and long.high < released.low else ""
    settled = "had settled" if lines["all inputs"].loc[weak, "state"] == "converged" else "had not settled"
    table = rows["dictionary"]
    return Answer(
        "03_dictionary", "Does a larger dictionary find ever more effective features F?",
        f"At λ = {weak} F {_slope_words(released)} by the paper's own script (as released), with a slope of {_told(released)}, "
        f"and {_slope_words(long)}{slower} where the SAE trains longer on all inputs, with {_told(long)}; at λ = {strong} it "
        f"{_slope_words(firm)}, with {_told(firm)}.",
        f"{long.n} networks of {table.width.max()} neurons, {table.n_sae.max()} SAEs each; intervals over networks, {long.kind}. "
        "The slope is that of ln F on ln D, where D is the number of codes, from twice to sixteen times as many as neurons: 1 "
        f"where F grows in step with D, 0 where it does not grow. “Levels off” is an interval within ±{PLATEAU:g}. λ is the "
        f"weight of sparsity in the SAE's loss; trained longer with λ = {weak}, F {settled} when training ended. Each SAE of "
        f"“How sure” has one λ: the paper's recipe {PUBLISHED.l1:g}, on all inputs.",
        ("dictionary.csv", "parity_reread.csv"),
    )  # fmt: skip


def answer_dropout(rows: Rows) -> Answer:
    """What the chapter on dropout comes to."""
    table = analysis.end(analysis.labelled(rows["dropout"], analysis.DROPOUT)).query("state == 'trained'")
    names = {
        analysis.LONG: "by the paper's own script (as released)", "protocol": "by this book's protocol",
        "all inputs": "where the paper's SAE trains longer on all inputs",
    }  # fmt: skip
    ranks, n = analysis.ranks(table, analysis.F), table.width.nunique()
    sure = {name: int((ranks[ranks.reading == name].high < 0).sum()) for name in names}
    many = [2 * found > n for found in sure.values()]
    head = "That depends on the reading" if any(many) and not all(many) else (
        f"{'Yes, by every' if all(many) else 'Not surely, by any'} reading"
    )  # fmt: skip
    at_32 = analysis.falls(table).query("width == '32'").reset_index().groupby("reading").fall
    fall = {
        name: f", with 32 neurons by {_told(mean_of(of, 'seed'), 100, '%')}"
        for name, of in at_32
        if name == analysis.LONG
    }
    told = [f"at {sure[name] or 'none'} {words}{fall.get(name, '')}" for name, words in names.items()]
    return Answer(
        "04_dropout", "Does a network that is trained with dropout have fewer effective features F?",
        f"{head}: of {n} widths of the network, F surely falls {join(told)}.",
        f"{table.seed.nunique()} seeds, each with a network for each of {table.dropout.nunique()} rates and {n} widths. “Surely "
        "falls”: the interval over seeds of the rank correlation of F with the rate lies below zero "
        f"({INTERVALS['rho'][0]}). The fall in per cent is from rate 0 to 0.9 ({INTERVALS['fall'][0]}). The paper's recipe of "
        "“How sure” reads all inputs of other networks.",
        ("dropout.csv", "parity_reread.csv"),
    )  # fmt: skip


DICTIONARY = (grows, levels_off, released_growth)
DROPOUT = (falls_with_dropout, fall_at_32, spreads)
ANSWERS = (answer_dictionary, answer_dropout)
CLAIMS = (*DICTIONARY, *DROPOUT)
CHAPTERS = {"dictionary.": "03_dictionary", "dropout.": "04_dropout"}
