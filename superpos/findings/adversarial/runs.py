"""One network trained, attacked and read, or checked for gradient masking: settings → rows. And the grids of such runs.

Every run leaves, beside F, robustness, the SAE's quality, and the measures that need none.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field
from torch import nn

from superpos import activations, sae, sweep
from superpos.attacks import Attack
from superpos.data import LabelledImages
from superpos.findings.adversarial import robustness, task
from superpos.measurement import measure_rows
from superpos.seeds import seed as seed_of
from superpos.settings import Count, Share, flat, one_of, settings
from superpos.training import UPDATES

READINGS = {  # four codes a neuron, as the paper has them; TopK keeps an eighth of the neurons' number
    "published": sae.PUBLISHED_FAST,
    "published, half λ": sae.PUBLISHED_FAST.but(l1=0.05),
    "published, twice λ": sae.PUBLISHED_FAST.but(l1=0.2),
    "protocol": sae.PROTOCOL,
    "protocol, half λ": sae.PROTOCOL.but(l1=0.25),
    "protocol, twice λ": sae.PROTOCOL.but(l1=1.0),
    "TopK": sae.PROTOCOL.but(activation="topk", k=1, loss="mse"),
    "columns shuffled": sae.PROTOCOL,
}


@settings
class AttackRun:
    """A network and how it is read.

    part: which images are read, those on the training's side or the test images; n_images: how many; n_rows: rows of a
    layer, at most; readings: names of READINGS, separated by semicolons; n_sae: SAEs a reading, of different seeds; n_test: test
    images whose accuracies stand in every row; sae_share: of the epochs or steps of a reading, how many its SAEs are given.
    """

    network: task.Network
    n_images: Count
    n_rows: Count
    part: Literal["train", "test"] = "train"
    readings: str = "published"
    n_sae: Count = 1
    n_test: Count = 1000
    sae_share: Annotated[Share, Field(gt=0)] = 1.0

    def __post_init__(self) -> None:
        for name in self.names():
            one_of("reading", name, READINGS)

    def names(self) -> list[str]:
        """The names of its readings."""
        return [name.strip() for name in self.readings.split(";")]


@settings
class MaskingRun:
    """A network, and the number of test images on which it is checked for gradient masking."""

    network: task.Network
    n_test: Count


def attack_run(run: AttackRun, *, folder: task.Folder = None, root: task.Folder = None) -> list[dict[str, Any]]:
    """One network trained, attacked as the paper attacks, and read: a row a layer, kind of input, reading and SAE seed.

    folder: where its weights are kept (`task.trained`); root: where data sets lie. Raises ValueError for images that there are
    not.
    """
    network, seed = run.network, seed_of("adversarial.attack", run.network.seed)
    images, validation, read, test = task.load(network.dataset, network.n_classes, network.per_class, root=root)
    attack, radii = task.paper_attack(images.shape)
    model, ended = task.trained(network, images, validation, folder)
    tested = task.some(test, run.n_test)
    curve = robustness.curve(model, tested, sorted({0.0, *radii, network.epsilon}), attack, seed=seed)
    about = {f"accuracy_{row.epsilon:g}": row.accuracy for row in curve.itertuples()} | ended
    weights = task.layer_weights(model)
    table = read_layers(model, task.some({"train": read, "test": test}[run.part], run.n_images), attack, run)
    return [about | row | {"parameters": weights[row["layer"]]} for row in table.to_dict("records")]


def read_layers(model: nn.Module, images: LabelledImages, attack: Attack, run: AttackRun) -> pd.DataFrame:
    """F of every layer, and of the logits ("out"), on clean and on attacked images, by the readings of a run.

    At radius 0 there is nothing to attack at, and clean stands for both, as in the paper. A layer that says the same of all
    images has a row of NaN, and `trouble` "constant".
    """
    layers, seed = [*model.layers, "out"], run.network.seed
    kinds = {"clean": images}
    if run.network.epsilon:
        kinds["attacked"] = task.attacked_images(model, images, run.network.epsilon, attack, seed)
    draw = partial(activations.read_activations, n_samples=run.n_rows, seed=seed_of("adversarial.rows", seed))
    rows = {inputs: draw(model, some, layers) for inputs, some in kinds.items()}
    tables = []
    for inputs, layer, name in itertools.product(kinds, layers, run.names()):
        table = _read(rows[inputs][layer], name, seed, run.n_sae, f"{layer}, {inputs}, {name}", run.sae_share)
        tables.append(table.assign(layer=layer, inputs=inputs, reading=name))
    return pd.concat(tables, ignore_index=True)


def _read(rows: activations.Rows, name: str, seed: int, n_sae: int, label: str, share: float = 1.0) -> pd.DataFrame:
    """One layer by one reading: a row an SAE seed."""
    constant, n_neurons = float((rows.x == rows.x[0]).all(0).double().mean()), rows.x.shape[1]
    one, of_rows = READINGS[name], seed_of("adversarial.rows", seed)
    one = one.but(k=max(1, n_neurons // 8)) if one.activation == "topk" else one
    length = "steps" if one.steps else "epochs"
    one = one.but(**{length: max(1, round(share * getattr(one, length)))})
    x = activations.shuffle_columns(rows.x, of_rows) if name == "columns shuffled" else rows.x
    fitted, read = replace(rows, x=x).split(one.held_out, of_rows)
    if any(bool((part == part[0]).all()) for part in (fitted, read)):
        return pd.DataFrame([{"sae_seed": seed, "n_neurons": n_neurons, "constant": constant, "trouble": "constant"}])
    seeds = [seed_of("adversarial.sae", seed + 1000 * i) for i in range(n_sae)]
    table = measure_rows(fitted, read, one, seeds=seeds, label=label)
    names = {"seed": "sae_seed", "n_read": "rows_read", "n_fitted": "rows_fitted", "epochs": "rounds"}
    trouble = np.where(table.effective_features.isna(), "dead dictionary", "")
    return table.rename(columns=names).assign(constant=constant, trouble=trouble)


def masking_run(run: MaskingRun, *, folder: task.Folder = None, root: task.Folder = None) -> list[dict[str, Any]]:
    """`robustness.masking_checks` of the network that `attack_run` trains: a row a check."""
    network = run.network
    images, validation, _, test = task.load(network.dataset, network.n_classes, network.per_class, root=root)
    model, _ = task.trained(network, images, validation, folder)
    attack, seed = task.paper_attack(images.shape)[0], seed_of("adversarial.attack", network.seed)
    table = robustness.masking_checks(model, task.some(test, run.n_test), network.epsilon, attack, seed=seed)
    return table.to_dict("records")


def grid(updates: Sequence[str] = UPDATES, /, *, epsilon: Sequence[float], **axes: Any) -> list[AttackRun]:
    """Networks at radius 0, which serve every update, and under each update at the radii `epsilon`; axes as in `sweep.expand`."""
    plain = sweep.expand(AttackRun, **axes, update="corrected", epsilon=0.0)
    return plain + sweep.expand(AttackRun, **axes, update=list(updates), epsilon=list(epsilon))


def under_leak(runs: Iterable[AttackRun], **among: Sequence[Any]) -> list[AttackRun]:
    """Those of some runs that are under the paper's update, or at radius 0, and have some of the values named for a setting."""
    leak = [one for one in runs if one.network.update == "leak" or one.network.epsilon == 0]
    return [one for one in leak if all(flat(one)[name] in values for name, values in among.items())]


def masking_runs(runs: Sequence[AttackRun], n_classes: Sequence[int], n_test: int) -> list[MaskingRun]:
    """Checks of the networks of seed 1 and the largest radius, for some numbers of classes, on so many test images."""
    largest = max(one.network.epsilon for one in runs)
    those = [one.network for one in runs if one.network.seed == 1 and one.network.epsilon == largest]
    return [MaskingRun(network, n_test) for network in those if network.n_classes in n_classes]


def run_all(here: Any, files: dict[str, list[Any]], networks: str = "") -> dict[str, pd.DataFrame]:
    """Do the runs of some results files, and give their rows by file; a file without runs is left out.

    networks: the folder that keeps the weights, so that a network is trained once ("": a scratch one; on a cluster none).
    """
    with TemporaryDirectory() as scratch:
        folder = networks or (None if here.cluster else scratch)
        work = {AttackRun: partial(attack_run, folder=folder), MaskingRun: partial(masking_run, folder=folder)}
        return {name: here.run(work[type(runs[0])], runs, name) for name, runs in files.items() if runs}
