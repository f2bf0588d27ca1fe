"""Adversarial training read: tasks, the paper's schedule, rows that are what they say."""

import os
import signal
import threading
import time

import numpy as np
import pandas as pd
import pytest
import torch
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from book.run import RESULTS
from superpos import checkpoint, metrics, networks, sae, store, sweep, training
from superpos.activations import Rows
from superpos.attacks import Attack
from superpos.claims import Claim, Estimate, OnSide
from superpos.findings.adversarial import analysis, choices, claims, explorer, naming, runs, slopes, task
from superpos.findings.adversarial.slopes import Choice
from superpos.settings import build, flat

RUN = build(
    runs.AttackRun, dataset="digits", n_classes=3, architecture="mlp1", width=8, epsilon=0.2, seed=4, update="corrected",
    per_class=60, epochs=30, attack_steps=3, n_images=150, n_rows=150, readings="published", n_sae=2, batch_size=32, n_test=50,
)  # fmt: skip
SHORT = RUN.but(epsilon=0.3, seed=2, epochs=2, batch_size=256, readings="protocol", n_rows=1000, n_sae=1)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The usual readings, of few steps; the second reads the rows that it was fitted to."""
    monkeypatch.setitem(runs.READINGS, "published", sae.PROTOCOL.but(steps=60))
    monkeypatch.setitem(runs.READINGS, "protocol", sae.PROTOCOL.but(steps=60, held_out=0.0))
    monkeypatch.setitem(runs.READINGS, "TopK", runs.READINGS["TopK"].but(steps=60))


def pixels(images):
    return {tuple(image.flatten().tolist()) for image in images.images}


def test_a_task_is_its_first_classes_and_its_parts_are_apart():
    train, validation, read, test = task.load("digits", 3, 60)
    assert train.labels.bincount().tolist() == [60, 60, 60]
    assert set(test.labels.tolist()) == {0, 1, 2}
    assert pixels(train) < pixels(read)
    assert not pixels(read) & pixels(validation)
    whole, held, readable, _ = task.load("digits", 3)
    assert len(whole) == len(readable)
    assert len(held) == pytest.approx((len(whole) + len(held)) / 6, abs=1)


def test_a_class_has_the_same_images_however_many_there_are():
    three, five = (task.load("digits", n, 40)[0] for n in (3, 5))
    assert len(five) == 200
    assert (three.labels == 0).sum() == (five.labels == 0).sum() == 40


def test_bad_tasks_are_named():
    with pytest.raises(ValueError, match="n_classes must be between 2 and 10, got 11"):
        task.load("digits", 11)
    with pytest.raises(ValueError, match="per_class must be between 1 and"):
        task.load("digits", 3, 4000)
    with pytest.raises(ValueError, match=r"reading must be one of published, .*, got 'ours'"):
        RUN.but(readings="published; ours")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("epochs", -1, "epochs must be greater than or equal to 0, got -1"),
        ("attack_steps", 0, "attack_steps must be greater than or equal to 1, got 0"),
        ("batch_size", 0, "batch_size must be"),
        ("n_sae", 0, "n_sae must be"),
        ("sae_share", 0.0, "sae_share must be greater than 0, got 0.0"),
        ("n_rows", 0.5, "n_rows must be a valid integer, got 0.5"),
        ("width", 1.5, "width must be a whole number, got 1.5"),
        ("width", 0, "width must be greater than 0, got 0"),
        ("epochs", None, "epochs must be a valid integer, got None"),
        ("attack_steps", "3", "attack_steps must be a valid integer, got '3'"),
        ("lr", True, "lr must be a valid number, got True"),
        ("lr", 0.0, "lr must be greater than 0, got 0.0"),
        ("epsilon", 1.5, "epsilon must be less than or equal to 1, got 1.5"),
        ("milestones", 0.5, "milestones must be a valid string, got 0.5"),
        ("milestones", "", "milestones .* got ''"),
        ("milestones", "0.5,1.5", "milestones .* got '0.5,1.5'"),
        ("part", "all", "part must be 'train' or 'test', got 'all'"),
        ("keep", "first", "keep must be 'last' or 'best', got 'first'"),
    ],
)
def test_settings_that_cannot_be_are_named(name, value, expected):
    with pytest.raises(ValueError, match=expected):
        RUN.but(**{name: value})
    assert RUN.but(architecture="resnet18", width=0.25, milestones="0,.5,1").network.width == 0.25


def test_attacks_are_the_papers_and_go_as_far_in_fewer_steps():
    assert task.paper_attack((1, 28, 28)) == (Attack(40, 0.01), (0.1, 0.2, 0.3))
    color, radii = task.paper_attack((3, 32, 32))
    assert (color.steps, color.step_size, max(radii)) == (10, pytest.approx(2 / 255), 0.03)
    short = RUN.but(attack_steps=5, products="bfloat16").network.training(Attack(40, 0.01)).attack
    assert (short.steps, short.step_size, short.products) == (5, pytest.approx(0.08), "bfloat16")


def test_a_network_is_trained_by_the_papers_schedule():
    images, validation, _, _ = task.load("digits", 2, 50)
    network = RUN.but(
        n_classes=2, architecture="mlp", width=4, epsilon=0.3, update="leak", epochs=8, attack_steps=1
    ).network
    model, history = task.train_network(network, images, validation)
    assert model.out.out_features == 1
    assert history.lr.tolist() == pytest.approx([0.01] * 4 + [0.001] * 2 + [0.0001] * 2)
    assert history.epsilon.tolist() == pytest.approx([0.1] * 2 + [0.2] * 2 + [0.3] * 4)
    _, late = task.train_network(network.but(milestones="0.75,1"), images, validation)
    assert late.lr.tolist() == pytest.approx([0.01] * 6 + [0.001] * 2)


@pytest.mark.parametrize(("epsilon", "epochs"), [(0.0, 8), (0.5, 9), (0.5, 20), (0.5, 1)])
def test_the_best_epoch_is_put_back_and_has_the_whole_radius(epsilon, epochs, monkeypatch):
    """At a large radius the early epochs, validated at a third of it, look best, and must not be taken."""
    weights, one_epoch = [], training._epoch

    def recorded(model, *rest):
        result = one_epoch(model, *rest)
        weights.append({name: value.clone() for name, value in model.state_dict().items()})
        return result

    monkeypatch.setattr(training, "_epoch", recorded)
    images, validation, _, _ = task.load("digits", 3, 60)
    network = SHORT.but(epsilon=epsilon, epochs=epochs, batch_size=16, keep="best", attack_steps=2).network
    model, history = task.train_network(network, images, validation)
    ended = task._ended(model, images, history)
    late = history[(history.epsilon == epsilon) & (history.epoch > epochs / 2)]
    best = 1 if epochs == 1 else late.epoch[late.validation == late.validation.max()].max()
    assert epochs != 20 or history.validation.max() > late.validation.max()
    assert ended["epoch_kept"] == best
    assert all(torch.equal(value, weights[best - 1][name]) for name, value in model.state_dict().items())
    assert ended["accuracy_train"] == training.accuracy(model, images)


def test_without_epochs_the_network_is_untrained():
    rows = runs.attack_run(RUN.but(epochs=0, epsilon=0.0, n_sae=1))
    assert rows[0]["epoch_kept"] == 0
    assert rows[0]["accuracy_train"] < 0.7


def test_layers_count_their_parameters():
    images, *_ = task.load("digits", 3, 50)
    model = networks.build("mlp", images.shape, 3, width=2)
    assert task.layer_weights(model) == {"fc1": 64 * 8 + 8, "fc2": 8 * 4 + 4, "fc3": 4 * 2 + 2, "out": 2 * 3 + 3}


def test_a_run_has_a_row_for_every_layer_input_and_sae():
    rows = runs.attack_run(RUN)
    assert len(rows) == 2 * 2 * 2  # layers (and logits), kinds of input, SAE seeds
    assert {row["inputs"] for row in rows} == {"clean", "attacked"}
    assert {row["sae_seed"] for row in rows} == {4, 1004}
    assert len({round(row["effective_features"], 6) for row in rows if row["layer"] == "fc1"}) == 4
    accuracies = [rows[0][f"accuracy_{radius}"] for radius in ("0", "0.1", "0.2", "0.3")]
    assert accuracies[0] > 0.8
    assert accuracies[0] > accuracies[3]
    assert {row["parameters"] for row in rows} == {64 * 8 + 8, 8 * 3 + 3}


def test_rows_of_a_run_pass_the_sweep(tmp_path):
    """What a row says of its rows and rounds must not be lost to a parameter of the same name."""
    table = sweep.run(runs.attack_run, [RUN.but(n_sae=1)], tmp_path / "rows.csv", n_jobs=1)
    assert table.rows_read.tolist() == [30] * 4
    assert (table.rounds != 30).all()


def test_without_a_radius_clean_stands_for_all():
    rows = runs.attack_run(RUN.but(epsilon=0.0, architecture="mlp", width=4, n_sae=1))
    assert [(row["layer"], row["inputs"]) for row in rows] == [
        (layer, "clean") for layer in ("fc1", "fc2", "fc3", "out")
    ]


def test_attacked_rows_are_of_attacked_images():
    """The effective rank, which needs no SAE, beside the layer's activations taken by hand."""
    images, validation, _, _ = task.load("digits", 3, 30)
    model, _ = task.train_network(SHORT.network, images, validation)
    attack = Attack(5, 0.1)
    attacked = task.attacked_images(model, images, 0.3, attack, seed=2)
    assert (attacked.images - images.images).abs().max() <= 0.3 + 1e-6
    assert training.accuracy(model, attacked) < training.accuracy(model, images)
    table = runs.read_layers(model, images, attack, SHORT)
    table = table[table.layer == "fc1"].set_index("inputs")
    with torch.no_grad():
        by_hand = {
            kind: model.fc1(some.images.flatten(1)) for kind, some in (("clean", images), ("attacked", attacked))
        }
    ranks = {kind: metrics.effective_rank(x - x.mean(0)) for kind, x in by_hand.items()}
    assert table.effective_rank.to_dict() == pytest.approx(ranks, rel=1e-3)
    assert ranks["clean"] != pytest.approx(ranks["attacked"], rel=1e-2)


