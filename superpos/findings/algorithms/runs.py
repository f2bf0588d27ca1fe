"""Runs of the algorithms: networks of one program and size, controls with nothing to compute, the compiled programs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file

from superpos import metrics, sae, seeds
from superpos.activations import Rows
from superpos.findings.algorithms import task
from superpos.findings.algorithms.programs import compile_program, difference_to_jax, share_right
from superpos.settings import Count, Whole, settings
from superpos.sweep import expand
from superpos.usage import reading

READINGS = {  # λ in the sum unit; four codes a coordinate of the compiled stream, whatever N, or four a neuron
    "main": {"l1": 0.5, "of": "coordinate"},
    "small λ": {"l1": 0.1, "of": "coordinate"},
    "4 N codes": {"l1": 0.5, "of": "neuron"},
}


@settings
class Network:
    """K networks of one program in N neurons, numbered from `seed` on.

    steps: of the first phase of a compression, or of the training from scratch (0: untrained); block_steps: of the second
    phase of a compression; sae_steps: of an SAE's training.
    """

    route: Literal["compressed", "scratch"]
    program: str
    n_neurons: Count
    steps: Whole
    seed: Whole
    n_networks: Count
    sae_steps: Count
    block_steps: Whole = 0


@settings
class Control:
    """Features with nothing to compute (`task.features`) compressed to N neurons from K starts, numbered from `seed` on.

    activity: of the toys (None for the other kinds).
    """

    kind: Literal["toy", "compiled", "shuffled"]
    n_neurons: Count
    steps: Count
    seed: Whole
    n_networks: Count
    sae_steps: Count
    activity: Annotated[float, Field(gt=0, lt=1)] | None = None

    def __post_init__(self) -> None:
        if (self.activity is None) == (self.kind == "toy"):
            raise ValueError(f"activity must be given for toys, and only there, got {self.activity} for {self.kind!r}")


@settings
class Published:
    """The SAE of the paper's code, of at most so many epochs, on the kept network of a program in N neurons."""

    program: str
    n_neurons: Count
    sae_seed: Whole
    epochs: Count


@settings
class Program:
    """A compiled program."""

    program: str


def grid(make: type, *parts: Mapping[str, Any], **shared: Any) -> list[Any]:
    """The runs of several grids of one class of settings, one after another; each part names axes (`sweep.expand`)."""
    return [run for part in parts for run in expand(make, **part, **shared)]


def network_run(run: Network, keep: str | None = None) -> list[dict[str, Any]]:
    """F of the residual streams of K networks: a row a layer (0: the embedding), one of READINGS and a network.

    Every stream is brought to the mean length of the compiled one at its layer, and λ is in the sum unit, so that the
    pressure is one at every N. keep: a folder for the W of the best start (safetensors).
    """
    compiled, numbers = compile_program(run.program), range(run.seed, run.seed + run.n_networks)
    if run.route == "scratch":
        trained = task.train_from_scratch(compiled, run.n_neurons, numbers, steps=run.steps)
    else:
        trained = task.compress(compiled, run.n_neurons, numbers, steps=run.steps, block_steps=run.block_steps)
    native, real = compiled.model.streams(compiled.task.tokens)[0], compiled.task.real
    rows = []
    for layer, (stream, own) in enumerate(zip(trained.streams, native, strict=True)):
        length = own[real].norm(dim=-1).mean()
        of_layer = {k: task.stream_rows(x, real, length, k) for k, x in zip(numbers, stream, strict=True)}
        rows += [{"layer": layer} | row for row in read_all(of_layer, compiled.n_neurons, run.sae_steps)]
    nowhere = [torch.nan] * run.n_networks
    columns = {"tokens": trained.tokens, "sequences": trained.sequences, "loss": trained.loss}
    columns["after_reads"] = nowhere if trained.after_reads is None else trained.after_reads
    columns["psi_frobenius"] = nowhere if trained.W is None else metrics.frobenius_superposition(trained.W)
    if keep and trained.W is not None:
        best = int(trained.sequences.argmax())
        Path(keep).mkdir(parents=True, exist_ok=True)
        about = {"program": run.program, "network": str(numbers[best]), "sequences": f"{trained.sequences[best]:.6f}"}
        save_file({"W": trained.W[best].contiguous()}, kept_path(keep, run.program, run.n_neurons), about)
    return [row | {name: found[row["network"] - run.seed] for name, found in columns.items()} for row in rows]


def kept_path(folder: str | Path, program: str, n_neurons: int) -> Path:
    """Where `network_run` keeps the W of a program in N neurons."""
    return Path(folder) / f"{program}_{n_neurons:02d}.safetensors"


