"""The comparison at a small size: fails on being wrong, never on being slow."""

import re

import pandas as pd
import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import analysis, costs, explorer, material, peers, tasks
from superpos.sweep import Rows


@pytest.fixture(scope="module")
def tables():
    return command.main(["compare", "--size", "small"])


def test_both_sides_find_the_same(tables):
    row = tables["fit"].iloc[0]
    assert row.peer == "plain"
    assert row.loss_ratio < 1.05, "ours must not end at a higher loss"
    assert row.our_loss > 0
    assert 0.3 < row.features_ratio < 1.5
    assert tables["toys"].features_ratio.iloc[0] == pytest.approx(1, abs=0.25)


def test_the_same_steps_give_the_same_loss():
    """PUBLISHED is the plain recipe: after as many epochs, on other draws, the same loss and F."""
    x = material.activations("digits", 1_000)
    found = []
    for seed in (1, 2, 3):
        weights, steps = peers.fit("plain", x, seed=seed, epochs=200)
        ours = tasks.sae.fit(x, tasks.PUBLISHED.but(epochs=200), seed=seed)
        assert steps % 8 == 0
        found.append([*material.judge(x, weights, 0.1, "mean"), *material.judge(x, tasks._weights(ours), 0.1, "mean")])
    loss, features, our_loss, our_features = torch.tensor(found).mean(0).tolist()
    assert our_loss == pytest.approx(loss, rel=0.03)
    assert our_features == pytest.approx(features, rel=0.1)


def test_loss_and_features_are_judged_by_hand():
    """x = (2, 0), (0, 2); identity with codes (2, 0), (0, 2) and decoder rows of length 1 and 3."""
    x = 2 * torch.eye(2)
    weights = {
        "encoder": torch.eye(2),
        "encoder_bias": torch.zeros(2),
        "decoder": torch.tensor([[1.0, 0], [0, 3]]),
        "decoder_bias": torch.zeros(2),
    }
    error = (6 - 2) ** 2
    assert material.judge(x, weights, 0.1, "mean") == (pytest.approx(error / 4 + 0.1 * 4 / 4), pytest.approx(2))
    assert material.judge(x, weights, 0.1, "sum")[0] == pytest.approx((error + 0.1 * (2 + 2 * 3)) / 2)


def test_a_shifted_bias_is_the_same_autoencoder():
    """Peers subtract the decoder's bias before encoding."""
    generator = torch.Generator().manual_seed(0)
    W, V = torch.randn(6, 3, generator=generator), torch.randn(6, 3, generator=generator)
    b, c, x = (torch.randn(n, generator=generator) for n in (6, 3, 3))
    weights = peers._untied(W, b, V, c)
    torch.testing.assert_close(weights["encoder"] @ x + weights["encoder_bias"], W @ (x - c) + b)


def test_a_cost_is_a_time_and_a_memory():
    row = costs.cost(n_rows=3_000, n_neurons=64, expansion=4, n_fits=2, products="float32", threads=1)
    assert row["n_codes"] == 256
    assert row["step_seconds"] > 0
    weights = 2 * 64 * 256 * 4 / 2**20
    assert row["memory_mib"] > 4 * weights, "weights, gradient and two moments at least"
    assert row["gflops"] < 20 * row["sgemm"]


def test_the_path_for_pythia_at_a_small_size(monkeypatch, tmp_path):
    """Both published formats, written, read back and summed; the benchmark does it at Pythia-70M's size."""
    monkeypatch.setenv("SUPERPOS_DATA", str(tmp_path))
    rates, read = command.main(["language", "--size", "small"])
    assert (rates.share > 0).all()
    assert read.n_sites.tolist() == [4, 3]
    assert (read.n_tokens > 100).all()
    assert (read.l0 > 0).all()


