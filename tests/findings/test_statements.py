"""Statements by readings: every word from made-up rows, by hand; and the rows behind them."""

import math

import numpy as np
import pandas as pd
import pytest

from book.run import RESULTS
from superpos import findings
from superpos.claims import Claim, Estimate, NearZero, OnSide
from superpos.findings import explorer, statements
from superpos.findings.adversarial import reread as of_classifiers
from superpos.findings.algorithms import reread as of_algorithms
from superpos.findings.grokking import reread as of_grokking
from superpos.findings.language import reread as of_language
from superpos.findings.parity import reread as of_parity
from superpos.findings.statements import Statement
from superpos.sweep import Rows, expand

PROVENANCE = {"row": "1/1", "revision": "a", "versions": "v", "device": "cpu", "seconds": 1.0, "finished": "now"}


def saved(folder, name, lines):
    folder.mkdir(exist_ok=True)
    pd.DataFrame([{"reason": ""} | line | PROVENANCE for line in lines]).to_csv(folder / f"{name}.csv", index=False)
    return Rows(folder)


def dropped(change, identified=True, reading="count", width=32):
    """F of five networks without dropout and with it, whose logarithms differ by about `change`."""
    return [
        {
            "reading": reading,
            "seed": seed,
            "dropout": rate,
            "width": width,
            "expansion": np.nan,
            "identified": identified,
        }
        | {"effective_features": 20 * math.exp((change + 0.01 * seed) * (rate > 0)) if identified else np.nan}
        for seed in range(5)
        for rate in (0.0, 0.9)
    ]


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        (dropped(-0.5), "holds"),
        (dropped(0.5), "fails"),
        (dropped(-0.02), "undecided"),
        (dropped(0, identified=False), "not identified"),
        (dropped(-0.5, reading="TopK"), "not run"),
    ],
)
def test_a_cell_gives_each_of_its_words(lines, word, tmp_path):
    rows = saved(tmp_path, "parity_reread", lines)
    one = [s for s in statements.STATEMENTS if s.id == "dropout_32"]
    table = statements.cells(rows, [], one).set_index("reading")
    assert table.verdict["count"] == word
    if word == "holds":
        assert table.value["count"] == pytest.approx(-0.5 + 0.02)
        assert table.identified["count"] == table.n["count"] == 5


def test_half_of_the_networks_must_be_identified(tmp_path):
    lines = dropped(-0.5)
    for line in lines[:4]:  # two of five
        line.update(identified=False, effective_features=np.nan)
    one = [s for s in statements.STATEMENTS if s.id == "dropout_32"]
    cell = statements.cells(saved(tmp_path, "parity_reread", lines), [], one).set_index("reading").loc["count"]
    assert (cell.verdict, cell.n, cell.identified) == ("holds", 5, 3)
    lines[4].update(identified=False, effective_features=np.nan)
    (tmp_path / "more").mkdir()
    cell = statements.cells(saved(tmp_path / "more", "parity_reread", lines), [], one).set_index("reading").loc["count"]
    assert (cell.verdict, cell.identified) == ("not identified", 2)


def attacked(F):
    """Classifiers of two seeds, whose F under attack is F(architecture, dataset, classes, width, layer) times that without."""
    nets = [("mlp", data, classes, 32) for data in ("mnist", "fashion-mnist") for classes in (2, 10)]
    nets += [("mlp1", "mnist", classes, width) for classes in (2, 10) for width in (8, 32, 128)]
    return [
        {
            "reading": "count",
            "seed": seed,
            "architecture": a,
            "dataset": d,
            "n_classes": c,
            "width": w,
            "epsilon": epsilon,
        }
        | {"layer": layer, "parameters": parameters, "identified": True}
        | {"effective_features": 10 * (F(a, d, c, w, layer) if epsilon else 1.0) * (1 + 0.001 * seed * (epsilon > 0))}
        for seed in (1, 2)
        for a, d, c, w in nets
        for layer, parameters in ([("fc2", 300), ("fc3", 100)] if a == "mlp" else [("fc1", 50)])
        for epsilon in (0.0, 0.3)
    ]


