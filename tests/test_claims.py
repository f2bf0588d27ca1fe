"""Claims: each rule gives each of its words, and the table holds what it was given."""

import functools

import numpy as np
import pandas as pd
import pytest

from superpos import claims
from superpos.claims import Claim, Estimate, MeetsPaper, NearZero, OnSide
from superpos.sweep import Rows

NAN = float("nan")


def estimate(low, high, value=None, n=5):
    return Estimate((low + high) / 2 if value is None else value, low, high, "made up", "network", n)


def claim(low=0.9, high=1.2, *, name="a.x", paper=None, rule=MeetsPaper(), **options):  # noqa: B008 - frozen
    return Claim(name, f"What {name} says.", "a.csv", estimate(low, high, **options), rule, paper)


@pytest.mark.parametrize(
    ("rule", "paper", "low", "high", "word"),
    [
        (MeetsPaper(), 0.9, 0.85, 0.95, "agrees"),
        (MeetsPaper(), 0.9, 0.91, 0.95, "differs"),
        (MeetsPaper(), 0.9, 0.7, 0.89, "differs"),
        (MeetsPaper(), None, 0.0, 1.0, "open"),
        (MeetsPaper(), 0.9, 0.4, 1.4, "open"),
        (MeetsPaper(), -0.9, -1.2, -0.6, "agrees"),
        (MeetsPaper(0.02), 0.9, 0.91, 0.95, "agrees"),
        (MeetsPaper(0.02), 0.9, 0.85, 0.89, "agrees"),
        (MeetsPaper(0.2, nonzero=True), -0.75, -1.0, -0.5, "agrees"),
        (MeetsPaper(0.2, nonzero=True), -0.75, -1.0, 0.1, "open"),
        (MeetsPaper(0.2, nonzero=True), -0.75, -0.3, -0.1, "differs"),
        (MeetsPaper(0.2, nonzero=True), -0.75, -0.3, 0.1, "differs"),
        (MeetsPaper(0.2, nonzero=True), -0.75, 0.2, 0.4, "differs"),
        (OnSide(1), None, 0.2, 0.5, "agrees"),
        (OnSide(1), -0.9, -0.5, -0.2, "differs"),
        (OnSide(1), None, -0.1, 0.5, "open"),
        (OnSide(1, 1.0), None, 0.2, 1.5, "open"),
        (OnSide(1), None, 0.0, 0.5, "open"),
        (OnSide(-1), None, 0.2, 0.5, "differs"),
        (OnSide(-1), None, -0.5, -0.2, "agrees"),
        (OnSide(-1, 1.0), None, 0.2, 0.5, "agrees"),
        (OnSide(-1, 1.0), None, 1.2, 1.5, "differs"),
        (NearZero(0.1), None, -0.05, 0.1, "agrees"),
        (NearZero(0.1), 0.9, 0.11, 0.2, "differs"),
        (NearZero(0.1), None, -0.2, -0.15, "differs"),
        (NearZero(0.1), None, 0.05, 0.2, "open"),
        (NearZero(0.1), None, -0.3, 0.3, "open"),
    ],
)
def test_each_rule_gives_each_of_its_words(rule, paper, low, high, word):
    assert claim(low, high, paper=paper, rule=rule).word == word


@pytest.mark.parametrize("rule", [MeetsPaper(), MeetsPaper(1.0, nonzero=True), OnSide(-1), NearZero(1.0)])
def test_without_an_interval_every_claim_is_open(rule):
    assert claim(NAN, NAN, paper=-1.0, rule=rule).word == "open"
    assert claim(-2.0, NAN, paper=-1.0, rule=rule).word == "open"


@pytest.mark.parametrize(
    ("table", "protocol", "unit", "words"),
    [
        ("paper", "", "network", ["agrees", "differs", "open"]),
        ("paper", "another optimiser", "network", ["another protocol"] * 3),
        ("paper", claims.UNKNOWN, "network", ["open"] * 3),
        ("paper", "", claims.SAE_SEED, ["open"] * 3),
        ("check", "", "network", ["pass", "fail", "open"]),
        ("elsewhere", "", "network", ["", "", ""]),
    ],
)
def test_a_word_needs_the_papers_protocol_and_its_unit(table, protocol, unit, words):
    ends = [(0.2, 0.5), (-0.5, -0.2), (-0.1, 0.1)]
    made = [
        Claim("a", "", "a.csv", Estimate(0, *both, "t", unit, 5), OnSide(1), table=table, protocol=protocol)
        for both in ends
    ]
    assert [one.word for one in made] == words
    assert {one.differs for one in made} == {"our interval lies below 0" if words[0] in ("agrees", "pass") else ""}


def test_a_table_that_is_none():
    with pytest.raises(ValueError, match="a: table must be one of paper, check, elsewhere, got 'own'"):
        Claim("a", "", "a.csv", estimate(0, 1), OnSide(1), table="own")


@pytest.mark.parametrize("direction", [0, 2])
def test_a_side_is_above_or_below(direction):
    with pytest.raises(ValueError, match=f"direction must be -1 or 1, got {direction}"):
        OnSide(direction)


