import itertools

import numpy as np
import pandas as pd
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


def run_small(**changes):
    settings = {
        "network": "mlp", "hidden": 8, "state": "weight decay", "seed": 3, "share": 0.5, "every": 20, "steps": 40,
        "sae_steps": 30, "llc_draws": 5, "readings": "protocol,mean unit", "modulus": 7,
    }  # fmt: skip
    return modular.checkpoint_run(**settings | changes)


def test_shuffled_labels_are_the_same_in_another_order():
    train, _ = modular.modular(11).split(0.4, seed=3)
    shuffled = train.shuffled(5)
    assert torch.equal(shuffled.inputs, train.inputs)
    assert not torch.equal(shuffled.labels, train.labels)
    assert sorted(shuffled.labels.tolist()) == sorted(train.labels.tolist())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: modular.modular(9), "modulus must be a prime, got 9"),
        (lambda: modular.modular(7, "/"), "got '/'"),
        (lambda: modular.modular(7).split(1.0), "below 1, got 1.0"),
        (lambda: modular.build("cnn", 7, 0), "got 'cnn'"),
        (lambda: run_small(readings="ours"), "unknown reading 'ours'; expected one of protocol, mean unit, published"),
        (lambda: run_small(state="asleep"), "got 'asleep'"),
        (lambda: run_small(hidden=6), "hidden must be a multiple of 4, got 6"),
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


def test_sites_are_what_the_formula_says():
    network = modular.build("mlp", 7, 1, embed=4, hidden=6)
    pairs = modular.modular(7).inputs
    seen = modular.sites(network, pairs)
    weights = network.state_dict()
    E = weights["embedding.weight"]
    pre = E[pairs[:, 0]] @ weights["left.weight"].T + E[pairs[:, 1]] @ weights["right.weight"].T + weights["right.bias"]
    assert torch.allclose(seen["pre"], pre, atol=1e-6)
    assert torch.allclose(seen["post"], pre * (1 + torch.erf(pre / 2**0.5)) / 2, atol=1e-6)
    assert torch.equal(seen["embedding"], E)
    assert not network.pre._forward_hooks


def test_sites_of_the_transformer_leave_out_the_token_that_is_no_number():
    seen = modular.sites(modular.build("transformer", 7, 1, width=8, heads=2), modular.modular(7).inputs)
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
    power = modular.fourier_power(torch.stack(wave, 1))
    assert power.shape == (26,)
    assert power[[2, 10]] == pytest.approx([0.8, 0.2])


def test_tuning_of_codes_that_know_one_thing():
    pairs = modular.modular(7).inputs
    a, b = pairs.T
    values = torch.randn(7, generator=torch.Generator().manual_seed(1))
    z = torch.stack([values[a], values[b], values[(a + b) % 7], values[a] + values[b], 0 * a.float()], 1)
    tuned = modular.code_tuning(z, pairs, 7)
    # values of a alone say nothing of a + b, which is uniform whatever a is
    expected = [[1, 0, 0, 0.5, 0], [0, 1, 0, 0.5, 0], [0, 0, 1, 0, 0]]
    assert tuned.numpy() == pytest.approx(np.array(expected), abs=1e-6)


def test_a_checkpoint_run_reads_the_network_of_its_row():
    """The columns of the second checkpoint beside the same quantities of that network, taken one by one."""
    from superpos import measurement, metrics, sae

    rows = run_small()
    assert [row["step"] for row in rows] == [0, 20, 40]
    data = modular.modular(7)
    training = modular.train_networks(data.split(0.5, 3), seeds=[3], steps=40, keep=[20], embed=2, hidden=8)
    network, row = training.network(3, 20), rows[1]
    right = network(data.split(0.5, 3)[1].inputs).argmax(1) == data.split(0.5, 3)[1].labels
    assert row["accuracy_test"] == pytest.approx(float(right.double().mean()))
    square = sum(float((w.detach() ** 2).sum()) for w in network.parameters())
    assert row["weight_norm"] == pytest.approx(square**0.5, rel=1e-5)
    pre = modular.sites(network, data.inputs)["pre"]
    order = torch.randperm(49, generator=torch.Generator().manual_seed(5 * 10**8 + 3))
    config = sae.PROTOCOL.but(expansion=2.0, steps=30)
    fit = sae.fit(pre[order[9:]], config, seed=3)
    seen = measurement.reading(fit, pre[order[:9]])
    assert row["features_pre_protocol"] == pytest.approx(seen["effective_features"], rel=1e-3)
    assert row["fvu_pre_protocol"] == pytest.approx(seen["fvu"], rel=1e-2)
    assert row["participation_pre"] == pytest.approx(metrics.participation_ratio(pre), rel=1e-4)
    assert "features_pre_published" not in row
    assert rows[0]["llc_hot"] != rows[2]["llc_hot"]
    assert len(run_small(llc_draws=0)[0]) == len(row) - 10


