"""Sparse parity: labels against integer arithmetic, networks against torch's own training of one alone, tables by hand."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from superpos import sae
from superpos.findings.parity import analysis, claims, explorer, runs, task
from superpos.findings.parity.runs import Run
from superpos.sweep import Rows


@pytest.mark.parametrize(("n_tasks", "n_bits"), [(3, 4), (2, 3), (1, 5), (4, 1)])
def test_labels_are_the_parity_of_the_active_tasks_bits(n_tasks, n_bits):
    data = task.parity(n_tasks, n_bits)
    seen = set()
    for x, active, label in zip(data.inputs.int().tolist(), data.task.tolist(), data.labels.tolist(), strict=True):
        assert x[:n_tasks] == [int(t == active) for t in range(n_tasks)]
        own = x[n_tasks + active * n_bits : n_tasks + (active + 1) * n_bits]
        assert label == int("".join(map(str, own)), 2).bit_count() & 1
        seen.add(tuple(x))
    assert len(seen) == len(data) == n_tasks * 2 ** (n_tasks * n_bits)


@pytest.mark.parametrize(("n_tasks", "n_bits", "n_rows"), [(3, 4, 500), (2, 13, 300)])
def test_a_draw_holds_different_samples_with_right_labels(n_tasks, n_bits, n_rows):
    data = task.parity(n_tasks, n_bits, n_rows=n_rows, seed=3)
    assert len(data.inputs.unique(dim=0)) == n_rows
    bits = data.inputs[:, n_tasks:].int().view(n_rows, n_tasks, n_bits)
    flipped = [sum(b[t].tolist()) % 2 for b, t in zip(bits, data.task, strict=True)]
    assert data.labels.tolist() == flipped
    assert 0.35 < data.labels.float().mean() < 0.65
    assert not torch.equal(data.inputs, task.parity(n_tasks, n_bits, n_rows=n_rows, seed=4).inputs)


def test_the_split_is_stratified_and_complete():
    data = task.parity()
    train, test = data.split(0.2, seed=5)
    assert len(train) + len(test) == len(data) == 12_288
    assert len(torch.cat([train.inputs, test.inputs]).unique(dim=0)) == 12_288
    for active in range(3):
        for label in range(2):
            assert int(((test.task == active) & (test.labels == label)).sum()) in (409, 410)  # a fifth of 2,048
    assert not torch.equal(test.inputs, data.split(0.2, seed=6)[1].inputs)


def test_possible_features_are_what_the_inputs_span_and_show():
    for n_tasks, n_bits in ((3, 4), (2, 3)):
        data, counts = task.parity(n_tasks, n_bits), task.possible_features(n_tasks, n_bits)
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
    data = task.parity()
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
    data = task.parity(2, 3)
    seeds, rates = [4, 5, 5], [0.0, 0.5, 0.0]
    stack = task.train_networks(data, seeds=seeds, dropout=rates, width=12, epochs=5, batch_size=20, lr=1e-2)
    alone = trained_alone(data, seeds[place], rates[place], 12, 5, 20)
    ours = stack[place]
    torch.testing.assert_close(ours.hidden.weight, alone[0].weight.detach(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(ours.out.bias, alone[2].bias.detach(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(ours(data.inputs), alone(data.inputs).detach(), rtol=1e-3, atol=1e-3)


def test_networks_learn_parity_but_not_shuffled_labels():
    train, test = task.parity(2, 4).split(0.2, seed=0)
    options = {"seeds": [1], "dropout": [0.0], "width": 64, "batch_size": 16, "lr": 5e-3}
    share = [
        task.share_correct(task.train_networks(data, epochs=epochs, **options)[0], test)
        for data, epochs in ((train, 80), (train.shuffle_labels(0), 80), (train, 0))
    ]
    assert share[0] > 0.97
    assert share[1:] == pytest.approx([0.5, 0.5], abs=0.2)


def test_hidden_reads_before_or_after_the_relu_and_without_dropout():
    data = task.parity(2, 2)
    (network,) = task.train_networks(data, seeds=[0], dropout=[0.9], width=8, epochs=2)
    before, after = task.hidden(network, data, "pre"), task.hidden(network, data, "post")
    torch.testing.assert_close(before, data.inputs @ network.hidden.weight.T + network.hidden.bias)
    assert (before < 0).any()
    torch.testing.assert_close(after, before.clamp(min=0))


RUN = Run("published", 1.0, 1, width=16, net_epochs=4, sae_epochs=3)


def test_a_run_gives_a_row_an_sae_and_look():
    rows = runs.parity_run(RUN.but(expansion=1.0, n_sae=2, sae_epochs=14))
    assert [(r["sae_seed"], r["epochs"]) for r in rows] == [(j, e) for j in (0, 1) for e in (7, 12, 14)]
    assert rows[1]["steps"] == 12 * 77  # 9,830 rows in batches of 128
    assert {r["n_codes"] for r in rows} == {16}
    assert rows[0]["psi"] == pytest.approx(rows[0]["effective_features"] / 16)
    assert rows[0]["held_out_features"] == pytest.approx(rows[0]["effective_features"], rel=0.05)
    assert rows[0]["held_out_features"] != rows[0]["effective_features"]


def test_saes_and_networks_of_a_run_do_not_depend_on_their_number():
    """Four SAEs, two on each of two networks, are those of runs with one SAE or one network."""
    run = RUN.but(n_rates=2, n_sae=2)
    both = {(r["dropout"], r["sae_seed"]): r for r in runs.parity_run(run) if r["epochs"] == 3}
    one_sae = {r["dropout"]: r for r in runs.parity_run(run.but(n_sae=1)) if r["epochs"] == 3}
    one_rate = {r["sae_seed"]: r for r in runs.parity_run(run.but(n_rates=1)) if r["epochs"] == 3}
    assert list(both) == [(0.0, 0), (0.0, 1), (0.9, 0), (0.9, 1)]
    for column in ("effective_features", "held_out_features", "accuracy"):
        for (rate, j), row in both.items():
            for alone in [one_sae[rate]] * (j == 0) + [one_rate[j]] * (rate == 0):
                assert row[column] == pytest.approx(alone[column], rel=1e-3)
    assert len({round(row["effective_features"], 3) for row in both.values()}) == 4


def prepared(state, rows="all"):
    samples, networks, x = runs._prepared(RUN.but(state=state, rows=rows), (0.0,))
    return networks, samples, x


def test_the_states_are_what_they_are_called():
    (trained,), (train, test), ((x,), _) = prepared("trained")
    (untrained,), _, _ = prepared("untrained")
    (noise,), (shuffled, _), _ = prepared("shuffled labels")
    (same,), _, ((columns,), _) = prepared("shuffled columns")
    assert same is trained
    torch.testing.assert_close(columns.sort(0).values, x.sort(0).values, rtol=0, atol=0)
    assert not torch.equal(columns, x)
    fresh = task._network(15, 16, 0.0, torch.Generator().manual_seed(1))
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


def test_each_rate_has_its_own_network():
    run = RUN.but(width=8, net_epochs=2, n_rates=4)
    rows = runs.parity_run(run)
    assert [(r["dropout"], r["epochs"]) for r in rows] == [(p, e) for p in (0.0, 0.3, 0.6, 0.9) for e in (1, 3)]
    (train, test), _, _ = runs._prepared(run, (0.0,))
    for row in (rows[1], rows[7]):
        (alone,) = task.train_networks(train, seeds=[1], dropout=[row["dropout"]], width=8, epochs=2)
        W = alone.hidden.weight.abs()
        p = W / W.sum(1, keepdim=True)  # by hand: the inputs of each neuron, weighted by what it reads in all
        inputs = (-(p * p.log()).sum(1)).exp() @ W.sum(1) / W.sum()
        assert row["inputs_per_neuron"] == pytest.approx(float(inputs), rel=1e-3)
        assert row["neurons_per_input"] <= 8
        assert row["accuracy"] == pytest.approx(task.share_correct(alone, test), abs=0.005)
    assert {r["dropout"] for r in runs.parity_run(run.but(state="untrained", n_rates=1))} == {0.0}


def test_noise_that_was_learned_shows_in_the_accuracy_on_its_own_labels():
    row = runs.parity_run(RUN.but(width=128, net_epochs=40, state="shuffled labels"))[0]
    assert row["accuracy_train"] > 0.56  # of 9,830: twelve standard errors above guessing
    assert row["accuracy"] == pytest.approx(0.5, abs=0.04)


def test_the_units_of_the_readings_meet_where_codes_are_as_many_as_neurons():
    published, total = runs.READINGS["published"], runs.READINGS["sum"]
    assert published.l1_per_row(64, 64) == total.l1_per_row(64, 64)
    assert published.l1_per_row(64, 1024) * 16 == total.l1_per_row(64, 1024)


def test_the_published_reading_is_the_training_of_two_torch_layers():
    """One step of Adam from the same weights on the same rows, by autograd: every weight moves alike."""
    x = task.hidden(task._network(15, 16, 0.0, torch.Generator().manual_seed(0)), task.parity(3, 4, n_rows=128))
    config = runs.READINGS["published"].but(n_codes=32, l1=0.1, epochs=1)
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
    runs._trained.cache_clear()

    def note(owner, name, seeds_of):
        inner = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, **k: (drawn.extend(seeds_of(*a, **k)), inner(*a, **k))[1])

    note(runs, "train_networks", lambda data, *, seeds, **_: {("network", seed) for seed in seeds})
    note(runs, "shuffle_columns", lambda h, seed: {("columns", seed)})
    note(task.Parity, "split", lambda data, share, seed: {("split", seed)})
    note(task.Parity, "shuffle_labels", lambda data, seed: {("labels", seed)})
    note(runs.sae, "fit_stack", lambda x, settings, *, seeds, **_: {("sae", seed) for seed in seeds})
    for seed in range(1, 11):
        for state in ("shuffled labels", "shuffled columns"):
            runs.parity_run(RUN.but(seed=seed, net_epochs=0, state=state, rows="released", n_sae=2, sae_epochs=1))
    assert {kind for kind, _ in drawn} == {"network", "split", "labels", "columns", "sae"}
    assert len({seed for _, seed in set(drawn)}) == len(set(drawn))


def test_the_grids_hold_each_sweep_once():
    lengths = {"all inputs": [9, 8], "sum unit": 7, "released": 6, "others": 5, "protocol": 4}
    grid = runs.dictionary_grid(
        3, {"main": [0.5, 1.0], "others": 0.1}, {"paper": 2, "released": 1}, lengths, seed=[1], width=8, expansion=[2.0]
    )
    assert [r.sae_epochs for r in grid] == [6] * 4 + [9, 8] + [7] * 2 + [5] * 6
    assert [r.n_sae for r in grid] == [3] * 8 + [1] * 6
    assert [r.net_epochs for r in grid] == [1] * 2 + [2] * 12
    assert len(set(grid)) == len(grid) == 14
    lengths = lengths | {"all inputs": 9}
    grid = runs.dropout_grid({"trained": 10, "controls": 4}, lengths, seed=[1], width=[8, 16], net_epochs=2)
    assert [(r.sae_epochs, r.n_rates) for r in grid[::2]] == [(6, 10), (9, 10), (4, 10), (9, 1), (9, 4), (9, 4)]
    assert {r.site for r in grid if r.reading == "protocol"} == {"post"}


def rows_of(*made, **shared):
    """Rows as a results file has them: what differs, over what a plain run has."""
    about = {f.name: f.default for f in dataclasses.fields(Run)} | {"reading": "published", "l1": 0.1, "sae_epochs": 8}
    about |= {"n_codes": 64, "sae_seed": 0, "epochs": 8, "steps": 80, "dropout": 0.0, "effective_features": 10.0}
    return pd.DataFrame([about | shared | row for row in made])


def test_rows_are_named_by_what_was_read_and_stand_in_that_order():
    table = rows_of(
        {"state": "untrained"},
        {"site": "post"},
        {"rows": "released", "net_epochs": 300},
        {"rows": "released", "net_epochs": 100},
        {"reading": "sum", "l1": 1.0},
        {"reading": "topk", "l1": 0.0},
        {"reading": "published"},
        seed=1,
    )
    named = analysis.labelled(table)
    assert named.reading.tolist() == [*analysis.MAIN, "TopK", "after the ReLU", "untrained"]
    assert named.l1.tolist() == ["0.1", "0.1", "0.1", "1", "0", "0.1", "0.1"]
    assert analysis.labelled(table.iloc[5:], ("TopK", "all inputs")).reading.tolist() == ["TopK", "all inputs"]
    assert set(analysis.beside_controls(named).reading) == {*named.reading} - {"sum unit"}


def test_a_line_has_settled_by_its_least_settled_size():
    """One size moves by 2 and 4%, the other by 4 and 8%: the mean of that one decides. Dead SAEs are left out."""
    ends = {(32, 1): 9.8, (32, 2): 9.6, (64, 1): 9.6, (64, 2): 10.8, (64, 3): float("nan")}
    made = [
        {"n_codes": n, "seed": seed, "epochs": epochs, "effective_features": F}
        for (n, seed), last in ends.items()
        for epochs, F in ((4, 10.0), (8, last))
    ]
    line = analysis.settled(rows_of(*made), ["reading", "l1"]).loc[("published", 0.1)]
    assert line.moved == pytest.approx(0.06)
    assert line["over 5%"] == 0.25
    assert line.state == "still falling"
    assert analysis.settled(rows_of(*made[:4]), ["reading"]).state.tolist() == ["converged"]


def test_slopes_and_curves_are_those_of_powers():
    """F = c · D^0.5 with a factor of each network's own; a line in which an SAE died has no slope, and its point goes at half."""
    made = [
        {"seed": s, "n_codes": n, "l1": l1, "effective_features": s * n**0.5 if l1 or n > 32 else float("nan")}
        for s in (1, 4)
        for n in (32, 64, 256)
        for l1 in (0, 1)
    ]
    slopes = analysis.slopes(rows_of(*made))
    assert slopes.l1.tolist() == [1]
    assert slopes[["slope", "low", "high"]].to_numpy() == pytest.approx(0.5)
    curve = analysis.curve(rows_of(*made), ["l1", "n_codes"]).set_index(["l1", "n_codes"])
    assert curve.effective_features.loc[(0, 64)] == pytest.approx(2 * 8)  # the geometric mean of 1 and 4 is 2
    assert (0, 32) not in curve.index
    assert curve.low.loc[(1, 64)] < 16 < curve.high.loc[(1, 64)]