def test_estimates_say_what_they_rest_on():
    mean = claims.mean_of([1, 2, 3], "network")
    assert (mean.value, mean.kind, mean.unit, mean.n) == (2, "Student t, 95%", "network", 3)
    assert mean.high - mean.value == pytest.approx(4.302653 / 3**0.5)
    line = np.arange(30.0)
    r = claims.correlation_of(line, 1 - line, "pair of readings")
    assert (r.value, r.low, r.high) == (pytest.approx(-1),) * 3
    assert (r.kind, r.unit, r.n) == ("bootstrap BCa, 95%", "pair of readings", 30)
    exact = claims.exactly(0.5, "program", 4)
    assert (exact.value, exact.low, exact.high, exact.n) == (0.5, 0.5, 0.5, 4)
    absent = claims.not_run("model")
    assert np.isnan([absent.value, absent.low, absent.high]).all()
    assert absent.n == 0


def test_the_table_is_sorted_has_six_digits_and_blanks(tmp_path):
    found = [
        claim(1.9, 2.2, value=2.04, name="b.x", paper=1.0, n=6),
        claim(1.0, 3.0, name="a.x", n=3),
        claim(NAN, NAN, name="a.later", paper=0.12345, n=0),
    ]
    claims.write(found, tmp_path / "verdicts.csv")
    assert (tmp_path / "verdicts.csv").read_text().splitlines() == [
        "id,table,claim,paper,error,ours,low,high,interval,n,unit,protocol,verdict,agrees,differs,source",
        'a.later,paper,What a.later says.,0.12345,,,,,made up,0,network,,open,"our interval meets 0.123 to 0.123, and is no '
        'wider than 0.123",our interval lies outside 0.123 to 0.123,a.csv',
        "a.x,paper,What a.x says.,,,2,1,3,made up,3,network,,open,never: the paper gives no number,never: the paper "
        "gives no number,a.csv",
        'b.x,paper,What b.x says.,1,,2.04,1.9,2.2,made up,6,network,,differs,"our interval meets 1 to 1, and is no '
        'wider than 1",our interval lies outside 1 to 1,a.csv',
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["verdicts.csv"]
    assert claims.table(found).id.tolist() == ["b.x", "a.x", "a.later"]


def test_all_claims_are_made_of_the_rows_and_none_stands_twice(tmp_path):
    pd.DataFrame({"value": [1.0, 2.0, 3.0]}).to_csv(tmp_path / "made.csv", index=False)
    rows = Rows(tmp_path)

    def one(rows):
        return Claim("one", "", "made.csv", claims.mean_of(rows["made"].value, "row"), OnSide(1))

    def family(rows):
        return [claim(name=f"family.{size}") for size in rows["made"].value]

    found = claims.compute((one, family), rows)
    assert [c.id for c in found] == ["one", "family.1.0", "family.2.0", "family.3.0"]
    assert found[0].estimate.value == 2
    with pytest.raises(ValueError, match=r"the claim family\.1\.0 stands twice"):
        claims.compute((family, one, family), rows)


def test_rows_are_read_when_asked_for_and_a_copy_of_ones_own(tmp_path):
    rows = Rows(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"made\.csv"):
        rows["made"]
    path = tmp_path / "made.csv"
    pd.DataFrame({"value": [1, 2]}).to_csv(path, index=False)
    assert list(rows) == ["made"]
    mine = rows["made"]
    mine.loc[0, "value"] = 9
    assert rows["made"].value.tolist() == [1, 2]
    path.unlink()
    assert rows["made"].value.tolist() == [1, 2], "read once"


def test_what_is_computed_from_rows_can_be_kept(tmp_path):
    pd.DataFrame({"value": [1, 2]}).to_csv(tmp_path / "made.csv", index=False)
    calls = []

    @functools.lru_cache
    def total(rows):
        calls.append(1)
        return rows["made"].value.sum()

    rows, others = Rows(tmp_path), Rows(tmp_path)
    assert [total(rows), total(rows), total(others)] == [3, 3, 3]
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("rule", "paper", "words"),
    [
        (MeetsPaper(0.02), 0.94, "our interval meets 0.92 to 0.96, and is no wider than 0.94"),
        (
            MeetsPaper(0.2, nonzero=True),
            -0.75,
            "our interval meets -0.95 to -0.55, and is no wider than 0.75, and does not hold zero",
        ),
        (MeetsPaper(), None, "never: the paper gives no number"),
        (OnSide(1, 0.5), None, "our interval lies above 0.5"),
        (OnSide(-1), None, "our interval lies below 0"),
        (NearZero(0.1), None, "our interval lies within ±0.1"),
    ],
)
def test_each_rule_says_when_it_agrees(rule, paper, words):
    assert claim(paper=paper, rule=rule).agrees == words


def test_the_papers_error_stands_in_the_table():
    assert claim(paper=0.94, rule=MeetsPaper(0.02)).row()["error"] == 0.02
    assert claim(paper=0.94, rule=OnSide(1)).row()["error"] is None
