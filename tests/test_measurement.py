"""`measure`: columns by hand, foreign dictionaries, held-out rows, dead codes named; sums of a stream beside dense ones."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import superpos
from superpos import PROTOCOL, PUBLISHED, counting, dictionaries, measurement, metrics, usage
from superpos.dictionaries import Dictionary
from superpos.measurement import measure_rows
from superpos.usage import Usage, most_active, reading, unexplained
from superpos.worlds import World

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


def test_a_control_keeps_neurons_and_breaks_what_they_share():
    """An SAE that is the neurons reads both alike; of six copies of one signal a fitted one finds more once they are broken."""
    x = torch.rand(2000, 1).expand(-1, 6) * torch.tensor([1.0, 2, 3, 1, 2, 3])
    row = superpos.measure(IDENTITY, x, "0", sae=Identity(), control=True).iloc[0]
    assert row.psi_control == pytest.approx(row.psi)
    row = superpos.measure(IDENTITY, x, "0", sae=PROTOCOL.but(steps=600), control=True).iloc[0]
    assert row.psi < 0.5 < row.psi_control
    assert "psi_control" not in superpos.measure(IDENTITY, x, "0", sae=Identity())


def test_unexplained_variance_by_hand():
    class Mean(Identity):
        def decode(self, z):
            return x.mean(0).expand_as(z)

    x = torch.randn(30, 4) + 3
    assert unexplained(Mean(), x) == pytest.approx(1)


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
    settings = PROTOCOL.but(n_codes=200, l1=0.01, steps=3000)
    seen, fresh = (superpos.measure(IDENTITY, x, "0", sae=settings, held_out=h).fvu[0] for h in (0, 0.25))
    assert fresh > 3 * seen


def test_torchvision_resnet_in_four_lines():
    models = pytest.importorskip("torchvision.models")
    model = models.resnet18()
    images = torch.rand(24, 3, 32, 32)
    table = superpos.measure(model, images, ["layer2.0.relu@2", "layer1"], n_samples=300, sae=QUICK)
    assert table.n_neurons.tolist() == [128, 64]


def test_a_layer_is_counted_by_default():
    """One call, one row a layer and seed, each with its interval, and the evidence beside; refusals are in test_counting."""
    world = World(n_features=32, n_neurons=16, active=2.0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Identity(), nn.Linear(16, 16))
    few = counting.COUNTING.but(steps=1_200, sparsities=(2, 4))
    table = superpos.measure(model, world.rows(4_000), ["0", "1"], sae=few, seeds=(0, 1))
    assert list(zip(table.layer, table.seed, strict=True)) == [("0", 0), ("0", 1), ("1", 0), ("1", 1)]
    wanted = "effective_features_low effective_features_high psi_low psi_high identified reason agreement bits bits_plain change"
    assert set(wanted.split()) <= set(table.columns)
    assert table.identified.all(), table.reason.tolist()
    assert (table.reason == "").all()
    assert table.psi_low.lt(table.psi).all()
    assert table.psi.lt(table.psi_high).all()
    assert table.effective_features.tolist() == pytest.approx([world.truth] * 4, rel=0.1)


def test_the_default_is_the_count(monkeypatch):
    seen = []
    monkeypatch.setattr(measurement.counting, "find", lambda x, settings, seed: seen.append((settings, seed)) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        superpos.measure_rows(torch.randn(50, 4))
    assert seen == [(superpos.COUNTING, 0)]


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


def random_(n_codes=48, n_neurons=8, k=None):
    g = torch.Generator().manual_seed(0)
    W, V = (torch.randn(n_codes, n_neurons, generator=g) for _ in range(2))
    b, c = torch.randn(n_codes, generator=g) * 0.3, torch.randn(n_neurons, generator=g)
    return Dictionary(W, b, V, c, subtracted=c, k=k)


def rows(n=40, n_neurons=8):
    return torch.randn(n, n_neurons, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def small_tiles(monkeypatch):
    for name, value in {"ROWS": 16, "CODES": 20, "HELD": 8 * 48}.items():
        monkeypatch.setattr(usage, name, value)


def summed(dictionary, x, cut=23, **options):
    sums = Usage(dictionary, **options)
    for part in x.split(cut):
        sums.add(part)
    return sums


@pytest.mark.parametrize("k", [None, 5])
def test_sums_of_tiles_are_those_of_all_codes(small_tiles, k):
    dictionary, x = random_(k=k), rows(101)
    sums, z = summed(dictionary, x), dictionary.encode(x)
    torch.testing.assert_close(sums.totals, z.double().sum(0), rtol=1e-5, atol=1e-5)
    assert torch.equal(sums.active.long(), (z > 0).sum(0))
    assert sums.n_rows == 101


def test_the_reading_of_a_stream_is_that_of_all_codes(small_tiles):
    dictionary, x = random_(), rows(101)
    seen, z = reading(dictionary, x), dictionary.encode(x)
    p = metrics.code_shares(z * dictionary.dictionary.norm(dim=1))
    assert seen["effective_features"] == pytest.approx(metrics.effective_features(p), rel=1e-5)
    assert seen["psi"] == pytest.approx(seen["effective_features"] / 8)
    assert seen["hill_0"] == (p > 0).sum()
    assert seen["hill_2"] == pytest.approx(1 / (p**2).sum(), rel=1e-4)
    assert (seen["l0"], seen["dead"]) == ((z > 0).sum() / 101, (p == 0).mean())
    error, spread = (dictionary.decode(z) - x).square().sum(), (x - x.mean(0)).square().sum()
    assert seen["fvu"] == pytest.approx(float(error / spread), rel=1e-4)
    assert [name for name in summed(dictionary, x).reading(8) if name not in seen] == []


def test_even_and_single_codes():
    for bias, features in ((torch.tensor([0.0, 0, 3, 0]), 1), (torch.ones(4), 4)):
        flat = Dictionary(torch.zeros(4, 2), bias, torch.ones(4, 2), torch.zeros(2))
        assert summed(flat, torch.randn(50, 2)).reading(2)["effective_features"] == pytest.approx(features)


def test_bfloat16_products_read_nearly_the_same():
    dictionary, x = random_(512, 32), rows(400, 32)
    exact, half = (summed(dictionary, x, products=p).reading(32) for p in ("float32", "bfloat16"))
    assert half["effective_features"] == pytest.approx(exact["effective_features"], rel=0.01)
    assert half["effective_features"] != exact["effective_features"]


@pytest.mark.parametrize(("D", "k"), [(64, 1), (64, 4), (64, 5), (50, 3), (2048, 32)])
def test_the_most_active_are_those_of_topk(D, k):
    z = torch.randn(30, D, generator=torch.Generator().manual_seed(D + k))
    values, places = most_active(z, k)
    assert torch.equal(values.sort().values, z.topk(k).values.sort().values)
    assert torch.equal(z.gather(1, places), values)


def test_any_object_with_encode():
    class Signed:
        def encode(self, x):
            return torch.cat([x, -x, 0 * x], 1)

    x = rows(300)
    sums = summed(Signed(), x)
    torch.testing.assert_close(sums.totals[:8], x.abs().double().sum(0))
    assert sums.active.tolist() == [300] * 16 + [0] * 8
    with pytest.raises(TypeError, match="must have an encode method, got int"):
        Usage(3)

    class Words:
        def encode(self, x):
            return "codes"

    with pytest.raises(TypeError, match="must give codes"):
        Usage(Words()).add(x)


def test_sparse_answers_are_read(monkeypatch):
    monkeypatch.setenv("SPARSIFY_DISABLE_TRITON", "1")  # it would look for a GPU
    sparsify = pytest.importorskip("sparsify")
    coder = sparsify.SparseCoder(8, sparsify.SparseCoderConfig(num_latents=48, k=4))
    x = rows(60)
    with torch.no_grad():
        top = coder.encode(x)
    sums = summed(coder, x)
    assert sums.totals.sum().item() == pytest.approx(top.top_acts.sum().item(), rel=1e-5)
    assert len(sums.totals) == 48


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_what_reconstructions_leave_unexplained(monkeypatch, share):
    """Whether all codes are decoded or the active ones alone."""
    monkeypatch.setattr(dictionaries, "SPARSE", share)
    dictionary, x = random_(k=5), rows(300)
    back = dictionary.encode(x) @ dictionary.dictionary + dictionary.bias
    expected = (back - x).square().sum() / (x - x.mean(0)).square().sum()
    assert unexplained(dictionary, x) == pytest.approx(float(expected), rel=1e-5)


def test_silence_and_infinity():
    silent = Dictionary(torch.zeros(4, 2), -torch.ones(4), torch.zeros(4, 2), torch.zeros(2))
    seen = summed(silent, torch.randn(9, 2)).reading(2)
    assert np.isnan(seen["effective_features"])
    assert seen["dead"] == 1
    bad = summed(random_(), rows() * float("inf"))
    with pytest.raises(ValueError, match="sums of codes are not finite"):
        bad.reading(8)


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="products must be one of float32, bfloat16, got 'int8'"):
        Usage(random_(), products="int8")
    with pytest.raises(ValueError, match=r"reads 8 neurons, got activations \(5, 7\)"):
        Usage(random_()).add(torch.ones(5, 7))
