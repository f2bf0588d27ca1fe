"""The claims of the algorithms; their rules stand, with their history, in notebooks/full/05_algorithms.yaml.

The paper compresses a program by one descent, which finds no solution here; ours has two phases. Our main reading has λ in the
sum unit. By the paper's recipe one network of a size was read, by several SAEs, which says nothing about networks:
those are open.
"""

import math
from collections.abc import Iterator

import pandas as pd

from superpos.answers import Answer, join, said, side
from superpos.claims import (
    CHECK,
    ELSEWHERE,
    PAPER,
    SAE_SEED,
    Claim,
    Estimate,
    MeetsPaper,
    NearZero,
    OnSide,
    exactly,
    mean_of,
)
from superpos.findings.algorithms import analysis
from superpos.findings.algorithms.analysis import RECIPE, F
from superpos.sweep import Rows

WHERE = "algorithmic tasks, figure of F by layer against N"
READINGS = {  # what a reading adds to an id, its unit of inference, its results file, what is other than the paper's protocol
    "main": ("", "start", "algorithms.csv", "λ in the sum unit"),
    RECIPE: ("_recipe", SAE_SEED, "algorithms_published.csv", ""),
}
COMPRESSION = {"compressed": "compressed in two phases", "from scratch": ""}
PLANTED = 45  # features of a toy in the control: as many as the compiled reversal has coordinates
DOES = {"reverse": "reverses sequences", "sort": "sorts", "sort_unique": "sorts what has no repeats"}
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
    return Claim(
        "algorithms.port_exact",
        text,
        "algorithms_programs.csv",
        estimate,
        NearZero(1e-5),
        table=CHECK,
        possible=(0, math.inf),
    )


def psi_solved(rows: Rows) -> Iterator[Claim]:
    """ψ stays below 1 while a program is solved: the largest of ours, and the smallest network by the paper's recipe."""
    solved = pd.concat([analysis.largest_solved(rows).query("reading == 'main'"), analysis.smallest_solved(rows)])
    solved = solved[solved.program.isin(["reverse", "sort"])]
    for (program, reading, way, n), own in solved.groupby(["program", "reading", "way", "n_neurons"]):
        suffix, unit, source, other = READINGS[reading]
        text = f"Algorithms: largest ψ with {program} solved, at N = {n} {way}, is below 1"
        if suffix:
            setting = f"solved at N = {n} {way}, by the {RECIPE}, best start (n counts SAE seeds)"
            text = f"Algorithms: ψ with {program} {setting}, is below 1"
        name, estimate = f"algorithms.psi_max_solved_{program}{suffix}", mean_of(own.psi, unit)
        rule = OnSide(-1, than=1)
        yield Claim(name, text, source, estimate, rule, where=WHERE, protocol=other, possible=(0, math.inf))


def f_level(rows: Rows) -> Iterator[Claim]:
    """F of a program at its native size is the paper's, by our reading and, of the compressed, by the paper's recipe."""
    for (name, program, part), (paper, error) in LEVELS.items():
        own = analysis.native_layers(rows, SCRATCH if part == SCRATCH else "compressed").query("program == @program")
        last = own.layer == own.layer.max()
        own = own[{ALL_BUT_LAST: ~last, LAST: last, SCRATCH: last | ~last}[part]]
        for reading, of_reading in own[own.reading.isin(READINGS)].groupby("reading"):
            suffix, unit, source, other = READINGS[reading]
            how = (
                f", by the {RECIPE}, {part} (n counts SAE seeds)" if suffix else f" N = {own.n_neurons.iloc[0]}, {part}"
            )
            text = f"Algorithms: F of {program} at its native size{how}"
            estimate = mean_of(of_reading.groupby("network")[F].mean(), unit)
            rule, whole = MeetsPaper(error), f"algorithms.{name}{suffix}"
            yield Claim(whole, text, source, estimate, rule, paper, WHERE, protocol=other, possible=(1, math.inf))


def n_break(rows: Rows) -> Iterator[Claim]:
    """The smallest N that solves a program is the paper's."""
    for (program, way), paper in SMALLEST.items():
        own = analysis.starts(rows).query("solved and program == @program and way == @way")
        suffix, where = "_scratch" if way == SCRATCH else "", WHERE if paper else ""
        text = f"Algorithms: smallest N that solves {program}, {way} (best {own.n_neurons.min()})"
        estimate = mean_of(own.groupby("network").n_neurons.min(), "start")
        name = f"algorithms.n_break_{program}{suffix}"
        table, other = PAPER if paper else ELSEWHERE, COMPRESSION[way] if paper else ""
        yield Claim(name, text, "algorithms.csv", estimate, MeetsPaper(1), paper, where, table, other, (1, math.inf))


def sparse_control(rows: Rows) -> Claim:
    """An SAE counts no more features than there are: our main reading on sparse toy features with nothing to compute."""
    own = rows["algorithms_control"].query("reading == 'main' and activity == 0.02 and n_neurons == 15")
    text = f"Algorithms: F of {PLANTED} sparse toy features (on 0.02) in 15 neurons is at most their number"
    estimate, rule = mean_of(own[F], "start"), OnSide(-1, than=PLANTED)
    name, source = "algorithms.sparse_control", "algorithms_control.csv"
    return Claim(name, text, source, estimate, rule, table=CHECK, possible=(1, math.inf))


def solved_again(rows: Rows, reading: str) -> tuple[Estimate, str, int]:
    """ψ of compressions that answer everything, by one of three SAEs; their program and neurons."""
    table = analysis.solved_again(rows)
    own = table[table.reading == reading]
    return mean_of(own.psi, "network"), own.program.iloc[0], int(own.n_neurons.iloc[0])


def control_by_settings(rows: Rows) -> list[Estimate]:
    """F of the sparse control by each setting of this book's SAE, the largest dictionary's last."""
    own = rows["algorithms_control"].query("activity == 0.02 and n_neurons == 15").sort_values(["n_codes", "l1"])
    return [mean_of(part[F], "network") for _, part in own.groupby("reading", sort=False)]


def answer(rows: Rows) -> Answer:
    """What the chapter on algorithms comes to."""
    (psi, program, n), known = solved_again(rows, "published"), control_by_settings(rows)
    head = side(psi, 1, "it does", "it does not", "it is not sure whether it does")
    right = sum(one.low <= PLANTED <= one.high for one in known)
    link = "and" if right == len(known) else "but"
    files = ("algorithms", "algorithms_reread", "algorithms_control", "algorithms_programs", "algorithms_published")
    return Answer(
        "05_algorithms", "Does a program that is squeezed into few neurons overlap its features?",
        f"By the paper's recipe {head}: the program that {DOES.get(program, program)} still works in {n} neurons, at "
        f"ψ = {said(psi)}; {link} a control that holds {PLANTED} features is read right by {right} of {len(known)} settings "
        f"of this book's SAE, which read {join([said(one) for one in known])}.",
        f"{psi.n} compressed networks that answer every sequence right; interval over networks, {psi.kind}. The control: "
        f"{known[0].n} compressions of features to 15 neurons, of which nothing is computed. The settings differ in the "
        "number of codes and in λ; the paper's recipe did not read the control.",
        tuple(f"{name}.csv" for name in files),
    )  # fmt: skip


ANSWERS = (answer,)
CLAIMS = (port_exact, psi_solved, f_level, n_break, sparse_control)
CHAPTERS = {"algorithms.": "05_algorithms"}
