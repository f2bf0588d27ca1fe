"""One sparse autoencoder (SAE), fitted alone or as a stack of K at once, and the two named protocols.

    z = act(W_enc x/s + b_enc)          act: ReLU, or the k largest of ReLU (TopK)
    x' = s (W_decᵀ z + b_dec)           tied: W_dec = W_enc

The sparsity weight λ has two units, and the name of the loss says which one it is:

    l1_mean   mean over entries:  mean((x−x')²) + λ · mean|z|
    l1_sum    sum over a row:     ‖x−x'‖²       + λ · Σ|z|       averaged over rows

λ_sum = λ_mean · N / D: only the sum form keeps the pressure constant when N or D changes.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from superpos import checkpoint, descent
from superpos.descent import parts, reflect
from superpos.progress import progress
from superpos.settings import Count, NotNegative, Positive, Share, flat, settings

__all__ = ["PROTOCOL", "PUBLISHED", "PUBLISHED_FAST", "Settings", "SparseAutoencoder", "fit", "fit_stack"]

Rows = Float[Tensor, "..."]  # activations (n, N), or (K, n, N) for K fits


@settings
class Settings:
    """All that decides an SAE fit but the data and the seed. A value that does not fit raises ValueError.

    Architecture. The dictionary has `n_codes` codes or, where that is None, `expansion` codes for each neuron. Where
    `activation` is "topk", `k` codes of a row are kept. `tied` makes the decoder the encoder, `decoder_bias` gives it a
    bias, and `unit_norm` keeps each of its rows at length 1. With `scale` "mean_length" activations are divided by the s
    that brings the mean length of their non-zero rows to √N, so that their unit does not matter; with "none" s is 1.
    Start. `init` draws the encoder by "xavier" or as random rows of length 1 ("unit"); biases start at zero and the
    decoder as the encoder. "linear", which is not for tied weights, draws every matrix and bias as torch.nn.Linear does.
    Loss. `loss` is "l1_mean", "l1_sum" (see the head of this module) or "mse", which has no penalty; `l1` is λ.
    Optimiser. Adam with step size `lr` takes batches of `batch_size` rows, reshuffled every epoch; over the last `decay`
    share of the training the step size falls linearly to zero. With `axes` "mean" Adam's coordinates are the neurons
    reflected so that the mean activation lies along one axis: the loss is the same and the way down is shorter.
    `products` is what matrix products are made in ("auto": bfloat16 where the device multiplies it natively and the
    dictionary holds at least 32,768 weights); weights and moments are always float32.
    Stopping. The loss is looked at after every round, which is an epoch, or without `patience` at most 100 steps of it.
    Training ends after `epochs` (where `steps` is given, after as many whole rounds as hold that many batches); or once
    the mean loss of an epoch has not improved for `patience` epochs; or, with a `tolerance`, when the mean loss of 400
    steps is less than that share below the one 800 steps earlier, but never before step 3,200: then the decay begins, and
    is as long as makes it the last `decay` share. The last weights are kept.
    Reading. `held_out` is the share of samples that `measure` keeps for reading (0: the rows that were fitted are read).
    """

    n_codes: Count | None = None
    expansion: Positive = 4.0
    activation: Literal["relu", "topk"] = "relu"
    k: Count | None = None
    tied: bool = True
    decoder_bias: bool = False
    unit_norm: bool = False
    scale: Literal["none", "mean_length"] = "none"
    init: Literal["xavier", "unit", "linear"] = "xavier"
    loss: Literal["l1_mean", "l1_sum", "mse"] = "l1_mean"
    l1: NotNegative = 0.1
    lr: Positive = 1e-3
    batch_size: Count = 128
    axes: Literal["neurons", "mean"] = "neurons"
    products: Literal["float32", "bfloat16", "auto"] = "float32"
    epochs: Count = 800
    steps: Count | None = None
    patience: Count | None = 10
    tolerance: Annotated[float, Field(gt=0, lt=1)] | None = None
    decay: Share = 0.0
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def __post_init__(self) -> None:
        if (self.k is None) != (self.activation == "relu"):
            raise ValueError(f"k must be given for topk, and only there, got {self.k!r} for {self.activation!r}")
        if self.init == "linear" and self.tied:
            raise ValueError("init must be 'xavier' or 'unit' where tied, got 'linear'")
        if self.tolerance is not None and self.decay == 1:
            raise ValueError("decay must be below 1 where a tolerance is given, got 1")

    def codes_for(self, n_neurons: int) -> int:
        """The dictionary size D for N neurons. Raises ValueError if it comes out below 1, or below k."""
        n_codes = self.n_codes or int(n_neurons * self.expansion)
        if n_codes < 1:
            raise ValueError(
                f"dictionary size must be at least 1, got {n_codes} ({n_neurons} neurons × {self.expansion})"
            )
        if self.k is not None and self.k > n_codes:
            raise ValueError(f"k must be at most the dictionary size {n_codes}, got {self.k}")
        return n_codes

    def rounds_for(self, n_rows: int) -> tuple[int, int]:
        """The number of rounds of the longest training on n rows, and the number of steps in a round."""
        per_epoch = math.ceil(n_rows / self.batch_size)
        per_round = per_epoch if self.patience else min(per_epoch, descent.ROUND)
        return math.ceil((self.steps or self.epochs * per_epoch) / per_round), per_round

    def dtype_for(self, n_neurons: int, device: torch.device | str) -> torch.dtype:
        """What the products of a fit to N neurons on this device are made in: torch.bfloat16 or torch.float32."""
        if self.products != "auto":
            return getattr(torch, self.products)
        large = n_neurons * self.codes_for(n_neurons) >= 32_768
        return torch.bfloat16 if large and _multiplies_bfloat16(torch.device(device)) else torch.float32

    def l1_per_row(self, n_neurons: int, n_codes: int) -> float:
        """λ in the unit of l1_sum, whatever unit it was given in."""
        return {"l1_sum": 1.0, "l1_mean": n_neurons / n_codes, "mse": 0.0}[self.loss] * self.l1


PUBLISHED = Settings()
PUBLISHED_FAST = Settings(lr=5e-3, axes="mean", products="auto", patience=None, tolerance=0.02, decay=0.3)
PROTOCOL = Settings(
    unit_norm=True,
    init="unit",
    scale="mean_length",
    loss="l1_sum",
    l1=0.5,
    lr=3e-3,
    steps=10_000,
    patience=None,
    decay=0.2,
    held_out=0.2,
)


class SparseAutoencoder(torch.nn.Module):
    """A fitted SAE, by the formula that heads this module: it encodes activations and decodes codes.

    `history` is the mean training loss of each round (see Settings) in the loss's own unit, and `stopped` says why the
    training ended. `snapshots` are copies from on the way, where `fit` was asked for some; they are not saved.
    """

    def __init__(
        self,
        settings: Settings,
        encoder: Float[Tensor, "D N"],
        encoder_bias: Float[Tensor, " D"],
        decoder: Float[Tensor, "D N"] | None = None,
        decoder_bias: Float[Tensor, " N"] | None = None,
        scale: float | Float[Tensor, ""] = 1.0,
        history: Iterable[float] = (),
        stopped: str = "",
    ) -> None:
        super().__init__()
        self.settings, self.history, self.stopped, self.snapshots = settings, list(history), stopped, {}
        self.register_buffer("encoder", encoder)
        self.register_buffer("encoder_bias", encoder_bias)
        self.register_buffer("decoder", decoder)
        self.register_buffer("decoder_bias", decoder_bias)
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))

    @property
    def dictionary(self) -> Float[Tensor, "D N"]:
        """The decoder's rows: the direction that each code writes."""
        return self.encoder if self.decoder is None else self.decoder

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "n M"]) -> Float[Tensor, "n D"]:
        """Codes of activations. Raises ValueError for another width than N."""
        if x.shape[-1] != self.encoder.shape[-1]:
            raise ValueError(f"the dictionary reads {self.encoder.shape[-1]} neurons, got activations {tuple(x.shape)}")
        x = x.to(self.encoder) / self.scale
        z = torch.addmm(self.encoder_bias, x, self.encoder.T).relu_()
        return descent.keep_largest(z, self.settings.k) if self.settings.k else z

    @torch.no_grad()
    def decode(self, z: Float[Tensor, "n D"]) -> Float[Tensor, "n N"]:
        """Reconstructions of activations from codes."""
        x = z @ self.dictionary
        return self.scale * (x if self.decoder_bias is None else x + self.decoder_bias)

    def save(self, path: str | Path) -> None:
        """Write weights, settings and history to a safetensors file, in one move."""
        about = {"settings": flat(self.settings), "history": self.history, "stopped": self.stopped}
        checkpoint.write(path, self.state_dict(), about)

    @classmethod
    def load(cls, path: str | Path, device: Any = "cpu") -> "SparseAutoencoder":
        """Read what `save` wrote. Raises ValueError for a file of another kind, and for weights that are not finite."""
        weights, about = checkpoint.read(path, ("history", "stopped"))
        for name, values in weights.items():
            if wrong := int((~values.isfinite()).sum()):
                raise ValueError(f"{path}: {name} holds {wrong} of {values.numel()} values that are not finite")
        settings = about.get("settings") or about["config"]  # the former name
        return cls(Settings(**settings), **weights, history=about["history"], stopped=about["stopped"]).to(device)


