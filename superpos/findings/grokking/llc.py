"""The local learning coefficient (LLC) of trained weights, by Langevin sampling of a stack of chains at once.

    λ̂(w*) = nβ (E[L(w)] − L(w*)),   w sampled near w* from  exp(−nβ L(w) − ½ γ ‖w − w*‖²)

(Lau et al. 2023, equations 12 and 13). Sampling is SGLD:  w ← w − ½ε (nβ ∇L(w) + γ (w − w*)) + √ε · N(0, 1).
A regular minimum of d parameters has λ̂ = d/2 · nβ / (nβ + γ); a degenerate one less.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad_and_value, vmap

from superpos.descent import finite_loss
from superpos.progress import progress
from superpos.settings import Count, NotNegative, Positive, Whole, settings


@settings
class Sampling:
    """How chains are drawn: n_beta, nβ (None: n / ln n, Watanabe 2013); localization, γ; lr, the step ε.

    Every chain takes its own batches of `batch_size` rows, or as many as there are, with replacement (None: all rows, once).
    """

    n_beta: Positive | None = None
    localization: NotNegative = 100.0
    lr: Positive = 1e-3
    n_chains: Count = 4
    n_draws: Count = 200
    burn_in: Whole = 100
    batch_size: Count | None = None


class UnhealthyChainsError(RuntimeError):
    """Chains whose average is no estimate of an LLC."""


@dataclass(frozen=True)
class Chains:
    """Losses along C chains from each of K sets of weights.

    start: L(w*) on all data; burned and trace: the draws of the burn-in and those after it, which alone are averaged; n_beta: nβ.
    """

    start: Float[Tensor, " K"]
    burned: Float[Tensor, "K C B"]
    trace: Float[Tensor, "K C T"]
    n_beta: float

    def table(self, max_drift: float = 0.2) -> pd.DataFrame:
        """What the chains of each set of weights come to: llc, llc_error, llc_drift, llc_negative and llc_trouble.

        The estimate λ̂, the mean over chains, and its standard error (NaN for one chain); drift: what the second half of the
        draws reads above the first, near 0 once mixed; negative: share of chains below zero, where w* was no local minimum or
        the step is too long; trouble, in words: a chain below zero, or a drift of more than `max_drift` of the estimate.
        """
        each, n_chains = self.n_beta * (self.trace.mean(-1) - self.start[:, None]), self.trace.shape[1]
        first, second = (half.mean(-1) for half in self.trace.mean(1).tensor_split(2, dim=-1))
        columns = {
            "llc": each.mean(1),
            "llc_error": each.std(1) / n_chains**0.5,
            "llc_drift": self.n_beta * (second - first),
        }
        table = pd.DataFrame({name: values.numpy() for name, values in columns.items()})
        below, moved = (each < 0).sum(1).numpy(), table.llc_drift / table.llc
        drifts = [f"drift of {share:+.2f} of the estimate" if abs(share) > max_drift else "" for share in moved]
        words = [f"{n} of {n_chains} chains below 0" if n else drift for n, drift in zip(below, drifts, strict=True)]
        return table.assign(llc_negative=below / n_chains, llc_trouble=words)

    def require_health(self) -> "Chains":
        """These chains. Raises UnhealthyChainsError, which names each set of weights in trouble, if one is."""
        named = [f"weights {k}: {words}" for k, words in enumerate(self.table().llc_trouble) if words]
        if named:
            words = f"{len(named)} of {len(self.start)} LLC estimates cannot be used"
            raise UnhealthyChainsError(f"{words}; {'; '.join(named)}")
        return self


def sample_chains(
    loss: Callable[..., Tensor],
    states: dict[str, Tensor],
    data: tuple[Tensor, ...],
    sampling: Sampling,
    seed: int = 0,
) -> Chains:
    """SGLD chains from each of K sets of weights.

    loss: (state, *rows) → scalar, differentiable, for one network; states: its parameters, K values of each; data: tensors
    with a row each for n samples; the seed decides batches and noise. Warns of chains in trouble (`Chains.table`).
    Raises FloatingPointError as soon as a chain's loss is not finite, naming it.
    """
    n, n_chains, n_steps = len(data[0]), sampling.n_chains, sampling.burn_in + sampling.n_draws
    n_beta = n / math.log(n) if sampling.n_beta is None else sampling.n_beta
    batch = None if sampling.batch_size is None else min(sampling.batch_size, n)
    generator = torch.Generator().manual_seed(seed)
    center = {name: values.detach().repeat_interleave(n_chains, 0) for name, values in states.items()}
    moving = {name: values.clone() for name, values in center.items()}
    step = vmap(grad_and_value(loss), in_dims=(0, *[None if batch is None else 0] * len(data)))
    trace = torch.empty(len(next(iter(states.values()))) * n_chains, n_steps)
    for t in progress(range(n_steps), desc="LLC chains"):
        drawn = None if batch is None else torch.randint(n, (len(trace), batch), generator=generator)
        gradients, trace[:, t] = step(moving, *(data if drawn is None else [values[drawn] for values in data]))
        for i in (~trace[:, t].isfinite()).nonzero()[:1].flatten().tolist():
            finite_loss(trace[i, t], f"the loss of chain {i % n_chains} of weights {i // n_chains} in step {t}")
        for name, w in moving.items():
            pull = n_beta * gradients[name] + sampling.localization * (w - center[name])
            w.sub_(pull, alpha=sampling.lr / 2).add_(torch.randn(w.shape, generator=generator), alpha=sampling.lr**0.5)
    with torch.no_grad():
        start = vmap(loss, in_dims=(0, *[None] * len(data)))(states, *data)
    chains = Chains(start, *trace.view(-1, n_chains, n_steps).split([sampling.burn_in, sampling.n_draws], 2), n_beta)
    for k, words in enumerate(chains.table().llc_trouble):
        if words:
            warnings.warn(f"LLC of weights {k}: {words}", stacklevel=2)
    return chains
