"""Rows of the algorithms → tidy tables: what the chapter draws and shows, and what the claims judge."""

import re
from collections.abc import Sequence

import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor

from superpos.answers import SAES, join
from superpos.findings.algorithms.programs import compile_program
from superpos.findings.algorithms.runs import READINGS
from superpos.findings.algorithms.task import compressed
from superpos.statistics import summarize
from superpos.sweep import Rows

F, RECIPE = "effective_features", "paper's recipe"
SETTING = ["program", "way", "n_neurons"]
DOES = {"reverse": "reversing", "sort": "sorting", "sort_unique": "sorting without repeats"}  # a program in a sentence
WORDS = {  # a column, level or entry of the tables that the chapter shows: its words
    "n_neurons": "neurons N", "N": "neurons N", "M": "coordinates", "read": "coordinates read", "used": "coordinates ever on",
    "difference": "difference to JAX", "right": "answered right", "best": "best start", "gap": "mean start below it",
    "tokens": "tokens right", "optimisation": "failed in optimisation", "truth": "F of the coordinates",
    "last": "ψ of the last layer", "psi": "ψ", "truth / N": "F of the coordinates / N", "frobenius": "‖W‖²/N",
    "rank": "dimensions", "states": "different states", "on": "on in a row", "activity": "share of rows on", "of": "features",
    "fvu": "left unexplained", "l0": "codes on in a row", "dead": "dead codes", "moved": "F moved by", "way": "network",
    "effective_features": "F", "count": "networks", "main": "F, main reading", "small λ": "F, small λ",
}  # fmt: skip


def layers(rows: Rows) -> pd.DataFrame:
    """Every reading of every layer, those by the paper's recipe included, with the way to the network and whether it is solved.

    way: "compressed", "from scratch" or "untrained"; a network is solved if it answers every sequence; which: program and
    way; moved: how far F moved over the second half of an SAE's training.
    """
    recipe = rows["algorithms_published"].rename(columns={"sae_seed": "network"})
    return _named(
        pd.concat([_with_way(rows["algorithms"]), recipe.assign(way="compressed", reading=RECIPE)], ignore_index=True)
    )


def _with_way(table):
    """Rows of networks with the way to them, in order."""
    ways = {"compressed": "compressed", "scratch": "from scratch"}
    table = table.assign(way=table.route.map(ways).where(table.steps > 0, "untrained"))
    return table.sort_values(["route", "program", "n_neurons", "layer"], kind="stable")


def _named(table):
    """Rows of networks with what `layers` says of them."""
    moved = (table[F] / table.half_way - 1).abs()
    return table.assign(solved=table.sequences == 1, which=table.program + ", " + table.way, moved=moved)


def networks(rows: Rows) -> pd.DataFrame:
    """Every reading of every trained network: F and ψ, means over its layers, and ψ of the last layer alone (`last`)."""
    return _over_layers(layers(rows))


def _over_layers(table):
    """Means of the trained networks over their layers."""
    table = table[table.way != "untrained"].assign(last=table.psi)
    how = {F: "mean", "psi": "mean", "last": "last", "solved": "first", "psi_frobenius": "first"}
    return table.groupby(["which", *SETTING, "network", "reading"], sort=False).agg(how).reset_index()


def starts(rows: Rows) -> pd.DataFrame:
    """A row a trained network: the share of tokens and of sequences that it answers right."""
    return layers(rows).query("way != 'untrained' and reading == 'main' and layer == 0")


def port(rows: Rows) -> pd.DataFrame:
    """Each program's coordinates (M) and those read, sequences, layers, the difference to JAX, and the share right."""
    columns = {
        "M": "n_neurons",
        "read": "n_read",
        "sequences": "n_sequences",
        "layers": "layer",
        "difference": "difference",
    }
    by_program = rows["algorithms_programs"].groupby("program", sort=False)
    return by_program.agg(**{new: (old, "max") for new, old in columns.items()}, right=("sequences", "first"))


def accuracy(rows: Rows) -> pd.DataFrame:
    """Share of sequences right in each setting: of the best start, and the mean with its interval, cut at 0 and 1."""
    mean = summarize(starts(rows), SETTING, "sequences").assign(of="mean")
    mean[["low", "high"]] = mean[["low", "high"]].clip(0, 1)
    best = starts(rows).groupby(SETTING, sort=False).sequences.agg(sequences="max", count="size").reset_index()
    table = pd.concat([mean, best.assign(of="best start", low=best.sequences, high=best.sequences)])
    return table.assign(line=table.way + ", " + table.of)


