"""Every kind of network that the book trains or reads, and the data it learns from, as two tables.

What a kind is and what it does is said here; how many there are, their seeds, sizes and how good they are is counted in the
committed rows. A network is told from the others of its kind by columns of its rows, which `Kind` names.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from superpos.answers import number
from superpos.sweep import Rows

__all__ = ["CARDS", "DATA", "KINDS", "TABLES", "Kind", "card", "cards", "data", "in_words", "spans"]

CARDS = ("network", "task and data", "size", "networks", "seeds", "how good: median (range)", "results", "chapter")
DATA = ("data", "where it comes from", "size", "split", "used here", "licence")


LEAST = 1e-6  # numbers that are smaller are not written out


def _as_it_is(table: pd.DataFrame) -> pd.DataFrame:
    return table


def _models(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of language models, with the settings that stand in a model's name as columns; rows of shuffled texts left out."""
    named = table.model.str.extract(
        r"layers=(?P<layers>\d+),width=(?P<width>\d+).*steps=(?P<steps>\d+).*seed=(?P<number>\d+)"
    )
    return table.join(named.astype(int)).query("shuffled == 'none'")


@dataclass(frozen=True)
class Kind:
    """A kind of network, in words, and where its rows are.

    rows: a query that keeps its rows, after `prepare`; tell: the columns that tell one of its networks from another, with the
    one of seeds first; size: columns and what they count, in words; good: a column and what it is, "" where the rows have none;
    of the rows of a network the last in the order of `order` says how good it is.
    """

    name: str
    task: str
    file: str
    chapter: str
    tell: tuple[str, ...]
    size: Mapping[str, str] = field(default_factory=dict)
    good: tuple[str, str] = ("", "not in the rows")
    rows: str = ""
    order: str = ""
    prepare: Callable[[pd.DataFrame], pd.DataFrame] = _as_it_is


def card(kind: Kind, rows: Rows) -> dict[str, object]:
    """One line of CARDS, counted in the rows. Raises ValueError where a kind has no row."""
    table = kind.prepare(rows[kind.file])
    table = table.query(kind.rows) if kind.rows else table
    if table.empty:
        raise ValueError(f"{kind.file}.csv has no row of {kind.name!r}")
    table = table.sort_values(kind.order, kind="stable") if kind.order else table
    networks = table.drop_duplicates(list(kind.tell), keep="last")
    sizes = [f"{_ends(table[column])} {words}" for column, words in kind.size.items()]
    if "parameters" in table:
        of_layers = table.drop_duplicates([*kind.tell, "layer"]).groupby(list(kind.tell)).parameters.sum()
        sizes.append(f"{_ends(of_layers)} parameters in the layers read")
    column, words = kind.good
    good = f"{words}: {_middle(networks[column])}" if column else words
    told = (kind.name, kind.task, ", ".join(sizes), len(networks), spans(networks[kind.tell[0]]), good)
    return dict(zip(CARDS, (*told, f"{kind.file}.csv", kind.chapter), strict=True))


def spans(seeds: Iterable[int]) -> str:
    """Whole numbers as spans.

    >>> spans([3, 1, 2, 7, 2])
    '1 to 3, 7'
    """
    found: list[list[int]] = []
    for one in sorted({int(seed) for seed in seeds}):
        if found and one == found[-1][1] + 1:
            found[-1][1] = one
        else:
            found.append([one, one])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in found)


