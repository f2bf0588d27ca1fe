import itertools

import pytest
import torch

from superpos.systems import modular


@pytest.mark.parametrize(
    ("operation", "by_hand"),
    [
        ("+", lambda a, b: (a + b) % 7),
        ("-", lambda a, b: (a - b) % 7),
        ("*", lambda a, b: (a * b) % 7),
        ("a2+b", lambda a, b: (a**2 + b) % 7),
    ],
)
def test_labels_are_arithmetic(operation, by_hand):
    data = modular.modular(7, operation)
    assert len(data) == 49
    pairs = [tuple(pair) for pair in data.inputs.tolist()]
    assert sorted(pairs) == list(itertools.product(range(7), repeat=2))
    assert data.labels.tolist() == [by_hand(a, b) for a, b in pairs]


def test_a_split_holds_every_pair_once():
    data = modular.modular(11)
    train, test = data.split(0.4, seed=3)
    assert (len(train), len(test)) == (48, 73)
    both = {tuple(pair) for part in (train, test) for pair in part.inputs.tolist()}
    assert len(both) == 121
    assert not torch.equal(train.inputs, data.split(0.4, seed=4)[0].inputs)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: modular.modular(9), "modulus must be a prime, got 9"),
        (lambda: modular.modular(7, "/"), "got '/'"),
        (lambda: modular.modular(7).split(1.0), "below 1, got 1.0"),
        (lambda: modular.build("cnn", 7, 0), "got 'cnn'"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("kind", ["mlp", "transformer"])
def test_a_network_of_the_stack_is_torchs_own(kind):
    """Two steps of a stack beside two of one network alone."""
    options = {"mlp": {"embed": 4, "hidden": 6}, "transformer": {"width": 8, "heads": 2}}[kind]
    data = modular.modular(7).split(0.5, seed=1)
    stack = modular.train_networks(data, seeds=[5, 6], kind=kind, steps=2, keep=[0], **options)
    alone = modular.build(kind, 7, 6, **options)
    started = stack.network(6, 0).state_dict()
    assert all(torch.equal(started[name], value) for name, value in alone.state_dict().items())
    optimiser = torch.optim.AdamW(alone.parameters(), lr=3e-3, weight_decay=1.0)
    for _ in range(2):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(alone(data[0].inputs), data[0].labels).backward()
        optimiser.step()
    trained = stack.network(6, 2).state_dict()
    for name, value in alone.state_dict().items():
        assert torch.allclose(trained[name], value, atol=1e-5), name


def test_scores_are_those_of_the_networks():
    data = modular.modular(7).split(0.5, seed=1)
    stack = modular.train_networks(data, seeds=[5, 6], steps=30, embed=4, hidden=6)
    scores = stack.scores(30)
    for row in scores:
        network = stack.network(row["seed"], 30)
        right = (network(data[1].inputs).argmax(1) == data[1].labels).double().mean()
        assert row["accuracy_test"] == pytest.approx(float(right))
    assert scores[0]["loss_train"] != scores[1]["loss_train"]


def test_memorising_comes_first():
    data = modular.modular(13).split(0.4, seed=1)
    stack = modular.train_networks(data, seeds=[1], steps=400, keep=[0])
    before, after = stack.scores(0)[0], stack.scores(400)[0]
    assert before["accuracy_train"] < 0.3
    assert after["accuracy_train"] > 0.95