def test_a_missing_peer_is_named(monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit, match="no checkout of the paper's code: --peer must name a folder"):
        command.main(["compare", "--size", "small", "--peer", str(tmp_path)])
    monkeypatch.delenv("SUPERPOS_PEER", raising=False)
    monkeypatch.setattr(command, "small_grid", lambda: {"fit": [{"set": "digits", "peer": "paper", "seed": 1}]})
    assert command.main(["compare", "--size", "small"]) == {}
    assert "skipped 1 runs, without paper" in capsys.readouterr().out


def test_an_unknown_set_is_named():
    with pytest.raises(ValueError, match="unknown set 'lenet'; expected one of planted, mlp"):
        material.activations("lenet")


def test_a_cost_that_grows_with_the_square_of_the_neurons_has_exponent_two():
    """Times made by a rule: 1 µs × N² × expansion × fits, whatever the rows; other products do not count."""
    axes = {"n_rows": [2_000, 10_000], "n_neurons": [16, 128, 256, 512], "expansion": [1, 2, 4], "n_fits": [1, 4]}
    costs_ = pd.DataFrame([*costs._around(axes, [costs.ONE]), costs.ONE | {"n_neurons": 256, "products": "bfloat16"}])
    costs_["step_seconds"] = 1e-6 * costs_.n_neurons**2 * costs_.expansion * costs_.n_fits
    costs_.loc[costs_.products == "bfloat16", "step_seconds"] = 99.0
    found = analysis.exponents(costs_)
    assert found.exponent.round(6).tolist() == found.expected.tolist() == [0.0, 2.0, 1.0, 1.0]
    assert len(analysis.along(costs_, "n_neurons", "products")) == 5


@pytest.mark.parametrize(
    ("ratio", "our_loss", "our_features", "holds"),
    [(5.1, 1.0, 100.0, True), (4.9, 1.0, 100.0, False), (9.0, 1.02, 100.0, False), (9.0, 1.0, 103.0, False)],
)
def test_the_claim_on_costs_holds_and_falls(ratio, our_loss, our_features, holds):
    """The MLP's claim: five times cheaper with every seed, loss within 1%, F within 2%."""
    row = {
        "cpu_ratio": ratio,
        "peer_loss": 1.0,
        "our_loss": our_loss,
        "peer_features": 100.0,
        "our_features": our_features,
    }
    judged = analysis.judge_claim(
        pd.DataFrame([{"set": name, **row} for name in ("mlp", "cnn", "planted", "other") * 2])
    )
    assert judged.index.tolist() == ["mlp", "cnn", "planted", "other"]
    assert judged["claim holds"]["mlp"] == str(holds)
    assert judged["claim holds"]["other"] == judged.claimed["other"] == ""


def compared(ratio=12.0, loss=1.0, features=100.0):
    """Rows of a comparison with the paper's code: three seeds on four sets, whose ratios differ by a tenth."""
    lines = [
        {"set": name, "peer": "paper", "seed": seed, "device": "a processor", "cpu_ratio": ratio + 0.1 * seed}
        | {"peer_loss": 1.0, "our_loss": loss, "loss_ratio": loss, "features_ratio": features / 100}
        | {"peer_features": 100.0, "our_features": features}
        for name in ("planted", "mlp", "cnn", "cnn fc1")
        for seed in (0, 1, 2)
    ]
    return pd.DataFrame(lines)


@pytest.mark.parametrize(
    ("given", "lead", "at", "held"),
    [
        (
            {},
            r"Cheaper, yes: the paper's code needs 12\.1 .11\.9 to 12\.3. times",
            "at the same loss and F; and on 0 of 1 other",
            "3 of 3",
        ),
        (
            {"ratio": 3.0},
            r"No: the paper's code needs 3\.1 .2\.85 to 3\.35. times",
            "at the same loss and F;",
            "0 of 3",
        ),
        ({"ratio": 7.0}, "In part: ", "at the same loss and F;", "2 of 3"),
        ({"loss": 1.1}, "No: ", "at the same loss and F on 0 of the 3; but on 1 of 1 other layers", "0 of 3"),
    ],
)
def test_the_answer_goes_by_the_rows(given, lead, at, held):
    made = analysis.answer({"speed_fit": compared(**given)})
    assert re.match(lead, made.sentence)  # whatever brackets an interval stands in
    assert at in made.sentence
    assert made.sure.startswith(
        f"{held} claims (5 times on an MLP, 10 times on a CNN and 4 times on planted features) hold by"
    )
    assert ("Not the same number: CNN fc1 (MNIST)." in made.sure) == ("loss" in given)


