"""The page of networks and data: its numbers against the raw files, read by the csv module alone."""

import csv
import statistics

import pandas as pd
import pytest

from book.run import NOTEBOOKS, RESULTS
from superpos.findings import cards
from superpos.findings.cards import Kind
from superpos.sweep import Rows

NO_NETWORKS_OF_THEIR_OWN = {  # what their rows are about
    "adversarial_masking": "attacks on networks of adversarial.csv",
    "adversarial_readings": "the networks of adversarial.csv, read otherwise",
    "adversarial_resnet_masking": "attacks on networks of adversarial_resnet.csv",
    "algorithms_programs": "the compiled programs, which nobody trains",
    "algorithms_published": "compressions of algorithms.csv, read by the paper's recipe",
    "counting": "made-up rows", "counting_readers": "made-up rows", "planted": "made-up rows",
    "grokking_timeline": "a network of grokking.csv", "grokking_variations": "networks of grokking.csv",
    "layers_variations": "a network of layers.csv", "toy_reread": "the models of toy_truth.csv",
    "pretrained_top": "networks of pretrained.csv", "costs": "made-up rows",
    "sweep_saving": "times", "sweep_throughput": "times",
    "answers": "computed", "statements": "computed", "verdicts": "computed",
}  # fmt: skip


@pytest.fixture(scope="module")
def table():
    return cards.cards(Rows(RESULTS)).set_index(["results", "network"])


def raw(name):
    with open(RESULTS / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def line(table, name, begins):
    """The one line of a results file whose network begins with some words."""
    (found,) = [of for (file, words), of in table.iterrows() if file == f"{name}.csv" and words.startswith(begins)]
    return found


def test_networks_with_dropout_against_the_raw_file(table):
    nets = {
        (row["width"], row["dropout"], row["seed"]): float(row["accuracy"])
        for row in raw("dropout")
        if row["state"] == "trained"
    }
    shown = line(table, "dropout", "MLPs of one hidden layer, with dropout")
    assert shown.networks == len(nets) == 4 * 10 * 5
    assert shown.seeds == "1 to 5"
    middle, ends = statistics.median(nets.values()), (min(nets.values()), max(nets.values()))
    assert shown[cards.CARDS[5]] == f"accuracy on test inputs: {middle:.3f} ({ends[0]:.3f} to {ends[1]:.0f})"
    assert shown["size"] == "16 to 128 hidden neurons"


def test_classifiers_against_the_raw_file(table):
    keys = ("dataset", "n_classes", "width", "epsilon", "update", "seed")
    nets, parameters = {}, {}
    for row in raw("adversarial"):
        if row["architecture"] == "mlp1":
            key = tuple(row[one] for one in keys)
            nets[key] = float(row["accuracy_0"])
            parameters.setdefault(key, {})[row["layer"]] = int(row["parameters"])
    sizes = [sum(layers.values()) for layers in parameters.values()]
    shown = line(table, "adversarial", "MLPs of one hidden layer")
    assert shown.networks == len(nets)
    assert shown["size"].endswith(f"{min(sizes):,} to {max(sizes):,} parameters in the layers read")
    assert f"attacked: {statistics.median(nets.values()):.3f} ({min(nets.values()):.3f}" in shown[cards.CARDS[5]]


def test_the_end_of_grokking_is_its_last_step(table):
    last = {}
    for row in raw("grokking"):
        if row["architecture"] == "mlp" and row["state"] == "weight decay":
            key = row["width"], row["seed"]
            if int(row["step"]) >= last.get(key, (0, 0))[0]:
                last[key] = int(row["step"]), float(row["accuracy_test"])
    ends = [accuracy for _, accuracy in last.values()]
    shown = line(table, "grokking", "MLPs with weight decay")
    assert shown.networks == len(last) == 14
    assert f"{statistics.median(ends):.3f} ({min(ends):.3f} to" in shown[cards.CARDS[5]]


def test_language_models_are_told_by_their_name(table):
    trained = {row["model"] for row in raw("layers") if "steps=0," not in row["model"]}
    shown = line(table, "layers", "small language models")
    assert shown.networks == len(trained) == 4
    losses = {
        row["model"]: float(row["loss"])
        for row in raw("layers")
        if row["shuffled"] == "none" and row["model"] in trained
    }
    assert f"{min(losses.values()):.2f} to {max(losses.values()):.2f}" in shown[cards.CARDS[5]]


def test_a_card_by_hand(tmp_path):
    made = pd.DataFrame(
        {"seed": [4, 5, 5, 9], "width": [8, 8, 8, 16], "step": [1, 1, 2, 1], "good": [0.5, 0.1, 0.7, 0.9]}
    )
    about = {"row": "1/1", "revision": "a", "versions": "v", "device": "cpu", "seconds": 1.0, "finished": "now"}
    made.assign(**about).to_csv(tmp_path / "a.csv", index=False)
    kind = Kind("nets", "a task", "a", "02_a", ("seed", "width"), {"width": "neurons"}, ("good", "right"), order="step")
    assert list(cards.card(kind, Rows(tmp_path)).values()) == [
        "nets", "a task", "8 to 16 neurons", 3, "4 to 5, 9", "right: 0.7 (0.5 to 0.9)", "a.csv", "02_a",
    ]  # fmt: skip
    none = Kind("none", "", "a", "", ("seed",), rows="width > 99")
    with pytest.raises(ValueError, match=r"a.csv has no row of 'none'"):
        cards.card(none, Rows(tmp_path))


def test_every_results_file_and_chapter_has_its_place(table):
    files = {path.stem for path in RESULTS.glob("*.csv") if not path.stem.startswith("speed_")}
    listed = {kind.file for kind in cards.KINDS}
    assert files - listed == NO_NETWORKS_OF_THEIR_OWN.keys() & files
    assert not listed & NO_NETWORKS_OF_THEIR_OWN.keys()
    assert {kind.chapter for kind in cards.KINDS} <= {path.stem for path in NOTEBOOKS.glob("*.py")}
    assert table.index.is_unique


def test_the_sentence_counts_the_table():
    made = pd.DataFrame({"results": ["a.csv", "b.csv", "pretrained.csv"], "networks": [1500, 2, 1]})
    said = "1,502 networks of 2 kinds were trained for the committed rows; 1 that others trained were read."
    assert cards.in_words(made) == said


def test_data_is_counted_where_rows_tell():
    shown = cards.data(Rows(RESULTS)).set_index("data")
    per_class = {
        int(row["per_class"]) for name in ("adversarial_resnet", "adversarial_resnet_wide") for row in raw(name)
    }
    told = shown["used here"]["CIFAR-10 (JPEG)"]
    assert told.startswith(f"{min(per_class)} to {max(per_class)} images a class to train")
    sequences = {row["program"]: int(row["n_sequences"]) for row in raw("algorithms_programs")}
    assert f"reverse {sequences['reverse']:,}" in shown["size"]["Tracr sequences"]
    assert (shown != "").all(axis=None)


def test_sizes_of_what_is_made_here():
    """The typed numbers: tasks times patterns of bits, pairs of numbers below the modulus, and scikit-learn's images."""
    shown = cards.data(Rows(RESULTS)).set_index("data")["size"]
    assert shown["sparse parity"].startswith(f"{3 * 2**12:,} inputs of {3 + 12} ")
    (modulus,) = {int(row["modulus"]) for row in raw("grokking_reread")}
    assert shown["modular addition"] == f"{modulus**2:,} pairs"
    from sklearn.datasets import load_digits

    assert shown["digits"].startswith(f"{len(load_digits().target):,} grey images")
