"""One sparse autoencoder (SAE), fitted alone or as a stack of K at once, and the two named protocols.

    z = act(W_enc x/s + b_enc)          act: ReLU, or the k largest of ReLU (TopK)
    x' = s (W_decᵀ z + b_dec)           tied: W_dec = W_enc

The sparsity weight λ has two units, and the name of the loss says which one it is:

    l1_mean   mean over entries:  mean((x−x')²) + λ · mean|z|
    l1_sum    sum over a row:     ‖x−x'‖²       + λ · Σ|z|       averaged over rows

λ_sum = λ_mean · N / D: only the sum form keeps the pressure constant when N or D changes.
"""

import json
import math
from dataclasses import asdict, dataclass, replace

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from superpos import descent
from superpos.descent import parts, reflect
from superpos.progress import progress

__all__ = ["PROTOCOL", "PUBLISHED", "PUBLISHED_FAST", "Config", "SparseAutoencoder", "fit", "fit_stack"]


def _check(condition, name, value, expected):
    if not condition:
        raise ValueError(f"{name} must be {expected}, got {value!r}")


@dataclass(frozen=True)
class Config:
    """All that decides an SAE fit but the data and the seed. Invalid values raise ValueError on construction.

    Architecture: `n_codes` D, or `expansion` D/N where it is None; `activation` "relu" or "topk" (with `k`);
    `tied`; `decoder_bias`; `unit_norm` keeps each decoder row at length 1; `scale` "mean_length" divides x by the s
    that brings the mean length of its non-zero rows to √N, so that its unit does not matter ("none": s = 1).
    Start: `init` "xavier", "unit" (random rows of length 1) or, untied only, "linear": every matrix and bias as
    torch.nn.Linear draws its own. Without it biases start at zero, and the decoder like the encoder.
    Loss: `loss` "l1_mean", "l1_sum" (module docstring) or "mse" (no penalty, for topk); `l1` is λ.
    Optimiser: Adam(`lr`), batches of `batch_size` rows, reshuffled every epoch; the step size falls linearly
    to zero over the last `decay` share of the training. `axes` "mean": Adam's coordinates are the neurons reflected so
    that the mean activation lies along one axis (the loss is the same, the way down is shorter; "neurons": as they are).
    `products` "bfloat16": matrix products in bfloat16, weights and moments in float32; "auto": so where the device
    multiplies bfloat16 natively and the dictionary holds at least 32,768 weights.
    Stopping: the loss is looked at every round, which is an epoch (without `patience`: at most 100 steps of it).
    Training ends after `epochs` (where `steps` is given: after as many whole rounds as hold that many batches); or once
    an epoch's mean loss has not improved for `patience` epochs (None: never so); or, with a `tolerance`, when the mean
    loss of 400 steps is less than that share below the one 800 steps earlier, never before step 3,200: then the decay
    begins, and is as long as makes it the last `decay` share. The last weights are kept.
    Reading: `held_out` is the share of samples that `measure` keeps for reading (0: read the rows fitted).
    """

    n_codes: int | None = None
    expansion: float = 4.0
    activation: str = "relu"
    k: int | None = None
    tied: bool = True
    decoder_bias: bool = False
    unit_norm: bool = False
    scale: str = "none"
    init: str = "xavier"
    loss: str = "l1_mean"
    l1: float = 0.1
    lr: float = 1e-3
    batch_size: int = 128
    axes: str = "neurons"
    products: str = "float32"
    epochs: int = 800
    steps: int | None = None
    patience: int | None = 10
    tolerance: float | None = None
    decay: float = 0.0
    held_out: float = 0.0

    def __post_init__(self):
        _check(self.n_codes is None or self.n_codes >= 1, "n_codes", self.n_codes, "at least 1")
        _check(self.expansion > 0, "expansion", self.expansion, "above 0")
        _check(self.activation in ("relu", "topk"), "activation", self.activation, "'relu' or 'topk'")
        _check((self.k is None) == (self.activation == "relu"), "k", self.k, "given for topk, and only there")
        _check(self.k is None or self.k >= 1, "k", self.k, "at least 1")
        _check(self.scale in ("none", "mean_length"), "scale", self.scale, "'none' or 'mean_length'")
        _check(self.init in ("xavier", "unit", "linear"), "init", self.init, "'xavier', 'unit' or 'linear'")
        _check(self.init != "linear" or not self.tied, "init", self.init, "'xavier' or 'unit' where tied")
        _check(self.loss in ("l1_mean", "l1_sum", "mse"), "loss", self.loss, "'l1_mean', 'l1_sum' or 'mse'")
        _check(self.l1 >= 0, "l1", self.l1, "at least 0")
        _check(self.lr > 0, "lr", self.lr, "above 0")
        _check(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        _check(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        _check(self.steps is None or self.steps >= 1, "steps", self.steps, "at least 1, or None")
        _check(self.patience is None or self.patience >= 1, "patience", self.patience, "at least 1, or None")
        _check(self.axes in ("neurons", "mean"), "axes", self.axes, "'neurons' or 'mean'")
        known = ("float32", "bfloat16", "auto")
        _check(self.products in known, "products", self.products, "'float32', 'bfloat16' or 'auto'")
        _check(
            self.tolerance is None or 0 < self.tolerance < 1, "tolerance", self.tolerance, "between 0 and 1, or None"
        )
        _check(self.tolerance is None or self.decay < 1, "decay", self.decay, "below 1 where a tolerance is given")
        _check(0 <= self.decay <= 1, "decay", self.decay, "between 0 and 1")
        _check(0 <= self.held_out < 1, "held_out", self.held_out, "at least 0 and below 1")

    def codes_for(self, n_neurons):
        """Dictionary size D for N neurons. ValueError if it comes out below 1, or below k."""
        n_codes = self.n_codes or int(n_neurons * self.expansion)
        _check(n_codes >= 1, "dictionary size", n_codes, f"at least 1 ({n_neurons} neurons × {self.expansion})")
        _check(self.k is None or self.k <= n_codes, "k", self.k, f"at most the dictionary size {n_codes}")
        return n_codes

    def rounds_for(self, n_rows):
        """Rounds of the longest training on n rows, and steps in a round. → (int, int)"""
        per_epoch = math.ceil(n_rows / self.batch_size)
        per_round = per_epoch if self.patience else min(per_epoch, descent.ROUND)
        return math.ceil((self.steps or self.epochs * per_epoch) / per_round), per_round

    def dtype_for(self, n_neurons, device):
        """torch.bfloat16 or torch.float32: what the products of a fit to N neurons on this device are made in."""
        if self.products != "auto":
            return getattr(torch, self.products)
        large = n_neurons * self.codes_for(n_neurons) >= 32_768
        return torch.bfloat16 if large and _multiplies_bfloat16(torch.device(device)) else torch.float32

    def l1_per_row(self, n_neurons, n_codes):
        """λ in the sum unit, whatever unit it was given in."""
        return {"l1_sum": 1.0, "l1_mean": n_neurons / n_codes, "mse": 0.0}[self.loss] * self.l1

    def but(self, **changes):
        """A copy with some fields changed. TypeError for a name that is no field."""
        return replace(self, **changes)


PUBLISHED = Config()
PUBLISHED_FAST = Config(lr=5e-3, axes="mean", products="auto", patience=None, tolerance=0.02, decay=0.3)
PROTOCOL = Config(
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
    """A fitted SAE: ``encode (n, N) → (n, D)``, ``decode (n, D) → (n, N)``. The formula heads this module.

    `history` is the mean training loss of each round (see Config) in the loss's own unit; `stopped` says why it ended;
    `snapshots` are copies from on the way, where `fit` was asked for some (they are not saved).
    """

    def __init__(
        self, config, encoder, encoder_bias, decoder=None, decoder_bias=None, scale=1.0, history=(), stopped=""
    ):
        super().__init__()
        self.config, self.history, self.stopped, self.snapshots = config, list(history), stopped, {}
        self.register_buffer("encoder", encoder)
        self.register_buffer("encoder_bias", encoder_bias)
        self.register_buffer("decoder", decoder)
        self.register_buffer("decoder_bias", decoder_bias)
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))

    @property
    def dictionary(self):
        """Decoder rows (D, N): the direction that each code writes."""
        return self.encoder if self.decoder is None else self.decoder

    @torch.no_grad()
    def encode(self, x):
        """Codes z (n, D) of activations x (n, N). ValueError for another width than N."""
        if x.shape[-1] != self.encoder.shape[-1]:
            raise ValueError(f"the dictionary reads {self.encoder.shape[-1]} neurons, got activations {tuple(x.shape)}")
        x = x.to(self.encoder) / self.scale
        z = torch.addmm(self.encoder_bias, x, self.encoder.T).relu_()
        return descent.keep_largest(z, self.config.k) if self.config.k else z

    @torch.no_grad()
    def decode(self, z):
        """Reconstruction x' (n, N) of codes z (n, D)."""
        x = z @ self.dictionary
        return self.scale * (x if self.decoder_bias is None else x + self.decoder_bias)

    def save(self, path):
        """Write weights, configuration and history to a safetensors file."""
        about = {"config": asdict(self.config), "history": self.history, "stopped": self.stopped}
        save_file({k: v.contiguous() for k, v in self.state_dict().items()}, path, {"superpos": json.dumps(about)})

    @classmethod
    def load(cls, path, device="cpu"):
        """Read what `save` wrote. ValueError if the file is not one of ours."""
        with safe_open(path, "pt", device=str(device)) as file:
            about = json.loads((file.metadata() or {}).get("superpos", "null"))
            if about is None:
                raise ValueError(f"{path} holds no superpos autoencoder (its metadata has no 'superpos' entry)")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        return cls(Config(**about.pop("config")), **weights, **about)


def _multiplies_bfloat16(device):
    """True where the device has instructions for products of bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()


def _uniform(*shape, bound, generator):
    return (torch.rand(*shape, generator=generator) * 2 - 1) * bound


def _initial_weights(config, n_codes, n_neurons, generator):
    """The weights that one fit starts from. → dict"""
    if config.init == "linear":
        reads, writes = ({"bound": n**-0.5, "generator": generator} for n in (n_neurons, n_codes))
        drawn = {"encoder": _uniform(n_codes, n_neurons, **reads), "encoder_bias": _uniform(1, n_codes, **reads)}
        drawn["decoder"] = _uniform(n_codes, n_neurons, **writes)
        return drawn | ({"decoder_bias": _uniform(1, n_neurons, **writes)} if config.decoder_bias else {})
    if config.init == "xavier":
        W = _uniform(n_codes, n_neurons, bound=(6 / (n_codes + n_neurons)) ** 0.5, generator=generator)
    else:
        W = torch.randn(n_codes, n_neurons, generator=generator)
    if config.unit_norm or config.init == "unit":
        W /= W.norm(dim=1, keepdim=True)
    drawn = {"encoder": W, "encoder_bias": torch.zeros(1, n_codes)} | ({} if config.tied else {"decoder": W})
    return drawn | ({"decoder_bias": torch.zeros(1, n_neurons)} if config.decoder_bias else {})


def _initial_parameters(config, n_neurons, generators, axes, device):
    """The weights that K fits start from, each drawn from its own generator. → dict of (K, …)"""
    n_codes = config.codes_for(n_neurons)
    drawn = [_initial_weights(config, n_codes, n_neurons, g) for g in generators]
    parameters = {name: torch.stack([one[name] for one in drawn]).to(device) for name in drawn[0]}
    for name in parameters.keys() - {"encoder_bias"}:
        parameters[name] = torch.stack([reflect(W, axis) for W, axis in zip(parameters[name], axes, strict=True)])
    return parameters


def _check_rows(x, name="activations"):
    if x.ndim != 2:
        raise ValueError(f"{name} must be (rows, neurons), got shape {tuple(x.shape)}")
    if len(x) < 2:
        raise ValueError(f"{name}: an SAE needs at least 2 rows, got {len(x)}")
    descent.check_values(x, name)


def _scale(x, config):
    """The divisor s of x (n, N): the mean length of its non-zero rows over √N, or one. → (1, 1)"""
    if config.scale == "none":
        return torch.ones(1, 1, device=x.device)
    lengths = torch.cat([part.norm(dim=-1) for part in parts(x)]) / x.shape[-1] ** 0.5
    return lengths[lengths > 0].mean().view(1, 1)


def fit(x, config=PROTOCOL, *, seed=0, snapshots=(), label="SAE"):
    """Fit one SAE to activations x (n, N). → SparseAutoencoder. See `fit_stack`."""
    if x.ndim != 2:
        raise ValueError(f"activations must be (rows, neurons), got shape {tuple(x.shape)}")
    return fit_stack(x[None], config, seeds=[seed], snapshots=snapshots, label=label)[0]


def fit_stack(x, config=PROTOCOL, *, seeds, l1=None, snapshots=(), label="SAEs"):
    """Fit K SAEs of one shape at once. → list of K SparseAutoencoder.

    x (K, n, N), or (n, N) shared by all; seeds: K integers, which decide initial weights and row order of
    their own fit only, so that a fit does not depend on its neighbours; l1: K values of λ in the
    configuration's unit, for configuration.l1. Each fit stops by its own rule.
    snapshots: rounds (see Config) after which a copy is kept on the way: `.snapshots` {round: SparseAutoencoder}.
    Raises ValueError for rows that are NaN, constant or too few, naming the data set.
    """
    seeds = list(seeds)
    x = x.detach().float()
    x = x.expand(len(seeds), -1, -1) if x.ndim == 2 or len(x) == 1 else x
    if len(x) != len(seeds):
        raise ValueError(f"{len(x)} data sets for {len(seeds)} seeds: expected one data set, or one a seed")
    distinct = x[:1] if x.stride(0) == 0 else x
    for i, rows in enumerate(distinct):
        _check_rows(rows, "activations" if len(distinct) == 1 else f"activations of data set {i}")
    l1 = [config.l1] * len(seeds) if l1 is None else list(l1)
    dtype = config.dtype_for(x.shape[-1], x.device)
    config = config.but(products=str(dtype).removeprefix("torch."))
    with torch.no_grad():
        stack, scales, axes = _start(x, distinct, config, seeds, l1, dtype)
        return _run(stack, [config.but(l1=value) for value in l1], scales, axes, set(snapshots), label)


def _start(x, distinct, config, seeds, l1, dtype):
    """The stack before its first step, and the scale and the reflecting axis of each of the K fits."""
    n_neurons = x.shape[-1]
    generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    scales = torch.stack([_scale(rows, config) for rows in distinct]).expand(len(x), 1, 1)
    axes = [descent.mean_axis(rows) if config.axes == "mean" else None for rows in distinct]
    axes = axes * (len(x) // len(axes))
    penalty = [config.but(l1=value).l1_per_row(n_neurons, config.codes_for(n_neurons)) for value in l1]
    parameters = _initial_parameters(config, n_neurons, generators, axes, x.device)
    batches = descent.Batches(x, scales, axes, generators, config.batch_size, dtype)
    stack = descent.Stack(config, batches, torch.tensor(penalty).view(-1, 1, 1).to(x), list(range(len(x))), parameters)
    return stack, scales, axes


def _run(stack, configs, scales, axes, snapshots, label):
    """Rounds until every fit has stopped. → list of SparseAutoencoder in the order of `configs`."""

    def copied(place, why):
        i = stack.ids[place]
        weights = {name: p[place].clone() for name, p in stack.write_back().items()}
        return _finished(configs[i], weights, scales[i], axes[i], watches[i].history, why)

    n_rounds, per_round = stack.config.rounds_for(stack.batches.x.shape[1])
    watches = [descent.Watch(config, n_rounds, per_round) for config in configs]
    fitted, on_the_way = [None] * len(configs), [{} for _ in configs]
    with progress(total=n_rounds, desc=label) as bar:
        while stack.ids:
            losses = stack.round(per_round, [watches[i].rate() for i in stack.ids])
            bar.update()
            for place, (i, loss) in enumerate(zip(stack.ids, losses.tolist(), strict=True)):
                if fitted[i]:
                    continue
                why = watches[i].see(loss, f"{label}, fit {i}")
                if len(watches[i].history) in snapshots:
                    on_the_way[i][len(watches[i].history)] = copied(place, "a snapshot")
                if why:
                    fitted[i] = copied(place, why)
                    fitted[i].snapshots = on_the_way[i]
            going = [place for place, i in enumerate(stack.ids) if not fitted[i]]
            if len(going) <= len(stack.ids) / 2:
                stack.keep(going)
    return fitted


def _finished(config, weights, scale, axis, history, why):
    """A SparseAutoencoder on the neurons themselves, from weights in the axes of the fit."""
    flat = {name: w[0] if name.endswith("bias") else w for name, w in weights.items()}
    flat = {name: w if name == "encoder_bias" else reflect(w, axis) for name, w in flat.items()}
    return SparseAutoencoder(config, **flat, scale=scale.reshape(()), history=history, stopped=why)
