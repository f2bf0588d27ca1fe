"""The claims of the algorithms; their rules stand, with their history, in notebooks/full/05_algorithms.yaml."""

from collections.abc import Iterator

import pandas as pd

from superpos.claims import Claim, MeetsPaper, NearZero, OnSide, exactly, mean_of
from superpos.findings.algorithms import analysis
from superpos.findings.algorithms.analysis import RECIPE, F
from superpos.sweep import Rows

WHERE = "algorithmic tasks, figure of F by layer against N"
READINGS = {  # what a reading adds to an id, its unit of inference, its results file
    "main": ("", "start", "algorithms.csv"),
    RECIPE: ("_recipe", "SAE seed", "algorithms_published.csv"),
}
ALL_BUT_LAST, LAST, SCRATCH = "all layers but the last", "last layer", "from scratch"
LEVELS = {  # the paper's F at native size, read off its figures to ± error
    ("f_level_reverse", "reverse", ALL_BUT_LAST): (12.0, 1),
    ("f_last_reverse", "reverse", LAST): (16.0, 1),
    ("f_level_sort", "sort", ALL_BUT_LAST): (24.5, 4.5),
    ("f_level_sort_scratch", "sort", SCRATCH): (10.0, 1),
}
SMALLEST = {  # the paper's smallest N that solves a program, read off its figures to ±1; it gives none for sorting
    ("reverse", "compressed"): 15.0,
    ("reverse", SCRATCH): 6.0,
    ("sort", "compressed"): None,
    ("sort", SCRATCH): None,
}


def port_exact(rows: Rows) -> Claim:
    """The compiled programs in torch do what JAX's do."""
    table = rows["algorithms_programs"]
    text = "Algorithms: largest difference of a compiled stream between torch and JAX"
    estimate = exactly(float(table.difference.max()), "program", table.program.nunique())
    return Claim("algorithms.port_exact", text, "algorithms_programs.csv", estimate, NearZero(1e-5))


def psi_solved(rows: Rows) -> Iterator[Claim]:
    """ψ stays below 1 while a program is solved: the largest of ours, and the smallest network by the paper's recipe."""
    solved = pd.concat([analysis.largest_solved(rows).query("reading == 'main'"), analysis.smallest_solved(rows)])
    solved = solved[solved.program.isin(["reverse", "sort"])]
    for (program, reading, way, n), own in solved.groupby(["program", "reading", "way", "n_neurons"]):
        suffix, unit, source = READINGS[reading]
        text = f"Algorithms: largest ψ with {program} solved, at N = {n} {way}, is below 1"
        if suffix:
            setting = f"solved at N = {n} {way}, {RECIPE}, best start (n: SAE seeds)"
            text = f"Algorithms: ψ with {program} {setting}, is below 1"
        name, estimate = f"algorithms.psi_max_solved_{program}{suffix}", mean_of(own.psi, unit)
        yield Claim(name, text, source, estimate, OnSide(-1, than=1), where=WHERE)


def f_level(rows: Rows) -> Iterator[Claim]:
    """F of a program at its native size is the paper's, by our reading and, of the compressed, by the paper's recipe."""
    for (name, program, part), (paper, error) in LEVELS.items():
        own = analysis.native_layers(rows, SCRATCH if part == SCRATCH else "compressed").query("program == @program")
        last = own.layer == own.layer.max()
        own = own[{ALL_BUT_LAST: ~last, LAST: last, SCRATCH: last | ~last}[part]]
        for reading, of_reading in own[own.reading.isin(READINGS)].groupby("reading"):
            suffix, unit, source = READINGS[reading]
            how = f", {RECIPE}, {part} (n: SAE seeds)" if suffix else f" N = {own.n_neurons.iloc[0]}, {part}"
            text = f"Algorithms: F of {program} at its native size{how}"
            estimate = mean_of(of_reading.groupby("network")[F].mean(), unit)
            yield Claim(f"algorithms.{name}{suffix}", text, source, estimate, MeetsPaper(error), paper, WHERE)


def n_break(rows: Rows) -> Iterator[Claim]:
    """The smallest N that solves a program is the paper's."""
    for (program, way), paper in SMALLEST.items():
        own = analysis.starts(rows).query("solved and program == @program and way == @way")
        suffix, where = "_scratch" if way == SCRATCH else "", WHERE if paper else ""
        text = f"Algorithms: smallest N that solves {program}, {way} (best {own.n_neurons.min()})"
        estimate = mean_of(own.groupby("network").n_neurons.min(), "start")
        name = f"algorithms.n_break_{program}{suffix}"
        yield Claim(name, text, "algorithms.csv", estimate, MeetsPaper(1), paper, where)


def sparse_control(rows: Rows) -> Claim:
    """Sparse features with nothing to compute overlap."""
    own = rows["algorithms_control"].query("reading == 'main' and activity == 0.02 and n_neurons == 15")
    text = "Algorithms: ψ of sparse toy features (on 0.02) in 15 neurons is above 1"
    estimate = mean_of(own.psi, "start")
    return Claim("algorithms.sparse_control_psi", text, "algorithms_control.csv", estimate, OnSide(1, than=1))


CLAIMS = (port_exact, psi_solved, f_level, n_break, sparse_control)
