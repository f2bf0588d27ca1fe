"""The local learning coefficient (LLC) of trained weights, by Langevin sampling of a stack of chains at once.

    λ̂(w*) = nβ (E[L(w)] − L(w*)),   w sampled near w* from  exp(−nβ L(w) − ½ γ ‖w − w*‖²)

(Lau et al. 2023, equations 12 and 13). Sampling is SGLD:  w ← w − ½ε (nβ ∇L(w) + γ (w − w*)) + √ε · N(0, 1).
A regular minimum of d parameters has λ̂ = d/2 · nβ / (nβ + γ); a degenerate one less.
"""

import math
import warnings
from dataclasses import dataclass

import torch
from torch.func import grad_and_value, vmap

from superpos.progress import progress

__all__ = ["Chains", "UnhealthyChainsError", "sample_chains"]


class UnhealthyChainsError(RuntimeError):
    """Chains whose average is no estimate of an LLC."""


@dataclass(frozen=True)
class Chains:
    """Losses along the chains: start (K,), L(w*) on all data; burned (K, C, B) and trace (K, C, T), the draws of the
    burn-in and those after it, which alone are averaged; and nβ.
    """

    start: torch.Tensor
    burned: torch.Tensor
    trace: torch.Tensor
    n_beta: float

    @property
    def per_chain(self):
        """The estimate of each chain (K, C)."""
        return self.n_beta * (self.trace.mean(-1) - self.start[:, None])

    @property
    def estimate(self):
        """λ̂ of each set of weights (K,): the mean over its chains."""
        return self.per_chain.mean(1)

    @property
    def mean_loss(self):
        """Mean loss of the draws (K,): above that of guessing the chains do not see the minimum they started from."""
        return self.trace.mean((1, 2))

    @property
    def error(self):
        """Standard error of the estimate over chains (K,); NaN for one chain."""
        return self.per_chain.std(1) / math.sqrt(self.per_chain.shape[1])

    @property
    def drift(self):
        """What the second half of the draws reads above the first (K,), in units of the LLC: near 0 once mixed."""
        first, second = self.trace.mean(1).tensor_split(2, dim=-1)
        return self.n_beta * (second.mean(-1) - first.mean(-1))

    @property
    def negative(self):
        """Share of chains that read below zero (K,): w* was no local minimum of the loss, or the step is too long."""
        return (self.per_chain < 0).double().mean(1)

    def troubles(self, max_drift=0.2):
        """What is wrong with the chains of each set of weights. → list of K strings, empty where nothing is

        A chain reads below zero, or the draws drift by more than `max_drift` of the estimate.
        """
        words = []
        for estimate, drift, negative in zip(self.estimate, self.drift, self.negative, strict=True):
            if negative > 0:
                words.append(f"{round(float(negative) * self.trace.shape[1])} of {self.trace.shape[1]} chains below 0")
            else:
                moved = float(drift / estimate)
                words.append(f"drift of {moved:+.2f} of the estimate" if abs(moved) > max_drift else "")
        return words

    def require_health(self, max_drift=0.2):
        """These chains, if none is in trouble. → Chains. UnhealthyChainsError, naming each set of weights that is, else."""
        named = [f"weights {k}: {words}" for k, words in enumerate(self.troubles(max_drift)) if words]
        if named:
            raise UnhealthyChainsError(
                f"{len(named)} of {len(self.start)} LLC estimates cannot be used; {'; '.join(named)}"
            )
        return self


def sample_chains(
    loss, states, data, *, n_beta=None, localization=100.0, lr=1e-3, n_chains=4, n_draws=200, burn_in=100,
    batch_size=None, seed=0,
):  # fmt: skip
    """SGLD chains from each of K sets of weights. → Chains

    loss: (state, *rows) → scalar, differentiable, for one network; states: dict of its parameters (K, …);
    data: tensors of n rows each. n_beta: nβ (None: n / ln n, Watanabe 2013); localization: γ; lr: ε.
    Every chain takes its own batches of `batch_size` rows (None: all rows) and its own noise; the seed decides both.
    Warns of chains in trouble (`Chains.troubles`); `Chains.require_health` makes that an error.
    Raises ValueError for settings out of range, FloatingPointError as soon as a chain's loss is not finite, naming it.
    """
    n = len(data[0])
    n_beta = n / math.log(n) if n_beta is None else n_beta
    _check(n_beta=n_beta, lr=lr, n_chains=n_chains, n_draws=n_draws, batch_size=batch_size or n)
    if localization < 0 or burn_in < 0:
        raise ValueError(f"localization and burn_in must be at least 0, got {localization} and {burn_in}")
    generator = torch.Generator().manual_seed(int(seed))
    center = {name: values.detach().repeat_interleave(n_chains, 0) for name, values in states.items()}
    moving = {name: values.clone() for name, values in center.items()}
    n_stacked = len(next(iter(center.values())))
    shared = (0, *[None if batch_size is None else 0] * len(data))
    step = vmap(grad_and_value(loss), in_dims=shared)
    trace = torch.empty(n_stacked, burn_in + n_draws)
    for t in progress(range(burn_in + n_draws), desc="LLC chains"):
        rows = data if batch_size is None else _draw(data, n_stacked, batch_size, generator)
        gradients, losses = step(moving, *rows)
        if not torch.isfinite(losses).all():
            k, c = divmod(int((~torch.isfinite(losses)).nonzero()[0]), n_chains)
            raise FloatingPointError(
                f"chain {c} of weights {k} left for a loss of {losses[k * n_chains + c]} in step {t}"
            )
        trace[:, t] = losses.detach()
        for name, w in moving.items():
            pull = n_beta * gradients[name] + localization * (w - center[name])
            w.sub_(pull, alpha=lr / 2).add_(torch.randn(w.shape, generator=generator), alpha=lr**0.5)
    with torch.no_grad():
        start = vmap(loss, in_dims=(0, *[None] * len(data)))(states, *data)
    burned, kept = trace.view(-1, n_chains, burn_in + n_draws).split([burn_in, n_draws], dim=2)
    chains = Chains(start, burned, kept, float(n_beta))
    for k, words in enumerate(chains.troubles()):
        if words:
            warnings.warn(f"LLC of weights {k}: {words}", stacklevel=2)
    return chains


def _check(**values):
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be above 0, got {value}")


def _draw(data, n_stacked, batch_size, generator):
    """A batch of each tensor for each chain (K·C, B, …), with replacement."""
    rows = torch.randint(len(data[0]), (n_stacked, batch_size), generator=generator)
    return [values[rows] for values in data]
