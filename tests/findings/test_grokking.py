"""Arithmetic modulo a prime, networks that learn it, and what a run reads of them."""

import itertools

import numpy as np
import pytest
import torch

from superpos import metrics, sae, usage
from superpos.findings.grokking import runs, task


def small(**changes):
    """A network of the seven numbers that trains in no time."""
    return task.Network(**{"width": 8, "seed": 3, "steps": 40, "share": 0.5, "modulus": 7} | changes)


def run_small(every=20, llc_draws=5, **changes):
    return runs.checkpoint_run(runs.Checkpoints(small(**changes), every, 30, llc_draws, "protocol,mean unit"))


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
    inputs, labels = small(operation=operation).pairs()
    pairs = [tuple(pair) for pair in inputs.tolist()]
    assert sorted(pairs) == list(itertools.product(range(7), repeat=2))
    assert labels.tolist() == [by_hand(a, b) for a, b in pairs]


def test_a_split_holds_every_pair_once():
    network = small(modulus=11, share=0.4)
    (train, labels), (test, _) = network.split()
    assert (len(train), len(test)) == (48, 73)
    assert len({tuple(pair) for pair in [*train.tolist(), *test.tolist()]}) == 121
    assert labels.tolist() == [(a + b) % 11 for a, b in train.tolist()]
    assert not torch.equal(train, network.but(seed=4).split()[0][0])


def test_shuffled_labels_are_the_same_in_another_order():
    network = small(modulus=11)
    (inputs, labels), rest = network.split()
    (same, shuffled), same_rest = network.but(state="shuffled labels").split()
    assert torch.equal(same, inputs)
    assert not torch.equal(shuffled, labels)
    assert sorted(shuffled.tolist()) == sorted(labels.tolist())
    assert torch.equal(same_rest[1], rest[1]), "those that test are as they were"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: small(modulus=9), "modulus must be a prime, got 9"),
        (lambda: small(operation="/"), "operation must be .*, got '/'"),
        (lambda: small(share=1.0), "share must be less than 1, got 1.0"),
        (lambda: small(architecture="cnn"), "architecture must be 'mlp' or 'transformer', got 'cnn'"),
        (lambda: small(state="asleep"), "state must be .*, got 'asleep'"),
        (lambda: small(width=6), "width must be a multiple of 4, got 6"),
        (
            lambda: runs.Checkpoints(small(), 20, 30, 5, "ours"),
            "readings must be one of protocol, mean unit, published, got 'ours'",
        ),
    ],
)
def test_bad_settings_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("architecture", ["mlp", "transformer"])
def test_training_is_torchs_own(architecture):
    """Two steps beside two of torch's loop."""
    network = small(architecture=architecture, width=16, steps=2)
    training, alone = task.train(network, keep=[0]), network.build()
    started = training.network(0).state_dict()
    assert all(torch.equal(started[name], value) for name, value in alone.state_dict().items())
    inputs, labels = network.split()[0]
    optimiser = torch.optim.AdamW(
        alone.parameters(), lr={"mlp": 3e-3, "transformer": 1e-3}[architecture], weight_decay=1.0
    )
    for _ in range(2):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(alone(inputs), labels).backward()
        optimiser.step()
    trained = training.network(2).state_dict()
    for name, value in alone.state_dict().items():
        assert torch.allclose(trained[name], value, atol=1e-5), name


def test_scores_are_those_of_the_network():
    network = small(steps=30)
    training = task.train(network)
    scores, (inputs, labels) = training.scores(30), network.split()[1]
    logits = training.network(30)(inputs).detach()
    assert scores["accuracy_test"] == pytest.approx(float((logits.argmax(1) == labels).double().mean()))
    assert scores["loss_test"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-5)
    assert scores["loss_train"] < scores["loss_test"]