def read_all(rows: Mapping[int, Rows], n_coordinates: int, sae_steps: int) -> list[dict[str, Any]]:
    """F of each network's Rows by each of READINGS; half_way: F after half the SAE's training."""
    parts, table = {k: own.split(0.2, seeds.seed("algorithms.split", k)) for k, own in rows.items()}, []
    for name, how in READINGS.items():
        for network, (fitted, read) in parts.items():
            n_codes = 4 * (n_coordinates if how["of"] == "coordinate" else fitted.shape[1])
            chosen = sae.PROTOCOL.but(scale="none", n_codes=n_codes, l1=how["l1"], steps=sae_steps)
            half = max(1, chosen.rounds_for(len(fitted))[0] // 2)
            fit = sae.fit(fitted, chosen, seed=seeds.seed("algorithms.sae", network), snapshots=[half], label=name)
            label = f"network {network}, {name}"
            row = {"network": network, "reading": name, "l1": how["l1"]} | reading(fit, read, label)
            table.append(row | {"half_way": reading(fit.snapshots[half], read, label)["effective_features"]})
    return table


def published_run(run: Published, folder: str | Path) -> list[dict[str, Any]]:
    """F of a network that `network_run` kept in a folder, by the SAE of the paper's code, its stream as it is: a row a layer.

    Raises FileNotFoundError if there is none.
    """
    compiled, path = compile_program(run.program), kept_path(folder, run.program, run.n_neurons)
    if not path.exists():
        raise FileNotFoundError(f"no compression of {run.program} to {run.n_neurons} neurons at {path}")
    with torch.no_grad():
        streams, logits = task.compressed(compiled, load_file(path)["W"]).streams(compiled.task.tokens)
    tokens, sequences = share_right(logits, compiled.task)
    rows = []
    for layer, stream in enumerate(streams):
        x = stream[compiled.task.real]
        x = x[torch.randperm(len(x), generator=seeds.generator("algorithms.rows", run.sae_seed))[: task.ROWS]]
        fit = sae.fit(x, sae.PUBLISHED.but(epochs=run.epochs), seed=seeds.seed("algorithms.sae", run.sae_seed))
        row = {"layer": layer, "tokens": tokens, "sequences": sequences, "epochs_run": len(fit.history)}
        rows.append(row | reading(fit, x, f"{run.program}, {run.n_neurons} neurons, layer {layer}"))
    return rows


def control_run(run: Control) -> list[dict[str, Any]]:
    """F of features that are compressed with nothing to compute: a row one of READINGS and a start.

    right: share of rows in which every feature read is on the right side of half its largest value.
    """
    compiled, numbers = compile_program("reverse"), range(run.seed, run.seed + run.n_networks)
    fitted = task.features(run.kind, run.activity, compiled, 2_000, run.seed)
    read = task.features(run.kind, run.activity, compiled, task.ROWS, run.seed + 1)
    W = task.compress_features(fitted, run.n_neurons, numbers, steps=run.steps)
    half, scaled, right = read.amax(0) / 2, {}, {}
    for k, w in zip(numbers, W, strict=True):
        x = read @ w.T
        right[k] = ((torch.relu(x @ w) > half) == (read > half)).all(1).float().mean()
        scaled[k] = Rows(x * (read.norm(dim=-1).mean() / x.norm(dim=-1).mean()), torch.arange(len(x)))
    return [row | {"right": right[row["network"]]} for row in read_all(scaled, compiled.n_neurons, run.sae_steps)]


def program_run(run: Program) -> list[dict[str, Any]]:
    """A compiled program, how exact the port is, and how sparse its features are: a row a layer.

    difference: `difference_to_jax`; n_read: coordinates that some block reads; rank: singular values of the stream above
    0.001 of the largest; states: its different rows; used: coordinates that are ever on; activity: mean share of rows
    in which such a one is on; on: mean number on in a row; truth: F of the coordinates themselves, exp of the entropy of
    their shares of the total, which an SAE would read that found each of them.
    """
    compiled = compile_program(run.program)
    streams, logits = compiled.model.streams(compiled.task.tokens)
    tokens, sequences = share_right(logits, compiled.task)
    n_read = len(torch.cat([block.reads for block in task.blocks(compiled)]).unique())
    shared = {"difference": difference_to_jax(compiled), "tokens": tokens, "sequences": sequences}
    shared |= {"n_sequences": len(compiled.task), "n_read": n_read, "n_neurons": compiled.n_neurons}
    rows = []
    for layer, stream in enumerate(streams):
        x = stream[compiled.task.real]
        on, spectrum = x.abs() > 1e-3, torch.linalg.svdvals(x.double())
        row = {"layer": layer, "rank": int((spectrum > 1e-3 * spectrum[0]).sum())}
        row |= {"states": len(torch.unique((x * 1e4).round(), dim=0)), "used": int(on.any(0).sum())}
        row |= {"truth": metrics.effective_features(metrics.code_shares(x))}
        row |= {"activity": on.float().mean(0)[on.any(0)].mean(), "on": on.float().sum(1).mean()}
        rows.append(shared | row)
    return rows
