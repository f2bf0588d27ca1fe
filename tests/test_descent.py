"""The engine against plain autograd, and each of its shortcuts against doing without."""

import pytest
import torch
from torch.nn import functional

from superpos import descent, sae
from superpos.findings.planted.task import planted
from superpos.sae import PROTOCOL, PUBLISHED, Settings, fit, fit_stack


def data(n=400, n_neurons=6, seed=0):
    return planted(n, n_neurons, 10, 2, seed)


def started(x, settings):
    """A stack of one fit before its first step."""
    return sae._start(x[None], x[None], [settings], [3], torch.float32)[0]


def loss_of(stack, x):
    error, use, unit, _ = stack.gradients(x[None])
    return ((error + stack.l1[:, 0, 0] * use.sum(-1)) * unit).item()


@pytest.mark.parametrize("n_codes", [2, 4])
def test_loss_in_both_units_by_hand(n_codes):
    """x = (3, 4), W = 0, b = 1: z = 1, x' = 0, squared error 25, Σz = D."""
    for loss, expected in (("l1_mean", 25 / 2 + 0.5), ("l1_sum", 25 + 0.5 * n_codes)):
        stack = started(data(n_neurons=2), Settings(loss=loss, l1=0.5, n_codes=n_codes))
        stack.parameters["encoder"].zero_()
        stack.parameters["encoder_bias"].fill_(1.0)
        assert loss_of(stack, torch.tensor([[3.0, 4]])) == pytest.approx(expected)


class Reference(torch.nn.Module):
    """The same SAE by plain autograd, one at a time, written from the docstring of `sae`."""

    def __init__(self, settings, W):
        super().__init__()
        self.settings = settings
        self.encoder = torch.nn.Parameter(W.clone())
        self.encoder_bias = torch.nn.Parameter(torch.zeros(len(W)))
        if not settings.tied:
            self.decoder = torch.nn.Parameter(W.clone())
        if settings.decoder_bias:
            self.decoder_bias = torch.nn.Parameter(torch.zeros(W.shape[1]))

    def loss(self, x):
        settings, decoder = self.settings, getattr(self, "decoder", self.encoder)
        z = functional.relu(x @ self.encoder.T + self.encoder_bias)
        if settings.k:
            kept = z.topk(settings.k, dim=1)
            z = torch.zeros_like(z).scatter(1, kept.indices, kept.values)
        error = z @ decoder + getattr(self, "decoder_bias", 0) - x
        if settings.loss == "l1_mean":
            return error.square().mean() + settings.l1 * z.abs().mean()
        penalty = settings.l1 * z.abs().sum(1).mean() if settings.loss == "l1_sum" else 0
        return error.square().sum(1).mean() + penalty


def side_by_side(settings, x, n_steps=100, after=lambda reference: None):
    """Losses of the engine and of plain autograd with torch.optim.Adam, step by step. → stack, reference"""
    stack = started(x, settings)
    reference = Reference(settings, stack.parameters["encoder"][0])
    optimizer = torch.optim.Adam(reference.parameters(), lr=settings.lr)
    batches = (x.split(128) * n_steps)[:n_steps]
    stack.adam.aim(stack.parameters, [settings.lr])
    for batch in batches:
        with torch.no_grad():
            error, use, unit = stack.step(batch[None])
            ours = ((error + stack.l1[:, 0, 0] * use.sum(-1)) * unit).item()
        optimizer.zero_grad()
        theirs = reference.loss(batch)
        theirs.backward()
        optimizer.step()
        after(reference)
        assert ours == pytest.approx(theirs.item(), rel=1e-5)
    return stack, reference


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("decoder_bias", [True, False])
@pytest.mark.parametrize("loss", ["l1_mean", "l1_sum", "mse"])
def test_a_hundred_steps_agree_with_autograd(tied, decoder_bias, loss):
    topk = {"activation": "topk", "k": 3} if loss == "mse" else {}
    settings = Settings(tied=tied, decoder_bias=decoder_bias, loss=loss, n_codes=12, patience=None, **topk)
    stack, reference = side_by_side(settings, data(1280))
    for name, p in reference.named_parameters():
        torch.testing.assert_close(stack.parameters[name].view_as(p), p.detach(), rtol=1e-3, atol=2e-5)