def test_quality_spreads_are_within_and_between_networks():
    made = [
        {"seed": s, "sae_seed": j, "effective_features": np.exp(s + d)} for s in (1, 3) for j, d in ((0, -1), (1, 1))
    ]
    table = rows_of(*made, fvu=0.5, l0=2.0, dead=0.0).assign(held_out_features=lambda t: 2 * t.effective_features)
    line = analysis.quality(table, ["reading"]).loc["published"]
    assert line.held_out == pytest.approx(2)
    assert [line.sae_spread, line.network_spread] == pytest.approx([2**0.5, 2**0.5])


def falling():
    """F = 20·seed at dropout 0, 15·seed at 0.2 and 10·seed at 0.9, of two seeds."""
    made = [
        {"seed": s, "dropout": p, "effective_features": F * s, **dict.fromkeys(analysis.SPREAD, 1 + p)}
        for s in (1, 2)
        for p, F in ((0.0, 20.0), (0.2, 15.0), (0.9, 10.0))
    ]
    return rows_of(*made).assign(reading="all inputs", width="16")


def test_falls_stand_beside_the_paper():
    table = analysis.beside_paper(falling())
    ours = table.loc[("all inputs", "16")]
    assert ours.tolist() == pytest.approx([30, 22.5, 15, 0.5, 0.5])
    assert table.loc[("paper", "32"), "fall"] == pytest.approx(1 - 21 / 52)
    assert analysis.ranks(falling(), analysis.F)[["rho", "low", "high"]].to_numpy() == pytest.approx(-0.99)
    flat = falling().assign(effective_features=lambda t: t.effective_features.where(t.dropout < 0.9, 19.5 * t.seed))
    assert np.isnan(analysis.beside_paper(flat).loc[("all inputs", "16"), "by 0.2"])


