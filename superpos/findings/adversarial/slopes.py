"""How fast a measure changes with the radius of adversarial training: one slope a condition, under every choice.

A *condition* is a data set, number of classes, architecture, width and update; its networks differ in radius and seed.
Networks at radius 0 serve every update.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy import stats

from superpos import sweep
from superpos.settings import flat, settings

CONDITION = ["dataset", "n_classes", "architecture", "width", "update"]
NETWORK = [*CONDITION, "epsilon", "seed"]
PLAIN = CONDITION[:-1]  # what the networks at radius 0 of all updates share
PROTOCOL = [  # what all rows of a condition have in common
    "reading", "part", "n_images", "n_rows", "per_class", "epochs", "attack_steps", "batch_size", "lr", "milestones", "products",
    "keep", "weight_decay",
]  # fmt: skip
MEASURES = {
    "F": "effective_features",
    "effective rank": "effective_rank",
    "participation ratio": "participation_ratio",
}
KINDS = {"both": ("clean", "attacked"), "clean": ("clean",), "attacked": ("attacked",)}


@settings
class Choice:
    """What rows of one reading leave open.

    inputs: "clean" or "attacked" images, or both, as the paper pools them; radius 0 has clean rows, which stand for both.
    layers: averaged by their "parameters" (Bereska 2025, appendix) or "equal"ly. radii: "all", or those "above 0", through
    which the line then goes, whatever the jump from radius 0. measure: one of MEASURES. counted: all networks, or those that
    are above chance.
    """

    inputs: Literal["both", "clean", "attacked"] = "both"
    layers: Literal["parameters", "equal"] = "parameters"
    radii: Literal["all", "above 0"] = "all"
    measure: Literal["F", "effective rank", "participation ratio"] = "F"
    counted: Literal["all", "above chance"] = "all"


USUAL = Choice()


def slopes(table: pd.DataFrame, choice: Choice = USUAL) -> pd.DataFrame:
    """How fast a measure changes with the radius of training, relative to radius 0: CONDITION, slope, variance, n.

    table: rows of `runs.attack_run` of one reading. In each network the measure of every layer, logits aside, is averaged over
    SAE seeds and kinds of input, taken relative to the layer's mean at radius 0, and averaged over layers; those numbers,
    one a network, are regressed on the radius. variance: of the slope, that of the mean at radius 0 in it, and what is
    left of the line too; n: networks.
    Raises ValueError for rows of several protocols in a condition, a condition without radius 0 or with too few
    networks or radii for the line, a network without a row of every layer and kind of input, and NaN.
    """
    found = list(_conditions(_counted(table, choice.counted), choice.inputs, [choice.measure]))
    for key, by_layer, _ in found:
        if not _enough(by_layer, choice.radii):
            raise ValueError(
                f"condition {key} has too few networks or radii for a line through the radii {choice.radii}: "
                f"{len(by_layer)}"
            )
    return _lines(found, choice)


def slopes_by_choice(table: pd.DataFrame, measures: Sequence[str] = tuple(MEASURES)) -> pd.DataFrame:
    """`slopes` under every Choice, whose fields are columns here; measures: those of MEASURES that are asked for.

    A condition that a choice leaves with fewer than two radii above 0, or with too few networks for its line, is left out
    there.
    """
    tables = []
    for counted in ("all", "above chance"):
        rows = _counted(table, counted)
        plain, above = rows[rows.epsilon == 0], rows[rows.epsilon > 0]
        n_radii = above.groupby(CONDITION).epsilon.transform("nunique")
        rows = pd.concat([plain, above[(n_radii >= 2) & _among(above, plain, PLAIN)]])
        for inputs in KINDS:
            found = list(_conditions(rows, inputs, measures))
            open_here = {"measure": list(measures), "layers": ["parameters", "equal"], "radii": ["all", "above 0"]}
            for choice in sweep.expand(Choice, inputs=inputs, counted=counted, **open_here):
                enough = [one for one in found if _enough(one[1], choice.radii)]
                tables.append(_lines(enough, choice).assign(**flat(choice)))
    return pd.concat(tables, ignore_index=True)


def shapes(table: pd.DataFrame) -> pd.DataFrame:
    """What the line of `slopes` passes over, under the usual choice: CONDITION, jump, above, line_p.

    jump: relative change from radius 0 to the smallest radius above it; above: slope over the radii above 0, in the unit of
    `slopes`; line_p: p of the classical test of lack of fit of one line to all radii, against the spread of networks of one
    radius (Draper and Smith 1998, section 2.1), NaN for fewer than three radii or without that spread.
    """
    found = []
    for key, by_layer, parameters in _conditions(table, "both", ["F"]):
        by_layer, weights = by_layer["F"], parameters / parameters.sum()
        radii = by_layer.index.get_level_values("epsilon").to_numpy()
        relative = (by_layer / by_layer[radii == 0].mean()).to_numpy() @ weights
        means = pd.Series(relative).groupby(radii).transform("mean").to_numpy()
        line = np.poly1d(np.polyfit(radii, relative, 1))(radii)
        m, n = len(set(radii)), len(radii)
        within = ((relative - means) ** 2).sum()
        p = np.nan
        if m > 2 and n > m and within > 0:
            p = stats.f.sf(((means - line) ** 2).sum() / (m - 2) / (within / (n - m)), m - 2, n - m)
        jump = relative[radii == radii[radii > 0].min()].mean() - 1
        rest = _relative_slope(by_layer, weights, "above 0")["slope"] if _enough(by_layer, "above 0") else np.nan
        found.append(dict(zip(CONDITION, key, strict=True)) | {"jump": jump, "above": rest, "line_p": p})
    return pd.DataFrame(found)


Condition = tuple[tuple[Any, ...], pd.DataFrame, np.ndarray]


def _conditions(table: pd.DataFrame, inputs: str, measures: Sequence[str]) -> Iterator[Condition]:
    """Each condition: its key, its networks (epsilon, seed) × (measure, layer), and the layers' parameters."""
    columns = {MEASURES[name]: name for name in measures}
    _check_protocol(table)
    table = table[table.layer != "out"]
    for column, holes in table[list(columns)].isna().sum().items():
        if holes:
            raise ValueError(f"{column} holds {holes} NaN; drop those conditions by name first")
    table = unattacked_for_both(table[(table.epsilon == 0) | table.inputs.isin(KINDS[inputs])])
    _check_whole(table)
    for key, rows in table.rename(columns=columns).groupby(CONDITION, sort=False):
        at_zero = rows.epsilon == 0
        if not at_zero.any():
            raise ValueError(f"condition {key} has no network at radius 0, which a slope is relative to")
        if set(rows.layer[at_zero]) != set(rows.layer):
            raise ValueError(f"condition {key}: its networks at radius 0 have not the layers of the others")
        by_layer = rows.groupby(["epsilon", "seed", "layer"])[list(columns.values())].mean().unstack("layer")
        yield key, by_layer, rows.groupby("layer").parameters.first().to_numpy()