def test_the_reflection_is_the_same_problem():
    """x reflected by autograd's own fit gives, step by step, what the engine finds with axes="mean"."""
    x = data(1280) + torch.rand(6)
    axis = descent.mean_axis(x)
    reflected = descent.reflect(x, axis)
    torch.testing.assert_close(reflected @ reflected.T, x @ x.T, rtol=1e-4, atol=1e-4)
    mean = reflected.mean(0).abs()
    assert mean.max() == pytest.approx(x.mean(0).norm().item(), rel=1e-4), "the mean lies along one axis"
    assert mean.sort().values[-2] < 1e-5
    side_by_side(Settings(n_codes=12, patience=None), reflected)
    mirrored = fit(x, Settings(n_codes=12, axes="mean", epochs=20, patience=None), seed=1)
    z = mirrored.encode(x)
    loss = (mirrored.decode(z) - x).square().mean() + 0.1 * z.mean()
    assert loss.item() == pytest.approx(mirrored.history[-1], rel=0.05), "its weights are those of the neurons"


def test_no_mean_no_reflection():
    x = torch.cat([data(), -data()])
    assert descent.mean_axis(x * 0) is None
    assert descent.mean_axis(torch.eye(3)[:1].repeat(5, 1)) is None, "it lies along an axis already"


def test_unit_norm_follows_the_sphere():
    """Against autograd with the tangent projection and the normalisation written out."""
    settings = PROTOCOL.but(n_codes=12, lr=1e-3, scale="none")
    stack = started(data(128), settings)
    W = stack.parameters["encoder"][0].clone().requires_grad_()
    b = torch.zeros(12, requires_grad=True)
    optimizer = torch.optim.Adam([W, b], lr=1e-3)
    stack.adam.aim(stack.parameters, [1e-3])
    for _ in range(30):
        with torch.no_grad():
            stack.step(data(128)[None])
        z = functional.relu(data(128) @ W.T + b)
        loss = (z @ W - data(128)).square().sum(1).mean() + settings.l1 * z.sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        W.grad -= (W.grad * W.detach()).sum(1, keepdim=True) * W.detach()
        optimizer.step()
        with torch.no_grad():
            W /= W.norm(dim=1, keepdim=True)
    torch.testing.assert_close(stack.parameters["encoder"][0], W.detach(), rtol=1e-4, atol=1e-5)


def test_bfloat16_products_agree():
    x = planted(4000, 32, 48, 3, seed=2)
    settings = PUBLISHED.but(epochs=30, patience=None)
    full, half = (fit(x, settings.but(products=dtype), seed=1) for dtype in ("float32", "bfloat16"))
    assert half.encoder.dtype == torch.float32
    assert half.history[-1] == pytest.approx(full.history[-1], rel=0.01)


