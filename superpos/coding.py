"""Rows written as sparse sums of directions: codes, the dictionary that fits them, and the bits that both take.

    x ≈ b + Σ_j z_j d_j          z_j ≥ 0,  ‖d_j‖ = 1
    z = argmin ½‖x − b − zᵀA‖² + λ Σ_j z_j          the rows of A are the d_j

Codes are solved for, not guessed by an encoder, so that a row uses as many codes as it needs: a feature that is on half
of the time and one that is on once in a thousand rows are treated alike.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import minimum_spanning_tree
from torch import Tensor

__all__ = ["Code", "codes_of", "gaussian_bits", "join", "merge", "price", "refine"]

DISTORTION = 0.01  # mean squared error a dimension down to which rows are priced; the largest variance is 1
ALIKE = 0.9  # cosine from which two directions are one
NEIGHBOURS, OPPOSITES = 0.3, -0.7  # cosines from which it is tried to make two codes one
SUM, SUM_PENALTY = 0.95, 0.05  # cosine of a code with a sum of others from which it is tried to do without it
MOST_USED, TRIES, ROUNDS = 12, 4, 8  # codes among which that is tried, trials a round, rounds
RARELY = 5  # rows on which a code must be active to be kept
RIDGE = 0.01  # pull of a dictionary towards the one before, in units of the codes' mean energy
STEPS, POLISH = 25, 15  # steps of the search for codes, and of the one that undoes the shrinkage
ENDS, BINS = (0.005, 0.995), 40


@dataclass
class Code:
    """A dictionary A (D, N) with its constant b (N,), and what it costs to write rows with it.

    `totals` is what each code writes over all rows, in the length of its row of the dictionary where activations were
    scaled (see `price`). `bits` is the price of a row, dictionary included; `unexplained` the share of variance that is
    left; `l0` the mean number of active codes; `penalty` the λ of the search.
    """

    A: Float[Tensor, "D N"]
    b: Float[Tensor, " N"]
    penalty: float
    totals: Float[Tensor, " D"]
    bits: float
    unexplained: float
    l0: float


def codes_of(
    x: Float[Tensor, "n N"],
    A: Float[Tensor, "D N"],
    penalty: float,
    steps: int = STEPS,
    start: Float[Tensor, "n D"] | None = None,
    where: Bool[Tensor, "n D"] | None = None,
) -> Float[Tensor, "n D"]:
    """Non-negative codes by accelerated proximal gradient steps (FISTA, Beck and Teboulle 2009), from zero or `start`.

    `where` keeps codes out that may not be active.
    """
    gram, slope = A @ A.T, x @ A.T - penalty
    step = 1 / _largest_eigenvalue(gram)
    z = x.new_zeros(len(x), len(A)) if start is None else start
    ahead, momentum = z, 1.0
    for _ in range(steps):
        new = torch.addmm(slope, ahead, gram, alpha=-1).mul_(step).add_(ahead).relu_()
        if where is not None:
            new *= where
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new.lerp(z, (1 - momentum) / following)
        z, momentum = new, following
    return z


def _largest_eigenvalue(gram: Float[Tensor, "D D"]) -> float:
    """An upper estimate of the largest eigenvalue, by power iteration from a vector of ones, a twentieth added."""
    v = torch.ones_like(gram[0])
    for _ in range(20):
        v = gram @ v
        length = v.norm()
        v = v / length.clamp_min(1e-12)
    return 1.05 * float(length) + 1e-12


def merge(A: Float[Tensor, "D N"], use: Float[Tensor, " D"], alike: float = ALIKE) -> Float[Tensor, "E N"]:
    """The directions, most used first, without those whose cosine with one before them is above `alike`."""
    A = A[use.argsort(descending=True)]
    near = (alike < A @ A.T).cpu()
    left, kept = torch.ones(len(A), dtype=torch.bool), []
    for i in range(len(A)):
        if left[i]:
            kept.append(i)
            left &= ~near[i]
    return A[kept]


def refine(
    x: Float[Tensor, "n N"], A: Float[Tensor, "D N"], b: Float[Tensor, " N"], penalty: float, rounds: int = 5
) -> tuple[Float[Tensor, "E N"], Float[Tensor, " N"]]:
    """Codes and dictionary by turns: codes by `codes_of`, dictionary and constant by least squares.

    On the way codes active on fewer than RARELY rows are dropped, and those that grew alike become one.
    """
    for _ in range(rounds):
        z = codes_of(x - b, A, penalty)
        used = (z > 0).sum(0) >= RARELY
        A, z = A[used], z[:, used]
        if len(A) < 2:
            return A, b
        A, b = _least_squares(x, A, b, z)
    return A, b


def _least_squares(x, A, b, z):
    """The dictionary and constant that write x best with codes z, pulled a little towards the ones at hand."""
    z = torch.cat([z, z.new_ones(len(z), 1)], dim=1)
    gram = z.T @ z
    pull = RIDGE * gram.diagonal().mean()
    gram.diagonal().add_(pull)
    new = torch.linalg.solve(gram, z.T @ x + pull * torch.cat([A, b[None]]))
    lengths = new[:-1].norm(dim=1).clamp_min(1e-9)
    return merge(new[:-1] / lengths[:, None], z[:, :-1].sum(0) * lengths), new[-1]


def rest_of(s: Float[Tensor, " n"]) -> tuple[float, float]:
    """Where a signed coefficient rests, which is its most frequent value, and the sign in which it leaves from there."""
    s = s[:4000].float().cpu()
    low, high = torch.quantile(s, torch.tensor(ENDS)).tolist()
    if high - low < 1e-6:
        return 0.0, 1.0
    most = int(torch.histc(s, BINS, low, high).argmax())
    return low + (most + 0.5) * (high - low) / BINS, 1.0 if most < BINS // 2 else -1.0


def price(
    x: Float[Tensor, "n N"],
    A: Float[Tensor, "D N"],
    b: Float[Tensor, " N"],
    penalty: float,
    weights: Float[Tensor, " n"],
    lengths: Float[Tensor, "N M"],
    known: bool = False,
) -> Code:
    """What it costs to write rows with a dictionary, and how much each code writes.

    The codes found with the penalty are solved for once more without it, on the same places. A row's bits are those of
    which codes are active (`_places`); summed over codes, the rate of a Gaussian of the active values' variance; summed
    over dimensions, the rate of what is left; both down to DISTORTION; and (log2 n) / 2 for each number of the
    dictionary, shared by the n rows (the minimum description length of Rissanen 1978). `weights` undo the shortening of each
    row and `lengths` carries directions back to the neurons, so that `totals` is in the length of activations. A dictionary
    that is `known` beforehand costs nothing.
    """
    z = codes_of(x - b, A, penalty, steps=STEPS + POLISH)
    where = z > 1e-5
    z = codes_of(x - b, A, 0.0, POLISH + 5, z, where)
    left = x - b - z @ A
    left = left - left.mean(0)
    n, count = len(x), where.sum(0)
    q = (count / n).clamp(1e-6, 1 - 1e-6)
    mean, square = z.sum(0) / count.clamp_min(1), z.square().sum(0) / count.clamp_min(1)
    rates = q * _rate((square - mean.square()).clamp_min(0))
    dictionary = 0.0 if known else A.numel() * math.log2(n) / 2 / n
    return Code(
        A,
        b,
        penalty,
        (z * weights[:, None]).double().sum(0) * (A @ lengths).norm(dim=1),
        _places(where) + float(rates.sum() + _rate(left.square().mean(0)).sum()) + dictionary,
        float(left.square().sum() / (x - x.mean(0)).square().sum()),
        float(where.sum() / n),
    )


def _places(where: Bool[Tensor, "n D"]) -> float:
    """The bits that a row's active codes take, each told with the help of one other: the tree of Chow and Liu (1968).

    Without it two features that fire together would be cheaper to write with a third code for both at once.
    """
    n, on = len(where), where.float()
    q = on.mean(0).double().clamp(1e-9, 1 - 1e-9)
    both = (on.T @ on).double() / n
    information = torch.zeros_like(both)
    for p, of_one, of_other in (
        (both, q, q),
        (q[:, None] - both, q, 1 - q),
        (q[None] - both, 1 - q, q),
        (1 - q[:, None] - q[None] + both, 1 - q, 1 - q),
    ):
        p = p.clamp_min(1e-12)
        information += p * (p / (of_one[:, None] * of_other[None])).log2()
    information.fill_diagonal_(0)
    saved = (information - math.log2(n) / 2 / n).clamp_min(0).cpu().numpy()  # an edge must be written down too
    tree = minimum_spanning_tree(csr_matrix(-saved))
    return float(-(q * q.log2() + (1 - q) * (1 - q).log2()).sum()) + float(tree.sum())


def _rate(variance: Tensor) -> Tensor:
    """The bits that a Gaussian of some variance takes down to DISTORTION, made smooth where there is nothing to say."""
    return torch.log2(1 + variance / DISTORTION) / 2


def gaussian_bits(x: Float[Tensor, "n N"]) -> float:
    """The bits that a row takes as a Gaussian vector of the same covariance, which knows no features."""
    return float(_rate(torch.linalg.eigvalsh(torch.cov(x.T)).clamp_min(0)).sum())


def join(
    code: Code,
    learned: Float[Tensor, "m N"],
    x: Float[Tensor, "n N"],
    weights: Float[Tensor, " n"],
    lengths: Float[Tensor, "N M"],
) -> Code:
    """Do without codes that are sums of others, and make one of two codes among the most used, as long as that saves bits.

    An SAE has codes for features that often fire together beside those of each. It writes a frequent feature
    by several codes, each with a part of what it often fires with, or by two opposite ones about a constant that lies in
    the middle of it. What is tried is refined on the rows `learned`, and priced on x.
    """
    for _ in range(ROUNDS):
        for A, b in (*_without_sums(code), *_joined(code, learned)):
            A, b = refine(learned, A, b, code.penalty)
            shorter = price(x, A, b, code.penalty, weights, lengths) if len(A) > 1 else code
            if shorter.bits < code.bits:
                code = shorter
                break
        else:
            break
    return code


def _without_sums(code):
    """The dictionary without the codes that are sums of two or three others, if there are any."""
    if len(code.A) > 4096:
        return
    apart = ~torch.eye(len(code.A), dtype=torch.bool, device=code.A.device)
    z = codes_of(code.A, code.A, SUM_PENALTY, 4 * STEPS, where=apart)
    near = torch.nn.functional.cosine_similarity(z @ code.A, code.A) > SUM
    sums = near & ((z > 0.2).sum(1) <= 3) & ((z > 0.2).sum(1) >= 2)
    if bool(sums.any()) and int((~sums).sum()) > 1:
        yield code.A[~sums], code.b


def _joined(code, x):
    """Dictionaries and constants with one code for two, the likeliest first."""
    top = code.totals.argsort(descending=True)[:MOST_USED]
    cosines = (code.A[top] @ code.A[top].T).tolist()
    pairs = [(cosines[i][j], int(top[i]), int(top[j])) for i in range(len(top)) for j in range(i)]
    opposites = sorted(pair for pair in pairs if pair[0] < OPPOSITES)[: TRIES // 2]
    neighbours = sorted((pair for pair in pairs if pair[0] > NEIGHBOURS), reverse=True)[:TRIES]
    for cosine, i, j in opposites + neighbours:
        others = torch.ones(len(code.A), dtype=torch.bool, device=x.device)
        others[[i, j]] = False
        if cosine > 0:
            both = code.totals[i] * code.A[i] + code.totals[j] * code.A[j]
            yield torch.cat([code.A[others], (both / both.norm())[None].to(x)]), code.b
            continue
        z = codes_of(x - code.b, code.A, code.penalty)
        ends = torch.quantile((z[:, i] - z[:, j]).cpu(), torch.tensor(ENDS)).tolist()
        for end, sign in zip(ends, (1, -1), strict=True):  # a feature that rests at its low end, or at its high end
            yield torch.cat([code.A[others], sign * code.A[i : i + 1]]), code.b + end * code.A[i]