def solved(rows: Rows) -> pd.DataFrame:
    """Each setting's starts: how many are solved, how many failed in optimisation, and for how many no solution is known.

    A start has failed in its optimisation where it or a smaller N of its program and way is solved by some start.
    """
    own = starts(rows)
    table = own.groupby(SETTING).agg(
        starts=("solved", "size"), solved=("solved", "sum"), best=("sequences", "max"), mean=("sequences", "mean"),
        tokens=("tokens", "mean"),
    )  # fmt: skip
    smallest = own[own.solved].groupby(SETTING[:2]).n_neurons.min().rename("smallest")
    wide = table.index.get_level_values("n_neurons") >= table.join(smallest).smallest
    failed, gap = table.starts - table.solved, table.best - table["mean"]
    table = table.assign(gap=gap, optimisation=failed.where(wide, 0)).assign(
        **{"no solution found": failed.where(~wide, 0)}
    )
    shown = ["starts", "solved", "optimisation", "no solution found", "best", "gap", "tokens"]
    return table[shown].sort_index(ascending=[True, True, False])


def _with_even(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """A table of F with a line more, F = N; `column` names the lines."""
    even = table.drop_duplicates(["which", "n_neurons"])
    even = even.assign(**{column: "F = N"}, **dict.fromkeys((F, "low", "high"), even.n_neurons.astype(float)))
    return pd.concat([table, even])


def by_layer(rows: Rows) -> pd.DataFrame:
    """F of each layer in each setting (main reading), and F = N; failed: where not every start is solved."""
    main = layers(rows).query("way != 'untrained' and reading == 'main'")
    by = ["which", "n_neurons"]
    table = summarize(main, [*by, "layer"], F).join(main.groupby(by).solved.all(), on=by)
    table["of"] = table.layer.map(lambda layer: f"layer {layer}" if layer else "embedding")
    table = _with_even(table, "of")
    return table.assign(failed=~(table.solved | (table.of == "F = N")))


def native_layers(rows: Rows, way: str = "compressed") -> pd.DataFrame:
    """Every reading of every layer of the networks as wide as the compiled program, M neurons."""
    table = layers(rows).query("way == @way")
    return table[table.n_neurons == table.program.map(port(rows).M)]


def native(rows: Rows) -> pd.DataFrame:
    """F of each layer compressed to its own M neurons, beside the coordinates ever on and the F of those themselves."""
    found = native_layers(rows).pivot_table(index=["program", "layer"], columns="reading", values=F)
    truth = rows["algorithms_programs"].set_index(["program", "layer"])[["used", "truth"]]
    return truth.join(found[["main", "small λ"]], how="inner").sort_index()


def by_reading(rows: Rows) -> pd.DataFrame:
    """F, mean over layers, in each setting by each reading, and F = N."""
    return _with_even(summarize(networks(rows), ["which", "reading", "n_neurons"], F), "reading")


def superposition(rows: Rows) -> pd.DataFrame:
    """ψ, mean over layers, in each setting (main reading); failed: where not every start is solved."""
    return superposition_of(rows["algorithms"])


def superposition_of(table: pd.DataFrame) -> pd.DataFrame:
    """The same of rows that `runs.network_run` gave."""
    main = _over_layers(_named(_with_way(table))).query("reading == 'main'")
    table = summarize(main, SETTING, "psi").join(main.groupby(SETTING).solved.all(), on=SETTING)
    return table.assign(failed=~table.solved)


def above_in_words(table: pd.DataFrame) -> str:
    """In how many programs of `superposition` ψ is above 1, its whole interval, while every network answers everything."""
    above = table[table.solved & (table.low > 1)].program.unique()
    where = f" ({join([DOES.get(one, one) for one in above])})" if len(above) else ""
    return f"In {len(above)} of {table.program.nunique()} programs ψ is above 1 while every network answers everything{where}"


def here(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """`superposition_of` rows that were run just now, without intervals of two networks, and how many settings are solved."""
    found = superposition_of(table)
    if found["count"].max() < 3:
        found = found.drop(columns=["low", "high"])
    return found, f"Run here: every network answers everything in {int(found.solved.sum())} of {len(found)} settings"


def smallest_in_words(rows: Rows) -> str:
    """The smallest number of neurons in which some start solves each program, compressed and from scratch."""
    smallest = starts(rows).query("solved").groupby(["program", "way"]).n_neurons.min().unstack()
    told = [f"{DOES.get(one.Index, one.Index)}, {one.compressed:g} compressed, {one.scratch:g} from scratch" for one in
            smallest.rename(columns={"from scratch": "scratch"}).itertuples()]  # fmt: skip
    return f"The fewest neurons in which some network answers everything: {'; '.join(told)}"


def passes_in_words(table: pd.DataFrame) -> str:
    """Where F of the last layer first lies above N, as the neurons of a compression become fewer (`by_layer`)."""
    table = table[table.which.str.endswith("compressed") & table["of"].str.startswith("layer")]
    last = table[table.layer == table.groupby("which").layer.transform("max")]
    at = last[last[F] > last.n_neurons].groupby("which").n_neurons.max()
    names = [which.partition(",")[0] for which in at.index]
    told = [f"{n} ({DOES.get(name, name)})" for name, n in zip(names, at, strict=True)]
    passes = f"passes N at N = {join(told)}" if told else "stays at N or below"
    return f"As a program is compressed, F after the last layer {passes}"


def between_readings_in_words(table: pd.DataFrame) -> str:
    """How far apart the readings are at the largest N of the first program and way (`by_reading`)."""
    table = table[(table.which == table.which.iloc[0]) & (table.reading != "F = N")]
    own = table[table.n_neurons == table.n_neurons.max()].sort_values(F)
    low, high = own.iloc[0], own.iloc[-1]
    program, way = low.which.split(", ")
    ends = f"from {low[F]:.0f} ({low.reading}) to {high[F]:.0f} ({high.reading})"
    return f"F by {len(own)} readings of the same networks: {ends} for {DOES.get(program, program)}, {way} to N = {low.n_neurons}"


def solved_again(rows: Rows) -> pd.DataFrame:
    """ψ, mean over layers, of the compressions that were read again by several SAEs: network, reading, N, identified, psi.

    Only networks that answer every sequence; the count refuses some layers, so that its mean is not one of whole networks.
    """
    table = rows["algorithms_reread"].query("sequences == 1")
    table = table.assign(psi=table[F] / table.n_neurons, identified=table.identified.astype(str) == "True")
    by = table.groupby(["reading", "program", "n_neurons", "network"], sort=False)
    return by.agg(psi=("psi", "mean"), identified=("identified", "all")).reset_index()


def again(rows: Rows) -> pd.DataFrame:
    """The mean of that over networks, by each SAE, with its interval."""
    table = solved_again(rows)
    table = table[table.reading.isin(SAES)]
    return summarize(table.assign(reading=table.reading.map(SAES)), ["reading", "program", "n_neurons"], "psi")


def largest_solved(rows: Rows) -> pd.DataFrame:
    """The solved networks of the setting with the largest mean ψ, of each program and reading, of those with three of them."""
    own = networks(rows).query("solved and reading != @RECIPE")
    psi = own.groupby([*SETTING, "reading"]).psi
    own["mean"] = psi.transform("mean").where(psi.transform("size") >= 3)
    return own[own["mean"] == own.groupby(["program", "reading"])["mean"].transform("max")]


def smallest_solved(rows: Rows) -> pd.DataFrame:
    """What the paper's recipe reads of the smallest solved compression of each program: a row an SAE seed."""
    own = networks(rows).query("solved and reading == @RECIPE")
    return own[own.n_neurons == own.groupby("program").n_neurons.transform("min")]


def largest(rows: Rows) -> pd.DataFrame:
    """ψ of `largest_solved` and `smallest_solved` with its interval, beside `truth / N` and ‖W‖²_F / N, which need no SAE."""
    own, by = pd.concat([largest_solved(rows), smallest_solved(rows)]), ["program", "reading", "way", "n_neurons"]
    more = own.groupby(by)[["last", "psi_frobenius"]].mean()
    table = summarize(own, by, "psi").join(more, on=by).rename(columns={"n_neurons": "N", "count": "starts"})
    table.loc[table.reading == RECIPE, "starts"] = 1
    truth = table.program.map(rows["algorithms_programs"].groupby("program").truth.mean()) / table.N
    table["truth / N"], table["frobenius"] = truth.where(table.way == "compressed"), table.psi_frobenius
    order = {name: place for place, name in enumerate([*READINGS, RECIPE])}
    table = table.sort_values(["program", "reading"], key=lambda names: names.map(lambda name: order.get(name, name)))
    shown = ["way", "N", "starts", "psi", "low", "high", "last", "truth / N", "frobenius"]
    return table.set_index(by[:2])[shown]


def streams(rows: Rows, sequence: Sequence[int] = (3, 1, 4, 4, 2)) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the kept reversals hold of one sequence after the last layer, cell by cell, and in words what they answer.

    share: of all sequences, how many each of them answers right.
    """
    compiled, asked = compile_program("reverse"), ("BOS", *sequence)
    tokens = torch.tensor([[compiled.task.vocabulary.index(t) for t in asked]])
    known = [
        label.replace("_selector_width_attn_output", " share").replace("opp_idx", "opposite")
        for label in compiled.labels
    ]
    known = [re.sub(r"_\d+", "", label) for label in known]
    best = starts(rows).query("program == 'reverse' and way == 'compressed'").groupby("n_neurons").sequences.max()

    def cells(n: int | None, panel: str, values: Tensor, names: Sequence[str]) -> pd.DataFrame:
        places = pd.Index([f"{i}: {t}" for i, t in enumerate(asked)], name="position")
        table = pd.DataFrame(values.double().round(decimals=2).numpy(), places, names).reset_index()
        table = table.melt("position", var_name="coordinate", value_name="value")
        return table.assign(neurons=n, panel=panel)

    maps, read_maps, words = [], [], []
    for path in sorted((rows.folder / "algorithms").glob("reverse_*.safetensors")):
        model = compressed(compiled, load_file(path)["W"])
        with torch.no_grad():
            after, logits = model.streams(tokens)
            read = model.read(after[-1])
        n, answer = len(model.W), [compiled.task.outputs[i] for i in logits[0, 1:].argmax(-1)]
        right = "right" if answer == list(sequence[::-1]) else "wrong"
        share = "all sequences" if best[n] == 1 else f"{best[n]:.2%} of all sequences"
        words.append((n, f"{list(sequence)}\n→ {answer}: {right}\n(it answers {share} right)", best[n]))
        maps.append(cells(n, "stream r", after[-1][0], [str(i) for i in range(n)]))
        read_maps.append(cells(n, "what is read: ReLU(Wᵀr)", read[0], known))
    native = cells(None, "the compiled stream", compiled.model.streams(tokens)[0][-1][0], known)
    return pd.concat([*maps, *read_maps, native]), pd.DataFrame(words, columns=["neurons", "words", "share"])


def best_in_words(words: pd.DataFrame) -> str:
    """The fewest neurons in which a kept reversal answers every sequence (`streams`)."""
    solved = words.neurons[words.share == 1]
    return (
        f"Down to {solved.min()} neurons a network reverses every sequence"
        if len(solved)
        else "No network reverses every sequence"
    )


def sparsity(rows: Rows) -> pd.DataFrame:
    """How sparse the features of each compiled layer are, of the programs that networks were trained on."""
    table = rows["algorithms_programs"]
    table = table[table.program.isin(rows["algorithms"].program)].set_index(["program", "layer"])
    return table[["rank", "states", "used", "on", "activity"]].sort_index()


def _controls(rows: Rows) -> pd.DataFrame:
    """The controls by the main reading; of: the kind, and how often a toy feature is on."""
    table = rows["algorithms_control"].query("reading == 'main'")
    toys = table.activity.map("toy, on {:g}".format)
    return table.assign(of=table.kind.where(table.kind != "toy", toys), moved=(table[F] / table.half_way - 1).abs())


def controls(rows: Rows) -> pd.DataFrame:
    """ψ of every control in each number of neurons."""
    table = summarize(_controls(rows), ["of", "n_neurons"], "psi").sort_values("n_neurons", kind="stable")
    return table.assign(N=table.n_neurons.map("N = {}".format))


def controls_in_words(table: pd.DataFrame) -> str:
    """In how many settings of `controls` ψ is above 1, its whole interval."""
    above = int((table.low > 1).sum())
    return f"Where there is nothing to compute, ψ is above 1 in {above} of {len(table)} controls"


def survives(rows: Rows) -> pd.DataFrame:
    """How much of every control survives, and how far its SAE is from settled."""
    by = _controls(rows).groupby(["of", "n_neurons"], sort=False)
    return by[["psi", "right", "fvu", "moved"]].mean().unstack()


def quality(rows: Rows) -> pd.DataFrame:
    """Quality of the SAEs by reading, program and way: means over starts, layers and sizes."""
    by = layers(rows).query("reading != @RECIPE").groupby(["reading", "program", "way"], sort=False)
    return by[["fvu", "l0", "dead", "moved"]].mean().round(3)


def untrained(rows: Rows) -> pd.DataFrame:
    """Untrained transformers beside trained ones of the same sizes, reversal, means over layers and starts (main reading)."""
    table = layers(rows).query("reading == 'main' and route == 'scratch' and program == 'reverse'")
    table = table[table.n_neurons.isin(table[table.way == "untrained"].n_neurons)]
    return table.groupby(["n_neurons", "way"])[[F, "psi", "fvu"]].mean().unstack("way").round(2)


def worded(table: pd.DataFrame) -> pd.DataFrame:
    """A table that is shown, with words for its columns and levels (WORDS)."""
    return table.rename(columns=WORDS).rename_axis(index=WORDS, columns=WORDS)
