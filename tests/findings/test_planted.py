"""Planted data: as many active features as asked for, lengths and directions as stated."""

import dataclasses
import shutil
from collections import OrderedDict

import pandas as pd
import pytest
import torch
import yaml

from book.run import NOTEBOOKS, RESULTS
from superpos import PROTOCOL, measure, sweep
from superpos.activations import Rows as LayerRows
from superpos.claims import Estimate
from superpos.data import LabelledImages
from superpos.findings.planted import analysis, claims, explorer, runs
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
    ratios = analysis.ratios(analysis.plain(table))
    assert ratios.ratio.tolist() == [1.0, 1.5]
    assert ratios.error.tolist() == [0.0, 0.5]
    assert ratios.protocol.unique().tolist() == ["this book's"]
    changes = analysis.stressed(rows).set_index(["stress", "k"]).change
    assert changes["trained twice as long"].tolist() == [1.0, 1.0]
    assert changes["twice the codes"].tolist() == [2.0, 2.0]
    assert analysis.rises(table)
    assert not analysis.rises(table.assign(effective_features=-table.k))


def test_the_order_of_pairs_by_hand():
    """Three fits of one seed: k = 4 and 8 are in order, and k = 16 reads fewer than either; the pair of one k does not count."""
    table = pd.DataFrame(
        {"reading": "protocol", "seed": 1, "k": [4, 8, 16, 16], "effective_features": [5.0, 6.0, 1.0, 2.0]}
    )
    assert analysis.order(table) == (1, 5)
    assert analysis.order(pd.concat([table, table[:2].assign(seed=2)])) == (2, 6)


def test_rows_in_which_nothing_was_learned(tmp_path):
    lines = [
        ("protocol", "random_network", 10.0), ("protocol", "digits_random", 30.0), ("protocol", "shuffled", 40.0),
        ("protocol", "digits_shuffled", 40.0), ("TwoNN", "shuffled", 1.0), ("protocol", "contexts", 1.0),
    ]  # fmt: skip
    table = pd.DataFrame(lines, columns=["reader", "kind", "F"]).assign(n_neurons=20)
    table.to_csv(tmp_path / "counting_readers.csv", index=False)
    found = analysis.by_control(Rows(tmp_path)).set_index("control").psi
    assert found.to_dict() == {"untrained networks": 1.0, "shuffled columns": 2.0}


def test_layers_beside_their_controls():
    """Shuffled reads higher in both layers, untrained in one; layers stay in the order in which they were measured."""
    trained = pd.DataFrame({"layer": ["b", "a"], "psi": [1.0, 2.0]})
    low, high = trained.assign(state="untrained", psi=[0.5, 3.0]), trained.assign(state="shuffled", psi=[4.0, 5.0])
    layers = analysis.own_layers(trained, pd.concat([low, high]))
    assert layers.layer.tolist() == ["b"] * 3 + ["a"] * 3
    above = analysis.above_trained(layers)
    assert above == {"untrained (control)": 1, "shuffled (control)": 2}
    title = " ".join(explorer.layers_and_controls(layers, above).title)
    assert "is read from the untrained control in 1 of 2 layers and from the shuffled control in 2 of 2 layers" in title


def test_images_of_one_class():
    top = pd.DataFrame({"code": [3, 3, 3, 3, 5, 5, 5, 5]})
    assert analysis.alike_in_words(top, torch.tensor([1, 1, 1, 1, 0, 0, 2, 3])) == "Most"
    assert analysis.alike_in_words(top, torch.tensor([1, 1, 1, 1, 0, 0, 0, 0])) == "Nearly all"
    assert analysis.alike_in_words(top, torch.tensor([1, 2, 3, 4, 0, 5, 2, 3])) == "Less than half"


