"""verdicts.csv is what the claims of all findings give on the committed rows, recomputed here without a kernel."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest

from book.run import RESULTS, ROOT
from superpos import claims, findings
from superpos.sweep import Rows


@pytest.fixture(scope="module")
def found():
    return findings.every_claim(Rows(RESULTS))


def test_verdicts_are_those_of_the_committed_rows(found, tmp_path):
    claims.write(found, tmp_path / "verdicts.csv")
    assert (tmp_path / "verdicts.csv").read_bytes() == (RESULTS / "verdicts.csv").read_bytes()


def test_every_claim_says_what_its_word_rests_on(found):
    for claim in found:
        assert claim.estimate.kind, claim.id
        assert claim.estimate.unit, claim.id
        assert (RESULTS / claim.source).exists(), claim.id
        allowed = {
            "paper": ("agrees", "differs", "open", "another protocol"),
            "check": ("pass", "fail", "open"),
            "elsewhere": ("",),
        }
        assert claim.word in allowed[claim.table], claim.id
        if claim.paper is not None:
            assert claim.where, f"{claim.id} has a number of the paper's, and does not say where it stands"


def made_up(claim, low, high):
    """The claim as it would be with another interval."""
    return dataclasses.replace(
        claim, estimate=dataclasses.replace(claim.estimate, value=(low + high) / 2, low=low, high=high)
    )


def edges(claim):
    """Where a rule changes its mind: on both sides of these there are values that the quantity can have."""
    rule, paper = vars(claim.rule), claim.paper or 0.0
    at = [0.0, paper, rule.get("than", 0.0)]
    for name in ("within", "error"):
        reach = rule.get(name, 0.0)
        at += [paper + reach, paper - reach] if name == "error" else [reach, -reach]
    near = [value + side * 1e-2 * max(abs(value), 1e-6) for value in at for side in (-1, 1)]
    far = [2 * sign * max(1.0, *map(abs, at)) for sign in (-1, 1)]
    return sorted({min(max(value, claim.possible[0]), claim.possible[1]) for value in [*at, *near, *far]})


def test_every_word_could_have_come_out_otherwise(found):
    """Among intervals that the quantity can have there is one for each word: no rule is one that cannot fail."""
    decided = [claim for claim in found if claim.decides]
    assert len(decided) > 30
    for claim in decided:
        ends = edges(claim)
        words = {made_up(claim, a, b).word for a in ends for b in ends if a <= b}
        expected = {"pass", "fail", "open"} if claim.table == claims.CHECK else {"agrees", "differs", "open"}
        assert words == expected, (claim.id, words)


def test_a_rule_that_cannot_fail_would_be_seen():
    """A share is never above 2: the test above finds the missing word."""
    claim = claims.Claim(
        "a", "", "a.csv", claims.exactly(0.5, "u", 1), claims.OnSide(-1, 2.0), table="check", possible=(0, 1)
    )
    assert {made_up(claim, a, b).word for a in edges(claim) for b in edges(claim) if a <= b} == {"pass"}


def test_intervals_of_correlations_and_shares_end_where_these_do(found):
    for claim in found:
        ends = [end for end in (claim.estimate.low, claim.estimate.value, claim.estimate.high) if np.isfinite(end)]
        assert all(claim.possible[0] <= end <= claim.possible[1] for end in ends), claim.id


def test_other_rows_give_other_numbers(found, tmp_path):
    """The comparison above would notice: where rows change, the claims on them do, and no others."""
    shutil.copytree(RESULTS, tmp_path / "results")
    path = tmp_path / "results" / "toy_truth.csv"
    table = pd.read_csv(path)
    table["psi"] = table.psi.sample(frac=1, random_state=0).to_numpy()
    table.to_csv(path, index=False)
    now = {claim.id: repr(claim.estimate) for claim in findings.every_claim(Rows(tmp_path / "results"))}
    changed = {claim.id for claim in found if now[claim.id] != repr(claim.estimate)}
    assert changed == {"toy.r_published_recipe", "toy.r_protocol"}


def test_the_log_of_corrections_ends_at_the_words_of_now(found):
    """The newest line of a claim says what its word became."""
    words = {claim.id: claim.word or "no word" for claim in found}
    log = pd.read_csv(ROOT / "book" / "corrections.csv", keep_default_na=False)
    last = log[log.became != "split"].drop_duplicates("id", keep="last").set_index("id").became.to_dict()
    assert last == {name: words.get(name) for name in last}
    assert log.why.str.len().min() > 20
    assert not ((log.was != "agrees") & (log.became == "agrees")).any(), "the page says that no word turned into agrees"


def test_every_claim_stands_in_a_chapter(found):
    chapters = {path.stem for path in (ROOT / "notebooks").glob("[0-9]*.py")}
    assert {findings.chapter_of(claim.id) for claim in found} <= chapters
    assert findings.chapter_of("adversarial.h3_sign_mlp") == "09_room_to_spare"
    assert findings.chapter_of("adversarial.h1") == "08_under_attack"
    with pytest.raises(ValueError, match=r"no chapter is about the claim 'nothing\.known'; ids begin with .*toy\."):
        findings.chapter_of("nothing.known")
