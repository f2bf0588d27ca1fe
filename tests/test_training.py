"""Training: learns what can be learned, repeats from a seed, names divergence."""

import pytest
import torch

from superpos import data, networks, training


def run(epochs=5, **options):
    train, test = data.load("digits")
    model = networks.build("mlp", train.shape, 10, width=16)
    return model, training.train(model, train, epochs=epochs, **options), training.accuracy(model, test)


def test_digits_are_learned():
    model, history, accuracy = run(epochs=20)
    assert accuracy > 0.9
    assert history.epoch.tolist() == list(range(1, 21))
    assert history.loss.iloc[-1] < history.loss.iloc[0] / 4
    assert not model.training


def test_accuracy_by_hand():
    images = data.LabelledImages(torch.eye(4).view(4, 1, 2, 2), torch.tensor([0, 1, 2, 0]), ("a", "b", "c", "d"))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 4, bias=False))
    model[1].weight.data = torch.eye(4)
    model.train()
    assert training.accuracy(model, images, batch_size=3) == 0.75
    assert model.training


def test_the_seed_decides():
    a, b, c = (run(epochs=1, seed=s)[1].loss[0] for s in (1, 1, 2))
    assert a == b
    assert a != c


def test_divergence_is_named():
    with pytest.raises(FloatingPointError, match="became nan in epoch"):
        run(lr=1e30)
