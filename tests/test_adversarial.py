"""Adversarial training read: tasks, the paper's schedule, rows that are what they say."""

import numpy as np
import pandas as pd
import pytest
import torch

from superpos import metrics, sae, training
from superpos.systems import adversarial

RUN = {
    "dataset": "digits", "n_classes": 3, "network": "mlp1", "width": 8, "epsilon": 0.2, "seed": 4, "update": "corrected",
    "n_train": 200, "n_read": 150, "epochs": 30, "attack_steps": 3, "part": "train", "readings": "small",
    "n_sae": 2,
    "batch_size": 32,
}  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(adversarial.READINGS, "small", sae.PROTOCOL.but(steps=60))
    monkeypatch.setitem(adversarial.READINGS, "all", sae.PROTOCOL.but(steps=60, held_out=0.0))


def test_a_task_is_its_first_classes_and_its_parts_are_apart():
    train, validation, test = adversarial.task("digits", 3, 200, 50)
    assert (len(train), len(validation), len(test)) == (200, 40, 50)
    assert set(train.labels.tolist()) == {0, 1, 2}
    seen = {tuple(image.flatten().tolist()) for image in train.images}
    assert not seen & {tuple(image.flatten().tolist()) for image in validation.images}
    whole, held, _ = adversarial.task("digits", 3)
    assert len(held) == pytest.approx((len(whole) + len(held)) / 6, abs=1)


def test_bad_tasks_are_named():
    with pytest.raises(ValueError, match="n_classes must be between 2 and 10, got 11"):
        adversarial.task("digits", 11)
    with pytest.raises(ValueError, match="unknown reading 'ours'"):
        adversarial.attack_run(**{**RUN, "readings": "ours"})


def test_the_attack_goes_as_far_in_fewer_steps():
    for steps in (40, 10, 5):
        attack = adversarial.attack_of(steps)
        assert attack["steps"] * attack["step_size"] == pytest.approx(0.4)
    assert adversarial.attack_of(40)["step_size"] == pytest.approx(0.01)


def test_a_network_is_trained_by_the_papers_schedule():
    images, validation, _ = adversarial.task("digits", 2, 100)
    model, history = adversarial.train_network(
        "mlp", 4, images, validation, n_classes=2, epsilon=0.3, seed=1, update="leak", epochs=8, attack={"steps": 1}
    )
    assert model.out.out_features == 1
    assert history.lr.tolist() == pytest.approx([0.01] * 4 + [0.001] * 2 + [0.0001] * 2)
    assert history.epsilon.tolist() == pytest.approx([0.1] * 2 + [0.2] * 2 + [0.3] * 4)


def test_layers_count_their_parameters():
    images, _, _ = adversarial.task("digits", 3, 100)
    from superpos import networks

    model = networks.build("mlp", images.shape, 3, width=2)
    assert adversarial.layer_weights(model) == {"fc1": 64 * 8 + 8, "fc2": 8 * 4 + 4, "fc3": 4 * 2 + 2}


def test_a_run_has_a_row_for_every_layer_input_and_sae():
    rows = adversarial.attack_run(**RUN)
    assert len(rows) == 1 * 2 * 2  # layers, kinds of input, SAE seeds
    assert {row["inputs"] for row in rows} == set(adversarial.INPUTS)
    assert {row["sae_seed"] for row in rows} == {4, 1004}
    assert len({round(row["effective_features"], 6) for row in rows}) == 4
    accuracies = [rows[0][f"accuracy_{radius}"] for radius in ("0", "0.1", "0.2", "0.3")]
    assert accuracies[0] > 0.8
    assert accuracies[0] > accuracies[3]
    assert all(row["parameters"] == 64 * 8 + 8 for row in rows)


def test_without_a_radius_clean_stands_for_all():
    rows = adversarial.attack_run(**{**RUN, "epsilon": 0.0, "network": "mlp", "width": 4, "n_sae": 1})
    assert [(row["layer"], row["inputs"]) for row in rows] == [(layer, "clean") for layer in ("fc1", "fc2", "fc3")]


def test_attacked_rows_are_of_attacked_images():
    """F without an SAE, the effective rank, beside the layer's activations taken by hand."""
    images, validation, _ = adversarial.task("digits", 3, 100)
    options = {"n_classes": 3, "epsilon": 0.3, "seed": 2, "update": "corrected", "epochs": 2, "attack": {"steps": 3}}
    model, _ = adversarial.train_network("mlp1", 8, images, validation, **options)
    attack = {"steps": 5, "step_size": 0.1}
    attacked = adversarial.attacked_images(model, images, 0.3, attack, seed=2)
    assert (attacked.images - images.images).abs().max() <= 0.3 + 1e-6
    assert training.accuracy(model, attacked) < training.accuracy(model, images)
    table = adversarial.read_layers(model, images, 0.3, attack, 2, 1000, ["all"], 1).set_index("inputs")
    assert table.n_read["attacked"] == 100
    with torch.no_grad():
        by_hand = {
            kind: model.fc1(some.images.flatten(1)) for kind, some in (("clean", images), ("attacked", attacked))
        }
    ranks = {kind: metrics.effective_rank(x - x.mean(0)) for kind, x in by_hand.items()}
    assert table.effective_rank["attacked"] == pytest.approx(ranks["attacked"], rel=1e-3)
    assert table.effective_rank["clean"] == pytest.approx(ranks["clean"], rel=1e-3)
    assert ranks["clean"] != pytest.approx(ranks["attacked"], rel=1e-2)


