"""Planted features: activations whose number of features is known, to hold a protocol against.

    x = Σ_j a_j d_j over k random unit directions d_j in N dimensions, a_j = 0 but with probability active/k,
    then uniform on [0.5, 1.5].

All features are alike, so the truth is F = k.
"""

import torch

from superpos import sae
from superpos.measurement import measure_rows

__all__ = ["planted", "planted_run"]

CONFIGS = {"published": sae.PUBLISHED, "protocol": sae.PROTOCOL}


def planted(n, n_neurons, k, active, seed):
    """Activations x (n, N) of k planted features, on average `active` of them in a row. ValueError if active > k."""
    if not 0 < active <= k:
        raise ValueError(f"active must be above 0 and at most k = {k}, got {active}")
    generator = torch.Generator().manual_seed(int(seed))
    directions = torch.randn(k, n_neurons, generator=generator)
    directions /= directions.norm(dim=1, keepdim=True)
    amplitude = 0.5 + torch.rand(n, k, generator=generator)
    return (torch.rand(n, k, generator=generator) < active / k) * amplitude @ directions


def planted_run(*, config, n_neurons, k, active, seed, longer=1.0, codes=1.0, n=10_000):
    """One run for `sweep`: fit on n rows, read on n fresh ones. → dict

    config: "published" or "protocol"; `longer` multiplies its training (steps, or the patience of its stopping
    rule), `codes` its dictionary.
    """
    base = CONFIGS[config]
    length = {"steps": base.steps} if base.steps else {"patience": base.patience, "epochs": base.epochs}
    length = {name: round(value * longer) for name, value in length.items()}
    base = base.but(expansion=base.expansion * codes, **length)
    x = planted(2 * n, n_neurons, k, active, 10**9 + seed)  # a stream apart from the SAE's, whose first draw is alike
    row = measure_rows(x[:n], x[n:], base, seeds=[seed]).iloc[0]
    names = ("n_codes", "effective_features", "psi", "hill_0", "hill_2", "fvu", "l0", "dead", "epochs")
    return {**{name: row[name] for name in names}, "ratio": row["effective_features"] / k}
