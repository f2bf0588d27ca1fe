"""Committed rows → tidy tables: what the chapter draws and shows.

Functions take the tables of a results folder (`superpos.sweep.Rows`). A row is a layer of one published network, in one state and
by one reading. There is one network of a kind, so that nothing here has an interval over networks; the interval of a count is
that of `superpos.intervals`.
"""

import itertools

import numpy as np
import pandas as pd

from superpos.readings import WORDS
from superpos.sweep import Rows

__all__ = [
    "PYTHIA",
    "REASONS",
    "STATES",
    "agreement",
    "apart",
    "apart_by_network",
    "beside_controls",
    "by_layer",
    "colours",
    "counts",
    "in_words",
    "named",
    "positions",
    "readings",
    "refused",
    "shapes",
    "shown_shapes",
    "tones",
    "top",
    "verdict",
]

TITLES = {"minilm": "MiniLM", "smollm2": "SmolLM2", "efficientnet": "EfficientNet-Lite0", "crepe": "CREPE-tiny"}
STATES = ("trained", "untrained", "shuffled")
SAES = ("published", "protocol", "TopK")
ORDER = (*SAES, "count")
REASONS = {  # how a reason begins: in few words
    "rows are written as briefly as Gaussian": "no shorter than noise",
    "rows are written as briefly by the neurons": "no shorter than neurons",
    "dictionaries disagree": "dictionaries disagree",
    "no direction was found": "no shared direction",
    "F still moves": "still moving",
    "are too few for": "too few rows",
    "codes are in use": "too many codes",
}
PYTHIA = {  # Bereska 2025: F in thousands of Pythia-70M's residual stream after layers 0 to 5, and of its MLPs
    "Pythia stream (paper)": (4.5, 6.9, 5.1, 3.8, 5.4, 3.2),
    "Pythia MLP (paper)": (6.3, 10.5, 5.5, 6.1, 5.4, 3.1),
}


