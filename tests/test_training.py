"""Training: learns what can be learned, repeats from a seed, names divergence."""

from dataclasses import replace

import pytest
import torch

from superpos import attacks, data, networks, training


def run(epochs=5, *, seed=0, **options):
    train, test = data.load("digits")
    model = networks.build("mlp", train.shape, 10, width=16)
    history = training.train(model, train, training.Settings(epochs, **options), seed=seed)
    return model, history, training.accuracy(model, test)


FROM_X = attacks.Attack(steps=3, step_size=0.02, random_start=False)
ONE_STEP = training.Settings(epochs=1, batch_size=32, lr=0.1, optimizer="sgd", epsilon=0.1, attack=FROM_X)


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
    with pytest.raises(FloatingPointError, match=r"the training loss of epoch \d became nan"):
        run(lr=1e30)


def test_adversarial_training_is_half_clean_and_half_attacked():
    """One step of SGD on one batch moves the weights by lr × the mean of the two gradients, and by nothing else."""
    images = data.load("digits")[0].take(32, seed=0)
    model = networks.build("mlp", images.shape, 10, width=4, seed=1)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    attacked = attacks.pgd(model, images.images, images.labels, 0.1, FROM_X)
    loss = sum(torch.nn.functional.cross_entropy(model(x), images.labels) / 2 for x in (images.images, attacked))
    expected = torch.autograd.grad(loss, list(model.parameters()))
    training.train(model, images, ONE_STEP)
    for (name, p), gradient in zip(model.named_parameters(), expected, strict=True):
        torch.testing.assert_close(start[name] - p.detach(), 0.1 * gradient, rtol=1e-3, atol=1e-6)


def test_the_leak_adds_the_attacks_last_gradient():
    """Two updates of one batch, told apart by their gradients: the leak is the gradient at the attack's last but one point."""
    images = data.load("digits")[0].take(32, seed=0)
    moved = {}
    for update in training.UPDATES:
        model = networks.build("mlp", images.shape, 10, width=4, seed=1)
        start = [p.detach().clone() for p in model.parameters()]
        training.train(model, images, ONE_STEP.but(update=update))
        moved[update] = [(a - p.detach()) / 0.1 for a, p in zip(start, model.parameters(), strict=True)]
    fresh = networks.build("mlp", images.shape, 10, width=4, seed=1)
    point = attacks.pgd(fresh, images.images, images.labels, 0.1, FROM_X.but(steps=2))
    fresh.zero_grad()
    torch.nn.functional.cross_entropy(fresh(point), images.labels).backward()
    for corrected, leak, p in zip(moved["corrected"], moved["leak"], fresh.parameters(), strict=True):
        torch.testing.assert_close(leak - corrected, p.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("name", "width"), [("mlp", 4), ("resnet18", 0.0625)])
