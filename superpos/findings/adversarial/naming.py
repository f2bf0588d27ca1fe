"""What rows call by a short name, in the words that a reader is shown."""

from typing import Any

import pandas as pd

VALUES = {
    "mnist": "MNIST",
    "fashion-mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "folder:cifar10-jpeg75": "CIFAR-10 (JPEG)",
    "mlp": "MLP",
    "cnn": "CNN",
    "mlp1": "MLP",
    "cnn1": "CNN",
    "resnet18": "ResNet-18",
    "leak": "the paper's",
    "corrected": "corrected",
    "paper": "read off the paper",
    "published": "the paper's recipe",
    "protocol": "this book's protocol",
    "F, protocol": "F, this book's protocol",
    "F, TopK": "F, TopK",
    "F, published, half λ": "F, half the paper's λ",
    "F, published, twice λ": "F, twice the paper's λ",
    "published, half λ": "half the paper's λ",
    "published, twice λ": "twice the paper's λ",
    "conv1": "convolution 1",
    "conv2": "convolution 2",
    "fc1": "dense 1",
    "fc2": "dense 2",
    "fc3": "dense 3",
    **{f"layer{i}": f"stage {i}" for i in range(1, 5)},
    "PGD": "the attack itself",
    "layers: equal": "layers count equally",
    "inputs: clean": "clean images alone",
    "inputs: attacked": "attacked images alone",
    "radii: above 0": "line through the radii above 0",
    "counted: above chance": "only networks above chance",
    **{f"measure: {name}": name for name in ("effective rank", "participation ratio")},
}
HEADS = {
    "dataset": "data set",
    "architecture": "network",
    "n_classes": "classes",
    "epsilon": "radius ε",
    "inputs": "images",
    "per_class": "images a class",
    "batch_size": "images a batch",
    "n_images": "images read",
    "n_rows": "rows read",
    "rows_fitted": "rows fitted",
    "attack_steps": "steps of the attack",
    "psi": "ψ",
    "fvu": "variance unexplained",
    "l0": "active codes",
    "dead": "dead codes, share",
    "line": "group",
    "jump": "jump",
    "above": "slope above 0",
    "line_p": "p of one line",
    "q": "Q",
    "q_p": "p of Q",
    "i2": "I²",
    "mean": "mean",
    "low": "from",
    "high": "to",
    "mean_re": "mean, random effects",
    "low_re": "from, random effects",
    "high_re": "to, random effects",
    "h2": "change a step",
    "where": "group",
    "claim": "claim",
    "which": "group and update",
}


def word(value: Any) -> Any:
    """A value in words: a name, or names with commas between, by VALUES; anything else as it is."""
    if not isinstance(value, str):
        return value
    if value in VALUES:
        return VALUES[value]
    head, _, rest = value.partition(": ")
    if head == "measure" and rest in VALUES:
        return VALUES[rest]
    return ", ".join(VALUES.get(part, part) for part in value.split(", "))


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """A table as a reader is shown it: words in place of ids in its cells, its index and the heads of its columns."""

    def head(name: Any) -> Any:
        return HEADS.get(name, word(name)) if isinstance(name, str) else name

    table = table.map(word).rename(columns=head, index=word)
    table.index.names = [head(name) for name in table.index.names]
    table.columns.names = [head(name) for name in table.columns.names]
    return table
