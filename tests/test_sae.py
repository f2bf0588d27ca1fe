"""The SAE against hand-set weights, its own stack, and data whose features are known (its steps: test_descent)."""

import json

import pytest
import torch
from safetensors.torch import save_file

from superpos import metrics
from superpos.findings.planted.task import planted
from superpos.sae import PROTOCOL, PUBLISHED, PUBLISHED_FAST, Settings, SparseAutoencoder, fit, fit_stack
from superpos.settings import flat


def data(n=400, n_neurons=6, seed=0):
    return planted(n, n_neurons, 10, 2, seed)


def test_encode_and_decode_by_hand():
    net = SparseAutoencoder(PUBLISHED, torch.tensor([[1.0, 0], [-1, 0], [0, 2]]), torch.tensor([0.0, 0, -1]))
    z = net.encode(torch.tensor([[2.0, 1]]))
    assert z.tolist() == [[2, 0, 1]]
    assert net.decode(z).tolist() == [[2, 2]]


def test_scale_is_divided_out_and_put_back():
    net = SparseAutoencoder(PROTOCOL, torch.eye(2), torch.zeros(2), scale=4.0)
    assert net.encode(torch.tensor([[8.0, 4]])).tolist() == [[2, 1]]
    assert net.decode(net.encode(torch.tensor([[8.0, 4]]))).tolist() == [[8, 4]]


def test_topk_keeps_the_k_largest():
    settings = Settings(activation="topk", k=1, loss="mse")
    net = SparseAutoencoder(settings, torch.eye(3), torch.zeros(3))
    assert net.encode(torch.tensor([[1.0, 3, 2], [-1, -2, -3]])).tolist() == [[0, 3, 0], [0, 0, 0]]


def test_units_of_lambda_convert():
    mean, total = Settings(loss="l1_mean", l1=0.8), Settings(loss="l1_sum", l1=0.1)
    assert mean.l1_per_row(5, 40) == pytest.approx(total.l1_per_row(5, 40))


def test_unit_norm_holds_after_every_fit():
    for tied in (True, False):
        net = fit(data(), PROTOCOL.but(tied=tied, steps=50))
        torch.testing.assert_close(net.dictionary.norm(dim=1), torch.ones(24))


@pytest.mark.parametrize("settings", [PUBLISHED.but(epochs=40, patience=2), PROTOCOL.but(steps=60)])
def test_a_fit_does_not_depend_on_its_neighbours(settings):
    """Also when they stop at different epochs and the stack is made smaller on the way."""
    x = torch.stack([data(seed=s) for s in range(5)])
    together = fit_stack(x, settings, seeds=range(5))
    for seed in range(5):
        alone = fit(x[seed], settings, seed=seed)
        assert alone.stopped == together[seed].stopped
        assert len(alone.history) == len(together[seed].history)
        torch.testing.assert_close(together[seed].encoder, alone.encoder, rtol=1e-3, atol=1e-4)


def test_the_fast_recipe_finds_the_loss_and_the_features_of_the_published_one():
    """On one set with a mean, as after a ReLU: nearly the same loss and F, in a fraction of the steps."""
    x = planted(3000, 16, 24, 3, seed=4).relu() + 0.3
    slow, fast = fit(x, PUBLISHED, seed=1), fit(x, PUBLISHED_FAST, seed=2)
    F = [metrics.effective_features(metrics.code_shares(net.encode(x))) for net in (slow, fast)]
    assert fast.history[-1] == pytest.approx(slow.history[-1], rel=0.05)
    assert F[1] == pytest.approx(F[0], rel=0.1)
    assert len(fast.history) < len(slow.history) / 1.5


def test_the_precision_of_a_fit_is_written_down():
    net = fit(data(), PUBLISHED_FAST.but(epochs=1))
    assert net.settings.products == "float32", "too small for bfloat16 to pay"
    assert fit(data(), PUBLISHED.but(epochs=1, products="bfloat16")).settings.products == "bfloat16"


def test_seeds_decide_and_the_global_state_is_left_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    a, b, c = (fit(data(), PROTOCOL.but(steps=30), seed=s) for s in (1, 1, 2))
    assert torch.equal(a.encoder, b.encoder)
    assert not torch.equal(a.encoder, c.encoder)
    assert torch.equal(torch.get_rng_state(), state)


def test_stopping_rule_of_the_published_recipe():
    net = fit(data(200), PUBLISHED.but(epochs=400, lr=0.05, patience=3))
    best = min(range(len(net.history)), key=net.history.__getitem__)
    assert net.stopped == "no better loss for 3 epochs"
    assert len(net.history) - 1 - best == 3


def test_steps_count_batches():
    assert len(fit(data(400), PROTOCOL.but(steps=10)).history) == 3  # 4 batches an epoch
    assert PROTOCOL.rounds_for(10_000) == (127, 79)
    assert PROTOCOL.rounds_for(2_000_000) == (100, 100), "a long epoch is cut into rounds of 100 steps"
    assert PUBLISHED.rounds_for(256_000) == (800, 2000), "patience counts epochs"


def test_protocol_does_not_see_the_unit_of_x():
    x = data()
    a, b = (fit(scale * x, PROTOCOL.but(steps=200)) for scale in (1.0, 512.0))
    torch.testing.assert_close(a.encode(x), b.encode(512 * x), rtol=1e-3, atol=1e-4)