def _multiplies_bfloat16(device: torch.device) -> bool:
    """True where the device has instructions for products of bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()


def _uniform(*shape, bound, generator):
    return (torch.rand(*shape, generator=generator) * 2 - 1) * bound


def _initial_weights(settings, N, generator):
    """The weights that one fit starts from, by name."""
    D = settings.codes_for(N)
    if settings.init == "linear":
        reads, writes = ({"bound": n**-0.5, "generator": generator} for n in (N, D))
        drawn = {"encoder": _uniform(D, N, **reads), "encoder_bias": _uniform(D, 1, **reads)}
        drawn |= {"decoder": _uniform(D, N, **writes), "decoder_bias": _uniform(1, N, **writes)}
    else:
        xavier = settings.init == "xavier"
        bound = (6 / (D + N)) ** 0.5
        W = _uniform(D, N, bound=bound, generator=generator) if xavier else torch.randn(D, N, generator=generator)
        if settings.unit_norm or not xavier:
            W /= W.norm(dim=1, keepdim=True)
        drawn = {"encoder": W, "encoder_bias": torch.zeros(D, 1), "decoder": W, "decoder_bias": torch.zeros(1, N)}
    left_out = {"decoder": settings.tied, "decoder_bias": not settings.decoder_bias}
    return {name: values for name, values in drawn.items() if not left_out.get(name)}


def _initial_parameters(settings, N, generators, axes, device):
    """The weights that K fits start from, each drawn from its own generator, by name, with a leading K."""
    drawn = [_initial_weights(settings, N, generator) for generator in generators]
    parameters = {name: torch.stack([one[name] for one in drawn]).to(device) for name in drawn[0]}
    for name in parameters.keys() - {"encoder_bias"}:
        parameters[name] = torch.stack([reflect(W, axis) for W, axis in zip(parameters[name], axes, strict=True)])
    return parameters


def _scale(x, settings):
    """The divisor s of rows: the mean length of those that are not zero, over √N, or one, as a matrix (1, 1)."""
    if settings.scale == "none":
        return torch.ones(1, 1, device=x.device)
    lengths = torch.cat([part.norm(dim=-1) for part in parts(x)]) / x.shape[-1] ** 0.5
    return lengths[lengths > 0].mean().view(1, 1)


def fit(
    x: Rows, settings: Settings = PROTOCOL, *, seed: int = 0, snapshots: Iterable[int] = (), label: str = "SAE"
) -> SparseAutoencoder:
    """Fit one SAE to activations (n, N). See `fit_stack`."""
    return fit_stack(x, settings, seeds=[seed], snapshots=snapshots, label=label)[0]


def fit_stack(
    x: Rows,
    settings: Settings = PROTOCOL,
    *,
    seeds: Iterable[int],
    l1: Iterable[float] | None = None,
    snapshots: Iterable[int] = (),
    label: str = "SAEs",
) -> list[SparseAutoencoder]:
    """Fit K SAEs of one shape at once, to activations (K, n, N), or to (n, N) that all share.

    Each of the K `seeds` decides initial weights and row order of its own fit only, so that a fit does not depend on its
    neighbours, and each fit stops by its own rule. `l1` gives each fit a λ of its own, in the unit of the settings.
    `snapshots` are the rounds (see Settings) after which a copy is kept on the way, in the dict `.snapshots` by round.
    Raises ValueError, which names the data set, for rows that are NaN, constant or too few, and FloatingPointError, which
    names `label` and the fit, as soon as a loss is not finite.
    """
    seeds = [int(seed) for seed in seeds]
    if x.ndim not in (2, 3):
        raise ValueError(f"activations must be (rows, neurons), or a stack of them, got shape {tuple(x.shape)}")
    x = x.detach().float()
    x = x.expand(len(seeds), -1, -1) if x.ndim == 2 or len(x) == 1 else x
    if len(x) != len(seeds):
        raise ValueError(f"{len(x)} data sets for {len(seeds)} seeds: expected one data set, or one a seed")
    distinct = x[:1] if x.stride(0) == 0 else x
    for i, rows in enumerate(distinct):
        name = "activations" if len(distinct) == 1 else f"activations of data set {i}"
        if len(rows) < 2:
            raise ValueError(f"{name}: an SAE needs at least 2 rows, got {len(rows)}")
        descent.check_values(rows, name)
    dtype = settings.dtype_for(x.shape[-1], x.device)
    settings = settings.but(products=str(dtype).removeprefix("torch."))
    each = [settings] * len(seeds) if l1 is None else [settings.but(l1=float(value)) for value in l1]
    with torch.no_grad():
        stack, scales, axes = _start(x, distinct, each, seeds, dtype)
        return _run(stack, each, scales, axes, set(snapshots), label)


def _start(x, distinct, each, seeds, dtype):
    """The stack before its first step, and the scale and the reflecting axis of each of the K fits."""
    settings, N = each[0], x.shape[-1]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    scales = torch.stack([_scale(rows, settings) for rows in distinct]).expand(len(x), 1, 1)
    axes = [descent.mean_axis(rows) if settings.axes == "mean" else None for rows in distinct]
    axes = axes * (len(x) // len(axes))
    penalty = torch.tensor([one.l1_per_row(N, one.codes_for(N)) for one in each]).view(-1, 1, 1).to(x)
    parameters = _initial_parameters(settings, N, generators, axes, x.device)
    batches = descent.Batches(x, scales, axes, generators, settings.batch_size, dtype)
    return descent.Stack(settings, batches, penalty, list(range(len(x))), parameters), scales, axes


def _run(stack, each, scales, axes, snapshots, label):
    """Rounds until every fit has stopped. Gives the SAEs in the order of their settings `each`."""

    def _copied(place, why):
        """The SAE at a place of the stack, on the neurons themselves instead of the axes of the fit."""
        i = stack.ids[place]
        weights = {name: p[place].clone() for name, p in stack.write_back().items()}
        weights = {name: w if name == "encoder_bias" else reflect(w, axes[i]) for name, w in weights.items()}
        weights = {name: w.flatten() if name.endswith("bias") else w for name, w in weights.items()}
        return SparseAutoencoder(each[i], **weights, scale=scales[i].view(()), history=watches[i].history, stopped=why)

    n_rounds, per_round = stack.settings.rounds_for(stack.batches.x.shape[1])
    watches = [descent.Watch(settings, n_rounds, per_round) for settings in each]
    fitted, on_the_way = [None] * len(each), [{} for _ in each]
    with progress(total=n_rounds, desc=label) as bar:
        while stack.ids:
            losses = stack.round(per_round, [watches[i].rate() for i in stack.ids])
            bar.update()
            for place, (i, loss) in enumerate(zip(stack.ids, losses.tolist(), strict=True)):
                if fitted[i]:
                    continue
                why = watches[i].see(loss, f"{label}, fit {i}")
                if len(watches[i].history) in snapshots:
                    on_the_way[i][len(watches[i].history)] = _copied(place, "a snapshot")
                if why:
                    fitted[i] = _copied(place, why)
                    fitted[i].snapshots = on_the_way[i]
            going = [place for place, i in enumerate(stack.ids) if not fitted[i]]
            if len(going) <= len(stack.ids) / 2:
                stack.keep(going)
    return fitted
