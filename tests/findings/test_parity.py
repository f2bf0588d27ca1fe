"""Sparse parity: its labels against integer arithmetic, its networks against torch's own training of one alone."""

import pytest
import torch
from torch import nn

from superpos import sae
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


def test_a_dictionary_run_gives_a_row_a_look():
    rows = parity.dictionary_run(**DICTIONARY, state="trained", n_sae=2, sae_epochs=14)
    assert [(r["sae_seed"], r["epochs"]) for r in rows] == [(j, e) for j in (0, 1) for e in (7, 12, 14)]
    assert rows[1]["steps"] == 12 * 77  # 9,830 rows in batches of 128
    assert rows[0]["psi"] == pytest.approx(rows[0]["effective_features"] / 16)
    assert rows[0]["held_out_features"] == pytest.approx(rows[0]["effective_features"], rel=0.05)
    assert rows[0]["held_out_features"] != rows[0]["effective_features"]


def prepared(state, rows="all", width=16, dropout=(0.0,), epochs=4):
    return parity._prepared(state, 1, "pre", rows, width, dropout, epochs)


def test_the_states_are_what_they_are_called():
    (trained,), (train, test), ((x,), _) = prepared("trained")
    (untrained,), _, _ = prepared("untrained")
    (noise,), (shuffled, _), _ = prepared("shuffled labels")
    (same,), _, ((columns,), _) = prepared("shuffled columns")
    assert same is trained
    torch.testing.assert_close(columns.sort(0).values, x.sort(0).values, rtol=0, atol=0)
    assert not torch.equal(columns, x)
    fresh = parity._network(15, 16, 0.0, torch.Generator().manual_seed(1))
    assert torch.equal(untrained.hidden.weight, fresh.hidden.weight)
    assert not torch.equal(noise.hidden.weight, trained.hidden.weight)
    assert torch.equal(shuffled.inputs, train.inputs)
    assert not torch.equal(shuffled.labels, train.labels)
    assert len(torch.cat([train.inputs, test.inputs]).unique(dim=0)) == 12_288


def test_released_rows_are_of_one_task_and_one_label():
    (network,), _, ((x,), (held_out,)) = prepared("untrained", rows="released")
    back = torch.linalg.pinv(network.hidden.weight).T  # W₁ has full rank: h gives the inputs back
    inputs = (x - network.hidden.bias) @ back
    assert x.shape == (1024, 16)
    torch.testing.assert_close(inputs[:, :3], torch.tensor([1.0, 0, 0]).expand(1024, 3), atol=1e-3, rtol=0)
    assert (inputs[:, 3:7].round().sum(1) % 2 == 0).all()
    assert len(held_out) in (409, 410)


DROPOUT = {"recipe": "published", "l1": 1.0, "seed": 1, "width": 8, "net_epochs": 2, "sae_epochs": 3}


def test_a_dropout_run_gives_each_rate_its_own_network():
    rows = parity.dropout_run(**DROPOUT, state="trained", n_rates=4)
    assert [(r["dropout"], r["epochs"]) for r in rows] == [(p, e) for p in (0.0, 0.3, 0.6, 0.9) for e in (1, 3)]
    train, test = parity._task(1)
    for row in (rows[1], rows[7]):
        (alone,) = parity.train_networks(train, seeds=[1], dropout=[row["dropout"]], width=8, epochs=2)
        W = alone.hidden.weight.abs()
        p = W / W.sum(1, keepdim=True)  # by hand: the inputs of each neuron, weighted by what it reads in all
        inputs = (-(p * p.log()).sum(1)).exp() @ W.sum(1) / W.sum()
        assert row["inputs_per_neuron"] == pytest.approx(float(inputs), rel=1e-3)
        assert row["neurons_per_input"] <= 8
        assert row["accuracy"] == pytest.approx(parity.share_correct(alone, test), abs=0.005)
    assert {r["dropout"] for r in parity.dropout_run(**DROPOUT, state="untrained", n_rates=1)} == {0.0}


def test_noise_that_was_learned_shows_in_the_accuracy_on_its_own_labels():
    run = DROPOUT | {"width": 128, "net_epochs": 40}
    row = parity.dropout_run(**run, state="shuffled labels", n_rates=1)[0]
    assert row["accuracy_train"] > 0.56  # of 9,830: twelve standard errors above guessing
    assert row["accuracy"] == pytest.approx(0.5, abs=0.04)


def test_the_units_of_the_recipes_meet_where_codes_are_as_many_as_neurons():
    published, total = parity.RECIPES["published"], parity.RECIPES["sum"]
    assert published.l1_per_row(64, 64) == total.l1_per_row(64, 64)
    assert published.l1_per_row(64, 1024) * 16 == total.l1_per_row(64, 1024)


def test_the_published_recipe_is_the_training_of_two_torch_layers():
    """One step of Adam from the same weights on the same rows, by autograd: every weight moves alike."""
    x = parity.hidden(parity._network(15, 16, 0.0, torch.Generator().manual_seed(0)), parity.parity(3, 4, n=128))
    config = parity.RECIPES["published"].but(n_codes=32, l1=0.1, epochs=1)
    (start,) = sae.fit_stack(x, config.but(lr=1e-12), seeds=[3])
    (ours,) = sae.fit_stack(x, config, seeds=[3])
    layers = nn.Linear(16, 32), nn.Linear(32, 16)
    layers[0].weight.data, layers[0].bias.data = start.encoder.clone(), start.encoder_bias.clone()
    layers[1].weight.data, layers[1].bias.data = start.decoder.T.clone(), start.decoder_bias.clone()
    optimizer = torch.optim.Adam([p for layer in layers for p in layer.parameters()], lr=1e-3)
    z = layers[0](x).relu()
    (nn.functional.mse_loss(layers[1](z), x) + 0.1 * z.abs().mean()).backward()
    optimizer.step()
    torch.testing.assert_close(ours.encoder, layers[0].weight.detach(), rtol=0, atol=2e-6)
    torch.testing.assert_close(ours.encoder_bias, layers[0].bias.detach(), rtol=0, atol=2e-6)
    torch.testing.assert_close(ours.decoder, layers[1].weight.T.detach(), rtol=0, atol=2e-6)


def test_no_two_streams_of_a_run_share_a_seed(monkeypatch):
    """What draws networks, labels, columns and SAEs gets a seed that no other gets, over ten seeds of runs."""
    drawn = []
    parity._networks.cache_clear(), parity._task.cache_clear()

    def note(owner, name, seeds_of):
        inner = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, **k: (drawn.extend(seeds_of(*a, **k)), inner(*a, **k))[1])

    note(parity, "train_networks", lambda data, *, seeds, **_: {("network", seed) for seed in seeds})
    note(parity, "shuffle_columns", lambda h, seed: {("columns", seed)})
    note(parity.Parity, "shuffle_labels", lambda data, seed: {("labels", seed)})
    note(parity.sae, "fit_stack", lambda x, config, *, seeds, **_: {("sae", seed) for seed in seeds})
    for seed in range(1, 11):
        for state in ("shuffled labels", "shuffled columns"):
            parity.dictionary_run(
                **DICTIONARY | {"seed": seed, "net_epochs": 0}, state=state, rows="released", n_sae=2, sae_epochs=1
            )
    kinds = dict.fromkeys(kind for kind, _ in drawn)
    assert set(kinds) == {"network", "labels", "columns", "sae"}
    assert len({seed for _, seed in set(drawn)}) == len(set(drawn))


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