def test_planted_features_are_counted_and_ordered():
    """k features in 32 dimensions, two of them in a row: F near k and in order, beyond the number of neurons too."""
    counts = []
    for k in (8, 16, 32, 64):
        x = planted(6000, 32, k, 2, seed=k)
        net = fit(x[:4000], PROTOCOL.but(steps=3000), seed=1)
        counts.append(metrics.effective_features(metrics.code_shares(net.encode(x[4000:]))))
    assert counts == sorted(counts)
    assert counts == pytest.approx([8, 16, 32, 64], rel=0.2)


def test_saved_and_loaded(tmp_path):
    net = fit(data(), PROTOCOL.but(steps=20, tied=False, decoder_bias=True))
    net.save(tmp_path / "sae.safetensors")
    same = SparseAutoencoder.load(tmp_path / "sae.safetensors")
    assert same.settings == net.settings
    assert same.history == net.history
    assert torch.equal(same.encode(data()), net.encode(data()))


def test_a_file_of_the_former_name_is_read(tmp_path):
    net = fit(data(), PROTOCOL.but(steps=20))
    about = {"config": flat(net.settings), "history": net.history, "stopped": net.stopped}
    save_file(net.state_dict(), tmp_path / "sae.safetensors", {"superpos": json.dumps(about)})
    assert SparseAutoencoder.load(tmp_path / "sae.safetensors").settings == net.settings


def test_a_foreign_file_is_refused(tmp_path):
    save_file({"W": torch.eye(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ValueError, match="file of another kind: it does not say history, stopped"):
        SparseAutoencoder.load(tmp_path / "foreign.safetensors")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l1": -1}, "l1 must be greater than or equal to 0, got -1"),
        ({"n_codes": 0}, "n_codes must be greater than or equal to 1, got 0"),
        ({"expansion": 0}, "expansion must be greater than 0"),
        ({"activation": "gelu"}, "'relu' or 'topk', got 'gelu'"),
        ({"activation": "topk"}, "k must be given"),
        ({"loss": "l1"}, "loss must be"),
        ({"lr": 0}, "lr must be greater than 0"),
        ({"epochs": 0}, "epochs must be greater than or equal to 1"),
        ({"held_out": 1.0}, "held_out must be less than 1, got 1.0"),
        ({"axes": "principal"}, "axes must be 'neurons' or 'mean', got 'principal'"),
        ({"products": "int8"}, "products must be"),
        ({"tolerance": 0.0}, "tolerance must be greater than 0"),
        ({"tolerance": 0.1, "decay": 1.0}, "decay must be below 1"),
    ],
)
def test_bad_configurations_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Settings(**options)


def test_an_unknown_field_is_an_error():
    with pytest.raises(TypeError, match="lamda"):
        PROTOCOL.but(lamda=1)


def test_a_dictionary_below_one_is_an_error_before_work():
    with pytest.raises(ValueError, match="dictionary size must be at least 1"):
        fit(data(), PROTOCOL.but(expansion=0.1))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.full((9, 3), float("nan")), "27 of 27 values that are NaN"),
        (torch.ones(9, 3), "constant"),
        (torch.ones(1, 3), "at least 2 rows"),
        (torch.ones(9), r"\(rows, neurons\)"),
    ],
)
def test_bad_rows_are_named(x, message):
    with pytest.raises(ValueError, match=message):
        fit(x, PROTOCOL.but(steps=2))


def test_divergence_is_named():
    with pytest.raises(FloatingPointError, match=r"fit 0: the loss in round \d+ became (nan|inf)"):
        fit(data() * 1e18, PUBLISHED.but(lr=1e12, epochs=50))


def test_linear_init_is_that_of_two_torch_layers():
    """torch.nn.Linear draws weights and bias from U(±1/√n_in): 1/8 for 64 neurons, 1/16 for 256 codes."""
    settings = Settings(tied=False, decoder_bias=True, init="linear", l1=0.0, lr=1e-9, epochs=1, patience=None)
    fitted = fit(torch.randn(300, 64, generator=torch.Generator().manual_seed(0)), settings, seed=3)
    for values, bound in (
        (fitted.encoder, 1 / 8), (fitted.encoder_bias, 1 / 8), (fitted.decoder, 1 / 16), (fitted.decoder_bias, 1 / 16),
    ):  # fmt: skip
        assert 0.9 * bound < values.abs().max() <= bound + 1e-6
        assert values.std() == pytest.approx(bound / 3**0.5, rel=0.15)
    assert (fitted.encoder - 2 * fitted.decoder).abs().max() > 0.1
    with pytest.raises(ValueError, match="init must be 'xavier' or 'unit' where tied, got 'linear'"):
        Settings(init="linear")


def test_snapshots_are_the_fits_that_would_have_ended_there():
    x = torch.randn(600, 12, generator=torch.Generator().manual_seed(0))
    settings = Settings(n_codes=24, patience=None, epochs=7, l1=0.5)
    long = fit_stack(x, settings, seeds=[1, 2], snapshots=(2, 5, 7, 99))
    assert [sorted(f.snapshots) for f in long] == [[2, 5, 7]] * 2
    short = fit(x, settings.but(epochs=5), seed=2)
    torch.testing.assert_close(long[1].snapshots[5].encoder, short.encoder, rtol=1e-4, atol=1e-6)
    assert len(long[1].snapshots[5].history) == 5
    torch.testing.assert_close(long[0].snapshots[7].encoder, long[0].encoder, rtol=0, atol=0)
