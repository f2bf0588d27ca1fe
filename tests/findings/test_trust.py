"""Worlds of other generators, tables of made-up rows, and readers that enter the benchmark."""

import dataclasses
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from book.run import RESULTS
from superpos import intervals, metrics, seeds
from superpos.claims import Estimate, compute
from superpos.findings.trust import analysis, claims, explorer, others, runs, task
from superpos.sweep import Rows

EVIDENCE = {
    "codes": 20, "limit": 128, "bits": 50.0, "bits_gaussian": 100.0, "bits_neurons": 90.0, "agreement": 1.0, "halfway": 20.0,
    "effective_features": 20.0, "n_neurons": 16, "rows_read": 8_000,
}  # fmt: skip


@pytest.mark.parametrize("kind", task.FROZEN)
def test_worlds_of_every_kind(kind):
    one, again, other = (task.draw(kind, number, 600) for number in (3, 3, 4))
    assert torch.equal(one.x, again.x)
    assert one.x.shape != other.x.shape or not torch.equal(one.x, other.x)
    assert torch.isfinite(one.x).all()
    assert math.isnan(one.truth) == (kind in analysis.NO_FEATURES)
    assert math.isnan(one.truth) or one.truth > 1


@pytest.mark.parametrize("kind", list(task.CALIBRATION))
def test_calibration_worlds_are_within_what_the_issue_names(kind):
    for number in range(40):
        world = task.settings_of(kind, number)
        assert world.n_neurons / 8 - 1 <= world.n_features <= 8 * world.n_neurons + 1
        assert 0.5 <= world.active <= 12
        assert 1 < world.truth <= world.n_features + 1e-9


@pytest.mark.parametrize("kind", ["contexts", "tree", "sticky", "categories"])
def test_the_truth_of_other_generators_is_what_their_features_write(kind, monkeypatch):
    """What is on, and by how much, is caught on the way; directions have length one."""
    caught = {}

    def written(on, rates, N, g):
        scales = (torch.randn(on.shape[1], generator=g) / 2).exp()
        caught["p"] = (on.double().mean(0) * scales, rates.double() * scales)
        return on @ torch.zeros(on.shape[1], N), 1.0

    monkeypatch.setattr(others, "_written", lambda on, rates, N, g: written(on.float(), rates, N, g))
    others.KINDS[kind](60_000, 24, seeds.generator("trust.rows", 5))
    seen, expected = (metrics.shares(p) for p in caught["p"])
    assert metrics.effective_features(seen) == pytest.approx(metrics.effective_features(expected), rel=0.03)


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match=r"kind must be one of plain, few.*got 'nobody'"):
        task.draw("nobody", 0, 10)


def test_counts_are_assessed_by_hand(monkeypatch):
    monkeypatch.setattr(intervals, "interval", lambda F, name, confidence, excess=0.0: (F / 1.1, F * 1.1))
    rows = [
        EVIDENCE | {"kind": "tree", "truth": 19.0},
        EVIDENCE | {"kind": "tree", "truth": 10.0},
        EVIDENCE | {"kind": "tree", "truth": 20.0, "bits": 99.5, "bits_neurons": 200.0},
    ]
    table = analysis.assessed(pd.DataFrame(rows))
    assert table.identified.tolist() == [True, True, False]
    assert table.held.tolist() == [True, False, False]
    assert table.error[1] == pytest.approx(math.log(2))
    line = analysis.by_kind(table).loc["tree"]
    assert line.worlds == 3
    assert line.answered == pytest.approx(2 / 3)
    assert line["mean error"] == pytest.approx((20 / 19 - 1 + 1) / 2)
    assert line.coverage == pytest.approx(0.5)
    assert line["high / low"] == pytest.approx(1.21)


def test_scores_of_made_up_answers():
    nan = math.nan
    rows = pd.DataFrame(
        [("a", 10.0, 11.0, 9.0, 12.0, True), ("a", 10.0, 15.0, 14.0, 16.0, True), ("a", 10.0, nan, nan, nan, False),
         ("a", nan, 30.0, nan, nan, True), ("a", nan, nan, nan, nan, False)],
        columns=["reader", "truth", "F", "low", "high", "answered"],
    )  # fmt: skip
    line = analysis.scores(rows).loc["a"]
    assert (line.worlds, line["median error"], line.coverage) == (3, pytest.approx(0.3), 0.5)
    assert line["wrong no"] == pytest.approx(1 / 3)
    assert line["wrong yes"] == 0.5


def made_up(folder, ratio=1.02, nothing_bits=99.9):
    lines = []
    for i, kind in enumerate(["contexts", "tree", "sticky", "categories", "sae_lens"] * 20):
        away = ratio if i % 2 else 1 / ratio
        lines.append(EVIDENCE | {"kind": kind, "number": i, "truth": 20.0 * away})
    for i in range(60):
        lines.append(
            EVIDENCE | {"kind": "white", "number": i, "truth": math.nan, "bits": nothing_bits, "bits_neurons": 200.0}
        )
    for i in range(40):
        lines.append(EVIDENCE | {"kind": "plain", "number": 1000 + i, "truth": 20.0 * math.exp(0.001 * i)})
    table = pd.DataFrame(lines).assign(row="1/1", revision="a", device="cpu", seconds=1.0, created="2026-01-01")
    table.to_csv(folder / "counting.csv", index=False)
    return Rows(folder)


