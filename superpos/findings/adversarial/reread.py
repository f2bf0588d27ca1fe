"""Classifiers trained with and without attacks, some of their layers read on clean images by several readings."""

from typing import Any

from superpos import activations, training
from superpos.findings.adversarial import task
from superpos.readings import ALL, names_in, read_by
from superpos.seeds import seed as seed_of
from superpos.settings import Count, Positive, one_of, settings


@settings
class Reread:
    """A network, its `layers` that are read (names, with semicolons between), on how many images and rows, and by what.

    readings: names of `superpos.readings`, with semicolons between; length: of the training of what reads, 1 for the whole.
    """

    network: task.Network
    layers: str
    n_images: Count
    n_rows: Count
    n_test: Count = 1000
    readings: str = ALL
    length: Positive = 1.0

    def __post_init__(self) -> None:
        names_in(self.readings)


def reread_run(run: Reread, *, root: task.Folder = None) -> list[dict[str, Any]]:
    """A row a layer and a reading. root: where data sets lie. Raises ValueError, before any training, for an unknown layer."""
    network = run.network
    images, validation, read, test = task.load(network.dataset, network.n_classes, network.per_class, root=root)
    layers, seed = [name.strip() for name in run.layers.split(";")], seed_of("adversarial.rows", network.seed)
    for layer in layers:
        one_of("layer", layer, (*network.untrained(images.shape).layers, "out"))
    model, ended = task.trained(network, images, validation)
    of = activations.read_activations(model, task.some(read, run.n_images), layers, n_samples=run.n_rows, seed=seed)
    weights, rows = task.layer_weights(model), []
    about = ended | {"accuracy_0": training.accuracy(model, task.some(test, run.n_test))}
    for layer in layers:
        asked = {"seed": seed_of("adversarial.sae", network.seed), "label": layer, "sample": of[layer].sample}
        found = read_by(names_in(run.readings), of[layer].x, **asked, length=run.length)
        rows += [about | {"layer": layer, "parameters": weights[layer]} | row for row in found]
    return rows
