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


def test_every_word_could_have_come_out_otherwise(found):
    """Among intervals that the quantity can have there is one for each word: no rule is one that cannot fail."""
    for claim in found:
        if (
            claim.word in ("", "another protocol")
            or claims.UNKNOWN in claim.protocol
            or claim.estimate.unit == claims.SAE_SEED
        ):
            continue
        at = [
            value
            for value in (claim.paper, claim.estimate.value, *vars(claim.rule).values())
            if isinstance(value, float | int)
        ]
        reach = 2 * max([1.0, *map(abs, at)])
        low, high = max(claim.possible[0], -reach), min(claim.possible[1], reach)
        grid = np.linspace(low, high, 41)
        words = {made_up(claim, a, b).word for a in grid for b in grid if a <= b}
        narrow = {made_up(claim, a, a + 1e-3 * (high - low)).word for a in np.linspace(low, high, 20_001)[:-20]}
        assert {"agrees", "differs", "open"} <= words | narrow or {"pass", "fail", "open"} <= words | narrow, claim.id


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