@pytest.mark.parametrize(
    "settings", [PUBLISHED.but(l1=0.6, epochs=120, patience=None), PROTOCOL.but(l1=5.0, steps=2000, tied=False)]
)
def test_leaving_silent_codes_out_changes_nothing(settings, monkeypatch):
    x = torch.stack([data(1000, seed=s) for s in (1, 2)])
    sizes = []
    keep = descent.Stack._drop_silent_codes
    monkeypatch.setattr(
        descent.Stack, "_drop_silent_codes", lambda self: (keep(self), sizes.append(self.silent.shape[1]))
    )
    settings = settings.but(n_codes=96, lr=3e-3)
    some = fit_stack(x, settings, seeds=(1, 2))
    monkeypatch.setattr(descent.Stack, "_drop_silent_codes", lambda self: None)
    everything = fit_stack(x, settings, seeds=(1, 2))
    assert min(sizes) < 96, "the case is one in which codes leave"
    for a, b in zip(some, everything, strict=True):
        assert a.encoder.shape == (96, 6)
        torch.testing.assert_close(a.encoder, b.encoder, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(a.dictionary, b.dictionary, rtol=1e-3, atol=1e-3)


def test_topk_keeps_all_codes():
    """A code that is never among the largest has no gradient either, but may be among them when others shrink."""
    stack = started(data(1000), Settings(activation="topk", k=1, n_codes=96, loss="mse"))
    for _ in range(60):
        stack.round(8, [1e-3])
    assert (stack.silent > descent.SILENT).any()
    assert stack.parameters["encoder"].shape[1] == 96


@pytest.mark.parametrize(("n", "batch_size", "least"), [(1_000, 128, 200), (30_000, 128, 470), (1_000, 4, 500)])
def test_a_code_leaves_only_when_every_row_was_met(n, batch_size, least):
    """Two successive epochs hold every row within twice their steps less one; 200 steps are for Adam's momentum."""
    stack = started(data(n), PUBLISHED.but(n_codes=96, batch_size=batch_size))
    stack.silent[:, :40] = least - 1
    stack._drop_silent_codes()
    assert stack.parameters["encoder"].shape[1] == 96
    stack.silent[:, :40] = least
    stack._drop_silent_codes()
    assert stack.parameters["encoder"].shape[1] == 64, "56 awake, to the next multiple of 16"


@pytest.mark.parametrize("axes", ["neurons", "mean"])
def test_rows_prepared_in_pieces_are_the_same_rows(axes, monkeypatch):
    settings = PROTOCOL.but(steps=60, axes=axes)
    whole = fit(data(1000) + 0.2, settings, seed=1)
    monkeypatch.setattr(descent, "IN_MEMORY", 0)
    monkeypatch.setattr(descent, "PIECE", 2)
    pieces = fit(data(1000) + 0.2, settings, seed=1)
    torch.testing.assert_close(whole.encoder, pieces.encoder, rtol=1e-4, atol=1e-5)


def test_every_epoch_holds_every_row_once():
    x = torch.arange(50.0)[:, None].expand(-1, 2)
    generators = [torch.Generator().manual_seed(s) for s in (1, 2)]
    batches = descent.Batches(x.expand(2, -1, -1), torch.ones(2, 1, 1), [None] * 2, generators, 8)
    for _ in range(3):
        epoch = torch.cat([next(batches) for _ in range(7)], dim=1)[..., 0]
        assert epoch.sort(dim=1).values.tolist() == [list(range(50))] * 2
        assert epoch[0].tolist() != epoch[1].tolist()


def test_fits_that_stop_inside_an_epoch_leave_the_others_alone(monkeypatch):
    """Rounds shorter than an epoch, data sets of their own, and a stack made smaller on the way."""
    monkeypatch.setattr(descent, "ROUND", 3)
    monkeypatch.setattr(descent, "PIECE", 2)
    monkeypatch.setattr(descent, "SETTLED", 30)
    monkeypatch.setattr(descent, "WINDOW", 12)
    x = torch.stack([data(1000, seed=s) for s in range(4)])
    settings = PUBLISHED.but(epochs=20, patience=None, tolerance=0.05, decay=0.3)
    together = fit_stack(x, settings, seeds=range(4))
    assert len({len(net.history) for net in together}) > 1
    for seed in range(4):
        alone = fit(x[seed], settings, seed=seed)
        assert len(alone.history) == len(together[seed].history)
        torch.testing.assert_close(together[seed].encoder, alone.encoder, rtol=1e-3, atol=1e-4)


def rates(settings, losses, n_rounds, per_round):
    watch = descent.Watch(settings, n_rounds, per_round)
    seen = []
    for loss in losses:
        seen.append(round(watch.rate(), 3))
        if watch.see(loss, "fit"):
            break
    return seen, watch


def test_the_step_size_falls_to_zero():
    seen, _ = rates(Settings(decay=0.5, epochs=10, lr=1.0, patience=None), [1.0] * 10, 10, 1)
    assert seen == [1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]


def test_the_tolerance_rule_by_hand():
    """100 steps a round: a look back of 8 rounds from round 32. The loss falls by 5 % a round for 40, then rests."""
    settings = Settings(tolerance=0.02, decay=0.2, lr=1.0, patience=None)
    losses = [0.95**i for i in range(40)] + [0.95**40] * 100
    seen, watch = rates(settings, losses, 500, 100)
    settled = 40 + 8 + 4 - 1  # the mean of rounds 49-52 is no longer 2 % below that of rounds 41-44
    assert watch.why == f"settled within 0.02 after {settled} rounds"
    assert len(watch.history) == -(-settled // 0.8)
    assert seen[: settled + 1] == [1] * (settled + 1)
    assert seen[-1] == pytest.approx(1 / (0.2 * len(seen)), abs=0.01)
    assert "settled" not in rates(settings, losses[:30], 500, 100)[1].why


def test_a_fit_that_settles_late_keeps_its_word():
    """Once the decay has begun, a flat loss is no news."""
    seen, watch = rates(
        Settings(tolerance=0.02, decay=0.5, lr=1.0, patience=None),
        [0.9**i for i in range(45)] + [0.9**45] * 35,
        80,
        100,
    )
    assert len(seen) == 80
    assert watch.why == "80 rounds done"


def test_a_fit_that_never_settles_ends_with_its_rounds():
    seen, watch = rates(Settings(tolerance=0.02, decay=0.5, lr=1.0), [0.9**i for i in range(60)], 60, 100)
    assert watch.why == "60 rounds done"
    assert seen[-1] < 0.05


@pytest.mark.parametrize(
    ("loss", "values"),
    [
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (torch.tensor(float("-inf")), "-inf"),
        (torch.tensor([1.0, float("nan")]), r"\[1.0, nan\]"),
    ],
)
def test_a_loss_that_is_not_finite_is_named(loss, values):
    with pytest.raises(FloatingPointError, match=f"^the loss in step 3 became {values}$"):
        descent.finite_loss(loss, "the loss in step 3")
    descent.finite_loss(0.5, "the loss")
    descent.finite_loss(torch.tensor([0.5, -2.0], requires_grad=True), "the losses")