def test_agreement_by_hand():
    """0.9, 1.0, 1.1: mean 1 and half a t interval of 4.303 × 0.1 / √3; of two seeds it is the range."""
    table = compared().query("set == 'mlp'").assign(loss_ratio=[0.9, 1.0, 1.1])
    found = analysis.agreement(table).set_index("what").loc["loss"]
    assert found["ours / theirs"] == pytest.approx(1.0)
    assert found.high - found["ours / theirs"] == pytest.approx(4.303 * 0.1 / 3**0.5, abs=1e-3)
    found = analysis.agreement(table[:2]).set_index("what").loc["loss"]
    assert (found.low, found.high) == pytest.approx((0.9, 1.0))
    said = explorer.same_number(analysis.agreement(table)).to_dict()["description"]
    assert said.startswith("Averaged over seeds, our loss lies within 0% of theirs and our F lies within 0% of theirs")


def test_titles_of_figures_are_those_of_the_rows():
    said = explorer.times_cheaper(analysis.cheaper(compared())).to_dict()["description"]
    assert said.startswith("The other code needs 12 to 12 times our processor time")
    lines = [
        (way, layer, value)
        for layer, values in (("A", (1, 2)), ("B", (2, 1)))
        for way, value in zip("xy", values, strict=True)
    ]
    ways = pd.DataFrame(lines, columns=["way", "layer", "relative"]).assign(low=0, high=3)
    assert (
        explorer.ways(ways)
        .to_dict()["description"]
        .startswith("The lowest loss is reached by x on the A and y on the B")
    )
    best = explorer.ways(ways.query("layer == 'A'")).to_dict()["description"]
    assert best.startswith("The lowest loss is reached on each layer by: x")
    done = pd.DataFrame({"kind": ["a", "a"], "n_workers": [1, 2], "runs_per_hour": [10.0, 16.0], "share": [1.0, 0.8]})
    assert explorer.runs_an_hour(done).to_dict()["description"].startswith("Two workers do at least 80% of twice")


def test_heads_of_tables_are_words():
    shown = analysis.in_words(compared().groupby("set")[["cpu_ratio", "loss_ratio"]].mean())
    assert shown.columns.tolist() == ["times less", "loss, ours / theirs"]
    assert shown.index.name == "activations"
    assert "CNN fc1 (MNIST)" in shown.index


def test_sweeps_are_timed_and_projected(tmp_path):
    command.main(["sweeps", "--size", "small", "--out", str(tmp_path)])
    rows = Rows(tmp_path)
    table = analysis.throughput(rows)
    assert table.n_workers.tolist() == [1, 2]
    assert table.share[0] == 1
    assert rows["sweep_saving"].save_ms[0] > 0


def test_a_grid_by_hand(tmp_path):
    """2 ms a run in the store: runs of 10 s keep 5,000 workers busy; 36,000 of them on 100 workers take an hour."""
    (tmp_path / "sweep_saving.csv").write_text("n_held,save_ms,export_seconds\n100,1.0,0.1\n50000,2.0,3.0\n")
    said = analysis.grid_of(Rows(tmp_path), 36_000, 10.0, 100)
    assert said.startswith(
        "36,000 runs of 10 s on 100 workers: 1.0 hours. Beside 50,000 runs the store takes 2.0 ms a run"
    )
    assert "from 5,000 workers on; an export takes 3.0 s." in said
