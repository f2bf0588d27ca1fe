"""The engine under `sae`: K autoencoders of one shape go down their loss together, by Adam with gradients by hand.

What it computes is the loss that `sae` states. What makes it cheap, and why the result stays the same:

    gradients by hand   five matrix products a step, into buffers that are reused; checked against autograd
    silent codes        a code that no row has moved for `SILENT` steps, and for long enough to have met every row,
                        has no gradient and no momentum left, so it stays as it is: it leaves the products, and
                        comes back into the dictionary at the end
    bfloat16 products   where the settings ask for them; weights and Adam's moments stay float32
    the mean's axis     Adam scales each coordinate by itself. Activations after a ReLU share a large mean, which
                        spreads over all neurons and hides the rest. Reflected so that the mean lies along one axis,
                        the same loss (it does not change under rotations) falls sooner.
"""

import ctypes
import math
import mmap
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

__all__ = ["Batches", "Stack", "Watch", "check_values", "finite_loss", "keep_largest", "mean_axis", "parts", "reflect"]

IN_MEMORY = 2**30  # bytes of activations that may be copied in memory; larger ones are prepared a piece at a time
ROUND = 100  # steps after which the loss is looked at where an epoch is longer
PIECE = 64  # batches prepared at once
SILENT = 200  # steps; Adam's first moment has then shrunk by 0.9**200 = 7e-10
SETTLED, WINDOW = 3_200, 800  # steps before the first, and between two, looks of the tolerance rule


