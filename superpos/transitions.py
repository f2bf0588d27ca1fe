"""A measure through a training that has a transition: how far it falls, when it moves, and what it goes with.

Tables are tidy: a row a checkpoint, `step` in order, a column a measure, and `seed` for the network. Networks are the
independent units; checkpoints are not.
"""

import numpy as np
import pandas as pd

from superpos import statistics

__all__ = [
    "block_changes",
    "correlations",
    "fall",
    "moments",
    "noise_leads",
    "pairings",
    "peak_fall",
    "steepest_moments",
]


def moments(rows, levels=(0.1, 0.5, 0.9), learned=0.99):
    """When one network memorises and when it generalises. → dict: memorised, t10, t50, t90 (steps; NaN for never)

    memorised: the first checkpoint with `learned` of the training pairs right; the others, first crossings of test
    accuracy, linear between checkpoints.
    """
    crossings = {
        f"t{round(100 * level)}": statistics.crossing(rows.step, rows.accuracy_test, level) for level in levels
    }
    return {"memorised": float(rows.step[rows.accuracy_train >= learned].min()), **crossings}


def fall(rows, column, since, until, last=400):
    """1 − after / before of one network's column: after, its mean over the last `last` steps; before, its mean from step
    `since` to step `until`; NaN where no checkpoint lies there, or the column has a hole.
    """
    before = rows[column][(rows.step >= since) & (rows.step <= until)]
    after = rows[column][rows.step > rows.step.max() - last]
    return float(1 - after.mean(skipna=False) / before.mean(skipna=False)) if len(before) else float("nan")


def _width(rows, steps):
    """Odd number of checkpoints that span about `steps` steps."""
    return max(3, 2 * round(steps / 2 / np.diff(rows.step).min()) + 1)


def peak_fall(rows, column, start, end, last=400):
    """The fall of one network's smoothed column from its peak to its end, and what of it lies from step `start` to `end`.

    → dict: drop (share of the peak), fall and inside (in the column's unit; inside may be negative), time (share of the steps
    from peak to end that lie from start to end; NaN for a peak at the end), peak_step.
    """
    y, t = statistics.smooth(rows[column], _width(rows, last)), rows.step.to_numpy()
    peak, after = y.max(), rows[column][rows.step > t[-1] - last].mean()
    rest = t[-1] - t[y.argmax()]
    time = max(0.0, min(end, t[-1]) - max(start, t[y.argmax()])) / rest if rest else float("nan")
    within = float(np.interp(start, t, y) - np.interp(end, t, y))
    return {
        "drop": 1 - after / peak,
        "fall": peak - after,
        "inside": within,
        "time": time,
        "peak_step": float(t[y.argmax()]),
    }


def steepest_moments(table, column, direction, starts, ends, last=400):
    """When a column moves fastest in each network, within its window. → DataFrame by seed: at (step), edge (boolean)

    starts, ends: the window, a Series by seed. A moment at an edge of its window may lie outside in truth.
    """
    found = {}
    for seed in starts.index:
        rows = table[table.seed == seed]
        options = {"start": starts[seed], "end": ends[seed], "width": _width(rows, last)}
        found[seed] = statistics.steepest(rows.step, rows[column], direction, **options)
    return pd.DataFrame(found, index=["at", "edge"]).T.astype({"at": float, "edge": float})


def noise_leads(steps, reference, starts, ends, draws=200, last=400, seed=0):
    """Mean lead over `reference` (a Series of steps by seed) that white noise would have in the same windows. → Series by seed

    Zero is not what chance gives where a window lies to one side of the reference.
    """
    rng, steps = np.random.default_rng(seed), np.asarray(steps)
    found = {}
    for network in starts.index:
        rows = pd.DataFrame({"step": steps})
        options = {"start": starts[network], "end": ends[network], "width": _width(rows, last)}
        times = [statistics.steepest(steps, rng.normal(size=steps.size), 1, **options)[0] for _ in range(draws)]
        found[network] = np.mean(times) - reference[network]
    return pd.Series(found)


def block_changes(y, size=5):
    """Changes between the means of neighbouring blocks of `size` points: what is left of a series without its trend. → Series

    NaN where a block holds a NaN; points at the end that fill no block are left out.
    """
    blocks = y.reset_index(drop=True).groupby(np.arange(len(y)) // size)
    return blocks.agg(lambda block: block.mean(skipna=False) if len(block) == size else np.nan).diff().iloc[1:]


def _r(x, y):
    known = (x.notna() & y.notna()).to_numpy()
    return statistics.pearson(x[known], y[known])


def pairings(aligned, x, y):
    """r of every network's column x with every network's column y, over the steps `since` that all have. → DataFrame (n, n)"""
    x, y = (aligned.pivot(index="since", columns="seed", values=column) for column in (x, y))
    return pd.DataFrame({j: {i: _r(x[i], y[j]) for i in x} for j in y})


def correlations(table, aligned, x, y):
    """Pearson r of two columns, one line a network. → DataFrame by seed

    raw: over all checkpoints; detrended: of `block_changes`; own: on the aligned common steps; others: with column y of the
    other networks there, mean; excess: own less others.
    """
    R = pairings(aligned, x, y)
    networks = {seed: table[table.seed == seed] for seed in R.index}
    own = pd.Series(np.diag(R), R.index)
    others = (R.sum(axis=1) - own) / (len(R) - 1)
    raw = {seed: _r(rows[x], rows[y]) for seed, rows in networks.items()}
    detrended = {seed: _r(block_changes(rows[x]), block_changes(rows[y])) for seed, rows in networks.items()}
    return pd.DataFrame({"raw": raw, "detrended": detrended, "own": own, "others": others, "excess": own - others})
