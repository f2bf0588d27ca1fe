"""The toy model: its samples, its gradients against autograd, its known ends."""

import numpy as np
import pytest
import torch

from superpos import metrics
from superpos.systems import toy


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
        s = toy.sparsities(11, 0.001, 0.999, spacing)
        assert (s[0], s[-1]) == (pytest.approx(0.001), pytest.approx(0.999))
        assert (s.diff() > 0).all()
    steps = np.diff(np.log(1 - toy.sparsities(5).numpy()))
    np.testing.assert_allclose(steps, steps[0])


def test_a_run_gives_a_row_a_model():
    row = {"config": "protocol", "spacing": "log", "n_models": 3, "seed": 0, "n": 500, "toy_steps": 30}
    rows = toy.toy_run(**row)
    assert [r["model"] for r in rows] == [0, 1, 2]
    assert all(r["psi"] == pytest.approx(r["effective_features"] / 5) for r in rows)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: toy.train_toys([0.5], seeds=[1, 2]), "1 sparsities for 2 seeds"),
        (lambda: toy.train_toys([1.0], seeds=[1]), "below 1"),
        (lambda: toy.sparsities(3, 0.9, 0.1), "0 <= low < high < 1"),
        (lambda: toy.sparsities(3, spacing="cubic"), "'cubic'"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