def parts(x: Shaped[Tensor, "n N"]) -> tuple[Shaped[Tensor, "_ N"], ...]:
    """Rows in parts of at most a million values."""
    return x.split(max(1, 2**20 // max(1, x.shape[1])))


def check_values(x: Float[Tensor, "n N"], name: str) -> None:
    """Raise ValueError, with the name of x, if x holds a NaN or an infinity, or if all its rows are the same."""
    bad = sum(part.numel() - int(torch.isfinite(part).sum()) for part in parts(x))
    if bad:
        raise ValueError(f"{name} hold {bad} of {x.numel()} values that are NaN or infinite")
    if all(bool((part == x[:1]).all()) for part in parts(x)):
        raise ValueError(f"{name} are constant: all {len(x)} rows are the same")


def finite_loss(loss: float | Tensor, words: str) -> None:
    """Raise FloatingPointError, with words that name the loss and with its values, unless all of them are finite."""
    number = isinstance(loss, float | int)
    if not (math.isfinite(loss) if number else bool(torch.isfinite(loss).all())):
        raise FloatingPointError(f"{words} became {loss if number else loss.tolist()}")


def reflect(x: Float[Tensor, "*K N"], axis: Float[Tensor, " N"] | None) -> Float[Tensor, "*K N"]:
    """Vectors reflected in the hyperplane orthogonal to the unit vector `axis`, or unchanged where that is None."""
    return x if axis is None else x - 2 * (x @ axis)[..., None] * axis


def mean_axis(x: Float[Tensor, "n N"]) -> Float[Tensor, " N"] | None:
    """The unit vector whose reflection lays the mean of x along one neuron's axis; None if it lies there already."""
    mean = sum(part.sum(0).cpu().double() for part in parts(x))
    length = mean.norm()
    if not length > 0:
        return None
    axis = mean / length
    largest = int(axis.abs().argmax())
    axis[largest] -= axis[largest].sign()
    return (axis / axis.norm()).to(x) if axis.norm() > 1e-6 else None


def _expect_random_reads(x):
    """Tell Linux that the rows of a mapped file will come in no order: it would read 128 KiB around each of them."""
    if x.device.type == "cpu" and sys.platform == "linux":
        start = x.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
        length = x.data_ptr() + x.numel() * x.element_size() - start
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_int(mmap.MADV_RANDOM))


class Batches:
    """Endless batches (K, B, N) of K data sets x (K, n, N), each reshuffled every epoch by its own generator.

    Rows are divided by `scales` (K, 1, 1), reflected by `axes` (K vectors or None) and cast to `dtype`: at once for data
    that fits in memory, piece by piece beyond `IN_MEMORY` bytes. K equal data sets may be one expanded view.
    """

    def __init__(self, x, scales, axes, generators, batch_size, dtype=torch.float32):
        self.generators, self.batch_size, self.dtype = list(generators), batch_size, dtype
        self.shared = len(x) == 1 or x.stride(0) == 0
        self.x, self.scales, self.axes = (v[:1] if self.shared else v for v in (x, scales, list(axes)))
        self.per_epoch = math.ceil(x.shape[1] / batch_size)
        self.prepared = self.x.numel() * self.x.element_size() <= IN_MEMORY
        given, self.pending = self.x, iter(())
        if self.prepared:
            self.x = torch.empty(given.shape, dtype=dtype, device=given.device)
        for rows, scale, axis, out in zip(given, self.scales, self.axes, self.x, strict=True):
            if not self.prepared:
                _expect_random_reads(rows)
                continue
            for part, place in zip(parts(rows), parts(out), strict=True):
                place.copy_(self._prepare(part, scale, axis))

    def _prepare(self, x, scale, axis):
        return reflect(x / scale, axis).to(self.dtype)

    def __next__(self) -> Float[Tensor, "K B N"]:
        batch = next(self.pending, None)
        if batch is None:
            self.pending = self._epoch()
            batch = next(self.pending)
        return batch

    def _epoch(self):
        sets = list(zip(self.x, self.scales, self.axes, strict=True)) * (len(self.generators) if self.shared else 1)
        n, piece = self.x.shape[1], self.batch_size * max(1, PIECE // len(sets))
        order = torch.stack([torch.randperm(n, generator=g) for g in self.generators]).to(self.x.device)
        for rows in order.split(piece, dim=1):
            taken = [self._take(*one, index) for one, index in zip(sets, rows, strict=True)]
            taken = torch.stack(taken) if len(taken) > 1 else taken[0][None]
            yield from taken.split(self.batch_size, dim=1)

    def _take(self, x, scale, axis, index):
        x = x.index_select(0, index)
        return x if self.prepared else self._prepare(x, scale, axis)

    def keep(self, places: list[int]) -> None:
        """Go on for some of the fits only; the epoch begun goes on with them."""
        self.generators = [self.generators[i] for i in places]
        if not self.shared:
            self.x, self.scales, self.axes = self.x[places], self.scales[places], [self.axes[i] for i in places]
        self.pending = (batch[places] for batch in self.pending)


class Adam:
    """Adam (Kingma & Ba 2015) over named tensors with a leading K, and a step size for each of the K.

    It is torch's own fused kernel without the bookkeeping of torch.optim, which costs more than a small step itself.
    """

    def __init__(self, parameters: dict[str, Tensor]) -> None:
        self.first, self.second = ({name: torch.zeros_like(p) for name, p in parameters.items()} for _ in range(2))
        self.count = torch.zeros((), device=next(iter(parameters.values())).device)

    def aim(self, parameters: dict[str, Tensor], rates: Sequence[float]) -> None:
        """Set the K step sizes of the steps to come, and the tensors that they move in place."""
        self.aims = []
        for rate in set(rates):
            at = [k for k, r in enumerate(rates) if r == rate]
            places = [(name, k) for name in parameters for k in ([slice(None)] if len(at) == len(rates) else at)]
            moved = [[values[name][k] for name, k in places] for values in (parameters, self.first, self.second)]
            self.aims.append((rate, places, *moved))

    def step(self, gradients: dict[str, Tensor]) -> None:
        """One update, by a gradient for each parameter."""
        fixed = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False, "maximize": False}
        self.count += 1
        for rate, places, moved, first, second in self.aims:
            slopes = [gradients[name][k] for name, k in places]
            torch._fused_adam_(moved, slopes, first, second, [], [self.count] * len(moved), lr=rate, **fixed)


class _Buffers:
    """Where one step writes, for batches of B rows: x and residual r side by side, and codes z and their gradient."""

    def __init__(self, x, n_codes, l1):
        K, B, N = x.shape
        self.rows, self.codes = x.new_empty(K, 2 * B, N), x.new_empty(K, 2 * B, n_codes)
        (self.x, self.r), (self.g, self.z) = self.rows.split(B, dim=1), self.codes.split(B, dim=1)
        self.before, self.half_l1 = x.new_empty(K, B, n_codes), (l1 / 2).to(x)


@dataclass
class Stack:
    """K fits under way: `parameters` with a leading K, Adam over them, and which fit (`ids`) each place holds.

    `settings` are the sae.Settings that all share; `l1` is λ in the sum unit. The loss is averaged over rows, and in the
    l1_mean unit over neurons too. Parameters of codes have the codes on their second axis.
    """

    settings: Any
    batches: Batches
    l1: Float[Tensor, "K 1 1"]
    ids: list[int]
    parameters: dict[str, Tensor]
    whole: dict[str, Tensor] | None = None  # the parameters of all codes, where some have left
    places: Int[Tensor, "K D"] | None = None  # which codes the parameters hold
    buffers: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.adam = Adam(self.parameters)
        self.silent = torch.zeros_like(self.parameters["encoder"][..., 0])

    def round(self, n_steps: int, rates: Sequence[float]) -> Float[Tensor, " K"]:
        """Make n steps with a step size for each fit, and give the mean batch loss of each, in the loss's own unit."""
        error = torch.zeros_like(self.silent[:, 0])
        use = torch.zeros_like(self.silent)
        self.adam.aim(self.parameters, rates)
        for _ in range(n_steps):
            batch_error, batch_use, unit = self.step(next(self.batches))
            error.add_(batch_error, alpha=unit)
            use.add_(batch_use, alpha=unit)
        self.silent = torch.where(use > 0, 0, self.silent + n_steps)
        loss = (error + self.l1[:, 0, 0] * use.sum(-1)) / n_steps
        if self.settings.activation == "relu":  # a code that TopK never picks may still be picked when others shrink
            self._drop_silent_codes()
        return loss

    def step(self, x: Float[Tensor, "K B N"]) -> tuple[Float[Tensor, " K"], Float[Tensor, "K D"], float]:
        """Make one Adam step, after `adam.aim`. Gives Σ‖r‖², Σz, and the unit by which both enter the loss."""
        error, use, unit, gradients = self.gradients(x)
        self.adam.step(gradients)
        if self.settings.unit_norm:
            rows = self.parameters["encoder" if self.settings.tied else "decoder"]
            rows /= rows.norm(dim=-1, keepdim=True).clamp_min_(1e-12)
        return error, use, unit

    def gradients(
        self, x: Float[Tensor, "K B N"]
    ) -> tuple[Float[Tensor, " K"], Float[Tensor, "K D"], float, dict[str, Tensor]]:
        """What `step` gives of a batch, and the gradient of the loss by hand, for each parameter.

        With r = x' − x:  ∂z = 1[z > 0] (2 W_dec r + λ),  ∂W_enc = ∂zᵀ x,  ∂W_dec = 2 zᵀ r,  all × unit.
        """
        settings, dtype = self.settings, x.dtype
        weights = {name: p.to(dtype) for name, p in self.parameters.items()}
        encoder, decoder = weights["encoder"], weights.get("decoder", weights["encoder"])
        if x.shape[1] not in self.buffers:
            self.buffers[x.shape[1]] = _Buffers(x, encoder.shape[1], self.l1)
        at = self.buffers[x.shape[1]]
        at.x.copy_(x)
        torch.baddbmm(weights["encoder_bias"].mT, at.x, encoder.mT, out=at.z).relu_()
        if settings.k:
            keep_largest(at.z, settings.k, out=at.z)
        torch.bmm(at.z, decoder, out=at.r).sub_(at.x)
        if settings.decoder_bias:
            at.r.add_(weights["decoder_bias"])
        error, use = torch.linalg.vector_norm(at.r, dim=(-2, -1), dtype=torch.float32).square_(), at.z.sum(-2)
        torch.baddbmm(at.half_l1, at.r, decoder.mT, out=at.before)
        torch.ops.aten.threshold_backward.grad_input(at.before, at.z, 0, grad_input=at.g)
        unit = 1 / (x.shape[-2] * (x.shape[-1] if settings.loss == "l1_mean" else 1))
        return error, use, unit, self._collect(at, 2 * unit)

    def _collect(self, at, factor):
        """Gradients of all parameters in float32, from the buffers of a step."""

        def _product(name, a, b):
            if name not in self.buffers:
                self.buffers[name] = torch.empty(self.parameters[name].shape, dtype=a.dtype, device=a.device)
            out = self.buffers[name]
            return torch.baddbmm(out, a.mT, b, beta=0, alpha=factor, out=out).float()

        gradients = {"encoder_bias": at.g.sum(-2)[..., None].float().mul_(factor)}
        if self.settings.decoder_bias:
            gradients["decoder_bias"] = at.r.sum(-2, keepdim=True).float().mul_(factor)
        if self.settings.tied:
            written = gradients["encoder"] = _product("encoder", at.codes, at.rows)  # ∂zᵀ x + zᵀ r in one product
        else:
            gradients["encoder"], written = _product("encoder", at.g, at.x), _product("decoder", at.z, at.r)
            gradients["decoder"] = written
        if self.settings.unit_norm:
            decoder = self.parameters["encoder" if self.settings.tied else "decoder"]
            written -= (written * decoder).sum(-1, keepdim=True) * decoder
        return gradients

    def _drop_silent_codes(self):
        """Leave out the codes that are silent for good, if they are at least a tenth in every fit.

        Any 2n − 1 successive rows of two shuffled epochs hold every row: only a code silent so long met them all.
        """
        n_codes = self.silent.shape[1]
        awake = (self.silent < max(SILENT, 2 * self.batches.per_epoch)).sum(1)
        n_kept = min(n_codes, math.ceil(max(1, int(awake.max())) / 16) * 16)
        if n_kept > 0.9 * n_codes:
            return
        if self.whole is None:
            self.whole = {name: p.clone() for name, p in self.parameters.items()}
            self.places = torch.arange(n_codes, device=self.silent.device).repeat(len(self.ids), 1)
        self.write_back()
        kept = self.silent.topk(n_kept, largest=False).indices.sort().values
        for values in (self.parameters, self.adam.first, self.adam.second):
            values |= {name: v.gather(1, _along(kept, v)) for name, v in values.items() if name != "decoder_bias"}
        self.silent, self.places = self.silent.gather(1, kept), self.places.gather(1, kept)
        self.buffers = {}

    def write_back(self) -> dict[str, Tensor]:
        """The parameters of all codes, those that have left included."""
        if self.whole is None:
            return self.parameters
        for name, p in self.parameters.items():
            if name == "decoder_bias":
                self.whole[name] = p
            else:
                self.whole[name].scatter_(1, _along(self.places, p), p)
        return self.whole

    def keep(self, places: list[int]) -> None:
        """Go on with some of the fits only."""
        self.write_back()
        self.batches.keep(places)
        self.ids = [self.ids[i] for i in places]
        self.l1, self.silent, self.buffers = self.l1[places], self.silent[places], {}
        self.places = None if self.places is None else self.places[places]
        for values in (self.parameters, self.adam.first, self.adam.second, self.whole or {}):
            values.update({name: v[places] for name, v in values.items()})


def _along(places, values):
    """Which codes (K, D'), repeated along the last axis of a parameter (K, D, M)."""
    return places[..., None].expand(-1, -1, values.shape[-1])


def keep_largest(z: Float[Tensor, "*K D"], k: int, out: Tensor | None = None) -> Float[Tensor, "*K D"]:
    """Codes of which all but the k largest of each row are zero, written to `out` where it is given."""
    values, places = z.topk(min(k, z.shape[-1]), dim=-1)
    out = torch.zeros_like(z) if out is None else out.zero_()
    return out.scatter_(-1, places, values)


class Watch:
    """The stopping rule and step size of one fit, from its losses so far."""

    def __init__(self, settings: Any, n_rounds: int, steps_per_round: int) -> None:
        self.settings, self.n_rounds, self.per_round = settings, n_rounds, steps_per_round
        self.history, self.best, self.why = [], 0, f"{n_rounds} rounds done"
        self.end, self.settled = n_rounds, settings.tolerance is None

    def rate(self) -> float:
        """The step size of the next round: constant, then linear to zero over the last `decay` share."""
        left = 1 - len(self.history) / self.end
        return self.settings.lr * (min(1.0, left / self.settings.decay) if self.settings.decay else 1.0)

    def see(self, loss: float, label: str) -> str:
        """Note a round's loss, and say why the fit stops now, or "". Raises FloatingPointError unless it is finite."""
        finite_loss(loss, f"{label}: the loss in round {len(self.history) + 1}")
        self.history.append(loss)
        if loss < self.history[self.best]:
            self.best = len(self.history) - 1
        if self.settings.patience is not None and len(self.history) - 1 - self.best >= self.settings.patience:
            return f"no better loss for {self.settings.patience} epochs"
        self._settle()
        return self.why if len(self.history) >= self.end else ""

    def _settle(self):
        """Where a tolerance is given: once the loss has settled, put the end where the decay brings it."""
        done = len(self.history)
        window = max(1, round(WINDOW / self.per_round))
        half = max(1, window // 2)
        decaying = done > self.end * (1 - self.settings.decay)
        if self.settled or decaying or done * self.per_round < SETTLED or done < window + half:
            return
        now, then = (sum(losses) / half for losses in (self.history[-half:], self.history[-half - window : -window]))
        if now > then * (1 - self.settings.tolerance):
            self.settled = True
            self.end = min(self.n_rounds, math.ceil(done / (1 - self.settings.decay)))
            self.why = f"settled within {self.settings.tolerance:g} after {done} rounds"