def test_the_rows_read_are_no_more_of_the_training_pairs_than_others():
    """A reading on pairs that the network trained on would compare memory with the rest: about the share is expected."""
    pairs = modular.modular(53)
    numbered = torch.arange(len(pairs))[None, :, None]
    fitted, read = modular._parts(numbered, "pre", 3)
    assert sorted([*fitted.flatten().tolist(), *read.flatten().tolist()]) == list(range(2809))
    in_training = {tuple(pair) for pair in pairs.split(0.4, 3)[0].inputs.tolist()}
    share = np.mean([tuple(pair) in in_training for pair in pairs.inputs[read.flatten()].tolist()])
    assert share == pytest.approx(0.4, abs=0.1)


def test_a_run_without_weight_decay_keeps_its_norm():
    with_decay, without = (run_small(state=s, steps=400, every=200, llc_draws=0)[-1] for s in modular.STATES[:2])
    assert without["weight_norm"] > 1.1 * with_decay["weight_norm"]


def test_a_timeline_holds_the_dictionary_of_each_moment():
    rows = modular.timeline_run("mlp", 8, 3, "pre", 20, 40, 30, share=0.5, modulus=7)
    assert [row["step"] for row in rows] == [0, 20, 40]
    for row in rows:
        shares = np.array(row["shares"].split(), dtype=float)
        assert len(shares) == len(row["tuned"]) == 16
        assert set(row["tuned"]) <= set("abs-")
        assert (np.diff(shares) <= 0).all()
        assert shares.sum() == pytest.approx(1, abs=1e-3)
        assert np.exp(-(shares[shares > 0] * np.log(shares[shares > 0])).sum()) == pytest.approx(
            row["effective_features"], rel=1e-2
        )
        assert sum(map(float, row["spectrum"].split())) == pytest.approx(1, abs=1e-3)


def test_bars_of_a_timeline_are_its_words():
    rows = pd.DataFrame([{"step": 5, "shares": "0.7 0.2995 0.0005", "tuned": "bs-", "spectrum": "0.9 0.1"}])
    bars = modular.timeline_bars(rows)
    assert bars.to_numpy().tolist() == [
        [5, "code", 1, "b", 0.7],
        [5, "code", 2, "a + b", 0.2995],
        [5, "frequency", 1, "power", 0.9],
        [5, "frequency", 2, "power", 0.1],
    ]


def test_variations_change_one_thing_at_a_time():
    rows = modular.variation_run(8, 3, 20, 40, 60, modulus=7, share=0.5)
    assert len(rows) == 2 * 2 * len(modular.VARIATIONS)
    F = {(row["variation"], row["site"], row["step"]): row["effective_features"] for row in rows}
    ours = F.pop(("ours", "pre", 20))
    others = [value for (_, site, step), value in F.items() if (site, step) == ("pre", 20)]
    assert len(others) == len(modular.VARIATIONS) - 1
    assert all(value != pytest.approx(ours, rel=1e-6) for value in others)
    codes = {row["variation"]: row["n_codes"] for row in rows}
    assert (codes["ours"], codes["one code a neuron"], codes["four codes a neuron"]) == (16, 8, 32)
    topk = next(row for row in rows if row["variation"].startswith("TopK"))
    assert topk["l0"] <= 2
