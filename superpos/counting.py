"""The count that is trusted: features are those directions that two dictionaries share and that write rows shortest.

1. Rows much longer than the median are shortened, and directions are brought to like variances (`Prepared`).
2. Dictionaries are proposed: TopK SAEs of several k, each fitted from two seeds, of which the codes are kept that both
   found; and independent components (FastICA), which find features that are active in most rows.
3. Each is refined and priced in bits (`superpos.coding`), at several penalties; the shortest is kept.
4. F is taken from the lengths that its codes write in the space of the activations.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from superpos import coding, metrics, sae
from superpos.coding import Code
from superpos.settings import Count, Positive, settings

__all__ = ["COUNTING", "Found", "Prepared", "Settings", "Start", "evidence", "excess_error", "find", "starts"]

LONG = 3.0  # times the median length, beyond which rows are shortened
FLOOR, QUANTILE, LEAST = 3.0, 0.1, 0.01  # of the regularised whitening: see Prepared
GAP, FLAT = 3.0, 4.0  # a step of the spectrum, and how flat what lies below it must be to be noise
SHARED = 0.85  # cosine from which a code of one seed is found again by the other
COMPONENTS = 512  # most dimensions in which independent components are looked for


@settings
class Settings:
    """All that decides a count but the data and the seed.

    TopK SAEs of `expansion` codes for each dimension keep `sparsities` codes of a row, and take `steps` steps of Adam with
    step size `lr` on batches of `batch_size` rows. Each proposed dictionary is refined on at most `n_refined` rows and
    priced on at most `n_priced`, with each of the `penalties`; the shortest also with `more_penalties`.
    """

    sparsities: tuple[int, ...] = (2, 4, 8, 16)
    expansion: Positive = 8.0
    steps: Count = 2_500
    lr: Positive = 3e-3
    batch_size: Count = 128
    penalties: tuple[float, ...] = (0.3, 1.0)
    more_penalties: tuple[float, ...] = (0.1, 0.5, 0.7, 1.5)
    n_refined: Count = 3_000
    n_priced: Count = 6_000

    def limit_for(self, n_dimensions: int) -> int:
        """How many codes the SAEs have for rows of so many dimensions."""
        return max(16, int(self.expansion * n_dimensions))

    def sae_for(self, n_codes: int, k: int) -> sae.Settings:
        """The TopK SAE of n codes that keeps k."""
        return sae.Settings(
            n_codes=n_codes, activation="topk", k=k, tied=False, decoder_bias=True, unit_norm=True, init="unit",
            loss="mse", lr=self.lr, steps=self.steps, batch_size=self.batch_size, patience=None, decay=0.2,
        )  # fmt: skip


COUNTING = Settings()


@dataclass
class Prepared:
    """Rows made ready: shortened, centred, in the dimensions that are not flat noise, of like variance there.

    y = w (x − m) V (Λ + c)^−½, scaled to a largest variance of 1, where Λ and V are the eigenvalues and eigenvectors of the
    covariance, w ≤ 1 shortens long rows (`weights` holds 1/w), and c is FLOOR times the noise: the level of the
    flat end of the spectrum or, where none is seen, its tenth percentile; at least LEAST times the largest eigenvalue.
    `lengths` (r, N) carries directions back to the neurons.
    """

    y: Float[Tensor, "n r"]
    weights: Float[Tensor, " n"]
    lengths: Float[Tensor, "r N"]

    @classmethod
    def of(cls, x: Float[Tensor, "n N"]) -> "Prepared":
        """Make rows ready."""
        x, first = _shortened(x.float())
        values, V = torch.linalg.eigh(torch.cov(x.T).double())
        values, V = values.flip(0).clamp_min(0), V.flip(1)
        rank = _rank(values)
        noise = values[rank:].mean() if rank < len(values) else torch.quantile(values, QUANTILE)
        values, V = values[:rank], V[:, :rank]
        c = torch.maximum(FLOOR * noise, LEAST * values[0])
        scale = (values + c).sqrt() * (values[0] / (values[0] + c)).sqrt()
        y, second = _shortened((x.double() @ (V / scale)).float())
        return cls(y, 1 / (first * second), (V * scale).T.float())


def _shortened(x):
    """Rows about their centre, none longer than LONG times the median length, and the factor of each.

    Rows at rest, which are equal to the median row, have no part in the median length.
    """
    centre, moving = x.mean(0), _moving(x)
    for _ in range(4):
        lengths = (x - centre).norm(dim=1)
        factor = (LONG * lengths[moving].median() / lengths.clamp_min(1e-12)).clamp_max(1.0)
        moved = ((x - centre) * factor[:, None]).mean(0)
        centre = centre + moved
    return (x - centre) * factor[:, None], factor


def _moving(x):
    """Which rows differ from the median row; features may be so rare that most rows are the same."""
    return (x != x.median(0).values).any(1)


def _busy(y):
    """The rows to learn from: those that move, and at most as many at rest."""
    moving = _moving(y)
    at_rest = (~moving).nonzero()[: int(moving.sum()), 0]
    return y if not len(at_rest) else y[torch.cat([moving.nonzero()[:, 0], at_rest]).sort().values]


def _rank(values: Float[Tensor, " N"]) -> int:
    """The number of dimensions above flat noise, from eigenvalues in falling order; all where no flat end is seen.

    One small eigenvalue is no flat end: the least of a random square matrix is several times smaller than the next.
    """
    N = len(values)
    values = values.clamp_min(1e-5 * values[0])
    steps = values[:-1] / values[1:]
    for rank in steps.argsort(descending=True).tolist():
        if steps[rank] < GAP:
            break
        if 1 <= rank < N - 2 and values[rank + 1] / values[-1] < FLAT:
            return rank + 1
    return N


@dataclass
class Proposal:
    """A dictionary to begin from, and the same halfway through its training."""

    name: str
    A: Float[Tensor, "D N"]
    b: Float[Tensor, " N"]
    half: tuple[Tensor, Tensor] | None = None
    codes: list[Code] = field(default_factory=list)

    @property
    def best(self) -> Code:
        """The shortest code found from here."""
        return min(self.codes, key=lambda code: code.bits)


@dataclass
class Start:
    """Rows made ready for a count, and the dictionaries of TopK SAEs from which it begins."""

    ready: Prepared
    dictionaries: list[Proposal]


@dataclass
class Found:
    """The shortest code, and what speaks for and against it.

    `agreement` is the share of what it writes that is written by directions which the best code of another proposal has
    too. `gaussian` is the bits that a row takes as a Gaussian vector, `neurons` those that it takes with the neurons
    themselves for a dictionary. `halfway` is F from the same proposal halfway through its training (independent
    components: from the other half of the rows). `readings` are F and bits of all codes that were priced; `limit` is
    the number of codes that the SAEs had. `dictionary` holds what each code writes to each neuron, and `written` how long
    a vector it writes for each row.
    """

    code: Code | None
    name: str
    agreement: float
    gaussian: float
    neurons: float
    halfway: float
    readings: list[tuple[float, float]]
    limit: int
    dictionary: Float[Tensor, "D N"] | None = None
    written: Float[Tensor, "n D"] | None = None

    @property
    def effective_features(self) -> float:
        """F of the shortest code; NaN where none was found."""
        return float("nan") if self.code is None else _count(self.code)


def _count(code: Code) -> float:
    return metrics.effective_features(metrics.shares(code.totals))


def starts(xs: Sequence[Float[Tensor, "_ _"]], settings: Settings = COUNTING, *, seed: int = 0) -> list[Start]:
    """What `find` begins from, for several layers (n, N) whose SAEs are fitted side by side: on a GPU many times as fast.

    A fit does not depend on its neighbours. It takes the memory of all layers' SAEs at once.
    """
    made = [Start(Prepared.of(x), []) for x in xs]
    alike: dict[torch.Size, list[Start]] = {}
    for start in made:
        alike.setdefault(_busy(start.ready.y).shape, []).append(start)
    for group in alike.values():
        _propose(group, settings, seed)
    return made


def find(x: Float[Tensor, "n N"], settings: Settings = COUNTING, *, seed: int = 0, start: Start | None = None) -> Found:
    """Find the shortest code of activations; x is taken to be finite and not constant. See the head of this module.

    `start` is what `starts` made of x with these settings and seed (None: it is made here).
    """
    start = starts([x], settings, seed=seed)[0] if start is None else start
    ready, y = start.ready, start.ready.y
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed)).to(y.device)[: settings.n_priced]
    rows, weights = y[order], ready.weights[order]
    busy, limit = _busy(y), settings.limit_for(y.shape[1])
    proposals = [*start.dictionaries, *_components(busy, seed)]
    busy = busy[torch.randperm(len(busy), generator=torch.Generator().manual_seed(seed)).to(y.device)]
    busy = busy[: settings.n_refined]

    def try_out(proposal: Proposal, penalty: float) -> None:
        A, b = coding.refine(busy, proposal.A, proposal.b, penalty)
        code = coding.price(rows, A, b, penalty, weights, ready.lengths) if len(A) > 1 else None
        if code is not None and bool((code.totals > 0).any()):  # a strong penalty can leave no code active
            proposal.codes.append(code)

    for proposal in proposals:
        for penalty in settings.penalties:
            try_out(proposal, penalty)
    proposals = sorted((p for p in proposals if p.codes), key=lambda p: p.best.bits)
    for penalty in settings.more_penalties if proposals else ():
        try_out(proposals[0], penalty)
    gaussian = coding.gaussian_bits(rows)
    if not proposals:
        return Found(None, "", 0.0, gaussian, math.nan, math.nan, [], limit)
    best = proposals[0]
    halfway = _halfway(best, busy, rows, weights, ready.lengths)
    code = coding.join(best.best, busy, rows, weights, ready.lengths)
    whole = coding.price(y, code.A, code.b, code.penalty, ready.weights, ready.lengths)
    agreement = max([_agreement(whole, other.best) for other in proposals[1:]], default=0.0)
    readings = [(_count(one), one.bits) for p in proposals for one in p.codes]
    neurons = _neurons(rows, weights, ready.lengths, settings)
    written, dictionary = _written(whole, ready)
    return Found(whole, best.name, agreement, gaussian, neurons, halfway, readings, limit, dictionary, written)


def _written(code, ready):
    """How long a vector each code writes for each row (sparse), and the directions in neurons."""
    dictionary = code.A @ ready.lengths
    z = coding.codes_of(ready.y - code.b, code.A, code.penalty, coding.STEPS + coding.POLISH)
    return (z * ready.weights[:, None] * dictionary.norm(dim=1)).to_sparse(), dictionary


def excess_error(found: Found, sample: Int[Tensor, " n"] | None = None) -> float:
    """The standard error of ln F beyond that which independent rows would give, where rows come from samples.

    By the delta method: with p the shares and t_s what sample s writes, d ln F = −Σ_j (ln p_j + ln F) dp_j, so that the
    variance of ln F is that of the sum over samples of −Σ_j (ln p_j + ln F)(t_sj − p_j Σ_i t_si) / Σ t.
    """
    if sample is None or found.written is None or found.code is None:
        return 0.0
    t = found.written.to_dense().double()
    total = t.sum()
    p = t.sum(0) / total
    slope = -(p.clamp_min(1e-300).log() + math.log(found.effective_features))
    pull = (t @ slope - t.sum(1) * (p * slope).sum()) / total
    _, place = sample.to(t.device).unique(return_inverse=True)
    by_sample = torch.zeros(int(place.max()) + 1, dtype=torch.float64, device=t.device).index_add_(0, place, pull)
    return math.sqrt(max(0.0, float(by_sample.square().sum() - pull.square().sum())))


def _agreement(code, other):
    """The share of what a code writes that is written by directions which another code has too."""
    shared = (code.A @ other.A.T).max(1).values > SHARED
    return float(code.totals[shared].sum() / code.totals.sum())


def _neurons(rows, weights, lengths, settings):
    """The bits that a row takes with the neurons for a dictionary, one-sided or two-sided, which need not be written down."""
    axes = torch.linalg.pinv(lengths)
    one, b = _oriented(rows, axes / axes.norm(dim=1, keepdim=True).clamp_min(1e-12))
    both = torch.cat([one, -one])
    codes = [
        coding.price(rows, A, b, penalty, weights, lengths, known=True)
        for A in (one, both)
        for penalty in settings.penalties + settings.more_penalties
    ]
    return min(code.bits for code in codes)


def _propose(group, settings, seed):
    """Give each of some starts, whose rows are alike in number and width, what a pair of TopK SAEs shares, for each k."""
    rows = [_busy(start.ready.y) for start in group]
    limit, pair = settings.limit_for(rows[0].shape[1]), [2 * seed, 2 * seed + 1]
    x = rows[0] if len(rows) == 1 else torch.stack(rows).repeat_interleave(2, dim=0)
    for k in settings.sparsities:
        if k > limit // 4:
            continue
        one = settings.sae_for(limit, k)
        middle = one.rounds_for(len(rows[0]))[0] // 2
        fits = sae.fit_stack(x, one, seeds=pair * len(group), snapshots=[middle], label=f"TopK SAEs, k = {k}")
        for i, (start, y) in enumerate(zip(group, rows, strict=True)):
            start.dictionaries += _dictionary(f"topk {k}", y, fits[2 * i : 2 * i + 2], middle)


def _dictionary(name, y, fits, middle):
    """What a pair of SAEs shares, and what it shared halfway. None of it if that is less than two directions."""
    A = _shared(y, *fits)
    if len(A) < 2:
        return []
    half = [fit.snapshots.get(middle) for fit in fits]
    early = None if None in half else (_shared(y, *half), half[0].decoder_bias.view(-1))
    return [Proposal(name, A, fits[0].decoder_bias.view(-1), early)]


def _shared(y, first, second):
    """The directions that two dictionaries share: the means of those that are alike."""
    uses = [sum(fit.encode(part).double().sum(0) for part in y.split(4096)) for fit in (first, second)]
    A, B = (fit.decoder[use > 0] for fit, use in zip((first, second), uses, strict=True))
    if not len(A) or not len(B):
        return A[:0]
    use = uses[0][uses[0] > 0]
    cosine, place = (A @ B.T).max(1)
    shared = cosine > SHARED
    both = A[shared] + B[place[shared]]
    both = both / both.norm(dim=1, keepdim=True)
    return coding.merge(both, use[shared])


def _components(y, seed):
    """Independent components of the two halves of the rows, as a dictionary whose codes rest at zero."""
    from sklearn.decomposition import FastICA

    n, r = y.shape
    if not 2 <= r <= min(COMPONENTS, n // 4):
        return
    found = []
    with warnings.catch_warnings():  # what does not converge is priced as it is
        warnings.simplefilter("ignore")
        for half in (y[::2], y[1::2]):
            ica = FastICA(r, whiten="unit-variance", max_iter=100, tol=1e-3, random_state=seed)
            try:
                mixing = torch.from_numpy(ica.fit(half.cpu().double().numpy()).mixing_.T).to(y)
            except ValueError:  # a direction that one half of the rows lacks cannot be whitened
                return
            found.append(mixing / mixing.norm(dim=1, keepdim=True).clamp_min(1e-12))
    one, other = (_oriented(y, mixing) for mixing in found)
    yield Proposal("ica", *one, other)
    yield Proposal("ica", *other, one)


def _oriented(y, mixing):
    """Signed components as directions of non-negative codes, and the constant at which all rest."""
    b, A = y.mean(0), mixing.clone()
    s = (y - b) @ torch.linalg.pinv(mixing)
    for i, direction in enumerate(mixing):
        rest, sign = coding.rest_of(s[:, i])
        b, A[i] = b + rest * direction, sign * direction
    return A, b


def _halfway(proposal, busy, rows, weights, lengths):
    """F from the dictionary as it was halfway, by the penalty of the best; NaN where there was none."""
    if proposal.half is None or len(proposal.half[0]) < 2:
        return math.nan
    A, b = coding.refine(busy, *proposal.half, proposal.best.penalty)
    code = coding.price(rows, A, b, proposal.best.penalty, weights, lengths) if len(A) > 1 else None
    return _count(code) if code is not None and bool((code.totals > 0).any()) else math.nan


def evidence(found: Found) -> dict[str, int | float | str]:
    """What a count rests on, as numbers for a table; `spread_t` is ln(largest / smallest) of the F whose code is at most
    a share t longer than the shortest."""
    code = found.code
    row: dict[str, int | float | str] = {
        "effective_features": found.effective_features,
        "proposal": found.name,
        "penalty": math.nan if code is None else code.penalty,
        "codes": 0 if code is None else len(code.A),
        "limit": found.limit,
        "bits": math.nan if code is None else code.bits,
        "bits_gaussian": found.gaussian,
        "bits_neurons": found.neurons,
        "agreement": found.agreement,
        "halfway": found.halfway,
        "fvu": math.nan if code is None else code.unexplained,
        "l0": math.nan if code is None else code.l0,
    }
    for share in (0.02, 0.05, 0.1, 0.2, 0.4):
        near = [F for F, bits in found.readings if code is not None and bits <= code.bits * (1 + share)]
        near += [found.effective_features]
        row |= {f"low_{share:g}": min(near), f"high_{share:g}": max(near)}
    return row
