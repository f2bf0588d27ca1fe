"""Robustness: curves that fall, and masked gradients that are found out."""

import pytest
import torch

from superpos import data, networks, robustness, training


@pytest.fixture(scope="module")
def trained():
    train, test = data.load("digits")
    model = networks.build("mlp", train.shape, 10, width=16, seed=1)
    training.train(model, train, epochs=15, seed=1, epsilon=0.1, attack={"steps": 5, "step_size": 0.05})
    return model, test.take(200, seed=0)


def test_accuracy_falls_with_the_radius(trained):
    model, images = trained
    table = robustness.curve(model, images, [0.0, 0.1, 0.3], {"steps": 10, "step_size": 0.05})
    assert table.accuracy[0] == training.accuracy(model, images)
    assert table.accuracy.is_monotonic_decreasing
    assert table.accuracy[2] < 0.5


def test_an_honest_network_passes(trained):
    model, images = trained
    table = robustness.masking_checks(model, images, 0.1, steps=20, step_size=0.02).set_index("check")
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

    table = robustness.masking_checks(Masked(), images, 0.1, steps=20, step_size=0.02).set_index("check")
    honest = robustness.masking_checks(model, images, 0.1, steps=20, step_size=0.02).set_index("check")
    assert table.accuracy["PGD"] > honest.accuracy["PGD"] + 0.02
    assert not table.passed["no bounds"]