def test_spread_is_relative_to_the_network_without_dropout():
    relative = analysis.relative(falling())
    assert len(relative) == 2 * 3 * 4
    assert relative.relative.to_numpy() == pytest.approx(1 + relative.dropout.to_numpy())
    assert set(relative.quantity) == {"neurons per input", "inputs per neuron", "neurons per code", "codes per neuron"}


@pytest.mark.parametrize(
    ("exponent", "words"),
    [({}, ["agrees", "agrees", "agrees"]), ({"all inputs": 0.5, "sum unit": 0.5}, ["differs"] * 3)],
)
def test_claims_on_slopes_hold_rows_against_growth_and_plateau(exponent, words, tmp_path):
    """Rows that grow as the paper says give agreement, others do not."""
    paper = {0.01: np.log(690 / 27) / np.log(32), 0.1: 0.0, 1.0: 0.0}
    made = [
        {"seed": s, "reading": reading, "l1": l1, "expansion": e, "n_codes": int(64 * e), "epochs": epochs}
        | {"effective_features": (20 + 0.001 * s) * e ** exponent.get(name, paper[l1] if name == "all inputs" else 0.0)}
        for name, reading in {"all inputs": "published", "sum unit": "sum"}.items()
        for s in (1, 2)
        for l1 in paper
        for e in claims.LARGE
        for epochs in (4, 8)
    ]
    rows_of(*made).to_csv(tmp_path / "dictionary.csv")
    rows = Rows(tmp_path)
    grows, off, of_sum = claims.grows(rows)[0], claims.levels_off(rows)[0], claims.levels_off(rows)[-1]
    assert [grows.id, off.id, of_sum.id] == [f"dictionary.slope_l1_{name}" for name in ("0.01", "0.1", "sum_1")]
    assert [one.rule(one.paper, one.estimate) for one in (grows, off, of_sum)] == words
    assert [grows.word, off.word, of_sum.word] == ["another protocol", "another protocol", ""]
    assert grows.text.endswith("(slope of ln F, converged)")