def test_a_layer_that_says_nothing_is_named_and_loses_no_other():
    images, *_ = task.load("digits", 3, 30)
    model = networks.build("mlp", images.shape, 3, width=4)
    model.fc2[0].weight.data.zero_()
    model.fc2[0].bias.data.fill_(-1.0)
    table = runs.read_layers(model, images, Attack(), SHORT.but(epsilon=0.0, readings="published")).set_index("layer")
    assert table.trouble.to_dict() == {"fc1": "", "fc2": "constant", "fc3": "constant", "out": "constant"}
    assert table.effective_features.isna().tolist() == [False, True, True, True]


def test_a_layer_that_says_nothing_on_the_rows_read_is_named_too():
    """One row in a hundred differs, so that one side of the split is constant."""
    x = torch.ones(100, 8)
    x[3] = 2.0
    table = runs._read(Rows(x, torch.arange(100)), "published", 1, 1, "a layer")
    assert table.trouble.tolist() == ["constant"]
    assert "effective_features" not in table


def test_topk_keeps_an_eighth_of_the_width():
    images, validation, _, _ = task.load("digits", 3, 30)
    run = SHORT.but(architecture="mlp", epsilon=0.0, readings="TopK")
    model, _ = task.train_network(run.network, images, validation)
    table = runs.read_layers(model, images, Attack(), run).set_index("layer")
    assert table.l0["fc1"] <= 4
    assert table.l0["fc3"] <= 1


