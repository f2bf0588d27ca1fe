"""The LLC where it is known: regular minima, degenerate ones, and devinterp's own estimate of a real network."""

import warnings

import numpy as np
import pytest
import torch

from superpos import llc
from superpos.systems import modular

DATA = (torch.zeros(1000, 1),)


def quadratic(state, rows):
    """½ ‖w‖² over the first `rank` coordinates of w: a regular minimum in them, flat in the others."""
    return 0.5 * state["w"][:6].square().sum() + 0 * rows.sum()


def test_a_regular_minimum_has_half_its_dimensions():
    """Gaussian posterior: nβ E[L] = d/2 · nβ/(nβ + γ), here 3 · 100/110; the 4 flat directions count nothing.

    A step of ε widens its variance by 1 / (1 − ε(nβ + γ)/4), which is exact for a quadratic.
    """
    states = {"w": torch.zeros(2, 10)}
    chains = llc.sample_chains(
        quadratic, states, DATA, n_beta=100, localization=10, lr=2e-3, n_chains=50, n_draws=1500, burn_in=100
    )
    assert chains.estimate.tolist() == pytest.approx([3 * 100 / 110 / (1 - 2e-3 * 110 / 4)] * 2, rel=0.03)
    assert (chains.drift.abs() < 0.3).all()
    assert chains.burned.shape == (2, 50, 100)
    assert chains.trace.shape == (2, 50, 1500)
    assert chains.require_health() is chains
    assert (chains.negative == 0).all()


def test_degenerate_minima_count_less_and_in_order():
    """L = w², w⁴ and w⁶ have λ = 1/2, 1/4 and 1/6 (Watanabe 2009)."""
    estimates = []
    for power in (2, 4, 6):
        chains = llc.sample_chains(
            lambda state, rows, power=power: state["w"].abs().pow(power).sum() + 0 * rows.sum(),
            {"w": torch.zeros(1, 1)}, DATA, n_beta=200, localization=0.0, lr=2e-4, n_chains=400, n_draws=3000,
            burn_in=3000,
        )  # fmt: skip
        estimates.append(float(chains.estimate))
    assert estimates == pytest.approx([1 / 2, 1 / 4, 1 / 6], rel=0.07)


def test_batches_of_rows_are_unbiased():
    """A quadratic in batches of rows that scale it around 1."""

    def scaled(state, rows):
        return 0.5 * rows.mean() * state["w"].square().sum()

    rows = (torch.tensor([0.5, 1.0, 1.5, 1.0])[:, None],)
    settings = {"n_beta": 50, "localization": 50.0, "lr": 2e-4, "n_chains": 100, "n_draws": 1000, "burn_in": 200}
    chains = llc.sample_chains(scaled, {"w": torch.zeros(2, 4)}, rows, batch_size=8, **settings)
    assert chains.estimate.tolist() == pytest.approx([1.0, 1.0], rel=0.06)
    assert (chains.error < 0.05).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0}, "lr must be above 0, got 0"),
        ({"localization": -1}, "at least 0, got -1"),
        ({"n_draws": 0}, "n_draws"),
    ],
)
def test_bad_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        llc.sample_chains(quadratic, {"w": torch.zeros(1, 10)}, DATA, **options)


def test_a_chain_that_diverges_fails_loudly():
    with pytest.raises(FloatingPointError, match="of weights 0 left for a loss of"):
        llc.sample_chains(quadratic, {"w": torch.ones(1, 10)}, DATA, n_beta=100, lr=10.0, n_draws=500)


def test_weights_that_are_no_minimum_are_named():
    """From a point on the slope the chains go down, below where they started. The first set of weights is the minimum."""
    states = {"w": torch.tensor([0.0, 3.0])[:, None].expand(2, 10).clone()}
    settings = {"n_beta": 50, "localization": 1.0, "lr": 1e-3, "n_chains": 3, "n_draws": 200, "burn_in": 200}
    with pytest.warns(UserWarning, match="LLC of weights 1: 3 of 3 chains below 0"):
        chains = llc.sample_chains(quadratic, states, DATA, **settings)
    assert chains.troubles() == ["", "3 of 3 chains below 0"]
    with pytest.raises(llc.UnhealthyChainsError, match="1 of 2 LLC estimates cannot be used; weights 1: 3 of 3"):
        chains.require_health()


def test_chains_that_still_climb_are_named():
    with pytest.warns(UserWarning, match="drift of .* of the estimate"):
        chains = llc.sample_chains(
            quadratic, {"w": torch.zeros(1, 10)}, DATA, n_beta=100, localization=1, lr=2e-5, n_draws=200, burn_in=0
        )
    with pytest.raises(llc.UnhealthyChainsError, match="1 of 1"):
        chains.require_health()


@pytest.fixture(scope="module")
def grokked():
    """A real network of the chapter at six moments of its training."""
    training = modular.train_networks(
        modular.modular(53).split(0.4, 21), seeds=[21], steps=2000, keep=[0, 200, 500, 1000, 1500], embed=12, hidden=48
    )
    return training, sorted(training.states)


@pytest.mark.parametrize("setting", ["hot", "cold"])
def test_the_stack_agrees_with_devinterp(grokked, setting, tmp_path):
    """devinterp 2.0.1 at six checkpoints; its burn-in, which it averages in, is cut off its own trace."""
    from datasets import Dataset
    from devinterp.slt.llc import llc as reference

    training, steps = grokked
    train, options = training.data[0], modular.LLC_SETTINGS[setting]
    ours = modular.estimate_llc(training, steps, setting, seed=1).require_health()
    rows = Dataset.from_dict({"input_ids": [[i, 0] for i in range(len(train))]}).with_format("torch")

    def loss(model, ids):
        logits, labels = model(train.inputs[ids[:, 0]]), train.labels[ids[:, 0]]
        return torch.nn.functional.cross_entropy(logits, labels, reduction="none")[:, None]

    theirs, errors = [], []
    for step in steps:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampled = reference(
                training.network(21, step), rows, {}, **options, num_chains=3, num_draws=100, num_burnin_steps=100,
                batch_size=len(train), loss_fn=loss, num_init_loss_batches=1, batches_per_draw=1,
                output_path=tmp_path / str(step),
            )  # fmt: skip
        trace = sampled.loss_trace.values[:, 100:]
        chains = options["n_beta"] * (trace.mean(1) - float(sampled.init_loss))
        theirs.append(chains.mean())
        errors.append(chains.std(ddof=1) / 3**0.5)
    assert ours.estimate.tolist() == pytest.approx(theirs, rel=0.1)
    difference = ours.estimate.numpy() - theirs
    least = 0.01 * ours.estimate.numpy()  # three chains know their own spread badly
    spread = np.hypot(np.maximum(ours.error.numpy(), least), errors)
    assert (np.abs(difference) < 5 * spread).all()