def _check_protocol(table: pd.DataFrame) -> None:
    for name in [name for name in PROTOCOL if name in table]:
        kinds = table.groupby(PLAIN)[name].unique()
        for several in kinds[kinds.map(len) > 1]:
            several = ", ".join(map(str, several))
            raise ValueError(f"the rows of a condition are of several protocols: {name} is {several}")


def _check_whole(table: pd.DataFrame) -> None:
    """ValueError for networks that lack a row of a layer or kind of input that others of their condition have."""
    keys = [*CONDITION, "above"]
    there = table.assign(above=table.epsilon > 0).drop_duplicates([*keys, "epsilon", "seed", "layer", "inputs"])
    expected = there.drop_duplicates([*keys, "layer", "inputs"]).groupby(keys).size().rename("expected")
    found = there.groupby([*keys, "epsilon", "seed"]).size().rename("found").reset_index().join(expected, on=keys)
    for key, part in found[found.found < found.expected].groupby(CONDITION):
        lacking = list(zip(part.epsilon, part.seed, strict=True))
        raise ValueError(
            f"condition {key}: networks (epsilon, seed) without a row of every layer and kind of input: {lacking}"
        )


def _enough(by_layer: pd.DataFrame, used: str) -> bool:
    """Whether networks of a condition determine a line and leave something to take its variance from."""
    radii = by_layer.index.get_level_values("epsilon")
    return radii[radii > 0].nunique() >= (1 if used == "all" else 2) and len(radii) > (2 if used == "all" else 3)


