"""The claims on the count. They are our own, and each can fail: bounds and worlds were fixed before the worlds were read."""

import math

from superpos import statistics
from superpos.answers import Answer, join, number, said
from superpos.claims import CHECK, ELSEWHERE, Claim, Estimate, OnSide, compute, correlation_of, mean_of
from superpos.findings.trust import analysis
from superpos.sweep import Rows

FAMILY, N_ROWS = 7, 10_000  # of toy models, as fixed before any was counted
UNIT = "world of a kind that no choice was made on"


def _share(of, unit: str) -> Estimate:
    return Estimate(*analysis.share(of), "Wilson, 95%", unit, len(of))


def errors(rows: Rows) -> list[Claim]:
    """How far F is off where it is identified, how often the interval holds the truth, and how often there is an answer."""
    table = analysis.reported(rows)
    told = table[table.identified]
    away = (told.ratio - 1).abs()
    median = Estimate(*statistics.median_interval(away), "order statistics, 95%", UNIT, len(told))
    found = {
        "median_error": ("median |F / F* − 1| is below 0.08 (F*: the true number)", median, OnSide(-1, 0.08)),
        "mean_error": ("mean |F / F* − 1| is below 0.12 (F*: the true number)", mean_of(away, UNIT), OnSide(-1, 0.12)),
        "coverage": (
            "the count's 90% interval holds F*, the true number, in 88% or more",
            _share(told.held, UNIT),
            OnSide(1, 0.88),
        ),
        "answered": ("the count answers 70% or more", _share(table.identified, UNIT), OnSide(1, 0.7)),
    }
    return [
        Claim(
            f"trust.{name}",
            f"Unseen worlds: {text}",
            "counting.csv",
            estimate,
            rule,
            table=CHECK,
            possible=(0, math.inf if "error" in name else 1),
        )
        for name, (text, estimate, rule) in found.items()
    ]


def refusals(rows: Rows) -> Claim:
    """Rows without features are refused."""
    table = analysis.nothing(rows)
    text = "Rows without features: the count answers fewer than one set in ten"
    ours = _share(table.identified, "set of rows")
    return Claim("trust.wrong_yes", text, "counting.csv", ours, OnSide(-1, 0.1), table=CHECK, possible=(0, 1))


def toys(rows: Rows) -> list[Claim]:
    """On toy models the count follows the weights, which nobody generated for it: in the first family and number of rows that
    were counted, over all models in which features were found."""
    table = analysis.toys(rows).query("seed == @FAMILY and n_rows == @N_ROWS").dropna(subset="effective_features")
    r = correlation_of(table.truth, table.effective_features, "toy model")
    told = table[table.identified]
    among = correlation_of(told.truth, told.effective_features, "toy model")
    held = _share(told.held, "toy model")
    follows = "Toy models: F counted follows F of the weights, r above 0.97"
    only = "Toy models: F counted follows F of the weights where the count answers, r above 0.97"
    holds = "Toy models: the count's 90% interval holds F of the weights in 88% or more"
    return [
        Claim("trust.toy_r", follows, "toy_counting.csv", r, OnSide(1, 0.97), table=CHECK, possible=(-1, 1)),
        Claim(
            "trust.toy_r_identified",
            only,
            "toy_counting.csv",
            among,
            OnSide(1, 0.97),
            table=ELSEWHERE,
            possible=(-1, 1),
        ),
        Claim("trust.toy_coverage", holds, "toy_counting.csv", held, OnSide(1, 0.88), table=CHECK, possible=(0, 1)),
    ]


def _percent(ours: Estimate) -> str:
    return f"{number(100 * ours.value, 2)}% [{number(100 * ours.low, 2)}% to {number(100 * ours.high, 2)}%]"


def _head(words: set[str]) -> str:
    """Whether the count can be trusted: yes where its error and its refusals pass, no where one fails, else perhaps."""
    return "No" if "fail" in words else "Perhaps" if "open" in words else "Yes, where it answers"


def _checks(found: dict[str, Claim]) -> str:
    """How many checks pass, and which are open or fail."""
    by = {word: [one.text for one in found.values() if one.word == word] for word in ("pass", "open", "fail")}
    verbs = {"open": ("is open", "are open"), "fail": ("fails", "fail")}
    told = [
        f"{len(by[word])} {verb[len(by[word]) > 1]} (“{'”, “'.join(by[word])}”)"
        for word, verb in verbs.items()
        if by[word]
    ]
    return join([f"{len(by['pass'])} pass", *told])


def answer(rows: Rows) -> Answer:
    """What the chapter on the count comes to."""
    found = {claim.id.removeprefix("trust."): claim for claim in compute(CLAIMS, rows)}
    ours = {name: claim.estimate for name, claim in found.items()}
    checks = {name: claim for name, claim in found.items() if claim.table == CHECK}
    head = _head({found[name].word for name in ("mean_error", "coverage", "wrong_yes")})
    tail = {"fail": "; but{} F follows the truth too loosely: r = {}", "pass": ";{} F follows the truth: r = {}"}
    toy = tail.get(found["toy_r"].word, "").format(" on toy models", f"{said(ours['toy_r'])}")
    toy += f", or {said(ours['toy_r_identified'])} where it answers" if toy else ""
    wrong, kinds = ours["wrong_yes"], analysis.reported(rows).kind.nunique()
    return Answer(
        "10_can_you_trust_f", "Can features be counted without knowing their number, and when is no answer the right answer?",
        f"{head}: on unseen kinds of planted data the count is off by {_percent(ours['mean_error'])}, answers"
        f" {_percent(ours['answered'])} and refuses {round((1 - wrong.value) * wrong.n)} of {wrong.n} sets"
        f" without features{toy}.",
        f"{ours['answered'].n} planted worlds of {kinds} kinds that no choice was made on ({ours['mean_error'].n} answered),"
        f" {wrong.n} sets of rows without features and {ours['toy_r'].n} toy models; intervals over worlds:"
        f" {ours['mean_error'].kind} for errors, {wrong.kind} for shares.",
        ("counting.csv", "counting_readers.csv", "toy_counting.csv", "trust_layers.csv"),
        f"Of {len(checks)} checks, whose bounds were fixed before the rows, {_checks(checks)}. A layer that is unlike all"
        " of these worlds can be further off than its interval says.",
    )  # fmt: skip


ANSWERS = (answer,)
CLAIMS = (errors, refusals, toys)
CHAPTERS = {"trust.": "10_can_you_trust_f"}
