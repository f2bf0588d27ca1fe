"""Attacks: an independent loop, a linear model whose answer is known, the ball, and what they must not touch."""

import pytest
import torch
from torch.nn import functional

from superpos import data, networks
from superpos.attacks import Attack, classification_loss, fgsm, pgd


@pytest.fixture(scope="module")
def images():
    return data.load("digits")[0].take(64, seed=0)


@pytest.fixture(scope="module")
def network(images):
    return networks.build("cnn", images.shape, 10, width=4, seed=1)


def plain_pgd(model, x, y, epsilon, steps, step_size):
    """The textbook loop, from the images themselves."""
    attacked = x.clone()
    for _ in range(steps):
        attacked = attacked.clone().requires_grad_()
        functional.cross_entropy(model(attacked), y).backward()
        step = attacked.detach() + step_size * attacked.grad.sign()
        attacked = torch.max(torch.min(step, x + epsilon), x - epsilon).clamp(0, 1)
    return attacked


def test_pgd_is_the_textbook_loop(network, images):
    x, y = images.images, images.labels
    ours = pgd(network, x, y, 0.1, Attack(steps=7, step_size=0.03, random_start=False))
    torch.testing.assert_close(ours, plain_pgd(network, x, y, 0.1, 7, 0.03), rtol=0, atol=1e-6)
    network.zero_grad()


def test_attacks_equal_the_adversarial_robustness_toolboxs(network, images):
    """An independent implementation, from the same fixed start."""
    from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    x, y = images.images, images.labels
    theirs = PyTorchClassifier(
        network, torch.nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0.0, 1.0), device_type="cpu"
    )
    attack = ProjectedGradientDescentPyTorch(
        theirs, norm="inf", eps=0.1, eps_step=0.03, max_iter=7, num_random_init=0, batch_size=64, verbose=False
    )
    expected = torch.as_tensor(attack.generate(x.numpy(), y.numpy()))
    network.eval()
    ours = pgd(network, x, y, 0.1, Attack(steps=7, step_size=0.03, random_start=False))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
    expected = torch.as_tensor(FastGradientMethod(theirs, eps=0.1, batch_size=64).generate(x.numpy(), y.numpy()))
    torch.testing.assert_close(fgsm(network, x, y, 0.1), expected, rtol=0, atol=1e-6)


def test_one_logit_is_attacked_as_the_two_of_the_toolbox(images):
    """Logits 0 and z have the loss of the one logit z: what the toolbox finds there, ours finds with one."""
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    two = images.only([0, 1])
    x, y = two.images, two.labels
    one = networks.build("cnn", images.shape, 1, width=4, seed=2).eval()

    class Pair(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one = one

        def forward(self, x):
            z = self.one(x)
            return torch.cat([torch.zeros_like(z), z], 1)

    theirs = PyTorchClassifier(
        Pair(), torch.nn.CrossEntropyLoss(), tuple(x.shape[1:]), 2, clip_values=(0.0, 1.0), device_type="cpu"
    )
    attack = ProjectedGradientDescentPyTorch(
        theirs, norm="inf", eps=0.1, eps_step=0.03, max_iter=7, num_random_init=0, batch_size=64, verbose=False
    )
    expected = torch.as_tensor(attack.generate(x.numpy(), y.numpy()))
    ours = pgd(one, x, y, 0.1, Attack(steps=7, step_size=0.03, random_start=False))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


def test_the_point_before_the_last_step_is_one_step_behind(network, images):
    x, y = images.images, images.labels
    three, four = (Attack(steps=steps, step_size=0.03) for steps in (3, 4))
    attacked, before = pgd(network, x, y, 0.1, four, seed=5, before=True)
    assert torch.equal(attacked, pgd(network, x, y, 0.1, four, seed=5))
    assert torch.equal(before, pgd(network, x, y, 0.1, three, seed=5))


def test_fgsm_on_a_linear_model_by_hand():
    """One logit w·x, label 1: the loss rises against w."""
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 1, bias=False))
    model[1].weight.data = torch.tensor([[1.0, -2.0, 0.0, 3.0]])
    x = torch.tensor([0.5, 0.5, 0.5, 0.05]).view(1, 1, 2, 2)
    attacked = fgsm(model, x, torch.tensor([1]), 0.1)
    torch.testing.assert_close(attacked.flatten(), torch.tensor([0.4, 0.6, 0.5, 0.0]))


@pytest.mark.parametrize("random_start", [True, False])
def test_it_stays_in_the_ball_and_the_range(network, images, random_start):
    x = images.images
    attacked = pgd(network, x, images.labels, 0.07, Attack(steps=5, step_size=0.05, random_start=random_start))
    assert (attacked - x).abs().max() <= 0.07 + 1e-6
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    loss = [classification_loss(network(z), images.labels).item() for z in (x, attacked)]
    assert loss[1] > loss[0]


def test_zero_changes_nothing(network, images):
    assert torch.equal(pgd(network, images.images, images.labels, 0.0), images.images)


def test_parameters_and_their_gradients_are_left_alone(network, images):
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    marks = {}
    for name, p in network.named_parameters():
        p.grad = torch.full_like(p, 7.0)
        marks[name] = p.grad
    pgd(network, images.images, images.labels, 0.1, Attack(steps=2))
    for name, p in network.named_parameters():
        assert torch.equal(p, before[name])
        assert p.grad is marks[name]
        assert (p.grad == 7).all()
    network.zero_grad()


def test_the_seed_draws_the_start(network, images):
    a, b, c = (pgd(network, images.images, images.labels, 0.1, Attack(steps=1), seed=s) for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_bfloat16_products_attack_as_strongly(images):
    model = networks.build("mlp", images.shape, 10, width=16, seed=1)
    loss = {
        products: classification_loss(
            model(pgd(model, images.images, images.labels, 0.1, Attack(steps=20, products=products))), images.labels
        ).item()
        for products in ("float32", "bfloat16")
    }
    assert loss["bfloat16"] == pytest.approx(loss["float32"], rel=0.01)


def test_fgsm_at_zero_changes_nothing(network, images):
    assert torch.equal(fgsm(network, images.images, images.labels, 0), images.images)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be greater than or equal to 1, got 0"),
        ({"step_size": 0}, "step_size must be greater than 0, got 0"),
        ({"products": "int8"}, "products must be 'float32' or 'bfloat16', got 'int8'"),
    ],
)
def test_bad_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Attack(**options)


def test_a_radius_out_of_range_and_an_empty_batch_are_named(network, images):
    with pytest.raises(ValueError, match=r"epsilon must be between 0 and 1, got -0\.1"):
        pgd(network, images.images, images.labels, -0.1)
    with pytest.raises(ValueError, match="the batch is empty"):
        pgd(network, images.images[:0], images.labels[:0], 0.1)


def test_images_outside_the_range_are_named(network, images):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got values from 0 to 16"):
        pgd(network, images.images * 16, images.labels, 0.1)
