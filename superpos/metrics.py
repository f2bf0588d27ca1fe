"""Shares p, Hill numbers, effective features F, superposition ψ, and the baselines shown beside them.

This is the one place where the entropy of anything is taken. Shapes, here and everywhere in superpos:
``x (n, N)`` activations of N neurons, ``z (n, D)`` codes, ``p (D,)`` shares that sum to one,
``W (N, M)`` a weight matrix whose columns are the directions of M features. All functions take tensors, arrays or lists,
compute in float64, and raise ValueError for values that are NaN or infinite.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

__all__ = [
    "code_shares",
    "effective_features",
    "effective_rank",
    "frobenius_superposition",
    "hill_number",
    "participation_ratio",
    "polysemanticity",
    "shares",
    "superposition",
    "two_nn",
    "weight_shares",
]


HUGE = 1e150  # values of which sums or squares may overflow
NEAR, FAR = 0.01, 10.0  # orders of Hill numbers: how near to 1, and from where on, the plain sum loses digits
TIES = 0.5  # share of rows whose nearest neighbours may be equally far before TwoNN says nothing


def _array(values: Any, name: str) -> np.ndarray:
    """Values as a float64 array. ValueError if it holds NaN or infinity."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().double()
    array = np.asarray(values, dtype=np.float64)
    bad = np.size(array) - np.isfinite(array).sum()
    if bad:
        raise ValueError(f"{name} holds {bad} of {array.size} values that are NaN or infinite")
    return array


def shares(totals: Any) -> Float[np.ndarray, "*K D"]:
    """Totals (..., D) as shares that sum to one over the last axis.

    Raises ValueError for negative totals, and where all D are zero: with every code dead F is undefined, not zero.
    """
    totals = _array(totals, "totals")
    if totals.ndim == 0 or totals.shape[-1] == 0:
        raise ValueError(f"totals need at least one code, got shape {totals.shape}")
    if (totals < 0).any():
        raise ValueError(f"totals must not be negative, got {totals.min()}")
    if totals.max() > HUGE:  # so that no sum overflows
        totals = totals / totals.max(-1, keepdims=True).clip(1)
    whole = totals.sum(-1, keepdims=True)
    if (whole == 0).any():
        raise ValueError("no code is active on any row: every code is dead, and F is undefined")
    return totals / whole


def code_shares(z: Any) -> Float[np.ndarray, " D"]:
    """The share of each code in the total activation of codes (n, D): p_i = Σ_s |z_si| / Σ_j Σ_s |z_sj|.

    The definition is that of Bereska 2025, section 3. Raises ValueError as `shares` does.
    """
    return shares(np.abs(_array(z, "codes")).sum(-2))


def weight_shares(W: Any, power: int | float = 2) -> Float[np.ndarray, "*K M"]:
    """The share of each feature in known weights (..., N, M): p_i ∝ `‖W_i‖**power` over the M columns.

    A power of 2 gives each feature's part of ‖W‖²_F, the quantity of Elhage et al. 2022.
    """
    return shares(np.linalg.norm(_array(W, "weights"), axis=-2) ** power)


def hill_number(p: Any, order: int | float = 1) -> float | Float[np.ndarray, "*K"]:
    """The Hill number of shares (..., D), (Σ p_i^q)^(1/(1-q)): the effective number of codes (Hill 1973).

    Order 0 counts the codes with any share, 1 is exp(entropy), 2 is 1/Σp², infinity is 1/max p. Raises ValueError for a
    negative order or NaN, and for p that is not a distribution.
    """
    p = _array(p, "shares")
    if not order >= 0:
        raise ValueError(f"order must be at least 0, got {order}")
    sums = p.clip(-2, 2).sum(-1) if p.ndim and p.shape[-1] else np.zeros(1)
    if (p < 0).any() or not np.allclose(sums, 1, atol=1e-6):
        raise ValueError(f"shares must be non-negative and sum to 1, got a sum of {np.ravel(sums)[0]:g}")
    logs = np.log(np.where(p > 0, p, 1))
    if order == 1:
        hill = np.exp(-(p * logs).sum(-1))
    elif abs(order - 1) < NEAR:  # Σ p^q = 1 + Σ p (p^(q−1) − 1), whose small terms keep their digits
        hill = np.exp(np.log1p((p * np.expm1((order - 1) * logs)).sum(-1)) / (1 - order))
    elif np.isinf(order):
        hill = 1 / p.max(-1)
    elif order > FAR:  # relative to the largest, whose power alone may underflow
        most = p.max(-1, keepdims=True)
        rest = np.log(((p / most) ** order).sum(-1))
        hill = np.exp((order * np.log(most[..., 0]) + rest) / (1 - order))
    else:
        hill = np.where(p > 0, np.where(p > 0, p, 1) ** order, 0).sum(-1) ** (1 / (1 - order))
    return hill if np.ndim(hill) else float(hill)


def effective_features(p: Any) -> float | Float[np.ndarray, "*K"]:
    """F = exp(H(p)), H in nats: the number of equally used codes with the same entropy; 1 ≤ F ≤ D."""
    return hill_number(p, order=1)


