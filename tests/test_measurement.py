"""`measure`: columns by hand, foreign dictionaries, held-out rows, dead codes named."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import superpos
from superpos import PROTOCOL, PUBLISHED
from superpos.measurement import measure_rows, quality

QUICK = PROTOCOL.but(steps=30)
IDENTITY = nn.Sequential(nn.Identity())


class Identity:
    """The null baseline: codes are the neurons."""

    def encode(self, x):
        return x

    def decode(self, z):
        return z


class Spread:
    """Answers as sparsify's encode does: the largest activations and their places."""

    num_latents = 5

    def encode(self, x):
        values, places = x.topk(1, dim=1)
        return SimpleNamespace(top_acts=values, top_indices=places, pre_acts=x)

    def decode(self, top_acts, top_indices):
        raise AssertionError("it cannot decode dense codes")


def test_an_identity_dictionary_by_hand():
    x = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0]] * 5)
    row = superpos.measure(IDENTITY, x, "0", sae=Identity()).iloc[0]
    assert row.effective_features == pytest.approx(2)
    assert row.psi == pytest.approx(2 / 3)
    assert (row.n_neurons, row.n_codes, row.hill_0, row.fvu, row.l0) == (3, 3, 2, 0, 1)
    assert row.dead == pytest.approx(1 / 3)
    assert row.effective_rank == pytest.approx(1)


def test_unexplained_variance_by_hand():
    class Mean(Identity):
        def decode(self, z):
            return x.mean(0).expand_as(z)

    x = torch.randn(30, 4) + 3
    assert quality(Mean(), x)["fvu"] == pytest.approx(1)


def test_a_sparse_answer_is_spread_to_all_codes():
    x = torch.tensor([[1.0, 0, 0], [0, 2, 0], [0, 0, 1], [0, 2, 0]] * 5)
    row = superpos.measure(IDENTITY, x, "0", sae=Spread()).iloc[0]
    assert row.n_codes == 5
    assert row.hill_2 == pytest.approx(1 / (2 * (1 / 6) ** 2 + (4 / 6) ** 2))
    assert np.isnan(row.fvu)


def test_a_dictionary_for_each_layer():
    model = nn.Sequential(nn.Identity(), nn.Linear(3, 4))
    table = superpos.measure(model, torch.randn(40, 3).abs(), ["0", "1"], sae={"0": Identity(), "1": QUICK})
    assert table.layer.tolist() == ["0", "1"]
    assert table.n_codes.tolist() == [3, 16]


def test_columns_and_rows():
    model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))
    table = superpos.measure(model, torch.randn(300, 5), ["1", "0"], sae=QUICK, seeds=(3, 4))
    wanted = "layer n_neurons n_codes effective_features psi seed fvu l0 dead"
    assert set(wanted.split()) <= set(table.columns)
    assert list(zip(table.layer, table.seed, strict=True)) == [("1", 3), ("1", 4), ("0", 3), ("0", 4)]
    assert (table.n_fitted == 240).all()
    assert (table.n_read == 60).all()
    assert (superpos.measure(model, torch.randn(300, 5), "1", sae=QUICK, held_out=0).n_read == 300).all()
    assert (superpos.measure(model, torch.randn(300, 5), "1", sae=PUBLISHED.but(epochs=2)).n_read == 300).all()


def test_quality_is_read_on_held_out_rows():
    """Forty random rows in twenty dimensions can be learned by heart: only fresh rows tell."""
    x = torch.randn(40, 20, generator=torch.Generator().manual_seed(0)).abs()
    config = PROTOCOL.but(n_codes=200, l1=0.01, steps=3000)
    seen, fresh = (superpos.measure(IDENTITY, x, "0", sae=config, held_out=h).fvu[0] for h in (0, 0.25))
    assert fresh > 3 * seen


def test_torchvision_resnet_in_four_lines():
    models = pytest.importorskip("torchvision.models")
    model = models.resnet18()
    images = torch.rand(24, 3, 32, 32)
    table = superpos.measure(model, images, ["layer2.0.relu", "layer1"], n_samples=300, sae=QUICK)
    assert table.n_neurons.tolist() == [128, 64]


def test_dead_codes_are_named_and_f_is_nan():
    x = torch.randn(200, 5).abs()
    with pytest.warns(UserWarning, match="layer 'quiet': all 20 codes are dead"):
        table = measure_rows(x, sae=PROTOCOL.but(l1=1000.0, steps=400, lr=0.1), label="quiet")
    assert np.isnan(table.psi[0])
    assert table.dead[0] == 1


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.full((99, 3), float("nan")), "layer '0': activations hold .* NaN"),
        (torch.ones(99, 3), "layer '0': activations are constant"),
    ],
)
def test_bad_activations_name_the_layer(x, message):
    with pytest.raises(ValueError, match=message):
        superpos.measure(IDENTITY, x, "0")


def test_what_cannot_encode_is_refused():
    with pytest.raises(TypeError, match="encode method, got str"):
        superpos.measure(IDENTITY, torch.ones(9, 3), "0", sae="protocol")
    with pytest.raises(ValueError, match="no SAE was given for layer '0'"):
        superpos.measure(IDENTITY, torch.ones(9, 3), "0", sae={"1": QUICK})
    with pytest.raises(ValueError, match="seeds is empty"):
        superpos.measure(IDENTITY, torch.ones(9, 3), "0", seeds=())