def test_a_network_that_was_kept_is_read_again_and_not_trained(tmp_path, monkeypatch):
    first = runs.attack_run(RUN, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    assert path.suffix == ".safetensors"
    real = training.train
    monkeypatch.setattr(training, "train", None)
    again = runs.attack_run(RUN, folder=tmp_path)
    for before, after in zip(first, again, strict=True):
        assert after["effective_features"] == pytest.approx(before["effective_features"], rel=1e-6)
        assert after["accuracy_0.2"] == before["accuracy_0.2"]
        assert after["loss_train"] == before["loss_train"]
    checks = runs.masking_run(runs.MaskingRun(RUN.network, 50), folder=tmp_path)
    assert {row["check"] for row in checks} >= {"PGD", "more steps", "no bounds"}
    with pytest.raises(TypeError):
        runs.attack_run(RUN.but(update="leak"), folder=tmp_path)
    path.write_bytes(path.read_bytes()[:100])  # cut short by a kill: trained again
    monkeypatch.setattr(training, "train", real)
    runs.attack_run(RUN, folder=tmp_path)
    assert path.stat().st_size > 100
    weights, about = checkpoint.read(path)
    checkpoint.write(path, weights, {"settings": about["settings"]})  # of another version: trained again, too
    runs.attack_run(RUN, folder=tmp_path)
    assert "ended" in checkpoint.read(path)[1]


def test_a_grid_has_radius_0_once_and_every_radius_under_each_update():
    axes = flat(RUN) | {"seed": [1, 2], "n_classes": [2, 3, 5], "epsilon": [0.1, 0.3]}
    del axes["update"]
    grid = runs.grid(**axes)
    assert len(grid) == 2 * 3 * (1 + 2 * 2)
    assert {one.network.update for one in grid if one.network.epsilon == 0} == {"corrected"}
    leak = runs.under_leak(grid, n_classes=[2], seed=[2])
    assert [(one.network.epsilon, one.network.update) for one in leak] == [
        (0, "corrected"),
        (0.1, "leak"),
        (0.3, "leak"),
    ]
    chosen = runs.masking_runs(grid, [2, 5], 30)
    assert {(one.network.seed, one.network.epsilon, one.n_test) for one in chosen} == {(1, 0.3, 30)}
    assert [(one.network.n_classes, one.network.update) for one in chosen] == [
        (n, update) for n in (2, 5) for update in ("corrected", "leak")
    ]


def test_unseen_images_can_be_read():
    seen, unseen = (runs.attack_run(RUN.but(n_sae=1, part=part))[0] for part in ("train", "test"))
    assert seen["accuracy_0"] == unseen["accuracy_0"]
    assert seen["effective_features"] != unseen["effective_features"]


def test_a_grid_on_a_cluster_that_loses_a_worker_has_every_run_once(tmp_path):
    """One of two workers is killed while it trains; the scheduler gives its run to the other."""
    distributed = pytest.importorskip("distributed")
    axes = flat(RUN) | {"n_sae": 1, "readings": "published", "epochs": 2, "epsilon": [0.0, 0.2], "seed": [1, 2]}
    asked = sweep.expand(runs.AttackRun, **axes)
    path = tmp_path / "rows.csv"

    def kill_one(cluster):
        with distributed.Client(cluster.scheduler_address) as client:
            processes = client.run(os.getpid)
            until = time.monotonic() + 120
            while not (store.finished(path) or time.monotonic() > until):
                time.sleep(0.02)
            busy = [address for address, tasks in client.processing().items() if tasks]
            os.kill(processes[busy[0]], signal.SIGKILL)
            killed.append(processes[busy[0]])

    killed = []
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        killer = threading.Thread(target=kill_one, args=(cluster,))
        killer.start()
        table = sweep.run(runs.attack_run, asked, path, cluster=cluster.scheduler_address)
        killer.join()
    assert len(killed) == 1
    first = table[table.row.str.startswith("1/")]
    assert sorted(zip(first.epsilon, first.seed, strict=True)) == sorted(
        (one.network.epsilon, one.network.seed) for one in asked
    )
    assert len(table) == sum(2 if one.network.epsilon == 0 else 4 for one in asked)


def planted(clean=(2.0, -1.0), attacked=(2.0, -1.0), noise=0.0, shared=0.0, seed=0):
    """Two layers of 100 and 300 parameters whose F is base · (1 + slope · ε); three networks a radius, both updates.

    noise: of each row; shared: of each network, the same in all its rows.
    """
    rng, rows = np.random.default_rng(seed), []
    for update, sign in (("corrected", 1), ("leak", -1)):
        for epsilon in (0.0, 0.1, 0.2, 0.3):
            for network in (1, 2, 3):
                own = shared * rng.normal()
                for layer, base, parameters, *by_input in (
                    ("fc1", 40, 100, clean[0], attacked[0]),
                    ("fc2", 10, 300, clean[1], attacked[1]),
                ):
                    for inputs, slope in zip(("clean", "attacked"), by_input, strict=True):
                        if epsilon or (inputs == "clean" and update == "corrected"):
                            F = base * (1 + sign * slope * epsilon + own + noise * rng.normal())
                            rows.append(("mnist", 2, "mlp", 32, update, epsilon, network, layer, inputs, parameters, F))
    names = [*slopes.NETWORK, "layer", "inputs", "parameters", "effective_features"]
    return pd.DataFrame(rows, columns=names)


def test_planted_slopes_are_found():
    found = slopes.slopes(planted()).set_index("update")
    assert found.slope.to_dict() == pytest.approx({"corrected": (100 * 2 - 300) / 400, "leak": (300 - 100 * 2) / 400})
    assert found.variance.max() < 1e-12
    assert found.n.tolist() == [12, 12]
    assert slopes.slopes(planted(), Choice(layers="equal")).slope.tolist() == pytest.approx([0.5, -0.5])
    apart = planted(clean=(1.0, 1.0), attacked=(3.0, 3.0))
    by_input = {
        inputs: slopes.slopes(apart, Choice(inputs=inputs)).slope[0] for inputs in ("clean", "attacked", "both")
    }
    assert by_input == pytest.approx({"clean": 1, "attacked": 3, "both": 2})


@pytest.mark.parametrize(("inputs", "slope"), [("clean", 0.5), ("both", 0.5), ("both", 2.5)])
def test_the_variance_of_a_slope_is_that_of_its_estimate(inputs, slope):
    """What a network shares over its layers and inputs counts once, and the mean at radius 0 is uncertain too.

    The leak's slope is the negative, where that makes the estimate more certain.
    """
    estimates = pd.concat(
        slopes.slopes(planted((slope, slope), (slope, slope), 0.02, 0.05, seed), Choice(inputs=inputs))
        for seed in range(150)
    )
    for _, found in estimates.groupby("update"):
        assert found.slope.var() == pytest.approx(found.variance.mean(), rel=0.3)


def hunched(seed=0, jump=0.5, after=-1.0):
    """Planted noise around F that jumps at the first radius and then follows another line."""
    table = planted((0, 0), (0, 0), shared=0.02, seed=seed)
    above = table.epsilon > 0
    table.loc[above, "effective_features"] *= 1 + jump + after * (table.epsilon[above] - 0.1)
    return table


@pytest.mark.parametrize("inputs", ["clean", "both"])
def test_a_line_above_radius_0_and_its_variance_pass_over_the_jump(inputs):
    found = pd.concat(slopes.slopes(hunched(seed), Choice(inputs=inputs, radii="above 0")) for seed in range(150))
    assert found.slope.mean() == pytest.approx(-1, abs=0.05)
    assert found.slope.var() == pytest.approx(found.variance.mean(), rel=0.3)


def test_the_shape_of_a_hunch_is_seen_and_a_line_is_one():
    shapes = pd.concat(slopes.shapes(hunched(seed)) for seed in range(100))
    assert shapes.jump.mean() == pytest.approx(0.5, abs=0.02)
    assert shapes.above.mean() == pytest.approx(-1, abs=0.05)
    assert (shapes.line_p < 0.05).all()
    one = hunched()
    one = one[(one.layer == "fc1") & (one.inputs == "clean") & (one["update"].eq("corrected") | (one.epsilon == 0))]
    line, free = (ols(f"effective_features ~ {x}", one).fit() for x in ("epsilon", "C(epsilon)"))
    assert slopes.shapes(one).line_p[0] == pytest.approx(anova_lm(line, free)["Pr(>F)"][1])
    straight = pd.concat(slopes.shapes(planted(shared=0.05, seed=seed)) for seed in range(200))
    assert 0.02 < (straight.line_p < 0.05).mean() < 0.09
    assert straight.groupby("update").jump.mean().to_dict() == pytest.approx(
        {"corrected": -0.025, "leak": 0.025}, abs=0.01
    )


def test_logits_do_not_count():
    table = planted()
    out = table[table.layer == "fc1"].assign(layer="out", parameters=10_000)
    assert slopes.slopes(pd.concat([table, out])).equals(slopes.slopes(table))


def test_what_cannot_be_a_slope_is_named():
    table = planted()
    with pytest.raises(ValueError, match="has no network at radius 0"):
        slopes.slopes(table[table.epsilon > 0])
    with pytest.raises(ValueError, match="inputs must be 'both', 'clean' or 'attacked', got 'all'"):
        Choice(inputs="all")
    with pytest.raises(ValueError, match="radii must be 'all' or 'above 0', got 'some'"):
        Choice(radii="some")
    with pytest.raises(ValueError, match="too few networks or radii for a line through the radii above 0: 6"):
        slopes.slopes(table[table.epsilon < 0.2], Choice(radii="above 0"))
    with pytest.raises(ValueError, match="too few networks or radii for a line through the radii all: 2"):
        slopes.slopes(table[(table.epsilon < 0.2) & (table.seed == 1)])
    for name in ("reading", "lr", "batch_size", "milestones", "products", "keep", "weight_decay"):
        with pytest.raises(ValueError, match=f"several protocols: {name} is a, b"):
            slopes.slopes(pd.concat([table.assign(**{name: "a"}), table.assign(**{name: "b"})]))
    gap = (table.layer == "fc2") & (table.epsilon == 0.2) & (table.seed == 3) & (table["update"] == "leak")
    with pytest.raises(ValueError, match=r"without a row of every layer and kind of input: \[\(0.2, 3\)\]"):
        slopes.slopes(table[~gap])
    attacked = (table.inputs == "attacked") & (table.epsilon == 0.3) & (table.seed == 1) & (table["update"] == "leak")
    with pytest.raises(ValueError, match=r"every layer and kind of input: \[\(0.3, 1\)\]"):
        slopes.slopes(table[~attacked])
    assert len(slopes.slopes(table[~attacked], Choice(inputs="clean"))) == 2
    with pytest.raises(ValueError, match="its networks at radius 0 have not the layers of the others"):
        slopes.slopes(table[(table.epsilon > 0) | (table.layer == "fc1")])
    table.loc[3, "effective_features"] = np.nan
    with pytest.raises(ValueError, match="effective_features holds 1 NaN"):
        slopes.slopes(table)


def test_a_network_with_a_silent_layer_is_left_out_and_named():
    table = planted()
    silent = (table.epsilon == 0.3) & (table.seed == 2) & (table["update"] == "leak") & (table.layer == "fc2")
    table.loc[silent, "effective_features"] = np.nan
    logits = table[table.layer == "fc1"].assign(layer="out", effective_features=np.nan)
    spoken, lost = slopes.without_silent(pd.concat([table, logits]))
    assert lost[["update", "epsilon", "seed"]].to_numpy().tolist() == [["leak", 0.3, 2]]
    assert len(spoken) == len(table) + len(logits) - 6
    assert slopes.slopes(spoken).set_index("update").n.to_dict() == {"corrected": 12, "leak": 11}


def test_a_condition_without_a_level_is_left_out_and_named():
    table = planted()
    other = planted().assign(n_classes=3)
    other.loc[(other.epsilon == 0) & (other.layer == "fc1"), "effective_features"] = np.nan
    spoken, lost = slopes.without_silent(pd.concat([table, other]))
    assert spoken.equals(table)
    assert len(lost) == 3 * (1 + 2 * 3)
    assert set(lost.n_classes) == {3}


def test_no_condition_has_no_slope_but_the_columns_of_one():
    table = planted()
    assert slopes.slopes(table[table.epsilon == 0]).columns.tolist() == slopes.slopes(table).columns.tolist()
    table = table.assign(**{f"accuracy_{radius}": 0.9 for radius in ("0", "0.1", "0.2", "0.3")})
    choices = slopes.slopes_by_choice(table[table.epsilon < 0.2], ["F"])
    assert choices.empty
    assert choices.columns.tolist() == slopes.slopes_by_choice(table, ["F"]).columns.tolist()


def test_a_network_is_above_chance_at_its_own_radius():
    rows = pd.DataFrame({"n_classes": [2, 2, 10, 10], "epsilon": [0.0, 0.3, 0.3, 0.1]})
    rows["accuracy_0"], rows["accuracy_0.1"], rows["accuracy_0.3"] = 0.99, 0.25, [0.1, 0.59, 0.15, 0.9]
    assert slopes.above_chance(rows).tolist() == [True, False, False, True]
    assert slopes.above_chance(rows, margin=0.05).tolist() == [True, True, False, True]
    with pytest.raises(ValueError, match=r"2 rows have no accuracy at the radius of their training, 0\.15, 0\.3"):
        slopes.own_accuracy(rows.assign(**{"epsilon": [0.0, 0.3, 0.15, 0.1], "accuracy_0.3": np.nan}))


def test_a_radius_of_ones_own_has_its_robustness():
    row = runs.attack_run(RUN.but(epsilon=0.15, n_sae=1, readings="TopK", epochs=2))[0]
    assert {name for name in row if name.startswith("accuracy_0")} == {
        f"accuracy_{radius}" for radius in ("0", "0.1", "0.15", "0.2", "0.3")
    }
    assert slopes.own_accuracy(pd.DataFrame([row | {"epsilon": 0.15}]))[0] == row["accuracy_0.15"]


def test_a_stopped_run_of_a_sweep_goes_on_where_it_was(tmp_path, monkeypatch):
    """Stopped in its third epoch: what is trained again is that one and what follows, and the network is the same."""
    whole = runs.attack_run(RUN.but(n_sae=1, epochs=5))
    done, one_epoch = [], training._epoch

    def stopped(*args):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(one_epoch(*args))
        return done[-1]

    def counted(*args):
        done.append(one_epoch(*args))
        return done[-1]

    monkeypatch.setattr(training, "_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        runs.attack_run(RUN.but(n_sae=1, epochs=5), folder=tmp_path)
    monkeypatch.setattr(training, "_epoch", counted)
    again = runs.attack_run(RUN.but(n_sae=1, epochs=5), folder=tmp_path)
    assert len(done) == 5
    assert [row["loss_train"] for row in again] == [row["loss_train"] for row in whole]
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]


def test_every_choice_has_its_slopes():
    """Planted so that each choice moves the slope in a known way."""
    table = planted(clean=(1.0, 1.0), attacked=(3.0, 3.0))
    table["effective_rank"] = 5.0
    for radius in ("0", "0.1", "0.2", "0.3"):
        table[f"accuracy_{radius}"] = 0.9
    table.loc[table["update"] == "leak", "accuracy_0.3"] = table.loc[table["update"] == "leak", "accuracy_0.2"] = 0.5
    found = slopes.slopes_by_choice(table, ["F", "effective rank"])
    choices = ["measure", "counted", "inputs", "layers", "update"]
    slope = found[found.radii == "all"].set_index(choices).slope
    assert len(found) == 2 * 2 * 3 * 2 * (2 + 1)  # the leak has one radius above chance, which is no condition
    assert slope["F", "all", "clean", "equal", "corrected"] == pytest.approx(1)
    assert slope["F", "above chance", "attacked", "parameters", "corrected"] == pytest.approx(3)
    assert slope["F", "all", "both", "parameters", "leak"] == pytest.approx(-2)
    assert slope.xs("effective rank", level="measure").abs().max() < 1e-9
    assert ("above chance", "leak") not in set(zip(found.counted, found["update"], strict=True))


def test_radius_0_stands_under_every_update_and_the_usual_comes_first():
    table = slopes.unattacked_for_both(planted())
    assert table.groupby("update").size().nunique() == 1
    assert table[table.epsilon == 0].groupby("update").size().to_dict() == {"corrected": 6, "leak": 6}
    one = planted()
    wide = one[one["update"] == "corrected"].assign(width=64)  # the leak was not run there
    table_of_two = slopes.unattacked_for_both(pd.concat([one, wide]))
    assert set(table_of_two[table_of_two.width == 64]["update"]) == {"corrected"}
    table["dataset"] = np.where(np.arange(len(table)) % 2, "mnist", "fashion-mnist")
    found = analysis.paper_first(table, "update", "dataset", "epsilon")
    first = found.drop_duplicates(["update", "dataset"])[["update", "dataset"]].to_numpy().tolist()
    assert first == [[u, d] for u in ("leak", "corrected") for d in ("mnist", "fashion-mnist")]
    assert found.epsilon[:3].tolist() == [0.0] * 3


def conditions(beta, architectures=("mlp", "cnn"), **others):
    """Slopes of conditions on two data sets, level + β · code of the classes, that are known to a variance of 0.01."""
    rows = [
        {"dataset": dataset, "architecture": architecture, "n_classes": n, "width": 32, "update": update, **others}
        | {"slope": level + beta * code, "variance": 0.01, "n": 12}
        for level, dataset in ((1.0, "mnist"), (0.5, "fashion-mnist"))
        for architecture in architectures
        for n, code in analysis.CODE.items()
        for update in ("corrected", "leak")
    ]
    return pd.DataFrame(rows)


def test_planted_lines_are_found_pooled_and_stand_in_a_forest():
    table = analysis.for_h2(conditions(-0.5))
    lines = analysis.lines(table)
    assert lines.slope.tolist() == pytest.approx([-0.5] * 8)
    assert lines.n.tolist() == [4] * 8
    pools = analysis.pooled(lines, "update")
    assert pools.mean_re.to_dict() == pytest.approx({"leak": -0.5, "corrected": -0.5})
    assert (pools.low_re < pools.low).all()
    forest = analysis.forest(lines, -0.7, 0.1)
    assert forest.line.tolist()[-3:] == ["all, pooled", "all, pooled", "the paper"]
    assert forest.iloc[-1][["low", "high"]].tolist() == pytest.approx([-0.896, -0.504])
    assert analysis.pooled(lines[lines.line == "mnist, mlp"].head(1), "update").empty


def test_lines_of_h3_are_over_the_logarithm_of_the_width():
    wide = [conditions(0.0, ["mlp1"], width=w).assign(slope=lambda t, w=w: 3 * np.log(w)) for w in (8, 32, 128)]
    table = analysis.for_h3(pd.concat(wide).query("dataset == 'mnist'"))
    lines = analysis.lines(table)
    assert lines.slope.tolist() == pytest.approx([3.0] * 8)
    assert set(zip(lines.claim, lines["update"], strict=True)) == {("mlp", "leak"), ("corrected", "corrected")}
    assert analysis.paper_betas()["mlp1", 2] == pytest.approx(0.29, abs=0.005)


def test_differences_are_those_of_conditions_that_both_data_sets_have():
    table = conditions(-0.5)
    mine = table[(table["update"] == "leak") & ~((table.dataset == "mnist") & (table.n_classes == 10))]
    found = analysis.differences(mine, "fashion-mnist", "mnist")
    assert found.slope.tolist() == pytest.approx([-0.5] * 6)
    assert found.variance.tolist() == pytest.approx([0.02] * 6)


def test_intervals_and_sides_of_slopes():
    one = analysis.with_intervals(conditions(0.0)).iloc[0]  # 1 ± 0.1 of 12 networks
    assert (one.low, one.high) == pytest.approx((1 - 2.228 * 0.1, 1 + 2.228 * 0.1), abs=1e-3)
    assert one.p_above < 1e-5 < 0.99 < one.p_below
    assert analysis.surely([0.02, 0.04, 0.9]).tolist() == [False] * 3  # each below 5%, but not all of them together
    assert analysis.surely([0.01, 0.02, 0.9]).tolist() == [True, True, False]
    assert analysis.surely([]).tolist() == []


def test_every_choice_of_a_planted_trend_is_specified():
    """The measure “effective rank” rises, all else falls; one data set alone is left above chance."""
    usual = flat(slopes.USUAL)
    table = pd.concat([
        conditions(-0.5, **usual),
        conditions(0.5, **usual | {"measure": "effective rank"}),
        conditions(-0.5, **usual | {"inputs": "clean", "measure": "effective rank"}),
        conditions(-0.4, ["mlp"], **usual | {"counted": "above chance"}).query("dataset == 'mnist'"),
        conditions(-0.4, ["mlp"], **usual | {"inputs": "clean"}).query("dataset == 'mnist' or n_classes < 5"),
    ])  # fmt: skip
    found = choices.specifications(analysis.for_h2(table))
    at = found[found["update"] == "leak"].set_index(["measure", "inputs", "counted"])
    assert at.estimate.to_dict() == pytest.approx(
        {
            ("F", "both", "all"): -0.5,
            ("effective rank", "both", "all"): 0.5,
            ("effective rank", "clean", "all"): -0.5,
            ("F", "both", "above chance"): -0.4,
            ("F", "clean", "all"): np.nan,  # only one of two lines has three conditions
        },
        nan_ok=True,
    )
    assert at.conditions.tolist() == [16, 16, 16, 4, 0]
    one = choices.one_other_choice(found)
    one = one[one.which == "all, leak"]
    assert one.choice.tolist() == ["as above", "measure: effective rank", "counted: above chance"]
    assert one.side.tolist() == ["falls", "rises", "falls"]
    assert one.words.iloc[0].startswith("-0.50 [-0.")
    sides = choices.sides(found.dropna(), found.dropna())
    assert sides.loc["H2", "all", "effective rank", "leak"].tolist() == pytest.approx([0.5, 0.5, 2, 0])
    assert sides.loc["H3", "all", "F", "leak"].tolist() == pytest.approx([0, 0, 2, -0.45])


def test_networks_are_counted_and_their_layers_set_beside_radius_0():
    table = planted(clean=(2.0, 2.0), attacked=(4.0, 4.0))
    accuracies = {f"accuracy_{radius}": 0.9 for radius in ("0", "0.1", "0.2")}
    each = analysis.each_network(table.assign(**accuracies, **{"accuracy_0.3": np.where(table.seed == 2, 0.5, 0.8)}))
    assert len(each) == 3 * (1 + 2 * 3)
    assert analysis.learned(each, ["update"])[2].to_dict() == {"corrected": "8 of 9", "leak": "8 of 9"}
    ratios = analysis.ratios(table, ["update", "n_classes", "layer"])
    ratios = ratios[(ratios["update"] == "corrected") & (ratios.layer == "fc1")].set_index(["inputs", "epsilon"])
    assert ratios.ratio["clean"].tolist() == pytest.approx([1, 1.2, 1.4, 1.6])
    assert ratios.ratio["attacked"].tolist() == pytest.approx([1, 1.4, 1.8, 2.2])
    assert set(ratios.classes) == {"2"}
    checks = pd.concat([each.assign(check="PGD", accuracy=0.5), each.assign(check="more steps", accuracy=0.4)])
    assert analysis.lost_to_more_steps(checks).tolist() == pytest.approx([0.1] * len(each))


def test_the_spread_of_saes_is_that_of_networks_as_they_see_them():
    """Two SAEs, one of which sees a tenth more at every radius above 0."""
    table = planted(clean=(1.0, 1.0), attacked=(1.0, 1.0)).query(
        "seed == 1 and (update == 'corrected' or epsilon == 0)"
    )
    more = table.assign(sae_seed=2)
    more.loc[more.epsilon > 0, "effective_features"] *= 1.1
    found = analysis.spread_of_saes(pd.concat([table.assign(sae_seed=1), more])).loc[2]
    assert found["change of F to the largest radius"] == pytest.approx(1.3 * 1.05 - 1)
    of_radii = np.array([0, 0.11, 0.12, 0.13]) ** 2 / 2  # variance of two that differ so much
    assert found["sd over SAE seeds"] == pytest.approx(of_radii.mean() ** 0.5)


def test_sides_and_differences_are_told_in_words():
    """One MNIST condition far above zero, one Fashion-MNIST condition far below, the others at it."""
    table = analysis.for_h2(conditions(0.0, ["mlp"])).assign(slope=0.0)
    table.loc[(table.dataset == "mnist") & (table.n_classes == 2), "slope"] = 9.0
    table.loc[(table.dataset == "fashion-mnist") & (table.n_classes == 3), "slope"] = -9.0
    table = analysis.with_intervals(table)
    assert analysis.sided(table).side.value_counts().to_dict() == {"neither": 12, "above": 2, "below": 2}
    named = analysis.surely_on(table)
    assert named["surely above zero"].to_dict() == dict.fromkeys(["corrected", "leak"], "MNIST, MLP, 2 classes")
    assert named["surely below zero"].unique().tolist() == ["Fashion-MNIST, MLP, 3 classes"]
    apart = analysis.apart(table, "fashion-mnist", "mnist")
    assert apart[apart["update"] == "leak"].slope.tolist() == pytest.approx([-9, -9, 0, 0])
    of_both = analysis.spreads({"these": apart, "those": apart})
    assert of_both.loc["those", "leak"].n == 4


@pytest.mark.parametrize(("power", "word"), [(1, "rises"), (-1, "falls")])
def test_what_is_said_of_resnets_follows_their_rows(power, word):
    """F that goes up with the radius by the width, or by its inverse."""
    rows = sweep.Rows(RESULTS)["adversarial_resnet_wide"]
    rows["effective_features"] = 10 * (1 + rows.width**power * rows.epsilon) + 0.001 * rows.seed * rows.epsilon
    told = analysis.resnet_in_words(rows)
    assert f"It {word} with the width" in told
    assert told.startswith("By the width the slope of F on ε is " + ("0.3" if power > 0 else "4.0"))
    parts = analysis.resnet_parts(rows)
    assert parts.jump.tolist() == pytest.approx([0.01 * width**power for width in (0.25, 0.5, 1)], abs=1e-4)


def test_slopes_that_rise_are_counted_from_one_end_to_the_other():
    table = analysis.for_h2(conditions(-0.5))
    table.loc[(table.line == "mnist, mlp") & (table.n_classes == 10) & (table["update"] == "leak"), "slope"] = 9.0
    found = analysis.rises(table, "n_classes", "line")
    assert analysis.rises_in_words(found) == "1 of 4 lines under the paper's update and 0 of 4 under the corrected one"
    assert analysis.rises_in_words(found, falls=True).startswith("3 of 4 lines under the paper's update and 4 of 4")
    assert analysis.rises(table[table.n_classes == 2], "n_classes", "line").empty


def specified(other=False):
    """Combinations of three choices, of which the inputs decide the side; under `other`, by another SAE in one place too."""
    names = ["where", "update", "inputs", "measure", "estimate", "low", "high"]
    rows = [
        dict(zip(names, (where, update, inputs, "F", value, value - reach, value + 1), strict=True))
        for where in ("mnist, mlp", "mnist, cnn")
        for update, reach in (("leak", 3.0), ("corrected", 0.5))
        for inputs, value in (("both", -2.0), ("clean", 2.0))
    ]
    more = [row | {"measure": "F, TopK", "estimate": 2.0, "low": 1.0, "high": 3.0} for row in rows[:2]]
    return pd.DataFrame(rows + more * other)


def test_options_of_a_choice_are_combined_with_the_same_others():
    options = choices.by_option(specified(other=True), -1.0)
    at = options.set_index(["asked", "option", "side"]).share.sort_index()
    assert at["images read", "clean alone"].to_dict() == pytest.approx(
        dict(zip(choices.SIDES, (0, 0, 0.5, 0.5), strict=True))
    )
    assert at["images read", "both"].to_dict() == pytest.approx(dict(zip(choices.SIDES, (1, 0, 0, 0), strict=True)))
    assert at["data set and network", "MNIST, MLP", "surely the paper's"] == 0.5
    assert at["SAE (MNIST, MLP)", "TopK", "surely the other"] == 1
    assert at["SAE (MNIST, MLP)", "the paper's recipe", "surely the paper's"] == 0.5
    assert options[options.choice != "SAE"].groupby(["choice", "side"]).combinations.sum().unique().tolist() == [8]
    assert choices.told(options) == (
        "50% of 8 combinations lie on the paper's side of zero, 50% surely; the choice that moves this share most: images read "
        "(clean alone 0%, both 100%)"
    )
    turned = choices.by_option(specified().assign(low=-9.0, high=9.0), 1.0)
    assert set(turned[turned.share > 0].side) == {"the paper's", "the other"}
    assert "SAE" not in set(turned.choice)


def test_every_choice_is_a_bar_and_its_marks_are_few():
    options = choices.by_option(specified(other=True), -1.0)
    spec = explorer.every_choice(options, "Said.").to_dict(validate=True)
    assert spec["encoding"]["color"]["scale"]["domain"] == list(choices.SIDES)
    assert spec["encoding"]["y"]["sort"][:3] == [
        "data set and network|",
        "data set and network|MNIST, MLP",
        "data set and network|MNIST, CNN",
    ]
    assert 0 < len(spec["datasets"][spec["data"]["name"]]) <= len(options)


def test_tables_are_shown_in_words():
    table = pd.DataFrame(
        {"dataset": ["mnist"], "psi": [1.0], "update": ["leak"]}, index=pd.Index(["mlp1, 2 classes"], name="line")
    )
    found = naming.shown(table)
    assert (found.index.name, found.index[0], *found) == ("group", "MLP, 2 classes", "data set", "ψ", "update")
    assert found.iloc[0].tolist() == ["MNIST", 1.0, "the paper's"]
    assert naming.word("measure: F, TopK") == "F, TopK"


def test_the_answers_turn_with_the_rows(monkeypatch):
    """The claims' estimates are replaced: all above zero, all below, across it."""
    rows = sweep.Rows(RESULTS)

    def said(low, high, up, down):
        of = Estimate((low + high) / 2, low, high, "made up", "group", 4)
        cases = Estimate(up, up, 16 - down, "made up", "condition", 16)

        def of_claim(estimate):
            return Claim("made.up", "Made up", "adversarial.csv", estimate, OnSide(1, 0.5))

        monkeypatch.setattr(claims, "h1", lambda rows: iter([of_claim(cases)]))
        monkeypatch.setattr(claims, "h2_slope", lambda rows: iter([of_claim(of)]))
        monkeypatch.setattr(claims, "h3_slope", lambda rows: iter([of_claim(of)] * 4))
        monkeypatch.setattr(claims, "resnet_width_slope", lambda rows: of_claim(of))
        return [make(rows).sentence for make in claims.ANSWERS]

    attack, width = said(0.1, 0.3, 3, 2)
    assert attack.startswith("Not always: ")
    assert "surely rises in 3 of 16 cases and surely falls in 2; more classes make it rise" in attack
    assert width.count("keep more features, or lose fewer (0.2 [0.1 to 0.3])") == 3
    attack, width = said(-0.3, -0.1, 0, 16)
    assert attack.startswith("Yes, always: ")
    assert "more classes make it fall more (a step of classes changes the slope of F by −0.2" in attack
    assert width.count("keep fewer features, or lose more") == 3
    assert "keep more" not in width
    attack, width = said(-0.3, 0.1, 0, 4)
    assert attack.startswith("Not surely: ")
    assert "whether more classes make it fall more is open" in attack
    assert width.count("may do either (") == 3
