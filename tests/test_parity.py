"""Sparse parity: its labels against integer arithmetic, its networks against torch's own training of one alone."""

import pytest
import torch
from torch import nn

from superpos.systems import parity


@pytest.mark.parametrize(("n_tasks", "n_bits"), [(3, 4), (2, 3), (1, 5), (4, 1)])
def test_labels_are_the_parity_of_the_active_tasks_bits(n_tasks, n_bits):
    data = parity.parity(n_tasks, n_bits)
    seen = set()
    for x, task, label in zip(data.inputs.int().tolist(), data.task.tolist(), data.labels.tolist(), strict=True):
        assert x[:n_tasks] == [int(t == task) for t in range(n_tasks)]
        own = x[n_tasks + task * n_bits : n_tasks + (task + 1) * n_bits]
        assert label == int("".join(map(str, own)), 2).bit_count() & 1
        seen.add(tuple(x))
    assert len(seen) == len(data) == n_tasks * 2 ** (n_tasks * n_bits)


@pytest.mark.parametrize(("n_tasks", "n_bits", "n"), [(3, 4, 500), (2, 13, 300)])
def test_a_draw_holds_different_samples_with_right_labels(n_tasks, n_bits, n):
    data = parity.parity(n_tasks, n_bits, n=n, seed=3)
    assert len(data.inputs.unique(dim=0)) == n
    bits = data.inputs[:, n_tasks:].int().view(n, n_tasks, n_bits)
    flipped = [sum(b[t].tolist()) % 2 for b, t in zip(bits, data.task, strict=True)]
    assert data.labels.tolist() == flipped
    assert 0.35 < data.labels.float().mean() < 0.65
    assert not torch.equal(data.inputs, parity.parity(n_tasks, n_bits, n=n, seed=4).inputs)


def test_the_split_is_stratified_and_complete():
    data = parity.parity()
    train, test = data.split(0.2, seed=5)
    assert len(train) + len(test) == len(data) == 12_288
    assert len(torch.cat([train.inputs, test.inputs]).unique(dim=0)) == 12_288
    for task in range(3):
        for label in range(2):
            assert int(((test.task == task) & (test.labels == label)).sum()) in (409, 410)  # a fifth of 2,048
    assert not torch.equal(test.inputs, data.split(0.2, seed=6)[1].inputs)


def test_possible_features_are_what_the_inputs_span_and_show():
    for n_tasks, n_bits in ((3, 4), (2, 3)):
        data, counts = parity.parity(n_tasks, n_bits), parity.possible_features(n_tasks, n_bits)
        states = torch.cat([data.inputs, 1 - data.inputs[:, n_tasks:]], 1)
        own = data.inputs[:, n_tasks:].view(-1, n_tasks, n_bits)[torch.arange(len(data)), data.task]
        seen = torch.cat([data.task[:, None].float(), own], 1).unique(dim=0)
        assert counts == {
            "dimensions": int(torch.linalg.matrix_rank(data.inputs - data.inputs.mean(0))),
            "inputs": data.inputs.shape[1],
            "states": len(states.T.unique(dim=0)),
            "patterns": len(seen),
        }


def test_shuffled_labels_keep_their_share_and_say_nothing():
    data = parity.parity()
    shuffled = data.shuffle_labels(1)
    assert shuffled.labels.sum() == data.labels.sum()
    assert (shuffled.labels == data.labels).float().mean() == pytest.approx(0.5, abs=0.03)