def _ends(values: pd.Series) -> str:
    low, high = (number(float(end), 7) for end in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def _middle(values: pd.Series) -> str:
    low, middle, high = (
        number(x) if x == 0 or abs(x) >= LEAST else f"below {LEAST:f}" for x in values.quantile([0, 0.5, 1])
    )
    return middle if low == high else f"{middle} ({low} to {high})"


def cards(rows: Rows) -> pd.DataFrame:
    """A line a kind of network, in the order of chapters: the columns of CARDS."""
    return pd.DataFrame([card(kind, rows) for kind in KINDS], columns=CARDS)


def in_words(table: pd.DataFrame) -> str:
    """How many networks of how many kinds a table of `cards` holds, in a sentence."""
    published = table.results == "pretrained.csv"
    ours = table[~published]
    return (
        f"{ours.networks.sum():,} networks of {len(ours)} kinds were trained for the committed rows; "
        f"{table[published].networks.sum()} that others trained were read."
    )


NEURONS, HIDDEN = {"n_neurons": "neurons"}, {"width": "hidden neurons"}
TOY = "write 20 sparse features in few neurons and read them back; features drawn anew at every step"
LOSS, RIGHT = ("toy_loss", "loss"), ("accuracy", "accuracy on test inputs")
PARITY = "sparse parity, 3 tasks of 4 bits"
ANSWERS = ("sequences", "share of sequences answered right")
MODULAR = "addition modulo 53, 40% of the pairs"
TEST, LABELS = (
    ("accuracy_test", "accuracy on the other pairs, at the end"),
    ("accuracy_train", "accuracy on training pairs, at the end"),
)
PYTHON = "the next token of Python's own library"
CLEAN = ("accuracy_0", "accuracy on test images that are not attacked")
IMAGES, ATTACKED = "images of MNIST and Fashion-MNIST, 2 to 10 classes", ", with and without attacks in training"
TRAINED = ("seed", "dataset", "n_classes", "width", "epsilon", "update")
KINDS = (
    Kind("toy models, held against the truth", TOY, "toy_truth", "02_toy_models", ("seed", "model"), NEURONS, LOSS),
    Kind(
        "toy models, other seeds, neurons and spacings", TOY, "toy", "02_toy_models",
        ("seed", "model", "n_neurons", "spacing"), NEURONS, LOSS,
    ),
    Kind("toy models, read by the count", TOY, "toy_counting", "10_can_you_trust_f", ("seed", "model"), NEURONS),
    Kind(
        "MLPs of one hidden layer", PARITY, "dictionary", "03_dictionary", ("seed", "net_epochs"), HIDDEN, RIGHT,
        "state == 'trained'",
    ),
    Kind(
        "MLPs of one hidden layer on shuffled labels (control)", PARITY, "dictionary", "03_dictionary",
        ("seed", "net_epochs"), HIDDEN, RIGHT, "state == 'shuffled labels'",
    ),
    Kind(
        "MLPs of one hidden layer, with dropout from 0 to 0.9", PARITY, "dropout", "04_dropout",
        ("seed", "width", "dropout"), HIDDEN, RIGHT, "state == 'trained'",
    ),
    Kind(
        "MLPs with dropout on shuffled labels (control)", PARITY, "dropout", "04_dropout", ("seed", "width", "dropout"), HIDDEN,
        RIGHT, "state == 'shuffled labels'",
    ),
    Kind(
        "programs compiled by Tracr, compressed", "reverse or sort a sequence", "algorithms", "05_algorithms",
        ("network", "program", "n_neurons"), NEURONS, ANSWERS, "route == 'compressed'",
    ),
    Kind(
        "transformers trained from scratch", "the same programs", "algorithms", "05_algorithms",
        ("network", "program", "n_neurons"), NEURONS, ANSWERS, "route == 'scratch' and steps > 0",
    ),
    Kind(
        "compressions with nothing to compute (control)",
        "write toy features, or those of a compiled program as they are and shuffled, in few neurons",
        "algorithms_control", "05_algorithms", ("network", "kind", "activity", "n_neurons"), NEURONS,
        ("right", "share of rows read back right"),
    ),
    Kind(
        "MLPs with weight decay", MODULAR, "grokking", "06_grokking", ("seed", "width"), HIDDEN, TEST,
        "architecture == 'mlp' and state == 'weight decay'", "step",
    ),
    Kind(
        "MLPs without weight decay (control)", MODULAR, "grokking", "06_grokking", ("seed", "width"), HIDDEN, TEST,
        "state == 'no weight decay'", "step",
    ),
    Kind(
        "MLPs on shuffled labels (control)", MODULAR, "grokking", "06_grokking", ("seed", "width"), HIDDEN, LABELS,
        "state == 'shuffled labels'", "step",
    ),
    Kind(
        "transformers of one layer", MODULAR, "grokking", "06_grokking", ("seed", "width"), HIDDEN, TEST,
        "architecture == 'transformer'", "step",
    ),
    Kind(
        "small language models (GPT-NeoX)", PYTHON, "layers", "07_layers", ("number",),
        {"layers": "layers", "width": "neurons in the stream"}, ("loss", "loss, nats a token"), "steps > 0",
        prepare=_models,
    ),
    Kind(
        "MLPs of three hidden layers", IMAGES + ATTACKED, "adversarial", "08_under_attack", TRAINED, {}, CLEAN,
        "architecture == 'mlp'",
    ),
    Kind(
        "CNNs of two convolutions", IMAGES + ATTACKED, "adversarial", "08_under_attack", TRAINED, {}, CLEAN,
        "architecture == 'cnn'",
    ),
    Kind(
        "MLPs of one hidden layer", "images of MNIST, 2 to 10 classes" + ATTACKED, "adversarial", "09_room_to_spare",
        TRAINED, HIDDEN, CLEAN, "architecture == 'mlp1'",
    ),
    Kind(
        "CNNs of one convolution", "images of MNIST, 2 to 10 classes" + ATTACKED, "adversarial", "09_room_to_spare",
        TRAINED, {"width": "channels"}, CLEAN, "architecture == 'cnn1'",
    ),
    Kind(
        "ResNet-18, a quarter as wide, trained briefly", "images of CIFAR-10 (JPEG), 10 classes" + ATTACKED,
        "adversarial_resnet", "09_room_to_spare", TRAINED, {"width": "of the width"}, CLEAN,
    ),
    Kind(
        "ResNet-18 of three widths", "images of CIFAR-10 (JPEG), 10 classes" + ATTACKED, "adversarial_resnet_wide",
        "09_room_to_spare", TRAINED, {"width": "of the width"}, CLEAN,
    ),
    Kind(
        "an MLP of three hidden layers", "images of MNIST, 10 classes", "trust_layers", "10_can_you_trust_f",
        ("seed", "dataset"), {"width": "neurons in the last hidden layer"}, ("accuracy", "accuracy on test images"),
    ),
    Kind(
        "MLPs of one hidden layer, for the four readings", PARITY, "parity_reread", "11_what_survives",
        ("seed", "width", "dropout"), HIDDEN, RIGHT,
    ),
    Kind(
        "programs compiled by Tracr, compressed, for the four readings", "reverse a sequence", "algorithms_reread",
        "11_what_survives", ("network",), NEURONS, ANSWERS,
    ),
    Kind(
        "MLPs with weight decay, for the four readings", MODULAR, "grokking_reread", "11_what_survives", ("seed",), HIDDEN,
        TEST, order="step",
    ),
    Kind(
        "small language models, for the four readings", PYTHON, "language_reread", "11_what_survives", ("seed",),
        {"layers": "layers", "width": "neurons in the stream"}, ("loss", "loss, nats a token"), "steps > 0",
    ),
    Kind(
        "MLPs of three hidden layers, for the four readings",
        "images of MNIST and Fashion-MNIST, 2 or 10 classes" + ATTACKED, "adversarial_reread", "11_what_survives", TRAINED,
        {}, CLEAN, "architecture == 'mlp'",
    ),
    Kind(
        "MLPs of one hidden layer, for the four readings", "images of MNIST, 2 or 10 classes" + ATTACKED,
        "adversarial_reread", "11_what_survives", TRAINED, HIDDEN, CLEAN, "architecture == 'mlp1'",
    ),
    *(
        Kind(
            f"{name} (published, not trained here)", read, "pretrained", "12_networks_people_use", ("seed", "network"),
            {"n_neurons": "neurons a layer"}, ("quality", good), f"network == '{key}' and state == 'trained'",
        )
        for key, name, read, good in (
            ("minilm", "all-MiniLM-L6-v2", "sentences to vectors; read on paragraphs of Python's manual",
             "share of halves of a paragraph that find each other"),
            ("smollm2", "SmolLM2-135M-Instruct, 4-bit weights", "the next token; read on paragraphs of Python's manual",
             "loss, nats a token"),
            ("efficientnet", "EfficientNet-Lite0", "images of ImageNet; read on CIFAR-10 (JPEG), enlarged",
             "share of images whose nearest one is of their class"),
            ("crepe", "CREPE-tiny", "the pitch of sounds; read on pure tones", "share of tones heard to 50 cents"),
        )
    ),
)  # fmt: skip
SOURCES = (  # name, where from, size, split, licence
    ("digits", "scikit-learn: the test part of Optical Recognition of Handwritten Digits (UCI)",
     "1,797 grey images of 8 × 8, 10 classes", "80% to train and 20% to test, each class by the same share", "CC BY 4.0 (UCI)"),
    ("MNIST", "torchvision", "70,000 grey images of 28 × 28, 10 classes", "60,000 to train, 10,000 to test",
     "CC BY-SA 3.0, according to TensorFlow's documentation"),
    ("Fashion-MNIST", "torchvision; made by Zalando Research", "70,000 grey images of 28 × 28, 10 classes",
     "60,000 to train, 10,000 to test", "MIT"),
    ("CIFAR-10 (JPEG)", "CIFAR-10, each image stored as JPEG of quality 75: not the original pixels",
     "60,000 colour images of 32 × 32, 10 classes", "50,000 to train, 10,000 to test", "none stated"),
    ("sparse parity", "made here: every pair of a task and twelve bits", "12,288 inputs of 15 zeros and ones",
     "80% to train and 20% to test, each task and label by the same share", "none needed"),
    ("modular addition", "made here: all pairs of numbers below 53", "2,809 pairs", "40% to train, the rest to test",
     "none needed"),
    ("Tracr sequences", "made here: all sequences of the lengths and tokens for which a program was compiled", "",
     "none: trained and tested on all", "none needed; Tracr itself is under Apache-2.0"),
    ("texts", "the library and the manual of the Python that runs",
     "the files of that library, without tests and tables of characters",
     "by file: 70% to train, 15% to fit SAEs, 15% to read", "Python Software Foundation License"),
    ("toy features and planted features", "made here", "as many as are drawn", "none: drawn anew at every step", "none needed"),
    ("pure tones", "made here", "as many as are drawn", "none: read only", "none needed"),
)  # fmt: skip
NAMES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "folder:cifar10-jpeg75": "CIFAR-10 (JPEG)"}
USED = {"digits": "by the pages themselves, at quick scale", "texts": "all; for published networks the manual alone"}


def data(rows: Rows) -> pd.DataFrame:
    """A line a data set: the columns of DATA. How many images were used, and how many sequences there are, the rows tell."""
    files = ("adversarial", "adversarial_resnet", "adversarial_resnet_wide", "adversarial_reread")
    images = pd.concat([rows[name][["dataset", "per_class", "n_test"]] for name in files]).groupby("dataset")
    used = USED | {
        NAMES[name]: f"{_ends(mine.per_class)} images a class to train, {_ends(mine.n_test)} in all to test"
        for name, mine in images
    }
    programs = rows["algorithms_programs"].drop_duplicates("program")
    counted = ", ".join(f"{one.program} {one.n_sequences:,}" for one in programs.itertuples())
    lines = [
        (name, source, size or f"by program: {counted}", split, used.get(name, "all"), licence)
        for name, source, size, split, licence in SOURCES
    ]
    return pd.DataFrame(lines, columns=DATA)


TABLES: Mapping[str, Callable[[Rows], pd.DataFrame]] = {
    "cards": cards,
    "data": data,
}  # of the page of networks and data
