"""Dictionaries beside the packages that write them, SAELens and sparsify, and what encodes behind one face."""

import json
import os
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks import material
from superpos import metrics, sae
from superpos.dictionaries import Dictionary, load
from superpos.findings.planted.task import planted
from superpos.foreign import Adapted, Top, adapt
from superpos.usage import reading


@pytest.fixture(scope="module")
def sae_lens():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sae_lens

        yield sae_lens


@pytest.fixture(scope="module")
def sparsify():
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"  # it would look for a GPU
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sparsify

        yield sparsify


def random_(n_codes=48, n_neurons=8, seed=0, **options):
    """A dictionary of random weights, whose bias is large enough to be missed."""
    g = torch.Generator().manual_seed(seed)
    W, V = (torch.randn(n_codes, n_neurons, generator=g) for _ in range(2))
    b, c = torch.randn(n_codes, generator=g) * 0.3, torch.randn(n_neurons, generator=g)
    return Dictionary(W, b, V, c, **({"subtracted": c} | options))


def rows(n=40, n_neurons=8, seed=1):
    return torch.randn(n, n_neurons, generator=torch.Generator().manual_seed(seed))


def edit(folder, **changes):
    about = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(about | changes))


def test_by_hand():
    d = Dictionary(torch.eye(2), torch.tensor([0.0, -1]), 3 * torch.eye(2), torch.ones(2), subtracted=torch.ones(2))
    assert d.encode(torch.tensor([[3.0, 4]])).tolist() == [[2, 2]]
    assert d.decode(torch.tensor([[2.0, 2]])).tolist() == [[7, 7]]
    assert d.encode(torch.tensor([[0.0, 0]])).tolist() == [[0, 0]]


@pytest.mark.parametrize("subtracts", [True, False])
def test_what_saelens_writes(sae_lens, tmp_path, subtracts):
    theirs = sae_lens.StandardSAE(sae_lens.StandardSAEConfig(d_in=8, d_sae=48, apply_b_dec_to_input=subtracts))
    ours = random_()
    theirs.load_state_dict(
        {"W_enc": ours.encoder.T, "b_enc": ours.encoder_bias, "W_dec": ours.dictionary, "b_dec": ours.bias}
    )
    theirs.save_model(tmp_path)
    read, x = load(tmp_path), rows()
    torch.testing.assert_close(read.encode(x), theirs.encode(x), rtol=0, atol=1e-5)
    torch.testing.assert_close(read.decode(read.encode(x)), theirs(x), rtol=0, atol=1e-4)
    assert (read.subtracted is not None) == subtracts
    assert (read.encode(x) != 0).any()


def test_what_saelens_writes_for_topk(sae_lens, tmp_path):
    config = sae_lens.TopKSAEConfig(d_in=8, d_sae=48, k=5)
    theirs, ours = sae_lens.TopKSAE(config), random_()
    theirs.load_state_dict(
        {"W_enc": ours.encoder.T, "b_enc": ours.encoder_bias, "W_dec": ours.dictionary, "b_dec": ours.bias}
    )
    theirs.save_model(tmp_path)
    read, x = load(tmp_path), rows()
    z = theirs.encode(x)
    torch.testing.assert_close(read.encode(x), z.to_dense() if z.is_sparse else z, rtol=0, atol=1e-5)
    edit(tmp_path, rescale_acts_by_decoder_norm=True)
    with pytest.raises(ValueError, match="rescale_acts_by_decoder_norm is True; here only False"):
        load(tmp_path)


def test_the_older_configuration_of_saelens(sae_lens, tmp_path):
    """As before version 6: other names, no architecture, everything beside."""
    material.save_saelens(random_(), tmp_path)
    old = {
        "model_name": "pythia-70m-deduped", "hook_point": "blocks.3.hook_mlp_out", "hook_point_layer": 3, "d_in": 8, "d_sae": 48,
        "dtype": "torch.float32", "device": "cpu", "activation_fn_str": "relu", "normalize_activations": "none",
        "prepend_bos": False, "context_size": 128, "finetuning_scaling_factor": False,
    }  # fmt: skip
    (tmp_path / "cfg.json").write_text(json.dumps(old))
    theirs = sae_lens.SAE.load_from_disk(tmp_path, dtype="float32")
    read, x = load(tmp_path), rows()
    torch.testing.assert_close(read.encode(x), theirs.encode(x), rtol=0, atol=1e-5)


def scaled(theirs, seed=3):
    """Random weights for an SAE of SAELens, large enough that thresholds and gates matter."""
    g = torch.Generator().manual_seed(seed)
    theirs.load_state_dict({name: torch.randn(v.shape, generator=g) * 0.5 for name, v in theirs.state_dict().items()})
    return theirs


