"""Robustness: curves that fall, and masked gradients that are found out."""

import pytest
import torch

from superpos import data, networks, training
from superpos.attacks import Attack
from superpos.findings.adversarial import robustness


@pytest.fixture(scope="module")
def trained():
    train, test = data.load("digits")
    model = networks.build("mlp", train.shape, 10, width=16, seed=1)
    training.train(model, train, training.Settings(15, epsilon=0.1, attack=Attack(5, 0.05)), seed=1)
    return model, test.take(200, seed=0)


def test_accuracy_falls_with_the_radius(trained):
    model, images = trained
    table = robustness.curve(model, images, [0.0, 0.1, 0.3], Attack(10, 0.05))
    assert table.accuracy[0] == training.accuracy(model, images)
    assert table.accuracy.is_monotonic_decreasing
    assert table.accuracy[2] < 0.5


def test_an_honest_network_passes(trained):
    model, images = trained
    table = robustness.masking_checks(model, images, 0.1, Attack(20, 0.02)).set_index("check")
    assert table.passed.all()
    assert table.accuracy["noise"] > table.accuracy["PGD"]
    assert table.accuracy["more starts"] <= table.accuracy["PGD"]
    assert table.accuracy["no bounds"] < 0.15


def test_a_network_whose_gradients_vanish_is_found_out(trained):
    """Logits so large that the loss is exactly zero where the label is right: PGD finds nothing, at any radius."""
    model, images = trained

    class Masked(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            return 1e4 * self.inner(x)

    table = robustness.masking_checks(Masked(), images, 0.1, Attack(20, 0.02)).set_index("check")
    honest = robustness.masking_checks(model, images, 0.1, Attack(20, 0.02)).set_index("check")
    assert table.accuracy["PGD"] > honest.accuracy["PGD"] + 0.02
    assert not table.passed["no bounds"]


class Planted(torch.nn.Module):
    """Two logits (0, z) of images of one pixel, where z is `signal` of the pixel's value."""

    def __init__(self, signal):
        super().__init__()
        self.signal, self.unused = signal, torch.nn.Parameter(torch.zeros(()))

    def forward(self, x):
        z = self.signal(x.flatten(1)[:, :1])
        return torch.cat([torch.zeros_like(z), z], 1) + 0 * self.unused


def failed(signal, steps, step_size, epsilon=0.1):
    """Which checks fail on forty images of label 1 and value ½, so that noise and starts differ and nothing else does."""
    images = data.LabelledImages(torch.full((40, 1, 1, 1), 0.5), torch.ones(40, dtype=torch.long), ("a", "b"))
    table = robustness.masking_checks(Planted(signal), images, epsilon, Attack(steps, step_size))
    return table.check[~table.passed].tolist()


def right_but(x, wrong, how):
    """z is 1 and flat, but `how` where the pixel is `wrong`."""
    return torch.where(wrong, how, 1 + 0 * x)


def test_each_sign_of_masking_is_seen_by_its_own_check():
    def slow(x):  # the label is wrong in a valley that lies more steps away, and short of a whole radius
        return (x - 0.235).abs() - 0.015

    def one_point(x):  # only from the image itself is there a way, and the whole radius must be gone at once
        near, far = (x - 0.5).abs() < 0.0002, x < 0.4003
        return right_but(x, near | far, torch.where(near, 0.5 + x, -1 + 0 * x))

    def led_away(x):  # where noise finds the label wrong the gradient leads out again
        return right_but(x, (x > 0.42) & (x < 0.499), -1 - x)

    def by_luck(x):  # flat everywhere: only the start decides
        return right_but(x, x > 0.58, -1 + 0 * x)

    assert failed(slow, 12, 0.005, epsilon=0.3) == ["more steps", "more starts"]
    assert failed(one_point, 5, 0.02) == ["one step"]
    assert failed(led_away, 5, 0.02) == ["noise"]
    assert failed(by_luck, 5, 0.02) == ["more starts"]
    assert failed(lambda x: x - 0.35, 40, 0.02, epsilon=0.3) == []
