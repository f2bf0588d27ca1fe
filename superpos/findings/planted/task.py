"""Planted features: activations whose number of features is known.

    x = Σ_j a_j d_j over k random unit directions d_j in N dimensions, a_j = 0 but with probability active/k,
    then uniform on [0.5, 1.5].

All features are alike, so the truth is F = k.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def planted(n: int, n_neurons: int, k: int, active: int | float, seed: int) -> Float[Tensor, "n N"]:
    """Activations of k planted features, on average `active` of them in a row. Raises ValueError if active > k."""
    if not 0 < active <= k:
        raise ValueError(f"active must be above 0 and at most k = {k}, got {active}")
    generator = torch.Generator().manual_seed(int(seed))
    directions = torch.randn(k, n_neurons, generator=generator)
    directions /= directions.norm(dim=1, keepdim=True)
    amplitude = 0.5 + torch.rand(n, k, generator=generator)
    return (torch.rand(n, k, generator=generator) < active / k) * amplitude @ directions