@pytest.mark.parametrize(
    ("off", "ordered", "words"),
    [
        (0.3, (240, 240), "more than 12%; more features always read as more: here one can trust the order, not the number."),
        (0.05, (240, 240), "less than 12%; more features always read as more: here one can trust both the order and the number."),
        (0.05, (9, 240), "less than 12%; more features do not always read as more: here one can trust the number, not small "
        "differences."),
        (0.12, (9, 240), "not surely less than 12%; more features do not always read as more: here one can trust neither the "
        "order nor the number."),
    ],
)  # fmt: skip
def test_the_answer_says_what_the_rows_say(off, ordered, words, monkeypatch):
    made = [
        dataclasses.replace(claim, estimate=Estimate(off, off - 0.01, off + 0.01, "by hand", "seed", 3))
        for claim in claims.planted_errors(Rows(RESULTS))
    ]
    monkeypatch.setattr(claims, "planted_errors", lambda rows: made)
    monkeypatch.setattr(analysis, "order", lambda table: ordered)
    answer = claims.answer(Rows(RESULTS))
    assert answer.sentence.endswith(words)
    assert f"{off:.0%}" in answer.sentence
    assert ("miss by more than" in answer.sure) == (off == 0.3)


def test_each_slider_has_a_line_of_words_that_fits_a_phone():
    spec = explorer.diversity_explorer([60] * 6).to_dict()
    assert len([one for one in spec["params"] if "bind" in one]) == 6
    (words,) = [layer["transform"][0]["calculate"] for layer in spec["layer"] if layer["mark"]["type"] == "text"]
    assert words.count(r"\n") == 2


def test_the_committed_rows_are_those_of_the_full_scale(tmp_path):
    """All runs of the full scale are there, so that none is done."""
    asked = yaml.safe_load((NOTEBOOKS / "full" / "01_measure_your_own.yaml").read_text())
    path = shutil.copy(RESULTS / "planted.csv", tmp_path)
    assert len(sweep.run(lambda run: {}, runs.grid(**asked["planted"]), path)) == len(pd.read_csv(path)) == 84


def test_wrong_readings_are_refused_by_name():
    with pytest.raises(ValueError, match="reading must be one of protocol, published, got 'best'"):
        Run(reading="best", k=4, active=1)


def copies(n_neurons):
    """A network whose neurons all say the same: the mean of the image."""
    layer = torch.nn.Linear(4, n_neurons)
    torch.nn.init.constant_(layer.weight, 0.25), torch.nn.init.zeros_(layer.bias)
    return torch.nn.Sequential(OrderedDict(flatten=torch.nn.Flatten(), fc=layer))


def test_the_controls_are_the_untrained_network_and_the_shuffled_columns_of_the_trained_one():
    """Six copies of one neuron have rank 1; with each in an order of its own they have rank 6."""
    pixels = torch.rand(400, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    images = LabelledImages(pixels, torch.zeros(400, dtype=torch.long), ("all",))
    asked = {"sae": PROTOCOL.but(steps=20), "n_samples": 400, "seeds": (0, 1)}
    found = runs.controls(copies(6), copies(3), images, ["fc"], **asked)
    assert found.groupby("state", sort=False).seed.agg(list).to_dict() == {"untrained": [0, 1], "shuffled": [0, 1]}
    assert found.groupby("state").n_neurons.first().to_dict() == {"untrained": 3, "shuffled": 6}
    rank = found.groupby("state").effective_rank.first()
    assert rank["shuffled"] == pytest.approx(6, abs=0.3)
    assert rank["untrained"] == pytest.approx(1, abs=1e-3)
    assert measure(copies(6), images, "fc", **asked).effective_rank[0] == pytest.approx(1, abs=1e-3)


def test_one_layer_by_several_readings():
    rows = LayerRows(planted(100, 4, 3, 1, seed=0), torch.arange(100))
    small = PROTOCOL.but(steps=20)
    found = runs.by_readings(rows, {"small": small, "large": small.but(expansion=8.0)}, [0, 1])
    assert found.reading.tolist() == ["small", "small", "large", "large"]
    assert found.n_codes.tolist() == [16, 16, 32, 32]
    assert found.n_read.unique().tolist() == [20]