def test_claims_can_come_out_either_way(tmp_path, monkeypatch):
    monkeypatch.setattr(intervals, "interval", lambda F, name, confidence, excess=0.0: (F / 1.1, F * 1.1))
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.mkdir()
    bad.mkdir()
    right = {c.id: c.word for c in [*claims.errors(made_up(good)), claims.refusals(Rows(good))]}
    wrong = {c.id: c.word for c in [*claims.errors(made_up(bad, 1.5, 20.0)), claims.refusals(Rows(bad))]}
    assert set(right.values()) == {"pass"}
    assert {name: word for name, word in wrong.items() if name != "trust.answered"} == dict.fromkeys(
        ("trust.median_error", "trust.mean_error", "trust.coverage", "trust.wrong_yes"), "fail"
    )


AMONG = ", or 0.95 [0.94 to 0.96] where it answers."


@pytest.mark.parametrize(
    ("error", "empty", "toy", "head", "middle", "tail"),
    [
        (0.05, 0.0, 0.99, "Yes, where it answers: "
        "", "refuses 40 of 40", f"models F follows the truth: r = 0.99 [0.98 to 1]{AMONG}"),
        (0.05, 0.5, 0.6, "No: "
        "", "refuses 20 of 40", f"F follows the truth too loosely: r = 0.6 [0.59 to 0.61]{AMONG}"),
        (0.2, 0.0, 0.97, "No: ", "refuses 40 of 40", "sets without features."),
        (0.12, 0.0, 0.99, "Perhaps: "
        "", "refuses 40 of 40", f"models F follows the truth: r = 0.99 [0.98 to 1]{AMONG}"),
    ],
)  # fmt: skip
def test_the_answer_says_what_the_claims_say(error, empty, toy, head, middle, tail, monkeypatch):
    values = {"trust.mean_error": error, "trust.wrong_yes": empty, "trust.toy_r": toy, "trust.toy_r_identified": 0.95}

    def made(makers, rows):
        for claim in compute(makers, rows):
            value = values.get(claim.id)
            same = (
                claim.estimate if value is None else Estimate(value, value - 0.01, value + 0.01, "by hand", "one", 40)
            )
            yield dataclasses.replace(claim, estimate=same)

    monkeypatch.setattr(claims, "compute", made)
    answer = claims.answer(Rows(RESULTS))
    assert answer.sentence.startswith(head)
    assert middle in answer.sentence
    assert answer.sentence.endswith(tail)
    assert f"off by {100 * error:.3g}% [" in answer.sentence
    assert ("fail" in answer.sure) == (head == "No: ")


def test_titles_say_what_the_dots_show():
    told = pd.DataFrame(
        {"truth": [10.0, 20.0, 30.0], "effective_features": [10.0, 22.0, 90.0], "kind": "a", "n_neurons": 8}
    )
    told = told.assign(identified=[True, True, False], ratio=told.effective_features / told.truth)
    title = " ".join(explorer.counted_over_planted(told).title)
    assert title == "Where the count answers it is off by 5.0% in the median; of 3 worlds with features it refuses 1"
    found = pd.DataFrame({"reader": ["a", "b"], "psi": [2.0, 0.5], "low": [1.0, 0.4], "high": [3.0, 0.6]})
    title = " ".join(explorer.read_from_nothing(found, (3, 4)).title)
    assert title == (
        "Where there are no features, 1 of 2 readers read ψ above 1 on average (2 by a);"
        " the count refuses 3 of 4 such sets of rows"
    )
    rungs = pd.DataFrame(
        {"reader": ["the count", "a", "b"], "layer": "fc", "F": [math.nan, 5.0, 9.0], "low": 1.0, "high": 9.0}
    )
    assert (
        " ".join(explorer.ladder(rungs).title) == "By reader there are 5 to 9 features in fc; the count refuses 1 of 1"
    )


def test_refusals_of_rows_without_features_are_counted():
    table = pd.DataFrame(
        {
            "reader": ["count"] * 3 + ["a"],
            "truth": [math.nan, math.nan, 5.0, math.nan],
            "answered": [False, True, False, True],
        }
    )
    assert analysis.refused_of_nothing(table, "count") == (1, 2)
    assert analysis.refused_of_nothing(table, "a") == (0, 1)


def test_tables_are_shown_in_words():
    table = pd.DataFrame({"kind": ["sae_lens", "white"], "F": [1.0, 2.0]})
    shown = analysis.in_words(table)
    assert shown["kind of world"].tolist() == ["SynthSAEBench", "white noise"]
    assert analysis.in_words(table.set_index("kind")).index.tolist() == ["SynthSAEBench", "white noise"]
    assert set(task.FROZEN) <= set(analysis.KINDS)
    assert analysis.named(pd.DataFrame({"reader": ["count", "TwoNN"]})).reader.tolist() == ["the count", "TwoNN"]