@pytest.mark.parametrize(
    ("run_on", "words"),
    [
        (
            0.2,
            ["F grows by", "and grows more slowly where", "inputs, with 0.2 [", "at λ = 1 it levels off, with 0.01 ["],
        ),
        (0.01, ["F grows by", "and levels off where", "inputs, with 0.01 [", "at λ = 1 it levels off, with 0.01 ["]),
        (1.0, ["F grows by", "and grows where", "inputs, with 1 [", "at λ = 1 it levels off, with 0.01 ["]),
        (-0.3, ["F grows by", "and falls where", "inputs, with −0.3 [", "at λ = 1 it levels off, with 0.01 ["]),
    ],
)
def test_the_answer_on_dictionaries_goes_by_the_slopes(run_on, words, tmp_path):
    """As released F grows by D^0.9 at the weakest λ; the SAEs on all inputs decide what is said of them."""
    slope = {("released", 0.01): 0.9, ("all", 0.01): run_on}
    made = [
        {"seed": s, "rows": rows, "l1": l1, "expansion": e, "n_codes": int(64 * e), "epochs": epochs}
        | {"effective_features": (20 + 0.001 * s) * e ** slope.get((rows, l1), 0.01)}
        for rows in ("released", "all")
        for s in (1, 2)
        for l1 in (0.01, 0.1, 1.0)
        for e in claims.LARGE
        for epochs in (4, 8)
    ]
    rows_of(*made).to_csv(tmp_path / "dictionary.csv")
    told = claims.answer_dictionary(Rows(tmp_path))
    assert all(word in told.sentence for word in words), told.sentence
    assert "F had settled" in told.rests_on


