"""Rows that a few of them, or their mean, decide: said in words, with a way out; and what `measure` refuses by name."""

import inspect
import math
import warnings

import pytest
import torch
from torch import nn

import superpos
from superpos.lengths import lengths

QUICK = superpos.PROTOCOL.but(steps=200)
SAME = nn.Sequential(nn.Identity())
plainly = inspect.unwrap  # without the types that tests check beside


def features(n=2_000, seed=0):
    g = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(24, 12, generator=g), dim=1)
    return (torch.rand(n, 24, generator=g) * (torch.rand(n, 24, generator=g) < 0.1)) @ directions


def test_lengths_by_hand():
    x = torch.tensor([[3.0, 4.0], [3.0, 4.0], [0.0, 0.0], [300.0, 400.0]])
    seen = lengths(x, "x")
    assert seen["length_ratio"] == pytest.approx(100)
    spread = (x - x.mean(0)).square().sum(1)
    assert seen["mean_over_spread"] == pytest.approx(float(x.mean(0).norm() / spread.mean().sqrt()))
    assert seen["long_share"] == pytest.approx(float(spread[3] / spread.sum()))


def test_long_rows_are_said_and_can_be_left_out():
    """One row in sixteen 300 times as long, as the first token of many language models is."""
    tokens = features().reshape(125, 16, 12)
    long = tokens.clone()
    long[:, 0] = 300 * torch.nn.functional.normalize(torch.ones(12), dim=0)
    with pytest.warns(UserWarning, match=r"longest row is \d+ times as long as the median, .* leave_out=\(0,\)"):
        blind = superpos.measure(SAME, long, "0", sae=QUICK).iloc[0]
    assert blind.fvu < 0.01  # which looks good, and says nothing
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = superpos.measure(SAME, long, "0", sae=QUICK, leave_out=(0,)).iloc[0]
    assert seen.length_ratio < 30
    assert seen.rows_per_sample == 15
    assert seen.effective_features > 2 * blind.effective_features


def test_a_far_mean_is_said_and_can_be_subtracted():
    x = features() + 50
    with pytest.warns(UserWarning, match=r"the mean of the activations is \d+ times their spread, .* centre=True"):
        blind = superpos.measure(SAME, x, "0", sae=QUICK).iloc[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = superpos.measure(SAME, x, "0", sae=QUICK, centre=True).iloc[0]
    assert seen.effective_features > 2 * blind.effective_features
    with pytest.raises(ValueError, match="centre is for SAEs that are fitted here"):
        superpos.measure(SAME, x, "0", sae=Identity(), centre=True)


class Identity:
    dictionary = torch.eye(12)

    def encode(self, x):
        return x.clamp_min(0)

    def decode(self, z):
        return z @ self.dictionary + 5.0


def test_an_sae_at_the_wrong_site_is_said():
    with pytest.warns(UserWarning, match=r"explains the activations worse than their mean does \(fvu"):
        superpos.measure(SAME, features(), "0", sae=Identity())


def test_rows_equal_but_for_rounding_are_refused():
    x = torch.full((500, 12), 3.0) + 1e-7 * torch.randn(500, 12)
    with pytest.raises(ValueError, match="layer '0': activations are equal but for rounding"):
        superpos.measure(SAME, x, "0", sae=QUICK)


def test_how_the_rows_were_read_stands_in_the_table():
    model = nn.Sequential(nn.Conv1d(3, 8, 3))
    table = superpos.measure(model, torch.randn(40, 3, 12), "0", sae=QUICK)
    assert table.iloc[0][["axis", "n_samples", "rows_per_sample"]].tolist() == ["1", 40, 10.0]
    assert table.length_ratio.iloc[0] > 1
    assert not math.isnan(table.mean_over_spread.iloc[0])


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"seeds": "12"}, TypeError, r"seeds must be whole numbers, as \(0, 1\), got '12'"),
        ({"seeds": (1.7,)}, TypeError, "seeds must be a whole number, got 1.7"),
        ({"seeds": 3}, TypeError, r"seeds must be whole numbers, as \(0, 1\), got 3"),
        ({"seeds": ()}, ValueError, "seeds is empty"),
        ({"seeds": (-1,)}, ValueError, "seeds must be at least 0, got -1"),
        ({"held_out": math.nan}, ValueError, "held_out must be at least 0 and below 1, got nan"),
        ({"held_out": 1}, ValueError, "held_out must be at least 0 and below 1, got 1"),
        ({"held_out": "0.2"}, TypeError, "held_out must be a number at least 0 and below 1, got '0.2'"),
        ({"confidence": 90}, ValueError, "confidence must be above 0 and below 1, got 90"),
        ({"confidence": 0}, ValueError, "confidence must be above 0 and below 1, got 0"),
        ({"n_samples": 1e2}, TypeError, "n_samples must be a whole number, got 100.0"),
        ({"n_samples": "100"}, TypeError, "n_samples must be a whole number, got '100'"),
    ],
)
def test_arguments_of_measure_are_named(how, error, message):
    with pytest.raises(error, match=message):
        plainly(superpos.measure)(SAME, torch.randn(50, 4), "0", **how)