def superposition(p: Any, n_neurons: int) -> float | Float[np.ndarray, "*K"]:
    """ψ = F / N: effective features per neuron. ψ > 1 is lossy compression (Bereska 2025, section 3)."""
    if not 1 <= n_neurons < np.inf:
        raise ValueError(f"n_neurons must be at least 1, got {n_neurons}")
    return effective_features(p) / n_neurons


def frobenius_superposition(W: Any) -> float | Float[np.ndarray, "*K"]:
    """ψ_Frob = ‖W‖²_F / N of weights (..., N, M) of N neurons and M features (Elhage et al. 2022)."""
    W = _array(W, "weights")
    psi = (W**2).sum((-1, -2)) / W.shape[-2]
    return psi if np.ndim(psi) else float(psi)


def polysemanticity(dictionary: Any, totals: Any) -> tuple[float, float]:
    """The mean effective numbers of neurons that carry a code, and of codes that a neuron carries.

    The dictionary d (D, N) is what each code writes to each neuron, and the totals t (D,) are how much each code is
    active, so code i writes C_ij = t_i·|d_ij| to neuron j. The effective number of neurons of a code is exp of the entropy
    of its C_ij over j, averaged over codes by what they write; that of codes in a neuron likewise over i, averaged over
    neurons. Neurons as codes give (1, 1); N codes that each spread evenly over N neurons give (N, N). Raises ValueError
    where nothing is written at all.
    """
    totals = _array(totals, "totals")
    if (totals < 0).any():
        raise ValueError(f"totals must not be negative, got {totals.min()}")
    written = _scaled(totals)[:, None] * np.abs(_scaled(_array(dictionary, "dictionary")))
    by_code, by_neuron = written[written.sum(1) > 0], written.T[written.sum(0) > 0]
    if not by_code.size:
        raise ValueError("no code is active or writes anything: how many neurons carry a code is undefined")
    means = [np.average(effective_features(shares(C)), weights=C.sum(1)) for C in (by_code, by_neuron)]
    return float(means[0]), float(means[1])


def effective_rank(x: Any) -> float:
    """The exp of the entropy of the normalised singular values of x (n, N), which is not centred (Roy & Vetterli 2007).

    Raises ValueError where x is zero.
    """
    x = _scaled(_array(x, "x"))
    if not x.any():
        raise ValueError(f"x is zero in all of its {x.size} values: it has no rank")
    return effective_features(shares(np.linalg.svd(x, compute_uv=False)))


def _scaled(x: np.ndarray) -> np.ndarray:
    """x, or x over its largest value where squares of it would overflow or vanish: measures of x do not depend on its scale."""
    largest = np.abs(x).max(initial=0)
    return x / largest if largest > HUGE or 0 < largest < 1 / HUGE else x


def participation_ratio(x: Any) -> float:
    """(Σλ)² / Σλ² of the eigenvalues λ of the covariance of x (n, N) (Gao et al. 2017).

    Raises ValueError for no rows, and where all are the same.
    """
    x = _scaled(_array(x, "x"))
    if len(x) == 0 or not (x != x[:1]).any():
        raise ValueError(f"x is constant: all {len(x)} rows are the same, and no direction varies")
    return hill_number(shares(np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2), order=2)


def two_nn(x: Any, keep: int | float = 0.9) -> float:
    """The intrinsic dimension of the rows of x (n, N) by their two nearest neighbours (Facco et al. 2017).

    It fits −log(1 − rank/n) = d·log(r2/r1) through the origin on the lower `keep` share of ratios. Repeated rows are
    taken once. Raises ValueError for fewer than 10 different rows, for a `keep` that keeps none, and where the two nearest
    neighbours of more than TIES of the rows are equally far, as on grids and in binary codes: there the ratio says nothing.
    """
    from sklearn.neighbors import NearestNeighbors

    if not 0 < keep <= 1:
        raise ValueError(f"keep must be above 0 and at most 1, got {keep}")
    x = np.unique(_scaled(_array(x, "x")), axis=0)
    if len(x) < 10:
        raise ValueError(f"TwoNN needs at least 10 different rows, got {len(x)}")
    distances, _ = NearestNeighbors(n_neighbors=3).fit(x).kneighbors(x)
    first, second = distances[:, 1], distances[:, 2]
    tied = second <= first * (1 + 1e-9)
    if tied.mean() > TIES or not first.all():
        raise ValueError(
            f"TwoNN says nothing here: of {int(tied.sum())} of {len(x)} rows the two nearest neighbours are equally far, "
            "as on a grid or in binary codes"
        )
    log_ratio = np.sort(np.log(second / first))
    n_kept = max(1, int(keep * len(x))) - (keep == 1)  # the last one's target is infinite
    target = -np.log1p(-np.arange(1, n_kept + 1) / len(x))
    log_ratio = log_ratio[:n_kept]
    return float(log_ratio @ target / (log_ratio @ log_ratio))