@pytest.mark.parametrize(
    ("falling", "head", "widths", "percent"),
    [
        (("released", "all inputs", "protocol"), "Yes, by every reading", "2", "75%"),
        (("released",), "That depends on the reading", "2", "75%"),
        ((), "Not surely, by any reading", "none", "−300%"),
    ],
)
def test_the_answer_on_dropout_goes_by_the_readings_in_which_f_falls(falling, head, widths, percent, tmp_path):
    """F is multiplied or divided by four from rate 0 to 0.9."""
    kinds = {
        "released": {"rows": "released"},
        "all inputs": {},
        "protocol": {"reading": "protocol", "site": "post", "l1": 0.5},
    }
    made = [
        about | {"seed": s, "width": width, "dropout": rate} | {"effective_features": 10.0 * s * 4 ** (sign * step / 2)}
        for name, about in kinds.items()
        for sign in [-1 if name in falling else 1]
        for s in (1, 2)
        for width in (16, 32)
        for step, rate in enumerate((0.0, 0.2, 0.9))
    ]
    rows_of(*made).to_csv(tmp_path / "dropout.csv")
    told = claims.answer_dropout(Rows(tmp_path)).sentence
    assert told.startswith(
        f"{head}: of 2 widths of the network, F surely falls at {widths} by the paper's own script (as released)"
    )
    assert f", with 32 neurons by {percent} [" in told


