"""Networks of one program and size, each layer of each read by several readings."""

from typing import Any

import torch

from superpos import seeds
from superpos.findings.algorithms import task
from superpos.findings.algorithms.programs import compile_program
from superpos.readings import ALL, names_in, read_by
from superpos.settings import Count, Positive, Whole, settings


@settings
class Reread:
    """K compressions of one program to N neurons, numbered from `seed` on, and the readings of their residual streams.

    readings: names of `superpos.readings`, with semicolons between; length: of the training of what reads, 1 for the whole.
    """

    program: str
    n_neurons: Count
    steps: Count
    block_steps: Whole
    seed: Whole
    n_networks: Count
    readings: str = ALL
    length: Positive = 1.0

    def __post_init__(self) -> None:
        names_in(self.readings)


def reread_run(run: Reread) -> list[dict[str, Any]]:
    """A row a layer (0: the embedding), a network and a reading; sequences: the share that the network answers right."""
    compiled, numbers = compile_program(run.program), range(run.seed, run.seed + run.n_networks)
    trained = task.compress(compiled, run.n_neurons, numbers, steps=run.steps, block_steps=run.block_steps)
    native, real = compiled.model.streams(compiled.task.tokens)[0], compiled.task.real
    rows = []
    for layer, (stream, own) in enumerate(zip(trained.streams, native, strict=True)):
        length = own[real].norm(dim=-1).mean()
        for k, (number, x) in enumerate(zip(numbers, torch.as_tensor(stream), strict=True)):
            read = task.stream_rows(x, real, length, number)
            label, seed = f"{run.program}, layer {layer}, network {number}", seeds.seed("algorithms.sae", number)
            found = read_by(
                names_in(run.readings), read.x, seed=seed, label=label, sample=read.sample, length=run.length
            )
            about = {"layer": layer, "network": number, "sequences": float(trained.sequences[k])}
            rows += [about | row for row in found]
    return rows