def test_changes_under_attack_by_hand(tmp_path):
    def factor(architecture, dataset, classes, width, layer):
        if architecture == "mlp1":
            return width**0.2
        log = {("mnist", 2): 0.4, ("mnist", 10): -0.2, ("fashion-mnist", 2): 0.0, ("fashion-mnist", 10): -0.8}[
            dataset, classes
        ]
        return math.exp(log + (0.1 if layer == "fc2" else -0.3))  # which cancel by their parameters

    rows = saved(tmp_path, "adversarial_reread", attacked(factor))
    some = [s for s in statements.STATEMENTS if s.source == "adversarial_reread.csv"]
    table = statements.cells(rows, [], some).query("reading == 'count'").set_index("statement")
    assert table.value.to_dict() == pytest.approx({"h1": 0.4, "h2": -0.6, "fashion": -0.5, "h3": 0.2}, abs=0.01)
    assert set(table.verdict) == {"holds"}


def test_a_statement_takes_the_estimates_of_claims():
    ours = Estimate(0.95, 0.9, 0.97, "t", "network", 9)
    known = [Claim("a.one", "", "a.csv", ours, OnSide(1)), Claim("a.two", "", "a.csv", ours, OnSide(1))]
    one = Statement("x", "It is so", "02", OnSide(1, 0.8), "a.csv", claims={"published": "a.one", "protocol": "a.gone"})
    table = statements.cells(Rows("."), known, [one]).set_index("reading")
    assert table.verdict.to_dict() == {
        "published": "holds",
        "protocol": "not run",
        "TopK": "not run",
        "count": "not run",
    }


def told(**words):
    """A table of cells from a word a reading: published, protocol, TopK and count, for each statement."""
    lines = [
        {"statement": name, "words": name, "reading": reading, "verdict": verdict.replace("-", " ")}
        for name, row in words.items()
        for reading, verdict in zip(("published", "protocol", "TopK", "count"), row.split(), strict=True)
    ]
    about = {
        "chapter": "02",
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "n": 5,
        "identified": 5,
        "unit": "network",
        "source": "a",
    }
    return pd.DataFrame([line | about for line in lines])


SAID = {
    "A": "holds holds holds fails",
    "B": "holds undecided fails holds",
    "C": "holds holds undecided undecided",
    "D": "fails fails fails not-identified",
}


def test_sentences_follow_the_cells():
    assert statements.summary(told(**SAID)) == [
        "Holds by every SAE: A.",
        "Fails by every SAE: D.",
        "Cannot be said of 2 of 4 statements: 1 is left undecided by at least one SAE, and 1 (“B”) holds by one SAE and fails by "
        "another. The count, which gives an interval or refuses, refuses 1 of the 4.",
    ]
    said = statements.summary(told(**SAID | {"A": "holds fails holds fails", "B": "fails fails undecided holds"}))
    assert said[0] == "Holds by every SAE: nothing."
    assert "1 (“A”) holds by one SAE and fails by another" in said[2]
    assert "0 hold by one SAE and fail by another" in statements.summary(told(A="holds holds holds holds"))[2]


@pytest.mark.parametrize(
    ("words", "lead"),
    [
        (
            SAID,
            "Most do not: of 4 statements 1 holds and 1 fails by every SAE, 1 turns with the SAE, and 1 is left undecided",
        ),
        (SAID | {"C": "holds holds holds holds"}, "Half of them do: of 4 statements 2 hold"),
        (
            SAID | {"C": "holds holds holds holds", "D": "holds holds not-run holds"},
            "Most do: of 4 statements 3 hold and 0 fail",
        ),
    ],
)
def test_the_answer_goes_by_the_table_beside_the_rows(words, lead, tmp_path):
    told(**words).to_csv(tmp_path / "statements.csv", index=False)
    made = statements.answer(Rows(tmp_path))
    assert made.sentence.startswith(lead)
    assert made.sure.startswith("1 turns with the SAE (“B”)")
    told(A=SAID["A"]).to_csv(tmp_path / "statements.csv", index=False)
    assert statements.answer(Rows(tmp_path)).sure.startswith("None turns with the SAE, and 0 of 3 readings")


