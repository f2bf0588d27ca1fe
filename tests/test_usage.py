"""Sums over a stream of rows beside a dense computation."""

import pytest
import torch

from superpos import metrics, usage
from superpos.dictionaries import Dictionary
from superpos.measurement import quality
from superpos.usage import Usage, most_active


def random_(n_codes=48, n_neurons=8, k=None):
    g = torch.Generator().manual_seed(0)
    W, V = (torch.randn(n_codes, n_neurons, generator=g) for _ in range(2))
    b, c = torch.randn(n_codes, generator=g) * 0.3, torch.randn(n_neurons, generator=g)
    return Dictionary(W, b, V, c, subtracted=c, k=k)


def rows(n=40, n_neurons=8):
    return torch.randn(n, n_neurons, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def small_tiles(monkeypatch):
    for name, value in {"ROWS": 16, "CODES": 20, "WIDE_ROWS": 8}.items():
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


def test_the_reading_is_that_of_measure(small_tiles):
    dictionary, x = random_(), rows(101)
    reading, seen = summed(dictionary, x).reading(8), quality(dictionary, x)
    p = metrics.code_shares(dictionary.encode(x))
    assert reading["effective_features"] == pytest.approx(metrics.effective_features(p), rel=1e-5)
    assert reading["psi"] == pytest.approx(reading["effective_features"] / 8)
    assert reading["hill_0"] == (p > 0).sum()
    assert reading["hill_2"] == pytest.approx(1 / (p**2).sum(), rel=1e-4)
    assert (reading["l0"], reading["dead"]) == (pytest.approx(seen["l0"]), pytest.approx(seen["dead"]))


def test_even_and_single_codes():
    for bias, features in ((torch.tensor([0.0, 0, 3, 0]), 1), (torch.ones(4), 4)):
        flat = Dictionary(torch.zeros(4, 2), bias, torch.zeros(4, 2), torch.zeros(2))
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
def test_unexplained_is_that_of_measure(monkeypatch, share):
    """Whether all codes are decoded or the active ones alone."""
    monkeypatch.setattr(usage, "SPARSE", share)
    dictionary, x = random_(k=5), rows(300)
    assert usage.unexplained(dictionary, x) == pytest.approx(quality(dictionary, x)["fvu"], rel=1e-5)


def test_silence_and_infinity():
    silent = Dictionary(torch.zeros(4, 2), -torch.ones(4), torch.zeros(4, 2), torch.zeros(2))
    reading = summed(silent, torch.randn(9, 2)).reading(2)
    assert reading["effective_features"] != reading["effective_features"]
    assert reading["dead"] == 1
    bad = summed(random_(), rows() * float("inf"))
    with pytest.raises(ValueError, match="sums of codes are not finite"):
        bad.reading(8)


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="'float32' or 'bfloat16', got 'int8'"):
        Usage(random_(), products="int8")
    with pytest.raises(ValueError, match=r"reads 8 neurons, got activations \(5, 7\)"):
        Usage(random_()).add(torch.ones(5, 7))
