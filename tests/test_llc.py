"""The LLC where it is known: regular minima, degenerate ones, and devinterp's own estimate of a real network."""

import pytest
import torch

from superpos import llc

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
