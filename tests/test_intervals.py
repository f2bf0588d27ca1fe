"""The interval beside that of crepes, and every no with its reason."""

import math
import re

import numpy as np
import pytest
from crepes import ConformalRegressor

from book.run import ROOT
from superpos import intervals

GOOD = {
    "n_neurons": 16, "codes": 20, "limit": 128, "bits": 50.0, "bits_gaussian": 100.0, "bits_neurons": 90.0, "agreement": 1.0,
    "halfway": 20.0, "effective_features": 20.0,
}  # fmt: skip


@pytest.mark.parametrize("name", list(intervals.STRATA))
@pytest.mark.parametrize("confidence", [0.5, 0.7])
def test_the_interval_is_the_widest_of_crepes_over_kinds(name, confidence):
    low, high = intervals.interval(30.0, name, confidence)
    enough = [errors for errors in intervals.errors_of(name).values() if len(errors) > 3]
    theirs = [
        np.exp(
            ConformalRegressor().fit(residuals=errors).predict_int(np.array([math.log(30.0)]), confidence=confidence)
        )[0]
        for errors in enough
    ]
    widest = max(theirs, key=lambda ends: ends[1])
    assert high >= widest[1] * (1 - 1e-6)
    if len(enough) == len(intervals.errors_of(name)):
        assert (low, high) == pytest.approx(tuple(widest), rel=1e-6)


def test_kinds_by_hand(monkeypatch):
    errors = {"easy": np.array([0.01] * 20), "hard": 0.01 * np.arange(1, 20), "rare": np.array([0.05])}
    monkeypatch.setattr(intervals, "errors_of", lambda name: errors)
    assert intervals.interval(1.0, "agree", 0.5)[1] == pytest.approx(math.exp(0.10))
    assert intervals.interval(1.0, "agree", 0.9)[0] == pytest.approx(math.exp(-0.18))
    assert intervals.interval(1.0, "agree", 0.99)[1] == pytest.approx(math.exp(0.19))


def test_the_error_of_samples_widens():
    narrow, wide = (intervals.interval(30.0, "agree fully", 0.9, excess) for excess in (0.0, 0.2))
    width = math.log(wide[1] / 30)
    assert width == pytest.approx(math.hypot(math.log(narrow[1] / 30), 1.6449 * 0.2), rel=1e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"codes": 0}, "no direction was found by two dictionaries"),
        ({"bits_gaussian": 50.5}, "as Gaussian noise of the same covariance"),
        ({"bits_neurons": 50.5}, "by the neurons themselves"),
        ({"codes": 120}, "120 of 128 codes are in use"),
        ({"agreement": 0.5}, "dictionaries disagree: 50%"),
        ({"agreement": 0.98, "halfway": 30.0}, "F still moves: it was 30.0 halfway"),
        ({"agreement": 0.98, "halfway": math.nan}, "F still moves"),
    ],
)
def test_a_no_says_why(change, words):
    assert intervals.refusal(GOOD, 8_000) == ""
    assert words in intervals.refusal(GOOD | change, 8_000)


def test_few_rows_are_named():
    assert intervals.refusal(GOOD, 63) == "63 rows are too few for 16 neurons"
    assert intervals.refusal(GOOD, 64) == ""


def test_movement_does_not_matter_where_dictionaries_agree():
    assert intervals.refusal(GOOD | {"halfway": 5.0}, 8_000) == ""


def test_strata_by_agreement():
    assert intervals.stratum(GOOD) == "agree fully"
    assert intervals.stratum(GOOD | {"agreement": 0.99}) == "agree"
    assert intervals.stratum(GOOD | {"agreement": 0.96}) == "nearly agree"


@pytest.mark.parametrize("confidence", [0, 1, 90, -0.5])
def test_a_confidence_that_is_none(confidence):
    with pytest.raises(ValueError, match="confidence must be between 0 and 1"):
        intervals.interval(30.0, "settled", confidence)


def test_less_agreement_is_no_narrower():
    widths = [intervals.interval(1.0, name)[1] for name in intervals.STRATA]
    assert widths == sorted(widths)


def test_an_unknown_stratum_is_named():
    with pytest.raises(ValueError, match="stratum must be one of agree fully, agree, nearly agree, got 'nobody'"):
        intervals.errors_of("nobody")


def test_the_front_page_shows_a_refusal_as_it_is():
    told = intervals.refusal(GOOD | {"bits": 99.0}, 2000)
    told = re.sub(r"\([\d.]+( bits a row)?\)", r"(…\1)", told)
    page = (ROOT / "book" / "index.md").read_text(encoding="utf-8")
    assert told in " ".join(page.split()), told