@pytest.mark.parametrize("normalize", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("kind", ["Standard", "JumpReLU", "Gated", "TopK"])
@pytest.mark.parametrize("subtracts", [True, False])
def test_kinds_and_normalisations_of_saelens(sae_lens, tmp_path, kind, normalize, subtracts):
    """Codes, reconstructions and F of the file are those of the package."""
    make, config = (getattr(sae_lens, f"{kind}SAE{end}") for end in ("", "Config"))
    about = {"d_in": 8, "d_sae": 48, "normalize_activations": normalize, "apply_b_dec_to_input": subtracts}
    theirs = scaled(make(config(**about, **({"k": 5} if kind == "TopK" else {}))))
    theirs.save_model(tmp_path)
    mine, x = load(tmp_path), rows()
    z = theirs.encode(x)
    z = z.to_dense() if z.is_sparse else z
    assert 0.02 < float((z != 0).float().mean()) < 0.9
    torch.testing.assert_close(mine.encode(x), z, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine.reconstruct(x), theirs(x), rtol=1e-4, atol=1e-4)
    ours, foreign = reading(mine, x), reading(theirs, x)
    for name in ("effective_features", "fvu", "l0", "dead"):
        assert ours[name] == pytest.approx(foreign[name], rel=1e-4)


def test_an_encoder_multiplied_and_a_dictionary_divided_read_as_before():
    """The same function written with other row lengths has one F."""
    one, x = random_(), rows(400)
    c = torch.logspace(-1, 1, 48)[torch.randperm(48, generator=torch.Generator().manual_seed(5))]
    other = Dictionary(
        one.encoder * c[:, None], one.encoder_bias * c, one.dictionary / c[:, None], one.bias, subtracted=one.bias
    )
    torch.testing.assert_close(one.reconstruct(x), other.reconstruct(x), rtol=1e-3, atol=1e-3)
    first, second = reading(one, x), reading(other, x)
    for name in ("effective_features", "hill_2", "neurons_per_code", "codes_per_neuron"):
        assert first[name] == pytest.approx(second[name], rel=1e-5)
    assert metrics.effective_features(metrics.code_shares(other.encode(x))) < 0.9 * first["effective_features"]

    class Foreign:
        dictionary, encode, decode = other.dictionary, other.encode, other.decode

    assert reading(Foreign(), x)["effective_features"] == pytest.approx(first["effective_features"], rel=1e-5)


def test_an_sae_is_used_in_evaluation_mode():
    class Noisy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.W_dec, self.drop = torch.nn.Parameter(random_().dictionary), torch.nn.Dropout(0.5)

        def encode(self, x):
            return self.drop(random_().encode(x))

        def decode(self, z):
            return z @ self.W_dec

    theirs = Noisy().train()
    assert torch.equal(adapt(theirs).encode(rows()), random_().encode(rows()))
    assert theirs.training
    assert theirs.drop.training


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_an_sae_of_another_precision_gives_codes_in_float32(dtype):
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.W_dec = torch.nn.Parameter(random_().dictionary.to(dtype))

        def encode(self, x):
            return (x @ self.W_dec.T).relu()

        def decode(self, z):
            return z @ self.W_dec

    seen = reading(Plain(), rows())
    assert adapt(Plain()).encode(rows()).dtype == torch.float32
    assert seen["effective_features"] > 1


def test_an_sae_that_drops_rows_or_reads_another_width_is_named():
    class Drops:
        name = "drops"
        dictionary = torch.eye(8)

        def encode(self, x):
            return x[:-1].relu()

    with pytest.raises(ValueError, match="drops: encode gave codes for 39 rows, got 40"):
        reading(Drops(), rows())
    with pytest.raises(ValueError, match=r"drops reads 8 neurons, got activations \(40, 9\)"):
        reading(Drops(), rows(40, 9))


def test_oddities_of_published_files(tmp_path):
    """scaling_factor of ones, b_dec of one row, a configuration that was cut."""
    material.save_saelens(random_(), tmp_path)
    file, expected = tmp_path / "sae_weights.safetensors", load(tmp_path).encode(rows())
    weights = load_file(file)
    save_file(weights | {"scaling_factor": torch.ones(48), "b_dec": weights["b_dec"][None].clone()}, file)
    assert torch.equal(load(tmp_path).encode(rows()), expected)
    save_file(weights | {"scaling_factor": torch.full((48,), 2.0)}, file)
    with pytest.raises(ValueError, match="holds a scaling_factor other than one"):
        load(tmp_path)
    save_file(weights, file)
    text = (tmp_path / "cfg.json").read_text()
    for cut, message in ((text[: len(text) // 2], "is not whole JSON"), ("[1]", "must hold an object, got list")):
        (tmp_path / "cfg.json").write_text(cut)
        with pytest.raises(ValueError, match=message):
            load(tmp_path)


def test_what_sparsify_writes(sparsify, tmp_path):
    theirs, ours = sparsify.SparseCoder(8, sparsify.SparseCoderConfig(num_latents=48, k=4)), random_()
    theirs.load_state_dict(
        {
            "encoder.weight": ours.encoder,
            "encoder.bias": ours.encoder_bias,
            "W_dec": ours.dictionary,
            "b_dec": ours.bias,
        }
    )
    theirs.save_to_disk(tmp_path)
    read, x = load(tmp_path), rows()
    with torch.no_grad():
        top = theirs.encode(x)
        z = torch.zeros(len(x), 48).scatter_(1, top.top_indices, top.top_acts)
        back = theirs(x).sae_out
    torch.testing.assert_close(read.encode(x), z, rtol=0, atol=1e-5)
    torch.testing.assert_close(read.decode(read.encode(x)), back, rtol=0, atol=1e-4)
    assert ((z != 0).sum(1) <= 4).all()


def test_ours_is_read_by_both_packages(sae_lens, sparsify, tmp_path):
    ours, x = random_(k=4), rows()
    material.save_saelens(ours, tmp_path / "a")
    material.save_sparsify(ours, tmp_path / "b")
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "a")
    z = theirs.encode(x)
    torch.testing.assert_close(z.to_dense() if z.is_sparse else z, ours.encode(x), rtol=0, atol=1e-5)
    with torch.no_grad():
        top = sparsify.SparseCoder.load_from_disk(tmp_path / "b").encode(x)
    torch.testing.assert_close(top.top_acts.sum(1), ours.encode(x).sum(1), rtol=1e-5, atol=1e-5)
    for folder in ("a", "b"):
        torch.testing.assert_close(load(tmp_path / folder).encode(x), ours.encode(x), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="for TopK dictionaries"):
        material.save_sparsify(random_(), tmp_path / "c")


@pytest.mark.parametrize("changes", [{}, {"activation": "topk", "k": 3, "loss": "mse"}])
def test_a_fitted_autoencoder_as_a_dictionary(tmp_path, changes):
    x = planted(300, 6, 10, 2, 0) * 7
    fitted = sae.fit(x, sae.PROTOCOL.but(steps=30, tied=False, decoder_bias=True, **changes))
    fitted.save(tmp_path / "mlp.0.safetensors")
    read = load(tmp_path / "mlp.0.safetensors")
    torch.testing.assert_close(read.encode(x), fitted.encode(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(read.decode(read.encode(x)), fitted.decode(fitted.encode(x)), rtol=1e-4, atol=1e-4)
    assert fitted.scale != 1


def test_half_precision_is_read_as_float32(tmp_path):
    material.save_saelens(random_(), tmp_path)
    weights = {name: values.bfloat16() for name, values in load_file(tmp_path / "sae_weights.safetensors").items()}
    save_file(weights, tmp_path / "sae_weights.safetensors")
    read = load(tmp_path)
    assert read.encoder.dtype == read.bias.dtype == torch.float32
    assert torch.equal(read.encoder, random_().encoder.bfloat16().float())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "gated"}, "lacks b_gate, b_mag, r_mag; expected W_dec, W_enc, b_dec, b_gate, b_mag, r_mag"),
        ({"architecture": "jumprelu"}, "lacks threshold; expected"),
        (
            {"architecture": "temporal"},
            "architecture is 'temporal'; here only 'standard' or 'topk' or 'jumprelu' or 'gated'",
        ),
        ({"normalize_activations": "expected_average_only_in"}, "normalize_activations is 'expected"),
        ({"normalize_activations": "covariance_whitening"}, "normalize_activations is 'covariance_whitening'"),
        ({"finetuning_scaling_factor": True}, "finetuning_scaling_factor is True"),
        ({"activation_fn_str": "tanh-relu"}, "activation_fn_str is 'tanh-relu'"),
        ({"architecture": "topk"}, "asks for topk but gives no k"),
        ({"d_sae": 49}, "cfg.json says d_sae = 49, the weights have 48"),
        ({"metadata": {"model_from_pretrained_kwargs": {"center_writing_weights": True}}}, "center_writing_weights"),
    ],
)
def test_what_saelens_offers_and_is_not_done_here_is_named(tmp_path, changes, message):
    material.save_saelens(random_(), tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "groupmax"}, "activation is 'groupmax'; here only 'topk' is done"),
        ({"transcode": True}, "transcode is True"),
        ({"skip_connection": True}, "skip_connection is True"),
        ({"signed": True}, "signed is True"),
        ({"k": 0}, "gives no k"),
        ({"k": 49}, "k must be between 1 and its 48 codes, got 49"),
        ({"d_in": 9}, "cfg.json says d_in = 9, the weights have 8"),
    ],
)
def test_what_sparsify_offers_and_is_not_done_here_is_named(tmp_path, changes, message):
    material.save_sparsify(random_(k=4), tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w | {"b_dec": w["b_dec"] * float("nan")}, r"bias holds 8 of 8 values that are not finite"),
        (lambda w: w | {"b_enc": w["b_enc"][:-1]}, r"encoder_bias must be \(48,\), got \(47,\)"),
        (lambda w: w | {"W_dec": w["W_dec"].T.contiguous()}, r"dictionary must be \(48, 8\), got \(8, 48\)"),
        (lambda w: w | {"W_enc": w["W_enc"].long()}, "W_enc must be floating-point, got torch.int64"),
        (lambda w: w | {"threshold": w["b_enc"].clone()}, "also holds threshold"),
        (lambda w: {name: values for name, values in w.items() if name != "b_enc"}, "lacks b_enc"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, message):
    material.save_saelens(random_(), tmp_path)
    file = tmp_path / "sae_weights.safetensors"
    save_file(change(load_file(file)), file)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_activations_of_the_wrong_width():
    with pytest.raises(ValueError, match=r"reads 8 neurons, got activations \(3, 9\)"):
        random_().encode(torch.ones(3, 9))