def trained_alone(data, seed, rate, width, epochs, batch_size):
    """The same training by torch.nn, autograd and torch.optim; random numbers in the order that the stack draws them."""
    g = torch.Generator().manual_seed(seed)
    network = nn.Sequential(nn.Linear(data.inputs.shape[1], width), nn.ReLU(), nn.Linear(width, 1))
    for layer in (network[0], network[2]):
        for p in (layer.weight, layer.bias):
            p.data = (torch.rand(p.shape, generator=g) * 2 - 1) / layer.in_features**0.5
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(epochs):
        for chunk in torch.randperm(len(data), generator=g).split(16 * batch_size):
            masks = torch.ones(len(chunk), width)
            if rate:
                masks.bernoulli_(1 - rate, generator=g)
            for rows, mask in zip(chunk.split(batch_size), masks.split(batch_size), strict=True):
                h = network[0](data.inputs[rows]) * mask / (1 - rate)  # dropout before the ReLU, as the paper's code
                logit = network[2](h.relu())[:, 0]
                loss = nn.functional.binary_cross_entropy_with_logits(logit, data.labels[rows].float())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return network


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_stack_trains_each_network_as_it_would_alone(place):
    data = parity.parity(2, 3)
    seeds, rates = [4, 5, 5], [0.0, 0.5, 0.0]
    stack = parity.train_networks(data, seeds=seeds, dropout=rates, width=12, epochs=5, batch_size=20, lr=1e-2)
    alone = trained_alone(data, seeds[place], rates[place], 12, 5, 20)
    ours = stack[place]
    torch.testing.assert_close(ours.hidden.weight, alone[0].weight.detach(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(ours.out.bias, alone[2].bias.detach(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(ours(data.inputs), alone(data.inputs).detach(), rtol=1e-3, atol=1e-3)


def test_networks_learn_parity_but_not_shuffled_labels():
    train, test = parity.parity(2, 4).split(0.2, seed=0)
    options = {"seeds": [1], "dropout": [0.0], "width": 64, "batch_size": 16, "lr": 5e-3}
    share = [
        parity.share_correct(parity.train_networks(data, epochs=epochs, **options)[0], test)
        for data, epochs in ((train, 80), (train.shuffle_labels(0), 80), (train, 0))
    ]
    assert share[0] > 0.97
    assert share[1:] == pytest.approx([0.5, 0.5], abs=0.2)


def test_hidden_reads_before_or_after_the_relu_and_without_dropout():
    data = parity.parity(2, 2)
    (network,) = parity.train_networks(data, seeds=[0], dropout=[0.9], width=8, epochs=2)
    before, after = parity.hidden(network, data, "pre"), parity.hidden(network, data, "post")
    torch.testing.assert_close(before, data.inputs @ network.hidden.weight.T + network.hidden.bias)
    assert (before < 0).any()
    torch.testing.assert_close(after, before.clamp(min=0))


DICTIONARY = {"recipe": "published", "l1": 1.0, "expansion": 1.0, "seed": 1, "width": 16, "net_epochs": 4}


def test_a_dictionary_run_gives_a_row_a_look_and_tells_the_states_apart():
    rows = parity.dictionary_run(**DICTIONARY, state="trained", n_sae=2, sae_epochs=14)
    assert [(r["sae_seed"], r["epochs"]) for r in rows] == [(0, 12), (0, 14), (1, 12), (1, 14)]
    assert rows[0]["steps"] == 12 * 77  # 9,830 rows in batches of 128
    assert rows[0]["psi"] == pytest.approx(rows[0]["effective_features"] / 16)
    others = [parity.dictionary_run(**DICTIONARY, state=state, sae_epochs=12)[0] for state in parity.STATES]
    assert len({round(r["effective_features"], 3) for r in others}) == 4


def test_released_rows_are_of_one_task_and_one_label():
    networks = parity._networks(1, "untrained", 16, (0.0,), 0)
    (x,), (held_out,) = parity._activations(networks, 1, "trained", "pre", "released")
    inputs = x @ torch.linalg.pinv(networks[0].hidden.weight).T  # W₁ has full rank: h gives the inputs back
    inputs -= networks[0].hidden.bias @ torch.linalg.pinv(networks[0].hidden.weight).T
    assert x.shape == (1024, 16)
    torch.testing.assert_close(inputs[:, :3], torch.tensor([1.0, 0, 0]).expand(1024, 3), atol=1e-3, rtol=0)
    assert (inputs[:, 3:7].round().sum(1) % 2 == 0).all()
    assert len(held_out) in (409, 410)


def test_a_dropout_run_gives_a_row_a_rate():
    run = {"recipe": "published", "l1": 1.0, "seed": 1, "width": 8, "net_epochs": 2, "sae_epochs": 3}
    rows = parity.dropout_run(**run, state="trained", n_rates=4)
    assert [r["dropout"] for r in rows] == [0.0, 0.3, 0.6, 0.9]
    assert len({r["effective_features"] for r in rows}) == 4
    assert all(1 <= r["neurons_per_code"] <= 8 for r in rows)
    assert [r["dropout"] for r in parity.dropout_run(**run, state="untrained", n_rates=1)] == [0.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: parity.parity(0, 4), "at least one task of one bit, 56 bits in all, got 0 of 4"),
        (lambda: parity.parity(4, 8), "4 tasks of 8 bits have .* say how many"),
        (lambda: parity.parity(2, 2, n=33), "between 1 and 32, got 33"),
        (lambda: parity.train_networks(parity.parity(1, 2), seeds=[1], dropout=[0.1, 0.2]), "1 seeds for 2 dropout"),
        (lambda: parity.train_networks(parity.parity(1, 2), seeds=[1], dropout=[1.0]), r"below 1, got \[1.0\]"),
        (lambda: parity.hidden(None, None, "both"), "'both'"),
        (lambda: parity.dictionary_run(**DICTIONARY, state="asleep"), "state must be one of trained, .* 'asleep'"),
        (lambda: parity.dictionary_run(**DICTIONARY | {"recipe": "x"}, state="trained"), "recipe must be .* 'x'"),
        (lambda: parity.dictionary_run(**DICTIONARY, state="trained", rows="some"), "rows must be .* 'some'"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
