"""The toy model: its samples, its gradients against autograd, its known ends; and its tables, on made-up rows."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from book.run import NOTEBOOKS, RESULTS
from superpos import metrics, sweep
from superpos.findings.toy import analysis, runs
from superpos.findings.toy import task as toy


def test_samples_have_the_sparsity_and_are_uniform_when_active():
    f = toy.sample_features(20_000, 5, 0.8, torch.Generator().manual_seed(0))
    active = f[f > 0]
    assert len(active) / f.numel() == pytest.approx(0.2, abs=0.005)
    assert active.mean() == pytest.approx(0.5, abs=0.01)
    assert active.var() == pytest.approx(1 / 12, abs=0.002)


def test_gradients_agree_with_autograd():
    g = torch.Generator().manual_seed(0)
    W, b = torch.randn(2, 3, 7, generator=g), torch.randn(2, 1, 7, generator=g)
    f, omega = torch.rand(2, 16, 7, generator=g), 0.7 ** torch.arange(7)
    W.requires_grad_(), b.requires_grad_()
    loss = (omega * (f - torch.relu(f @ W.mT @ W + b)) ** 2).sum(-1).mean(-1)
    loss.sum().backward()
    ours, g_W, g_b = toy._loss_and_gradients(W.detach(), b.detach(), f, omega)
    torch.testing.assert_close(ours, loss.detach())
    torch.testing.assert_close(g_W, W.grad)
    torch.testing.assert_close(g_b, b.grad)


def test_dense_features_get_a_neuron_each_and_sparse_ones_share():
    """Elhage et al. 2022: no superposition at S = 0, the 5 most important features; more at high S."""
    dense, sparse = toy.train_toys([0.0, 0.97], seeds=[0, 1], steps=2500, lr=3e-3)
    lengths = dense.W.norm(dim=0)
    assert (lengths[:5] > 0.9).all()
    assert (lengths[7:] < 0.2).all()
    psi = [metrics.superposition(metrics.weight_shares(t.W), 5) for t in (dense, sparse)]
    assert psi[0] == pytest.approx(1, abs=0.1)
    assert psi[1] > 1.5


def test_a_model_does_not_depend_on_its_neighbours():
    together = toy.train_toys([0.1, 0.9], seeds=[5, 6], steps=40)
    alone = toy.train_toys([0.9], seeds=[6], steps=40)[0]
    torch.testing.assert_close(together[1].W, alone.W, rtol=1e-4, atol=1e-5)


def test_sparsities_span_the_range():
    for spacing in ("log", "linear"):
        s = toy.sparsities(11, spacing)
        assert (s[0], s[-1]) == (pytest.approx(0.001), pytest.approx(0.999))
        assert (s.diff() > 0).all()
    steps = np.diff(np.log(1 - toy.sparsities(5).numpy()))
    np.testing.assert_allclose(steps, steps[0])


def test_a_run_gives_a_row_a_model():
    rows = runs.toy_run(runs.Run(reading="protocol", n_models=3, n_rows=500, toy_steps=30))
    assert [r["model"] for r in rows] == [0, 1, 2]
    assert all(r["psi"] == pytest.approx(r["effective_features"] / 5) for r in rows)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: toy.train_toys([0.5], seeds=[1, 2]), "1 sparsities for 2 seeds"),
        (lambda: toy.train_toys([1.0], seeds=[1]), "below 1"),
        (lambda: toy.sparsities(3, "cubic"), "spacing must be one of log, linear, got 'cubic'"),
        (lambda: runs.Run(reading="best", n_models=3), "reading must be one of published, protocol, TopK, got 'best'"),
        (lambda: runs.Run(reading="protocol", n_models=3, spacing="cubic"), "spacing must be 'log' or 'linear'"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_stability_grid_changes_one_field_at_a_time():
    n_rows = {"published": 20, "protocol": 50}
    family = {"n_models": 2, "toy_steps": 10}
    found = runs.stability_grid(n_rows, 4, [1], {"l1": [3.0], "n_neurons": [2]}, **family)
    of_others = {(run.reading, run.n_rows, run.spacing) for run in found if run.seed == 1}
    assert of_others == {(name, n, s) for name, n in [*n_rows.items(), ("protocol", 20)] for s in ("log", "linear")}
    changed = [{"l1": run.l1, "n_neurons": run.n_neurons} for run in found if run.seed == 4]
    assert changed == [{"l1": 3.0, "n_neurons": 5}] * 2 + [{"l1": None, "n_neurons": 2}] * 2
    assert len(found) == 10


def test_the_committed_rows_are_those_of_the_full_scale(tmp_path):
    """All runs of the full scale are there, so that none is done."""
    asked = yaml.safe_load((NOTEBOOKS / "full" / "02_toy_models.yaml").read_text())
    family, n_rows, seed = {name: asked[name] for name in ("n_models", "toy_steps")}, asked["n_rows"], asked["seed"]
    sweeps = {name: asked[name] for name in ("l1", "expansion", "n_neurons")}
    grids = {
        "toy_truth": runs.grid(n_rows, seed=seed["truth"], sae_seed=range(asked["n_sae"]), **family),
        "toy": runs.stability_grid(n_rows, seed["stability"], seed["others"], sweeps, **family),
    }
    for name, grid in grids.items():
        table = sweep.run(lambda run: {}, grid, shutil.copy(RESULTS / f"{name}.csv", tmp_path))
        assert len(table) == 100 * len(grid)
    assert [len(grid) for grid in grids.values()] == [6, 46]


def test_the_truth_of_weights_that_are_known():
    """Five features in five neurons, and each of them with its opposite (Elhage et al. 2022)."""
    eye = torch.eye(5)
    assert toy.truth(eye) == {name: pytest.approx(1) for name in ("psi_weights", "psi_weights_norm", "psi_frobenius")}
    assert toy.truth(torch.cat([eye, -eye], 1))["psi_frobenius"] == pytest.approx(2)
    uneven = toy.truth(torch.tensor([[2.0, 1.0]]))  # shares 4/5 and 1/5, or 2/3 and 1/3
    assert uneven["psi_weights"] == pytest.approx(5 / 4**0.8)
    assert uneven["psi_weights_norm"] == pytest.approx(3 / 2 ** (2 / 3))
    assert uneven["psi_frobenius"] == pytest.approx(5)


def test_interference_is_the_gram_matrix_of_the_directions():
    model = toy.Toy(torch.tensor([[1.0, 0, -1], [0, 2, 0]]), torch.zeros(3), 0.5, 0.0)
    table = analysis.interference([model, model])
    assert len(table) == 2 * 9
    overlap = table[table.frame == 1].pivot(index="feature i", columns="feature j", values="overlap")
    assert overlap.to_numpy().tolist() == [[1, 0, -1], [0, 4, 0], [-1, 0, 1]]


def made_up(folder, **columns):
    """Results files in which ψ follows the truth on a line, but for what the columns say."""
    truth = np.linspace(1, 3, 12)
    both = [
        pd.DataFrame(
            {"reading": name, "model": range(12), "psi_weights": truth, "psi": truth, "sparsity": 0.5, "fvu": 0.1}
        )
        for name in ("published", "protocol")
    ]
    table = pd.concat(both, ignore_index=True).assign(
        seed=1, spacing="log", n_rows=50_000, n_neurons=5, expansion=8.0, l1=np.nan
    )
    pd.concat([table.assign(sae_seed=k) for k in (1, 2)]).assign(**columns).to_csv(
        folder / "toy_truth.csv", index=False
    )
    flat = table.assign(l1=3.0, psi=table.psi_weights.to_numpy()[::-1])
    pd.concat([table, flat]).to_csv(folder / "toy.csv", index=False)
    return sweep.Rows(folder)


def test_stability_varies_one_axis_and_gives_rows_without_a_lambda_their_own(tmp_path):
    table = analysis.stability(made_up(tmp_path), "l1").set_index(["reading", "l1"]).r
    assert table.round(6).to_dict() == {
        ("published", 0.1): 1.0, ("published", 3.0): -1.0, ("protocol", 0.5): 1.0, ("protocol", 3.0): -1.0,
    }  # fmt: skip
    assert len(analysis.stability(made_up(tmp_path), "expansion")) == 2, "rows of another λ are left out"


def test_the_saes_of_a_model_are_averaged_and_their_spread_is_told(tmp_path):
    rows = made_up(tmp_path, psi=np.repeat([1.0, 3.0], 24))
    assert analysis.by_model(rows).psi.unique().tolist() == [2.0]
    rows = made_up(tmp_path)
    assert analysis.sae_seeds(rows).spread.tolist() == [0.0, 0.0]
    assert analysis.by_sparsity(rows).ratio.tolist() == [1.0, 1.0]


def test_a_family_is_compared_at_the_defaults_alone(tmp_path):
    found = analysis.families(made_up(tmp_path))  # rows of another λ go the other way
    assert found.columns.tolist() == [1]
    assert found[1].round(6).to_dict() == {("protocol", 50_000, "log"): 1.0, ("published", 50_000, "log"): 1.0}


def test_each_measure_is_that_of_its_column_and_reading(tmp_path):
    others = {column: np.tile(np.linspace(3, 1, 12), 4) for _, column in analysis.MEASURES.values() if column != "psi"}
    found = analysis.measures(made_up(tmp_path, **others)).set_index("measure").r.round(6)
    assert found["SAE codes, protocol"] == found["SAE codes, published"] == 1
    assert (found.drop(["SAE codes, protocol", "SAE codes, published"]) == -1).all()
    assert len(found) == 7