def named(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `runs.pretrained_run` in order: networks by their titles, number (of the layer among those read, from 0), F and ψ,
    and the ends of a count's interval as ψ.
    """
    order = [table.network.map(list(TITLES).index), table.state.map(STATES.index), table.depth]
    table = table.assign(_n=order[0], _s=order[1]).sort_values(["_n", "_s", "depth"], kind="stable")
    layers = table.groupby("network").layer.transform("nunique")
    at = (table.depth * (layers - 1)).round().astype(int)
    return table.drop(columns=["_n", "_s"]).assign(
        network=table.network.map(TITLES),
        number=at,
        F=table.effective_features,
        psi=table.effective_features / table.n_neurons,
        low=table.low / table.n_neurons,
        high=table.high / table.n_neurons,
    )


def by_layer(rows: Rows) -> pd.DataFrame:
    """ψ by SAEs: network, number (of the layer, from 0), depth, layer, n_neurons, state, reading, psi, F and fvu."""
    table = named(rows["pretrained"]).query("reading != 'count'")
    columns = ["network", "number", "depth", "layer", "n_neurons", "state", "reading", "psi", "F", "fvu"]
    return table[columns].reset_index(drop=True)


def readings(table: pd.DataFrame) -> pd.DataFrame:
    """ψ by every reading: network, state, reading, depth, layer, psi, low and high.

    The count has a psi where it answers, and else only the ends of what the rows admit; an SAE has no range.
    """
    table = named(table)
    counted = table.reading == "count"
    psi = table.psi.where(~counted | (table.identified.astype(str) == "True"))
    table = table.assign(psi=psi, low=table.low.where(counted, psi), high=table.high.where(counted, psi))
    table = table.dropna(subset=["low", "high"]).sort_values(
        "reading", key=lambda one: one.map(ORDER.index), kind="stable"
    )
    table = table.sort_values("network", key=lambda one: one.map(list(TITLES.values()).index), kind="stable")
    return table[["network", "state", "reading", "depth", "layer", "psi", "low", "high"]].reset_index(drop=True)


def apart(rows: Rows) -> pd.DataFrame:
    """How far the SAEs are from each other in each trained layer: network, layer and factor, the largest F over the smallest."""
    table = by_layer(rows).query("state == 'trained'").groupby(["network", "layer"], sort=False).F
    return (table.max() / table.min()).rename("factor").reset_index()


def apart_by_network(rows: Rows) -> pd.DataFrame:
    """`apart` by network: the median over its layers, the smallest and the largest, and how many layers."""
    found = apart(rows).groupby("network", sort=False).factor.agg(["median", "min", "max", "size"])
    return found.rename(columns={"min": "smallest", "max": "largest", "size": "layers"})


def counts(rows: Rows) -> pd.DataFrame:
    """What the count says of each layer: identified and psi, the ends of its interval or of what the rows admit, and why not."""
    table = named(rows["pretrained"]).query("reading == 'count'").astype({"identified": bool})
    table = table.assign(why=[_in_short(row.reason, row.identified) for row in table.itertuples()])
    return table[
        ["network", "number", "layer", "n_neurons", "state", "identified", "psi", "low", "high", "why"]
    ].reset_index(drop=True)


def _in_short(reason: object, identified: bool) -> str:
    if identified:
        return "counted"
    found = [words for begins, words in REASONS.items() if begins in str(reason)]
    if not found:
        raise ValueError(f"the reason of a refusal is unknown: {reason!r}")
    return found[0]


def refused(rows: Rows) -> pd.DataFrame:
    """How many layers of a network were counted, by state: network, state, layers, counted, word, tone and why (by frequency)."""
    found = []
    for (network, state), group in counts(rows).groupby(["network", "state"], sort=False):
        n = int(group.identified.sum())
        why = group.loc[~group.identified, "why"].value_counts()
        found.append(
            {"network": network, "state": state, "layers": len(group), "counted": n}
            | {"word": f"{n} of {len(group)}", "tone": "all" if n == len(group) else "some" if n else "none"}
            | {"why": "; ".join(f"{words}: {times}" for words, times in why.items())}
        )
    return pd.DataFrame(found)


def colours(answered: pd.DataFrame) -> dict[str, str]:
    """The colour of each word of `refused`, by whether all layers were counted, some or none."""
    hues = {"all": "#cfe8d5", "some": "#f2e3b3", "none": "#e3e3e3"}
    return {row.word: hues[row.tone] for row in answered.itertuples()}


def shapes(rows: Rows, network: str = "SmolLM2") -> pd.DataFrame:
    """F over the depth of a trained network, by each SAE and beside Pythia's in the paper: line, depth, layer and ratio.

    ratio is F over its geometric mean over layers, so that lines of different size show their shape.
    """
    table = by_layer(rows).query("network == @network and state == 'trained'")
    made = [
        pd.DataFrame({"line": f"{network}, {reading}", "layer": group.number, "F": group.F})
        for reading, group in table.groupby("reading", sort=False)
    ]
    made += [pd.DataFrame({"line": line, "layer": range(6), "F": values}) for line, values in PYTHIA.items()]
    for one in made:
        one["depth"] = one.layer / one.layer.max()
        one["ratio"] = one.F / np.exp(np.log(one.F).mean())
    return pd.concat(made, ignore_index=True)


def shown_shapes(rows: Rows, network: str = "SmolLM2") -> pd.DataFrame:
    """Of each line of `shapes`: where its highest and lowest layers lie (depth), and F of the highest over F of the last."""
    found = []
    for line, group in shapes(rows, network).groupby("line", sort=False):
        high, low = group.loc[group.F.idxmax()], group.loc[group.F.idxmin()]
        last = group.F.iloc[-1]
        found.append(
            {"line": line, "highest at": high.depth, "lowest at": low.depth, "highest over last": high.F / last}
        )
    return pd.DataFrame(found).set_index("line")


def beside_controls(rows: Rows) -> pd.DataFrame:
    """F of trained layers over that of the same layer in a control, the median over layers, by network and reading.

    Columns: over untrained, over shuffled (above 1: the trained layer reads more), and how many layers each rests on.
    """
    table = by_layer(rows).pivot(index=["network", "layer", "reading"], columns="state", values="F").reset_index()
    names = [f"over {state}" for state in STATES[1:] if state in table]
    for name in names:
        table[name] = table.trained / table[name.removeprefix("over ")]
    grouped = table.groupby(["network", "reading"], sort=False)[names]
    return grouped.median().join(grouped.count(), rsuffix=", layers")


def agreement(rows: Rows) -> pd.DataFrame:
    """Spearman's r of F over the trained layers of a network, for each two SAEs: network, pair, layers and r."""
    found = []
    for network, group in by_layer(rows).query("state == 'trained'").groupby("network", sort=False):
        F = group.pivot(index="layer", columns="reading", values="F")
        for one, other in itertools.combinations(SAES, 2):
            r = F[one].corr(F[other], method="spearman")
            found.append({"network": network, "pair": f"{one} and {other}", "layers": len(F), "r": r})
    return pd.DataFrame(found)


def in_words(rows: Rows) -> str:
    """How many layers the count answers for, a sentence."""
    table = counts(rows).groupby("state", sort=False).identified.agg(["sum", "size"])
    parts = [f"{int(row['sum'])} of {int(row['size'])} {state}" for state, row in table.iterrows()]
    return f"The count answers for {', '.join(parts[:-1])} and {parts[-1]} layers."


def verdict(rows: Rows) -> str:
    """What the rows come to, in sentences."""
    lines, shape = [in_words(rows)], shown_shapes(rows)
    own = shape[~shape.index.str.contains("paper")]
    places = "; ".join(f"{WORDS[line.rpartition(', ')[2]]} at {row['highest at']:.2f}" for line, row in own.iterrows())
    lines.append(f"The highest layer of SmolLM2 lies, in depth from 0 to 1, by {places}.")
    pairs = agreement(rows).query("network == 'SmolLM2'")
    said = "; ".join(
        f"{' and '.join(WORDS[one] for one in row.pair.split(' and '))} {row.r:.2f}" for row in pairs.itertuples()
    )
    lines.append(f"Over its {pairs.layers.iloc[0]} layers the ranks of F correlate by {said} (Spearman).")
    medians = beside_controls(rows)
    for state in STATES[1:]:
        above = medians[f"over {state}"].dropna() > 1
        lines.append(
            f"F of a trained layer over F of the {state} one, the median over layers, is above 1 in {int(above.sum())} of "
            f"{len(above)} pairs of a network and an SAE."
        )
    return "\n".join(lines)


def tones(rows: Rows) -> pd.DataFrame:
    """CREPE on pure tones, whose one factor is the pitch: layer, measure and value; F of each SAE, and the TwoNN dimension."""
    table = named(rows["pretrained"]).query("network == 'CREPE-tiny' and state == 'trained'")
    made = [
        pd.DataFrame({"number": group.number, "measure": f"F, {reading}", "value": group.F})
        for reading, group in table.query("reading != 'count'").groupby("reading", sort=False)
    ]
    one = table.query("reading == 'published'")
    made.append(pd.DataFrame({"number": one.number, "measure": "TwoNN dimension", "value": one.intrinsic_dimension}))
    return pd.concat(made, ignore_index=True)


def top(rows: Rows, network: str) -> pd.DataFrame:
    """What moves the codes of a network's middle layer: code, share, and the texts that move it most, a line a text."""
    names = {title: name for name, title in TITLES.items()}
    table = rows["pretrained_top"].query(f"network == {names[network]!r}")
    return table[["layer", "code", "share", "place", "text"]].reset_index(drop=True)


def positions(rows: Rows, within: int = 10) -> str:
    """How many codes are moved most by tokens at nearly one position of their texts, and the largest share of one."""
    found = []
    for name, table in rows["pretrained_top"].groupby("network", sort=False):
        spread = table.groupby("code").position.agg(lambda places: places.max() - places.min())
        found.append(
            f"In {TITLES[str(name)]} {int((spread <= within).sum())} of {len(spread)} codes are moved most by tokens that lie "
            f"within {within} positions of each other; the largest share is {table.share.max():.0%}."
        )
    return "\n".join(found)