def test_labels_of_a_figure_are_in_lines_and_none_is_missing():
    table = statements.labelled(statements.committed(Rows(RESULTS)))
    lines = table.label.str.split("\n")
    assert lines.map(len).max() <= 2
    assert max(len(line) for label in lines for line in label) <= 18
    assert table.label.nunique() == len(statements.STATEMENTS)
    assert set(table.word) <= set(explorer.COLORS)


def layers(F, reading="TopK", identified=True):
    lines = [{"reading": reading, "n_neurons": 10, "effective_features": f, "identified": identified} for f in F]
    return pd.DataFrame(lines)


@pytest.mark.parametrize(
    ("table", "reading", "word"),
    [
        (layers([11, 12]), "TopK", "above 1"),
        (layers([9, 8]), "TopK", "below 1"),
        (layers([9, 12]), "TopK", "both"),
        (layers([9, 12]), "count", "not run"),
        (layers([math.nan, math.nan, 12]), "TopK", "not identified"),
        (layers([11, 12], "count", identified=False), "count", "not identified"),
        (layers([11, 12]).drop(columns="identified"), "TopK", "above 1"),
    ],
)
def test_more_features_than_neurons_by_hand(table, reading, word):
    found = statements.superposed({"some networks": table})
    assert found.set_index("reading").word[reading] == word
    chart = explorer.more_features_than_neurons(found).to_dict()
    assert chart["description"].startswith("Do the networks trained here hold more features than neurons?")


def test_titles_of_figures_count_the_rows():
    table = statements.labelled(told(**SAID).assign(statement=["h1"] * 4 + ["h2"] * 4 + ["h3"] * 4 + ["toy"] * 4))
    assert (
        "All SAEs decide 2 of 4 statements alike; the count refuses 1"
        in explorer.what_holds(table).to_dict()["description"]
    )
    said = explorer.on_a_side(table, "Attacks", "ln F").to_dict()["description"]
    assert said.startswith("Attacks: of 16 readings 7 lie on the statement's side and 5 on the other")
    for low, high, words in ((1.1, 1.2, "above 1 by 1 of 1"), (0.8, 0.9, "below 1 by 1 of 1"), (0.9, 1.1, "by no SAE")):
        ours = pd.DataFrame([{"reading": "TopK", "value": (low + high) / 2, "low": low, "high": high}])
        assert words in explorer.solved(ours).to_dict()["description"]


def test_every_rule_can_come_out_either_way():
    for one in statements.STATEMENTS:
        made = [Estimate(m, m - 0.01, m + 0.01, "t", "u", 5) for m in (-0.99, 0.0, 0.5, 0.99, 1.5)]
        words = {one.rule(None, estimate) for estimate in made}
        edge = one.rule.within if isinstance(one.rule, NearZero) else one.rule.than
        words.add(one.rule(None, Estimate(edge, edge - 0.01, edge + 0.01, "t", "u", 5)))
        assert words == {"agrees", "differs", "open"}, one.id


def test_the_committed_table_is_that_of_the_rows(tmp_path):
    rows = Rows(RESULTS)
    statements.write(statements.cells(rows, findings.every_claim(rows)), tmp_path)
    for name in ("statements.csv", "statements.txt"):
        assert (tmp_path / name).read_bytes() == (RESULTS / name).read_bytes()