def test_a_seed_decides_its_network():
    weights = [task.train(small(seed=seed, steps=3)).states[3]["out.weight"] for seed in (3, 3, 4)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_memorising_comes_first():
    training = task.train(small(width=48, seed=1, share=0.4, modulus=13, steps=400), keep=[0])
    assert training.scores(0)["accuracy_train"] < 0.3
    assert training.scores(400)["accuracy_train"] > 0.95


def test_sites_are_what_the_formula_says():
    network = small()
    model, (pairs, _) = network.build(), network.pairs()
    seen, weights = task.sites(model, pairs), model.state_dict()
    E = weights["embedding.weight"]
    pre = E[pairs[:, 0]] @ weights["left.weight"].T + E[pairs[:, 1]] @ weights["right.weight"].T + weights["right.bias"]
    assert torch.allclose(seen["pre"], pre, atol=1e-6)
    assert torch.allclose(seen["post"], pre * (1 + torch.erf(pre / 2**0.5)) / 2, atol=1e-6)
    assert torch.equal(seen["embedding"], E)
    logits = seen["post"] @ weights["out.weight"].T + weights["out.bias"]
    assert torch.allclose(model(pairs), logits, atol=1e-6)


def test_sites_of_the_transformer_leave_out_the_token_that_is_no_number():
    network = small(architecture="transformer", width=32)
    seen = task.sites(network.build(), network.pairs()[0])
    assert {name: tuple(x.shape) for name, x in seen.items()} == {
        "embedding": (7, 8),
        "pre": (49, 32),
        "post": (49, 32),
    }
    assert (seen["post"] >= 0).all()


def test_fourier_power_of_waves():
    """Two waves of amplitude 2 and 1, whatever their phase, and a mean that does not count: power 4 : 1."""
    n = torch.arange(53.0)
    wave = [
        2 * torch.cos(2 * torch.pi * 3 * n / 53 + 0.7),
        torch.sin(2 * torch.pi * 11 * n / 53),
        torch.full((53,), 5.0),
    ]
    power = task.fourier_power(torch.stack(wave, 1))
    assert power.shape == (26,)
    assert power[[2, 10]] == pytest.approx([0.8, 0.2])


def test_tuning_of_codes_that_know_one_thing():
    pairs, _ = small().pairs()
    a, b = pairs.T
    values = torch.randn(7, generator=torch.Generator().manual_seed(1))
    z = torch.stack([values[a], values[b], values[(a + b) % 7], values[a] + values[b], 0 * a.float()], 1)
    tuned = task.code_tuning(z, pairs)
    # values of a alone say nothing of a + b, which is uniform whatever a is
    expected = [[1, 0, 0, 0.5, 0], [0, 1, 0, 0.5, 0], [0, 0, 1, 0, 0]]
    assert tuned.numpy() == pytest.approx(np.array(expected), abs=1e-6)


def test_a_checkpoint_run_reads_the_network_of_its_row():
    """The columns of the second checkpoint beside the same quantities of that network, taken one by one."""
    rows = run_small()
    assert [row["step"] for row in rows] == [0, 20, 40]
    network, row = task.train(small(), keep=[20]).network(20), rows[1]
    inputs, labels = small().split()[1]
    assert row["accuracy_test"] == pytest.approx(float((network(inputs).argmax(1) == labels).double().mean()))
    square = sum(float((w.detach() ** 2).sum()) for w in network.parameters())
    assert row["weight_norm"] == pytest.approx(square**0.5, rel=1e-5)
    pre = task.sites(network, small().pairs()[0])["pre"]
    order = torch.randperm(49, generator=torch.Generator().manual_seed(5 * 10**8 + 3))
    fit = sae.fit(pre[order[9:]], sae.PROTOCOL.but(expansion=2.0, steps=30), seed=3)
    seen = usage.reading(fit, pre[order[:9]])
    assert row["features_pre_protocol"] == pytest.approx(seen["effective_features"], rel=1e-3)
    assert row["fvu_pre_protocol"] == pytest.approx(seen["fvu"], rel=1e-2)
    assert row["participation_pre"] == pytest.approx(metrics.participation_ratio(pre), rel=1e-4)
    assert "features_pre_published" not in row
    assert rows[0]["llc_hot"] != rows[2]["llc_hot"]
    assert len(run_small(llc_draws=0)[0]) == len(row) - 10


def test_the_rows_read_are_no_more_of_the_training_pairs_than_others():
    """A reading on pairs that the network trained on would compare memory with the rest: about the share is expected."""
    network = task.Network(width=48, seed=3, steps=1)
    pairs, _ = network.pairs()
    fitted, read = runs._parts(torch.arange(len(pairs))[None, :, None], "pre", 3)
    assert sorted([*fitted.flatten().tolist(), *read.flatten().tolist()]) == list(range(2809))
    in_training = {tuple(pair) for pair in network.split()[0][0].tolist()}
    share = np.mean([tuple(pair) in in_training for pair in pairs[read.flatten()].tolist()])
    assert share == pytest.approx(0.4, abs=0.1)


def test_a_run_without_weight_decay_keeps_its_norm():
    kept, lost = (
        run_small(state=s, steps=400, every=200, llc_draws=0)[-1] for s in ("no weight decay", "weight decay")
    )
    assert kept["weight_norm"] > 1.1 * lost["weight_norm"]


def test_a_timeline_holds_the_dictionary_of_each_moment():
    rows = runs.timeline_run(runs.Timeline(small(), 20, 30, "pre"))
    assert [row["step"] for row in rows] == [0, 20, 40]
    for row in rows:
        shares = np.array(row["shares"].split(), dtype=float)
        assert len(shares) == len(row["tuned"]) == 16
        assert set(row["tuned"]) <= set("abs-")
        assert (np.diff(shares) <= 0).all()
        assert shares.sum() == pytest.approx(1, abs=1e-3)
        assert metrics.effective_features(metrics.shares(shares)) == pytest.approx(row["effective_features"], rel=1e-2)
        assert sum(map(float, row["spectrum"].split())) == pytest.approx(1, abs=1e-3)


def test_variations_change_one_thing_at_a_time():
    rows = runs.variation_run(runs.Variations(small(), 20, 60))
    assert len(rows) == 2 * 2 * len(runs.VARIATIONS)
    F = {(row["variation"], row["site"], row["step"]): row["effective_features"] for row in rows}
    ours = F.pop(("ours", "pre", 20))
    others = [value for (_, site, step), value in F.items() if (site, step) == ("pre", 20)]
    assert len(others) == len(runs.VARIATIONS) - 1
    assert all(value != pytest.approx(ours, rel=1e-6) for value in others)
    codes = {row["variation"]: row["n_codes"] for row in rows}
    assert (codes["ours"], codes["one code a neuron"], codes["four codes a neuron"]) == (16, 8, 32)
    topk = next(row for row in rows if row["variation"].startswith("TopK"))
    assert topk["l0"] <= 2


def test_groups_of_networks_are_the_main_ones_but_for_what_is_said():
    main = {"networks": 2, "steps": 100, "every": 10, "sae_steps": 50, "llc_draws": 7, "readings": "protocol,published"}
    grid = runs.checkpoint_grid(main, shuffled={"networks": 1}, wide={"networks": 3, "steps": 300})
    assert [(run.network.width, run.network.seed) for run in grid] == [
        (48, 1),
        (48, 2),
        (48, 1),
        *((128, s) for s in (1, 2, 3)),
    ]
    assert [run.network.steps for run in grid] == [100] * 3 + [300] * 3
    assert (grid[0].readings, grid[0].llc_draws) == ("protocol,published", 7)
    assert (grid[2].readings, grid[2].llc_draws, grid[2].network.state) == ("protocol", 0, "shuffled labels")