def test_the_leak_is_what_the_papers_code_does(name, width):
    """Its step: clear, clean forward, an attack that clears and leaves gradients, then backward of the mean loss.

    The statistics of batch normalisation see each of these passes once.
    """
    images = data.load("digits")[0].take(32, seed=0)
    x, y = images.images, images.labels
    model = networks.build(name, images.shape, 10, width=width, seed=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    clean = torch.nn.functional.cross_entropy(model(x), y)
    attacked = x.clone()
    for _ in range(3):
        attacked.requires_grad = True
        loss = torch.nn.functional.cross_entropy(model(attacked), y)
        model.zero_grad()
        loss.backward()
        step = attacked.detach() + 0.02 * attacked.grad.sign()
        attacked = torch.clamp(x + torch.clamp(step - x, -0.1, 0.1), 0, 1)
    (0.5 * clean + 0.5 * torch.nn.functional.cross_entropy(model(attacked), y)).backward()
    optimizer.step()
    ours = networks.build(name, images.shape, 10, width=width, seed=1)
    training.train(ours, images, ONE_STEP.but(update="leak"))
    for a, b in zip(ours.state_dict().values(), model.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_the_radius_and_the_step_size_follow_their_schedules():
    _, history, _ = run(epochs=10, epsilon=0.3, ramp=True, attack=attacks.Attack(steps=1), milestones=(4, 8), lr=0.01)
    assert history.epsilon.tolist() == pytest.approx([0.1] * 2 + [0.2] * 3 + [0.3] * 5)
    assert history.lr.tolist() == pytest.approx([0.01] * 4 + [0.001] * 4 + [0.0001] * 2)


def test_the_best_epoch_is_put_back():
    """A network that unlearns, on shuffled labels, is best after its first epoch; without validation it keeps its last."""
    train, test = data.load("digits")
    wrong = replace(train, labels=train.labels[torch.randperm(len(train), generator=torch.Generator().manual_seed(0))])
    shares = {}
    for name, validation in (("best", test), ("last", None)):
        model, _, _ = run(epochs=15, seed=1)
        history = training.train(model, wrong, training.Settings(epochs=6, lr=3e-3), validation=validation)
        shares[name] = training.accuracy(model, test)
        if validation is not None:
            assert history.validation.idxmax() == 0
            assert shares["best"] == history.validation[0]
    assert shares["last"] < shares["best"] - 0.03


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_stopped_training_goes_on_as_if_it_had_not(tmp_path, monkeypatch, optimizer):
    train, test = data.load("digits")
    attack = attacks.Attack(steps=2)
    settings = training.Settings(5, 0.01, optimizer=optimizer, milestones=(3,), epsilon=0.1, attack=attack, ramp=True)
    options = {"seed": 3, "validation": test.take(100, 0)}
    whole = networks.build("cnn", train.shape, 10, width=4, seed=1)
    expected = training.train(whole, train, settings, **options)

    real, calls = training._epoch, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(training, "_epoch", killed)
    model = networks.build("cnn", train.shape, 10, width=4, seed=1)
    with pytest.raises(KeyboardInterrupt):
        training.train(model, train, settings, **options, checkpoint=tmp_path / "c.safetensors")
    monkeypatch.setattr(training, "_epoch", real)
    again = networks.build("cnn", train.shape, 10, width=4, seed=7)  # other weights: the checkpoint's are taken
    history = training.train(again, train, settings, **options, checkpoint=tmp_path / "c.safetensors")
    assert history.equals(expected)
    for a, b in zip(again.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    other = settings.but(lr=0.02, steps=3)
    with pytest.raises(ValueError, match="of another training: lr, steps, images differ"):
        training.train(again, test, other, **options, checkpoint=tmp_path / "c.safetensors")


def test_an_unknown_update_is_named():
    with pytest.raises(ValueError, match="update must be 'corrected' or 'leak', got 'none'"):
        run(update="none")


def test_adversarial_training_makes_robust():
    train, test = data.load("digits")
    weak, strong = attacks.Attack(steps=5, step_size=0.05), attacks.Attack(steps=20, step_size=0.02)
    robust = []
    for epsilon in (0.0, 0.15):
        model = networks.build("mlp", train.shape, 10, width=16, seed=1)
        training.train(model, train, training.Settings(epochs=15, epsilon=epsilon, attack=weak), seed=1)
        attacked = attacks.pgd(model, test.images, test.labels, 0.15, strong)
        robust.append(training.accuracy(model, replace(test, images=attacked)))
        same = training.accuracy(model, test, len(test), epsilon=0.15, attack=strong)
        assert same == robust[-1]
    assert robust[1] > robust[0] + 0.15


def test_one_logit_is_a_binary_classifier():
    train, test = (images.only([0, 1]) for images in data.load("digits"))
    model = networks.build("cnn", train.shape, 1, width=4)
    training.train(model, train, training.Settings(epochs=15, lr=3e-3))
    assert training.accuracy(model, test) > 0.95
    assert all(p.is_contiguous() for p in model.parameters()), "the layout of its weights is put back"


def test_an_unknown_optimizer_is_named():
    with pytest.raises(ValueError, match="optimizer must be 'adam' or 'sgd', got 'lion'"):
        run(optimizer="lion")


def test_labels_beyond_one_are_named_for_one_logit():
    train, _ = data.load("digits")
    model = networks.build("mlp", train.shape, 1, width=4)
    with pytest.raises(ValueError, match="one logit takes the labels 0 and 1, got 9"):
        training.train(model, train, training.Settings(epochs=1, batch_size=500))


def test_a_network_that_views_its_convolutions_is_trained_too():
    """Another layout in memory would make `view` fail; only networks that say so get it."""

    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.out = torch.nn.Conv2d(1, 2, 3), torch.nn.Linear(72, 10)

        def forward(self, x):
            return self.out(self.conv(x).view(len(x), -1))

    training.train(Own(), data.load("digits")[0].take(64, 0), training.Settings(epochs=1))