def test_calibration_errors_are_written_and_read(tmp_path, monkeypatch):
    path = tmp_path / "intervals.csv"
    monkeypatch.setattr(analysis, "made_by", lambda table: "a test")
    assert analysis.write_intervals(made_up(tmp_path), path) == 40
    table = pd.read_csv(path, comment="#")
    assert set(table.kind) == {"plain"}
    assert np.allclose(np.sort(table.error), 0.001 * np.arange(40), atol=1e-6)


def test_the_shipped_errors_are_those_of_the_committed_rows(tmp_path):
    analysis.write_intervals(Rows(RESULTS), tmp_path / "intervals.csv")
    assert (tmp_path / "intervals.csv").read_bytes() == intervals.ERRORS.read_bytes()


def answer_seven(x):
    return 7.0, 6.0, 8.0


@pytest.mark.parametrize("name", ["protocol", "TopK, k = 4", "effective rank", "participation ratio", "TwoNN"])
def test_readers_answer(name):
    row = runs.score_run(runs.Score(name, "contexts", 2, n_rows=300, length=0.01))
    assert row["answered"]
    assert row["F"] > 0


def test_a_reader_from_outside_gives_an_interval_or_refuses(monkeypatch):
    name = f"{__name__}:answer_seven"
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    assert runs.score_run(runs.Score(name, "contexts", 2, n_rows=300))["high"] == 8
    monkeypatch.setattr(sys.modules[__name__], "answer_seven", lambda x: None)
    assert not runs.score_run(runs.Score(name, "contexts", 2, n_rows=300))["answered"]
    with pytest.raises(ValueError, match="reader must be module:function or one of count"):
        runs.reader("nobody")


def test_the_benchmark_from_the_command_line(tmp_path):
    (tmp_path / "mine.py").write_text("def seven(x):\n    return 7.0\n")
    words = [sys.executable, "-m", "benchmarks", "counting", "--reader", "mine:seven", "--size", "small"]
    result = subprocess.run(
        words, capture_output=True, text=True, env={**__import__("os").environ, "PYTHONPATH": str(tmp_path)}
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "mine:seven" in result.stdout
    assert "wrong yes" in result.stdout
    assert "count" in result.stdout


def test_the_explorer_draws_every_kind():
    table = pd.DataFrame({"reader": ["count", "other"], "kind": ["a", "b"], "number": [1, 2], "truth": [3.0, 4.0]})
    table = table.assign(ratio=[1.0, 2.0])
    spec = explorer.reader_explorer(table).to_dict()
    assert spec["params"][0]["bind"]["options"] == ["a", "b"]
    assert "worst for it, count is off by a factor of 1 in the median; the other readers by 2" in " ".join(
        spec["title"]
    )


def test_toy_models_by_hand(tmp_path):
    """Four models of family 7 and four of family 8; of each one is refused, and in family 8 one interval misses."""
    lines = []
    for family, counted in ((7, [5, 8, 10, 12]), (8, [5, 8, 10, 30])):
        for truth, F, agreement in zip([5, 8, 10, 12], counted, [1.0, 1.0, 0.5, 1.0], strict=True):
            lines.append(
                {"seed": family, "n_rows": 10_000, "sparsity": 0.9, "psi_weights": truth / 5, "agreement": agreement}
            )
            lines[-1] |= {"effective_features": float(F), "halfway": float(F), "bits": 5.0, "bits_gaussian": 16.0}
            lines[-1] |= {"bits_neurons": 20.0, "codes": 20, "limit": 40, "rows_read": 10_000, "proposal": "topk 2"}
            lines[-1] |= {f"{end}_{t}": float(F) for end in ("low", "high") for t in (0.02, 0.05, 0.1, 0.2, 0.4)}
    table = pd.DataFrame(lines).assign(row="1/1", revision="a", versions="v", device="cpu", seconds=1.0, finished="now")
    table.to_csv(tmp_path / "toy_counting.csv", index=False)
    known = analysis.toys(Rows(tmp_path))
    seen = analysis.of_toys(known)
    assert seen.answered.tolist() == [0.75, 0.75]
    assert seen.coverage.tolist() == pytest.approx([1, 2 / 3])
    assert seen["r, all"][7, 10_000] == pytest.approx(1)
    assert seen["r, answered"][8, 10_000] == pytest.approx(np.corrcoef([5, 8, 12], [5, 8, 30])[0, 1])


def test_readers_are_compared_on_worlds_that_all_answered():
    lines = [("a", 1, True), ("a", 2, True), ("a", 3, False), ("b", 1, True), ("b", 2, False), ("b", 3, True)]
    table = pd.DataFrame(lines, columns=["reader", "number", "answered"]).assign(kind="k", truth=5.0, F=5.0)
    shared = analysis.shared(table)
    assert shared.number.tolist() == [1, 1]
    assert shared.reader.tolist() == ["a", "b"]