def _lines(found: Iterable[Condition], choice: Choice) -> pd.DataFrame:
    lines = []
    for key, by_layer, parameters in found:
        weights = parameters if choice.layers == "parameters" else np.ones(len(parameters))
        line = _relative_slope(by_layer[choice.measure], weights / weights.sum(), choice.radii)
        lines.append(dict(zip(CONDITION, key, strict=True)) | line)
    return pd.DataFrame(lines, columns=[*CONDITION, "slope", "variance", "n"])


def _relative_slope(by_layer: pd.DataFrame, weights: Float[np.ndarray, " L"], used: str) -> dict[str, float]:
    """Slope on the radius of the layers' mean relative to radius 0, and its variance, from a row a network.

    The mean at radius 0 is data too: by the delta method a network with residuals e moves the slope by Σ w (k − s·z) e over
    layers: w their weights, k the network's weight in a regression, s the layer's slope, and z one over the number of
    networks at radius 0 for these, else 0. e has one covariance, of n − 2, or of n − 3 where the line goes through the radii
    above 0 and those at 0 have a level of their own.
    """
    radii = by_layer.index.get_level_values("epsilon").to_numpy()
    at_zero = (radii == 0) / (radii == 0).sum()
    relative = by_layer.to_numpy() / (at_zero @ by_layer.to_numpy())
    line = np.stack([np.ones_like(radii), radii], 1)
    design = line if used == "all" else np.column_stack([line * (radii > 0)[:, None], radii == 0])
    solve = np.linalg.pinv(design)
    k, s = solve[1], solve[1] @ relative
    residuals = relative - design @ (solve @ relative)
    covariance = residuals.T @ residuals / (len(radii) - design.shape[1])
    moves = weights * (k[:, None] - np.outer(at_zero, s))
    return {"slope": s @ weights, "variance": np.einsum("il,lm,im->", moves, covariance, moves), "n": len(radii)}


def without_silent(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of the networks all of whose layers, logits aside, say something; and the others, a row each.

    A layer that gives one row for all images, or a dictionary without a live code, has no F (see `runs.read_layers`). Where all
    networks of radius 0 are so, nothing is left that a slope is relative to, and the others are those of all radii.
    """
    silent = table[(table.layer != "out") & table.effective_features.isna()][NETWORK].drop_duplicates()
    of_silence = _among(table, silent, NETWORK)
    level = table[~of_silence & (table.epsilon == 0)]
    lost = silent[(silent.epsilon == 0) & ~_among(silent, level, PLAIN)]
    left_out = of_silence | _among(table, lost, PLAIN)
    return table[~left_out], table[left_out][NETWORK].drop_duplicates(ignore_index=True)


def _among(table: pd.DataFrame, others: pd.DataFrame, names: list[str]) -> Bool[np.ndarray, " n"]:
    """Which rows have the values of another table's rows in some columns."""
    return pd.MultiIndex.from_frame(table[names]).isin(pd.MultiIndex.from_frame(others[names]))


def unattacked_for_both(table: pd.DataFrame) -> pd.DataFrame:
    """Rows at radius 0, which serve every update, under the name of each that was run in their condition."""
    above, plain = table[table.epsilon > 0], table[table.epsilon == 0]
    plain = plain.drop(columns="update").merge(above[CONDITION].drop_duplicates(), on=PLAIN)
    return pd.concat([above, plain], ignore_index=True)


def own_accuracy(table: pd.DataFrame) -> pd.Series:
    """Accuracy of the network of each row under attack at the radius that it was trained at.

    Raises ValueError where it was not taken: no column accuracy_RADIUS, or NaN in it.
    """
    rows = table.to_dict("records")
    found = pd.Series([row.get(f"accuracy_{row['epsilon']:g}", np.nan) for row in rows], table.index, dtype=float)
    lacking = found.isna().to_numpy()
    if lacking.any():
        radii = ", ".join(f"{epsilon:g}" for epsilon in sorted(set(table.epsilon[lacking])))
        raise ValueError(f"{lacking.sum()} rows have no accuracy at the radius of their training, {radii}")
    return found


def above_chance(table: pd.DataFrame, margin: float = 0.1) -> pd.Series:
    """Which rows are of networks that do better than guessing, by `margin`, under attack at their own radius."""
    return own_accuracy(table) > 1 / table.n_classes + margin


def _counted(table: pd.DataFrame, counted: str) -> pd.DataFrame:
    return table if counted == "all" else table[above_chance(table)]
