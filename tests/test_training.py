"""Training: learns what can be learned, repeats from a seed, names divergence."""

from dataclasses import replace

import pytest
import torch

from superpos import attacks, data, networks, training


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


def test_adversarial_training_is_half_clean_and_half_attacked():
    """One step of SGD on one batch moves the weights by lr × the mean of the two gradients, and by nothing else."""
    images = data.load("digits")[0].take(32, seed=0)
    model = networks.build("mlp", images.shape, 10, width=4, seed=1)
    attack = {"steps": 3, "step_size": 0.02, "random_start": False}
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    attacked = attacks.pgd(model, images.images, images.labels, 0.1, **attack)
    loss = sum(torch.nn.functional.cross_entropy(model(x), images.labels) / 2 for x in (images.images, attacked))
    expected = torch.autograd.grad(loss, list(model.parameters()))
    training.train(model, images, epochs=1, batch_size=32, lr=0.1, optimizer="sgd", epsilon=0.1, attack=attack)
    for (name, p), gradient in zip(model.named_parameters(), expected, strict=True):
        torch.testing.assert_close(start[name] - p.detach(), 0.1 * gradient, rtol=1e-3, atol=1e-6)


def test_adversarial_training_makes_robust():
    train, test = data.load("digits")
    attack = {"steps": 5, "step_size": 0.05}
    robust = []
    for epsilon in (0.0, 0.15):
        model = networks.build("mlp", train.shape, 10, width=16, seed=1)
        training.train(model, train, epochs=15, seed=1, epsilon=epsilon, attack=attack)
        attacked = attacks.pgd(model, test.images, test.labels, 0.15, steps=20, step_size=0.02)
        robust.append(training.accuracy(model, replace(test, images=attacked)))
    assert robust[1] > robust[0] + 0.15


def test_one_logit_is_a_binary_classifier():
    train, test = (images.only([0, 1]) for images in data.load("digits"))
    model = networks.build("cnn", train.shape, 1, width=4)
    training.train(model, train, epochs=15, lr=3e-3)
    assert training.accuracy(model, test) > 0.95
    assert all(p.is_contiguous() for p in model.parameters()), "the layout of its weights is put back"


def test_an_unknown_optimizer_is_named():
    with pytest.raises(ValueError, match="optimizer must be one of adam, sgd, got 'lion'"):
        run(optimizer="lion")


def test_labels_beyond_one_are_named_for_one_logit():
    train, _ = data.load("digits")
    with pytest.raises(ValueError, match="one logit takes the labels 0 and 1, got 9"):
        training.train(networks.build("mlp", train.shape, 1, width=4), train, epochs=1, batch_size=500)


def test_a_network_that_views_its_convolutions_is_trained_too():
    """Another layout in memory would make `view` fail; only networks that say so get it."""

    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.out = torch.nn.Conv2d(1, 2, 3), torch.nn.Linear(72, 10)

        def forward(self, x):
            return self.out(self.conv(x).view(len(x), -1))

    training.train(Own(), data.load("digits")[0].take(64, 0), epochs=1)


def test_a_seed_among_the_attacks_options_is_named():
    with pytest.raises(ValueError, match="starts follow from the seed of the training; drop seed=3"):
        run(epsilon=0.1, attack={"seed": 3})
