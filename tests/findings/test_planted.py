"""Planted data: as many active features as asked for, lengths and directions as stated."""

import pandas as pd
import pytest
import torch

from superpos.findings.planted import analysis, runs
from superpos.findings.planted.runs import Run, planted_run
from superpos.findings.planted.task import planted
from superpos.sweep import Rows


def test_rows_hold_the_features_that_were_planted():
    x = planted(4000, 50, 1, 0.25, seed=0)
    lengths = x.norm(dim=1)
    active = lengths > 0
    assert active.float().mean() == pytest.approx(0.25, abs=0.03)
    assert lengths[active].min() >= 0.5
    assert lengths[active].max() <= 1.5
    assert torch.linalg.matrix_rank(x) == 1
    assert torch.linalg.matrix_rank(planted(500, 50, 7, 3, seed=1)) == 7
    assert torch.equal(planted(9, 5, 3, 1, seed=4), planted(9, 5, 3, 1, seed=4))


def test_more_active_than_there_are():
    with pytest.raises(ValueError, match="at most k = 3, got 4"):
        planted(9, 5, 3, 4, seed=0)


def test_a_run_does_not_start_from_the_planted_directions(monkeypatch):
    """One seed for both would hand the SAE the answer: both draw unit rows first."""
    seen = []
    monkeypatch.setattr(runs, "planted", lambda *a: seen.append(a[-1]) or planted(*a))
    planted_run(Run(reading="protocol", n_neurons=8, k=4, active=1, seed=3, n_rows=50, longer=0.001))
    assert seen
    assert 3 not in seen


def test_a_run_changes_length_and_dictionary():
    common = Run(reading="protocol", n_neurons=8, k=4, active=1, seed=0, n_rows=200)
    short, wide = planted_run(common.but(longer=0.01)), planted_run(common.but(longer=0.02, codes=2.0))
    assert (short["n_codes"], wide["n_codes"]) == (32, 64)
    assert (short["epochs"], wide["epochs"]) == (50, 100)


def test_tables_of_made_up_rows(tmp_path):
    """F is right at k = 4, half too high at k = 8; twice the training leaves it, twice the codes double it."""
    lines = [
        {"reading": "protocol", "k": k, "active": 1, "seed": seed, "longer": longer, "codes": codes, "ratio": ratio}
        for k, ratio in ((4, 1.0), (8, 1.5))
        for seed in (1, 2)
        for longer, codes in ((1.0, 1.0), (2.0, 1.0), (1.0, 2.0))
    ]
    table = pd.DataFrame(lines)
    table["effective_features"] = table.k * table.ratio * table.codes
    table.to_csv(tmp_path / "planted.csv", index=False)
    rows = Rows(tmp_path)
    assert analysis.errors(rows).protocol.tolist() == [0.25, 0.25]
    assert analysis.ratios(rows).ratio.tolist() == [1.0, 1.5]
    changes = analysis.stressed(rows).set_index(["stress", "k"]).change
    assert changes["trained twice as long"].tolist() == [1.0, 1.0]
    assert changes["twice the codes"].tolist() == [2.0, 2.0]
    assert analysis.rises(table)
    assert not analysis.rises(table.assign(effective_features=-table.k))