def test_the_pictures_say_what_their_rows_say():
    """The titles of the two first figures, from rows in which F grows fourfold, and halves with dropout."""
    made = [
        {"seed": s, "rows": rows, "n_codes": n, "effective_features": 5.0 * (n / 64 if rows == "released" else 1)}
        for rows in ("all", "released")
        for s in (1, 2)
        for n in (64, 256)
    ]
    drawn = explorer.growth(analysis.growth(analysis.labelled(rows_of(*made))), 27)
    title = " ".join(drawn.title).replace("\u00a0", " ")
    assert (
        title == "At λ = 0.1, 4 times the codes multiply F by 1 (all inputs) and 4 (released, networks of 300 epochs)"
    )
    table = analysis.changes(falling())
    assert table.change.tolist() == pytest.approx([-50, 100 * (16 / 36 - 1)])
    assert table.low.isna().tolist() == [True, False], "two networks are too few for an interval"
    assert explorer.changes(table).title == "With dropout F changes by −50% (all inputs), at one width"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: task.parity(0, 4), "at least one task of one bit, 56 bits in all, got 0 of 4"),
        (lambda: task.parity(4, 8), "4 tasks of 8 bits have .* say how many"),
        (lambda: task.parity(2, 2, n_rows=33), "between 1 and 32, got 33"),
        (lambda: task.train_networks(task.parity(1, 2), seeds=[1], dropout=[0.1, 0.2]), "1 seeds for 2 dropout"),
        (lambda: task.train_networks(task.parity(1, 2), seeds=[1], dropout=[1.0]), r"below 1, got \[1.0\]"),
        (lambda: task.hidden(nn.Sequential(), task.parity(1, 2), "both"), "'both'"),
        (lambda: RUN.but(state="asleep"), "state must be 'trained', .* 'asleep'"),
        (lambda: RUN.but(reading="x"), "reading must be .* 'x'"),
        (lambda: RUN.but(rows="some"), "rows must be .* 'some'"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
