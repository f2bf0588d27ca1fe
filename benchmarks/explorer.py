"""The charts of the chapter on costs. They draw tables of `benchmarks.analysis`."""

import altair as alt
import pandas as pd

from superpos.answers import join, number
from superpos.charts import Axis, intervals, lines, titled
from superpos.findings.explorer import in_lines


def times_cheaper(table: pd.DataFrame) -> alt.LayerChart:
    """Processor time of the other code over ours by set (`analysis.cheaper`); the title says from where to where it runs."""
    low, high = (number(value, 2) for value in (table.cpu_ratio.min(), table.cpu_ratio.max()))
    return titled(
        intervals(table, Axis("cpu_ratio", "processor time, theirs / ours"), "activations", rule=1),
        f"The other code needs {low} to {high} times our processor time, averaged over seeds",
        f"Dots with intervals: ratio of processor times for {len(table)} sets of activations, and a dashed line at 1.",
        width=400,
        height=36 * len(table),
    )


def same_number(table: pd.DataFrame) -> alt.LayerChart:
    """Our loss and F over theirs by set (`analysis.agreement`); the title says how far from 1 they get."""
    off = (table["ours / theirs"] - 1).abs().groupby(table.what, sort=False).max()
    told = [f"our {what} lies within {100 * value:.0f}% of theirs" for what, value in off.items()]
    ends = min(1.0, table.low.min()) - 0.02, max(1.0, table.high.max()) + 0.02
    return titled(
        intervals(table, Axis("ours / theirs", domain=ends), "activations", color="what", rule=1),
        f"Averaged over seeds, {join(told)}",
        "Dots with intervals: our loss and our effective features over those of the other code, and a dashed line at 1.",
        width=400,
        height=52 * table.activations.nunique(),
    )


def ways(table: pd.DataFrame) -> alt.LayerChart:
    """Relative loss by way down and set, with an interval; the title names the way that ends lowest on each set."""
    lowest = table.loc[table.groupby("layer", sort=False).relative.idxmin()]
    told = [f"{line.way.replace(chr(10), ' ')} on the {line.layer}" for line in lowest.itertuples()]
    same = lowest.way.nunique() == 1
    best = f"on each layer by: {lowest.way.iloc[0].replace(chr(10), ' ')}" if same else f"by {join(told)}"
    return titled(
        in_lines(
            intervals(
                table,
                Axis("relative", "loss after 100 epochs, over that of the published way"),
                "way",
                color="layer",
                rule=1,
            )
        ),
        f"The lowest loss is reached {best}",
        "Dots with intervals: relative loss of eight ways of training on two layers, and a dashed line at 1.",
        width=400,
        height=400,
    )


def step_over_neurons(wide: pd.DataFrame, exponent: float) -> alt.LayerChart:
    """Seconds of a step over the neurons, a line a kind of products; exponent: its log-log slope in float32."""
    return titled(
        lines(
            wide,
            Axis("n_neurons", "neurons N", scale="log"),
            Axis("step_seconds", "seconds a step", scale="log"),
            color="products",
            tooltip=("memory_mib", "gflops"),
        ),
        f"From 128 neurons on, a step's time grows as N to the power {exponent:.1f}",
        "Two lines, float32 and bfloat16: seconds of a training step against the number of neurons, both axes logarithmic.",
    )


def memory(table: pd.DataFrame) -> alt.LayerChart:
    """Peak memory over the factor by which rows, neurons or codes exceed the base case (`analysis.memory`)."""
    last = table.loc[table.groupby("along", sort=False).factor.idxmax()]
    told = [f"{line.factor:g} times the {line.along}: {number(line.memory_mib)} MiB" for line in last.itertuples()]
    return titled(
        lines(
            table,
            Axis("factor", "times the base case", scale="log"),
            Axis("memory_mib", "MiB", scale="log"),
            color=Axis("along", "grows"),
            tooltip=("n_rows", "n_neurons", "n_codes"),
        ),
        f"Peak memory of a fit with {join(told)}",
        "Lines of peak memory against the factor by which rows, neurons or codes exceed the base case.",
    )


def runs_an_hour(done: pd.DataFrame) -> alt.LayerChart:
    """Runs an hour over workers, a line a kind of them (`analysis.throughput`); the title says what two workers do."""
    share = done[done.n_workers == 2].share.min()
    return titled(
        lines(
            done,
            Axis("n_workers", "workers"),
            Axis("runs_per_hour", "runs an hour"),
            color=Axis("kind", "workers are"),
            tooltip=["share"],
        ),
        f"Two workers do at least {share:.0%} of twice what one does, on a machine of two cores",
        "Lines: runs an hour by one, two and four workers, as processes of one machine and as a Dask cluster.",
    )
