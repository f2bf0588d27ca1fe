"""verdicts.csv is what the claims of all findings give on the committed rows, recomputed here without a kernel."""

import shutil

import pandas as pd
import pytest

from book.run import RESULTS
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
        assert claim.word in ("agrees", "differs", "open"), claim.id
        if claim.paper is not None:
            assert claim.where, f"{claim.id} has a number of the paper's, and does not say where it stands"


def test_other_rows_give_other_numbers(found, tmp_path):
    """The comparison above would notice: where rows change, the claims on them do, and no others."""
    shutil.copytree(RESULTS, tmp_path / "results")
    path = tmp_path / "results" / "toy_truth.csv"
    table = pd.read_csv(path)
    table["psi"] = table.psi.sample(frac=1, random_state=0).to_numpy()
    table.to_csv(path, index=False)
    now = {claim.id: repr(claim.estimate) for claim in findings.every_claim(Rows(tmp_path / "results"))}
    changed = {claim.id for claim in found if now[claim.id] != repr(claim.estimate)}
    assert changed == {"toy.r_published_recipe", "toy.r_sae_weights"}