def test_a_network_that_was_kept_is_read_again_and_not_trained(tmp_path, monkeypatch):
    first = adversarial.attack_run(**RUN, keep=tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]
    monkeypatch.setattr(training, "train", None)
    again = adversarial.attack_run(**RUN, keep=tmp_path)
    for before, after in zip(first, again, strict=True):
        assert after["effective_features"] == pytest.approx(before["effective_features"], rel=1e-6)
        assert after["accuracy_0.2"] == before["accuracy_0.2"]
        assert after["loss_train"] == before["loss_train"]
    with pytest.raises(TypeError):
        adversarial.attack_run(**{**RUN, "update": "leak"}, keep=tmp_path)


def test_unseen_images_can_be_read():
    seen, unseen = (adversarial.attack_run(**{**RUN, "n_sae": 1, "part": part})[0] for part in adversarial.PARTS)
    assert seen["accuracy_0"] == unseen["accuracy_0"]
    assert seen["effective_features"] != unseen["effective_features"]
    with pytest.raises(ValueError, match="part must be one of train, test, got 'all'"):
        adversarial.attack_run(**{**RUN, "part": "all"})


def planted(clean=(2.0, -1.0), attacked=(2.0, -1.0), noise=0.0):
    """Two layers of 100 and 300 parameters whose F is base · (1 + slope · ε); three seeds, both updates."""
    rng, rows = np.random.default_rng(0), []
    for update, sign in (("corrected", 1), ("leak", -1)):
        for epsilon in (0.0, 0.1, 0.2, 0.3):
            for seed in (1, 2, 3):
                for layer, base, parameters, a, b in (
                    ("fc1", 40, 100, clean[0], attacked[0]),
                    ("fc2", 10, 300, clean[1], attacked[1]),
                ):
                    for inputs, slope in (("clean", a), ("attacked", b)):
                        if epsilon == 0 and (inputs == "attacked" or update == "leak"):
                            continue
                        F = base * (1 + sign * slope * epsilon + noise * rng.normal())
                        rows.append(("mnist", 2, "mlp", 32, update, epsilon, seed, layer, inputs, parameters, F))
    names = [*adversarial.CONDITION, "epsilon", "seed", "layer", "inputs", "parameters", "effective_features"]
    return pd.DataFrame(rows, columns=names)


def test_planted_slopes_are_found():
    found = adversarial.slopes(planted()).set_index("update")
    assert found.slope.to_dict() == pytest.approx({"corrected": (100 * 2 - 300) / 400, "leak": (300 - 100 * 2) / 400})
    assert found.variance.max() < 1e-12
    assert found.n.tolist() == [9, 9]
    assert adversarial.slopes(planted(), layers="equal").slope.tolist() == pytest.approx([0.5, -0.5])
    apart = planted(clean=(1.0, 1.0), attacked=(3.0, 3.0))
    by_input = {inputs: adversarial.slopes(apart, inputs=inputs).slope[0] for inputs in ("clean", "attacked", "both")}
    assert by_input == pytest.approx({"clean": 1, "attacked": 3, "both": 2})


def test_the_variance_of_a_slope_is_that_of_its_estimate():
    estimates = []
    for seed in range(60):
        table = planted()
        rng = np.random.default_rng(seed)
        table["effective_features"] *= 1 + 0.05 * rng.normal(size=len(table))
        estimates.append(adversarial.slopes(table, inputs="clean").iloc[0])
    estimates = pd.DataFrame(estimates)
    assert estimates.slope.var() == pytest.approx(estimates.variance.mean(), rel=0.5)


def test_what_cannot_be_a_slope_is_named():
    table = planted()
    with pytest.raises(ValueError, match="has 0 rows at radius 0"):
        adversarial.slopes(table[table.epsilon > 0])
    with pytest.raises(ValueError, match="inputs must be one of both, clean, attacked"):
        adversarial.slopes(table, inputs="all")
    table.loc[3, "effective_features"] = np.nan
    with pytest.raises(ValueError, match="effective_features holds 1 NaN"):
        adversarial.slopes(table)