@pytest.mark.parametrize(
    ("wing", "settings", "n"),
    [
        (
            of_parity,
            {"width": 8, "dropout": 0.5, "seed": 1, "net_epochs": 1, "n_rows": 200, "readings": "TopK;count"},
            2,
        ),
        (of_grokking, {"width": 8, "steps": 4, "first": 2, "seed": 1, "n_rows": 200, "readings": "protocol;count"}, 8),
        (
            of_language,
            {"layers": 1, "width": 16, "vocabulary": 300, "context": 16, "steps": 1, "batch": 2, "seed": 1}
            | {"n_texts": 8, "n_rows": 100, "readings": "TopK"},
            2,
        ),
        (
            of_algorithms,
            {
                "program": "sort_unique",
                "n_neurons": 6,
                "steps": 2,
                "block_steps": 1,
                "seed": 1,
                "n_networks": 2,
                "readings": "TopK",
            },
            6,
        ),
        (
            of_classifiers,
            {
                "architecture": "mlp1",
                "width": 8,
                "layers": "fc1",
                "dataset": "digits",
                "n_classes": 2,
                "seed": 1,
                "epsilon": 0.1,
            }
            | {"update": "leak", "per_class": 20, "epochs": 1, "attack_steps": 1, "n_rows": 100, "n_images": 100},
            4,
        ),
    ],
)
def test_networks_read_anew(wing, settings, n):
    """A row a layer, step and reading; a run gives the same rows again."""
    (run,) = expand(wing.Reread, **settings, length=0.005)
    rows = wing.reread_run(run)
    assert len(rows) == n
    assert {row["reading"] for row in rows} <= {"published", "protocol", "TopK", "count"}
    again = wing.reread_run(run)
    assert [row["effective_features"] for row in rows] == pytest.approx(
        [row["effective_features"] for row in again], nan_ok=True
    )
    with pytest.raises(ValueError, match="reading must be one of"):
        expand(wing.Reread, **settings | {"readings": "guess"})


def test_what_cannot_be_read_is_told_before_anything_is_trained(monkeypatch):
    with pytest.raises(ValueError, match="first must lie before the last step, 4, got 4"):
        expand(of_grokking.Reread, width=8, steps=4, first=4, seed=1)
    monkeypatch.setattr(of_classifiers.task, "trained", lambda *a: pytest.fail("trained"))
    about = {"architecture": "mlp1", "width": 8, "dataset": "digits", "n_classes": 2, "seed": 1, "epsilon": 0.1}
    about |= {"update": "leak", "per_class": 20, "epochs": 1, "attack_steps": 1, "n_rows": 100, "n_images": 100}
    (run,) = expand(of_classifiers.Reread, **about, layers="fc1;fc9")
    with pytest.raises(ValueError, match="fc9"):
        of_classifiers.reread_run(run)


def language_rows(mlp, identified=True):
    """Two networks of two sites a kind: F of attention 10 each, of MLPs 20 before training and 20 · mlp(seed) after it."""
    return [
        {"reading": "count", "seed": seed, "steps": steps, "kind": kind, "layer": layer}
        | {"effective_features": F * (mlp(seed) if kind == "mlp" and steps else 1.0)}
        | {"identified": identified or kind != "mlp" or layer == 0}
        for seed in (1, 2)
        for steps in (0, 9)
        for kind, F in (("attention", 10.0), ("mlp", 20.0))
        for layer in (0, 1)
    ]


def test_gain_of_mlps_by_hand(tmp_path):
    """What is there before training cancels; one site that is not identified makes a network not identified."""
    one, plain = (next(s for s in statements.STATEMENTS if s.id == name) for name in ("layers_gain", "layers"))
    cell = statements.cells(saved(tmp_path, "language_reread", language_rows(lambda s: 1.4 + 0.01 * s)), [], [one])
    cell = cell.set_index("reading").loc["count"]
    assert cell.value == pytest.approx((math.log(1.41) + math.log(1.42)) / 2)
    assert cell.verdict == "holds"
    rows = saved(tmp_path / "plain", "language_reread", language_rows(lambda s: 0.7 + 0.01 * s))
    both = [statements.cells(rows, [], [each]).set_index("reading").loc["count"] for each in (one, plain)]
    assert [cell.verdict for cell in both] == ["fails", "holds"]  # fewer than before, and still more than attention
    assert both[1].value == pytest.approx((math.log(2 * 0.71) + math.log(2 * 0.72)) / 2)
    rows = saved(tmp_path / "more", "language_reread", language_rows(lambda s: 1.4, identified=False))
    cell = statements.cells(rows, [], [one]).set_index("reading").loc["count"]
    assert (cell.verdict, cell.n, cell.identified) == ("not identified", 2, 0)
