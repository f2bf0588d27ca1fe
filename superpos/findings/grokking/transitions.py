"""Series through a training that has a transition: when they move, how far they fall, and what they go with.

Tables are tidy: a row a checkpoint, `step` in order, a column a measure, and `seed` for the network. Networks are the
independent units; checkpoints are not.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.signal import savgol_filter

from superpos import statistics

LAST = 400  # steps: of the end of a training, and of the smoothing


def smooth(y: ArrayLike, width: int = 9, derivative: int = 0) -> Float[np.ndarray, " n"]:
    """A series at equal steps, each point from a parabola fitted to the `width` points around it (Savitzky and Golay 1964).

    derivative 1: its slope there, per step. Raises ValueError for fewer points than `width`, or NaN.
    """
    return savgol_filter(np.asarray_chkfinite(y, dtype=float), width, 2, deriv=derivative)


def crossing(t: ArrayLike, y: ArrayLike, level: float) -> float:
    """The first time t at which the line through a series y reaches `level` from below; NaN if it never does.

    Raises ValueError for no points, NaN, or two lengths.
    """
    t, y = (np.asarray_chkfinite(values, dtype=float) for values in (t, y))
    if t.shape != y.shape or t.ndim != 1 or not len(t):
        raise ValueError(f"expected as many times as values, and one at least, got {t.shape} and {y.shape}")
    k = int(np.argmax(y >= level))
    if k == 0:
        return float(t[0]) if y[0] >= level else float("nan")
    half = 0.5 if max(abs(y[k]), abs(y[k - 1]), abs(level)) > 1e300 else 1.0  # so that no difference overflows
    share = (level * half - y[k - 1] * half) / (y[k] * half - y[k - 1] * half)
    return float(np.clip(t[k - 1] * (1 - share) + t[k] * share, *sorted((t[k - 1], t[k]))))


def steepest(
    t: ArrayLike, y: ArrayLike, direction: float, *, start: float = -np.inf, end: float = np.inf, width: int = 9
) -> tuple[float, bool]:
    """When a series y at equal steps t, smoothed, moves fastest in a direction (+1 or −1), and whether at an edge.

    Times before `start` and after `end` are left out of the search, not of the smoothing. At an edge, the first or last time
    allowed, the true moment may lie outside. Raises ValueError where no time is left.
    """
    moves, t = direction * smooth(y, width, derivative=1), np.asarray(t, dtype=float)
    allowed = np.flatnonzero((t >= start) & (t <= end))
    if not allowed.size:
        raise ValueError(f"no time lies between {start} and {end}")
    best = allowed[np.argmax(moves[allowed])]
    return float(t[best]), bool(best in allowed[[0, -1]])


def pseudo_values(above: ArrayLike, below: ArrayLike) -> Float[np.ndarray, " n"]:
    """What each of n independent units says of the ratio Σ above / Σ below, by the jackknife (Tukey 1958).

    n · ratio − (n − 1) · the ratio without that unit.
    """
    above, below = np.asarray_chkfinite([above, below], dtype=float)
    if not ((below.sum() - below) != 0).all():
        raise ValueError("the sum below is zero without one of the units, so that the ratio is undefined")
    without = (above.sum() - above) / (below.sum() - below)
    return above.size * (above.sum() / below.sum()) - (above.size - 1) * without


def ratio_interval(above: ArrayLike, below: ArrayLike) -> tuple[float, float, float]:
    """Ratio of two means over independent units, and low and high of the t interval of its pseudo-values.

    Steadier than a mean of ratios where `below` comes near zero. Raises ValueError for fewer than 2 units, or NaN.
    """
    _, low, high = statistics.mean_interval(pseudo_values(above, below))
    return float(np.sum(above) / np.sum(below)), low, high


def spacing(table: pd.DataFrame) -> int:
    """Steps between neighbouring checkpoints of a table."""
    return int(np.diff(np.sort(table.step.unique())).min())


def _width(table):
    """Odd number of checkpoints that span about LAST steps."""
    return max(3, 2 * round(LAST / 2 / spacing(table)) + 1)


def moments(rows: pd.DataFrame, learned: float = 0.99) -> dict[str, float]:
    """When one network memorises and when it generalises: memorised, t10, t50, t90 (steps; NaN for never).

    memorised: the first checkpoint with `learned` of the training pairs right; the others: first crossings of these percents
    of the test pairs, linear between checkpoints.
    """
    crossings = {f"t{level}": crossing(rows.step, rows.accuracy_test, level / 100) for level in (10, 50, 90)}
    return {"memorised": float(rows.step[rows.accuracy_train >= learned].min()), **crossings}


def fall(rows: pd.DataFrame, column: str, since: float, until: float, last: float = LAST) -> float:
    """1 − after / before of one network's column: after, its mean over the last steps; before, from step `since` to `until`.

    NaN where no checkpoint lies there, or the column has a hole.
    """
    before, after = rows[column][rows.step.between(since, until)], rows[column][rows.step > rows.step.max() - last]
    return float(1 - after.mean(skipna=False) / before.mean(skipna=False)) if len(before) else float("nan")


def peak_fall(rows: pd.DataFrame, column: str, start: float, end: float) -> dict[str, float]:
    """The fall of one network's smoothed column from its peak to its end, and what of it lies from step `start` to `end`.

    drop: share of the peak; fall and inside: in the column's unit (inside may be negative); time: share of the steps from peak
    to end that lie from start to end (NaN for a peak at the end); peak_step.
    """
    y, t = smooth(rows[column], _width(rows)), rows.step.to_numpy(dtype=float)
    peak, at, after = float(y.max()), float(t[y.argmax()]), float(rows[column][rows.step > t[-1] - LAST].mean())
    time = max(0.0, min(end, t[-1]) - max(start, at)) / (t[-1] - at) if t[-1] > at else float("nan")
    inside = float(np.interp(start, t, y) - np.interp(end, t, y))
    return {"drop": 1 - after / peak, "fall": peak - after, "inside": inside, "time": time, "peak_step": at}


def steepest_moments(table: pd.DataFrame, column: str, direction: float, windows: pd.DataFrame) -> pd.DataFrame:
    """When a column moves fastest in each network, within its window: by seed, at (step) and edge (1 at an edge, else 0).

    windows: start and end (steps) by seed. A moment at an edge of its window may lie outside in truth.
    """
    found = {}
    for seed, rows in table.groupby("seed"):
        start, end = windows.loc[seed, ["start", "end"]]
        found[seed] = steepest(rows.step, rows[column], direction, start=start, end=end, width=_width(rows))
    return pd.DataFrame(found, index=["at", "edge"]).T.astype(float)


def noise_leads(table: pd.DataFrame, reference: pd.Series, windows: pd.DataFrame, draws: int = 200) -> pd.Series:
    """Mean lead over `reference` (steps by seed) that white noise would have in the same windows, by seed.

    Zero is not what chance gives where a window lies to one side of the reference. Networks have the same checkpoints.
    """
    noise = np.random.default_rng(0).normal(size=(table.seed.nunique(), draws, table.step.nunique()))
    table = table[["seed", "step"]].sort_values(["seed", "step"])
    drawn = (table.assign(noise=noise[:, i].ravel()) for i in range(draws))
    return (
        pd.concat([steepest_moments(one, "noise", 1, windows)["at"] for one in drawn], axis=1).mean(axis=1) - reference
    )


def block_changes(y: pd.Series, size: int = 5) -> pd.Series:
    """Changes between the means of neighbouring blocks of `size` points: what is left of a series without its trend.

    NaN where a block holds a NaN; points at the end that fill no block are left out.
    """
    blocks = y[: len(y) // size * size].to_numpy(dtype=float).reshape(-1, size)
    return pd.Series(blocks.mean(1)).diff().iloc[1:]


def _r(x, y):
    known = (x.notna() & y.notna()).to_numpy()
    return statistics.pearson(x[known], y[known])


def pairings(aligned: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """r of every network's column x with every network's column y, over the steps `since` that all have."""
    xs, ys = (aligned.pivot(index="since", columns="seed", values=column) for column in (x, y))
    return pd.DataFrame({j: {i: _r(xs[i], ys[j]) for i in xs} for j in ys})


def correlations(table: pd.DataFrame, aligned: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """Pearson r of two columns, a line a network.

    raw: over all checkpoints; detrended: of `block_changes`; own: on the aligned common steps; others: with column y of the
    other networks there, mean; excess: own less others.
    """
    pairs = pairings(aligned, x, y)
    own = pd.Series(np.diag(pairs), pairs.index)
    others = (pairs.sum(axis=1) - own) / (len(pairs) - 1)
    networks = table[table.seed.isin(pairs.index)].groupby("seed")[[x, y]]
    raw = {seed: _r(rows[x], rows[y]) for seed, rows in networks}
    detrended = {seed: _r(block_changes(rows[x]), block_changes(rows[y])) for seed, rows in networks}
    return pd.DataFrame({"raw": raw, "detrended": detrended, "own": own, "others": others, "excess": own - others})
