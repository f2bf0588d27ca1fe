"""The LLC where it is known: regular minima, degenerate ones, and devinterp's own estimate of a real network."""

import warnings

import numpy as np
import pytest
import torch

from superpos.findings.grokking import llc, runs, task

DATA = (torch.zeros(1000, 1),)


def quadratic(state, rows):
    """½ ‖w‖² over the first `rank` coordinates of w: a regular minimum in them, flat in the others."""
    return 0.5 * state["w"][:6].square().sum() + 0 * rows.sum()


def test_a_regular_minimum_has_half_its_dimensions():
    """Gaussian posterior: nβ E[L] = d/2 · nβ/(nβ + γ), here 3 · 100/110; the 4 flat directions count nothing.

    A step of ε widens its variance by 1 / (1 − ε(nβ + γ)/4), which is exact for a quadratic.
    """
    states = {"w": torch.zeros(2, 10)}
    sampling = llc.Sampling(n_beta=100, localization=10, lr=2e-3, n_chains=50, n_draws=1500, burn_in=100)
    chains = llc.sample_chains(quadratic, states, DATA, sampling)
    table = chains.table()
    assert table.llc.tolist() == pytest.approx([3 * 100 / 110 / (1 - 2e-3 * 110 / 4)] * 2, rel=0.03)
    assert (table.llc_drift.abs() < 0.3).all()
    assert chains.burned.shape == (2, 50, 100)
    assert chains.trace.shape == (2, 50, 1500)
    assert chains.require_health() is chains
    assert (table.llc_negative == 0).all()


def test_degenerate_minima_count_less_and_in_order():
    """L = w², w⁴ and w⁶ have λ = 1/2, 1/4 and 1/6 (Watanabe 2009)."""
    sampling = llc.Sampling(n_beta=200, localization=0, lr=2e-4, n_chains=400, n_draws=3000, burn_in=3000)
    estimates = []
    for power in (2, 4, 6):

        def loss(state, rows, power=power):
            return state["w"].abs().pow(power).sum() + 0 * rows.sum()

        estimates += llc.sample_chains(loss, {"w": torch.zeros(1, 1)}, DATA, sampling).table().llc.tolist()
    assert estimates == pytest.approx([1 / 2, 1 / 4, 1 / 6], rel=0.07)


def test_batches_of_rows_are_unbiased():
    """A quadratic in batches of rows that scale it around 1."""

    def scaled(state, rows):
        return 0.5 * rows.mean() * state["w"].square().sum()

    rows = (torch.tensor([0.5, 1.0, 1.5, 1.0])[:, None],)
    sampling = llc.Sampling(n_beta=50, localization=50, lr=2e-4, n_chains=100, n_draws=1000, burn_in=200, batch_size=8)
    table = llc.sample_chains(scaled, {"w": torch.zeros(2, 4)}, rows, sampling.but(batch_size=4)).table()
    assert table.llc.tolist() == pytest.approx([1.0, 1.0], rel=0.06)
    assert (table.llc_error < 0.05).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0}, "lr must be greater than 0, got 0"),
        ({"localization": -1}, "localization must be greater than or equal to 0, got -1"),
        ({"n_draws": 0}, "n_draws"),
    ],
)
def test_bad_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        llc.Sampling(**options)


def test_a_chain_that_diverges_fails_loudly():
    with pytest.raises(FloatingPointError, match=r"the loss of chain \d of weights 0 in step \d+ became"):
        llc.sample_chains(quadratic, {"w": torch.ones(1, 10)}, DATA, llc.Sampling(n_beta=100, lr=10, n_draws=500))


def test_weights_that_are_no_minimum_are_named():
    """From a point on the slope the chains go down, below where they started. The first set of weights is the minimum."""
    states = {"w": torch.tensor([0.0, 3.0])[:, None].expand(2, 10).clone()}
    sampling = llc.Sampling(n_beta=50, localization=1, n_chains=3, burn_in=200)
    with pytest.warns(UserWarning, match="LLC of weights 1: 3 of 3 chains below 0"):
        chains = llc.sample_chains(quadratic, states, DATA, sampling)
    assert chains.table().llc_trouble.tolist() == ["", "3 of 3 chains below 0"]
    with pytest.raises(llc.UnhealthyChainsError, match="1 of 2 LLC estimates cannot be used; weights 1: 3 of 3"):
        chains.require_health()


def test_chains_that_still_climb_are_named():
    with pytest.warns(UserWarning, match="drift of .* of the estimate"):
        chains = llc.sample_chains(
            quadratic, {"w": torch.zeros(1, 10)}, DATA, llc.Sampling(n_beta=100, localization=1, lr=2e-5, burn_in=0)
        )
    with pytest.raises(llc.UnhealthyChainsError, match="1 of 1"):
        chains.require_health()


@pytest.fixture(scope="module")
def grokked():
    """A real network of the chapter at six moments of its training."""
    return task.train(task.Network(width=48, seed=21, steps=2000), keep=[0, 200, 500, 1000, 1500])


@pytest.mark.parametrize("setting", ["hot", "cold"])
def test_the_stack_agrees_with_devinterp(grokked, setting, tmp_path):
    """devinterp 2.0.1 at six checkpoints; its burn-in, which it averages in, is cut off its own trace."""
    from datasets import Dataset
    from devinterp.slt.llc import llc as reference

    (inputs, labels), sampling = grokked.data[0], runs.SAMPLINGS[setting]
    options = {"n_beta": sampling.n_beta, "localization": sampling.localization, "lr": sampling.lr}
    ours = runs.estimate_llc(grokked, setting, seed=1).require_health().table()
    rows = Dataset.from_dict({"input_ids": [[i, 0] for i in range(len(labels))]}).with_format("torch")

    def loss(model, ids):
        logits, right = model(inputs[ids[:, 0]]), labels[ids[:, 0]]
        return torch.nn.functional.cross_entropy(logits, right, reduction="none")[:, None]

    theirs, errors = [], []
    for step in grokked.states:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampled = reference(
                grokked.network(step), rows, {}, **options, num_chains=3, num_draws=100, num_burnin_steps=100,
                batch_size=len(labels), loss_fn=loss, num_init_loss_batches=1, batches_per_draw=1,
                output_path=tmp_path / str(step),
            )  # fmt: skip
        trace = sampled.loss_trace.values[:, 100:]
        chains = options["n_beta"] * (trace.mean(1) - float(sampled.init_loss))
        theirs.append(chains.mean())
        errors.append(chains.std(ddof=1) / 3**0.5)
    assert ours.llc.tolist() == pytest.approx(theirs, rel=0.1)
    least = 0.01 * ours.llc  # three chains know their own spread badly
    spread = np.hypot(np.maximum(ours.llc_error, least), errors)
    assert ((ours.llc - theirs).abs() < 5 * spread).all()
