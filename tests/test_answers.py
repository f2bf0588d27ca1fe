"""The box of a chapter: its numbers, its certainty from the statements, and the committed table that the site draws."""

import html
import math

import pandas as pd
import pytest

from book import run
from book.run import RESULTS, ROOT, chapter_names
from superpos import answers, chapter
from superpos.answers import Answer
from superpos.claims import Estimate
from superpos.sweep import Rows

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.97412, "0.974"), (12.0, "12"), (10.000, "10"), (-1234.5, "−1,230"), (0.0, "0"), (0.05, "0.05"), (99.96, "100"),
        (1e-5, "0.00001"), (1e6, "1,000,000"), (NAN, "–"), (-math.inf, "−∞"), (-0.0004, "−0.0004"), (2.5, "2.5"),
    ],
)  # fmt: skip
def test_a_number_has_three_significant_digits(value, text):
    assert answers.number(value) == text


def test_a_count_is_said_as_a_count():
    assert answers.said(Estimate(10.0, 1.0, 12.0, "Holm", "condition", 16)) == "10 [1 to 12]"
    assert answers.said(Estimate(10.0, 10.0, 10.0, "none", "program", 5)) == "10"
    assert answers.said(Estimate(0.5, NAN, NAN, "none: fewer than two", "network", 1)) == "0.5"
    assert answers.said(Estimate(NAN, NAN, NAN, "none: not run", "network", 0)) == "–"


@pytest.mark.parametrize(
    ("low", "high", "word"), [(0.93, 0.99, "yes"), (0.8, 0.9, "no"), (0.9, 0.95, "perhaps"), (NAN, NAN, "perhaps")]
)
def test_which_side_an_interval_lies_on(low, high, word):
    assert answers.side(Estimate(0.9, low, high, "", "", 5), 0.92, "yes", "no", "perhaps") == word


def test_words_are_joined():
    assert [answers.join(one) for one in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


def statements(*verdicts):
    """One statement of chapter 02, and what each reading says of it."""
    readings = ("published", "protocol", "TopK", "count")
    lines = [
        {"words": f"S{i}", "chapter": "02_toy_models", "reading": reading, "verdict": word}
        for i, said in enumerate(verdicts)
        for reading, word in zip(readings, said, strict=True)
    ]
    return pd.DataFrame(lines)


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        (
            [("holds", "holds", "holds", "not identified")],
            "All SAEs agree. The count gives no answer.\n“S0” holds by all three SAEs.",
        ),
        (
            [("holds", "fails", "undecided", "holds")],
            "It depends on the SAE.\n“S0” holds by the paper's recipe and the count, fails by this book's protocol, is "
            "undecided by a TopK SAE.",
        ),
        (
            [("holds", "undecided", "holds", "undecided")],
            "Not every SAE decides.\n“S0” holds by the paper's recipe and a TopK SAE, is undecided by this book's protocol "
            "and the count.",
        ),
        (
            [("fails",) * 3 + ("not identified",), ("holds",) * 4],
            "All SAEs agree. The count gives no answer to 1 of the 2 statements.\n“S0” fails by all three SAEs.\n“S1” holds "
            "by all three SAEs "
            "and the count.",
        ),
    ],
)
def test_how_sure_follows_from_the_readings(verdicts, words):
    assert answers.sure("02_toy_models", statements(*verdicts)) == words


def test_nothing_is_said_of_another_chapter():
    assert answers.sure("03_dictionary", statements(("holds",) * 4)) == ""


@pytest.fixture(scope="module")
def told():
    return run.answers_of(Rows(RESULTS))


def test_the_committed_answers_are_those_of_the_rows(told, tmp_path):
    told.to_csv(tmp_path / "answers.csv", index=False, lineterminator="\n", float_format="%.3f")
    assert (tmp_path / "answers.csv").read_text() == (RESULTS / "answers.csv").read_text()


def test_every_chapter_has_one_answer_that_can_be_believed(told):
    assert told.chapter.tolist() == chapter_names()
    for one in told.itertuples():
        assert one.question.endswith("?"), one.chapter
        assert one.answer.endswith("."), one.chapter
        assert any(digit in one.answer for digit in "0123456789"), f"{one.chapter}: no number"
        assert len(one.answer.split()) <= 60, f"{one.chapter}: {len(one.answer.split())} words are no plain sentence"
        assert one.sure, f"{one.chapter}: it does not say how sure it is"
        assert any(digit in one.rests_on for digit in "0123456789"), f"{one.chapter}: of how many?"
        assert one.hours > 0, one.chapter
        assert one.minutes >= 1, one.chapter
        assert all((RESULTS / file).exists() for file in one.files.split()), one.chapter


def test_hours_are_those_of_the_runs():
    """By hand: each run's seconds once, however many rows it gave."""
    table = pd.read_csv(RESULTS / "toy_truth.csv")
    runs = table.drop_duplicates(
        ["reading", "seed", "sae_seed", "n_models", "spacing", "n_neurons", "expansion", "finished"]
    )
    assert answers.hours(["toy_truth.csv"], Rows(RESULTS)) == pytest.approx(runs.seconds.sum() / 3600, rel=1e-3)


def test_the_box_says_all_and_is_no_html_of_others(tmp_path):
    folder = tmp_path / "book" / "results"
    folder.mkdir(parents=True)
    for file in ("toy_truth.csv", "statements.csv"):
        (folder / file).write_bytes((RESULTS / file).read_bytes())
    (folder.parent / "minutes.csv").write_bytes((ROOT / "book" / "minutes.csv").read_bytes())
    made = Answer("02_toy_models", "Is 1 < 2?", "It is <b>so</b>.", "2 toy models.", ("toy_truth.csv",))
    box = chapter.answer(lambda rows: made, str(folder))
    shown = box._repr_html_()
    assert "It is &lt;b&gt;so&lt;/b&gt;." in shown
    for part in (
        "Is 1 &lt; 2?",
        "2 toy models.",
        "How sure",
        "quick scale",
        "Open in Colab",
        "download",
        "toy_truth.csv",
    ):
        assert part in shown, part
    assert repr(box).splitlines()[:2] == ["Is 1 < 2?", "It is <b>so</b>."]


def test_the_box_of_a_chapter_is_the_committed_answer(told):
    import nbformat

    for one in told.itertuples():
        notebook = nbformat.read(ROOT / "notebooks" / f"{one.chapter}.ipynb", 4)
        outputs = [
            o["data"]["text/html"]
            for c in notebook.cells
            for o in c.get("outputs", [])
            if "text/html" in o.get("data", {})
        ]
        boxes = [text for text in outputs if "superpos-answer" in text]
        assert len(boxes) == 1, one.chapter
        assert html.escape(one.answer, quote=False) in boxes[0], one.chapter
        assert answers.listed(one.sure) in boxes[0], one.chapter
        assert html.escape(one.rests_on, quote=False) in boxes[0], one.chapter


@pytest.mark.parametrize(
    ("mine", "right", "words"),
    [
        (None, 1.0, "Put your number"), (1.01, 1.0, "Right."), (1.1, 1.0, "Not yet: 1.1 is too high."), (-2, -1, "too low"),
        (0.01, 0.0, "Right."), (0.5, 0.0, "too high"),
    ],
)  # fmt: skip
def test_a_reader_can_check_an_answer(mine, right, words):
    assert words in chapter.check(mine, right)


@pytest.mark.parametrize("mine", ["1", True, [1]])
def test_an_answer_is_a_number(mine):
    with pytest.raises(TypeError, match="must be a number"):
        chapter.check(mine, 1.0)