def test_a_folder_without_safetensors_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no dictionary at"):
        load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="it holds nothing"):
        load(tmp_path)
    torch.save({"W": torch.eye(2)}, tmp_path / "ae.pt")
    with pytest.raises(FileNotFoundError, match=r"ae.pt, a pickle, which is not read .* convert it"):
        load(tmp_path)
    material.save_saelens(random_(), tmp_path)
    os.remove(tmp_path / "cfg.json")
    with pytest.raises(FileNotFoundError, match=r"no cfg.json"):
        load(tmp_path)


def test_a_cut_file_is_named(tmp_path):
    material.save_saelens(random_(), tmp_path)
    file = tmp_path / "sae_weights.safetensors"
    file.write_bytes(file.read_bytes()[:900])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load(tmp_path)


def test_one_face_for_the_packages(sae_lens, sparsify):
    """Dense codes, decoder and dictionary of both; sparsify decodes top codes only, and is summed by them."""
    x = rows()
    standard = sae_lens.StandardSAE(sae_lens.StandardSAEConfig(d_in=8, d_sae=48))
    topk = sae_lens.TopKSAE(sae_lens.TopKSAEConfig(d_in=8, d_sae=48, k=5))
    for theirs in (standard, topk):
        face, z = adapt(theirs), theirs.encode(x)
        assert torch.equal(face.encode(x), z.to_dense() if z.is_sparse else z)
        torch.testing.assert_close(face.decode(face.encode(x)), theirs(x))
        assert torch.equal(face.dictionary, theirs.W_dec)
    sparse = sparsify.SparseCoder(8, sparsify.SparseCoderConfig(num_latents=48, k=4))
    face = adapt(sparse)
    with torch.no_grad():
        top = face.codes(x)
    assert isinstance(top, Top)
    assert top.values.shape == (40, 4)
    z = face.encode(x)
    assert z.shape == (40, 48)
    assert torch.equal(z.gather(1, top.places), top.values)
    assert torch.equal((z != 0).sum(1), (top.values != 0).sum(1))
    assert (face.decode, face.name) == (None, "SparseCoder")


def test_one_face_for_our_own_and_for_less():
    class Plain:
        name = "plain"

        def encode(self, x):
            return x.relu()

    face = adapt(Plain())
    assert isinstance(face, Adapted)
    assert adapt(face) is face
    assert adapt(one := random_()) is one
    assert (face.name, face.decode, face.dictionary) == ("plain", None, None)
    assert torch.equal(face.encode(rows()), rows().relu())
    fitted = sae.SparseAutoencoder(sae.PUBLISHED, torch.eye(8), torch.zeros(8))
    assert adapt(fitted).dictionary is not None
    assert torch.equal(adapt(fitted).decode(rows()), rows())
    for wrong in ("codes", 3):
        with pytest.raises(TypeError, match=rf"mlp.0 must have an encode method, got {type(wrong).__name__}"):
            adapt(wrong, "mlp.0")
