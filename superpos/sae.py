"""One sparse autoencoder (SAE), fitted alone or as a stack of K at once, and the two named protocols.

    z = act(W_enc x/s + b_enc)          act: ReLU, or the k largest of ReLU (TopK)
    x' = s (W_decᵀ z + b_dec)           tied: W_dec = W_enc

The sparsity weight λ has two units, and the name of the loss says which one it is:

    l1_mean   mean over entries:  mean((x−x')²) + λ · mean|z|
    l1_sum    sum over a row:     ‖x−x'‖²       + λ · Σ|z|       averaged over rows

λ_sum = λ_mean · N / D: only the sum form keeps the pressure constant when N or D changes.
"""

import json
from dataclasses import asdict, dataclass, field, replace

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from superpos.progress import progress

__all__ = ["PROTOCOL", "PUBLISHED", "Config", "SparseAutoencoder", "fit", "fit_stack"]


def _check(condition, name, value, expected):
    if not condition:
        raise ValueError(f"{name} must be {expected}, got {value!r}")


@dataclass(frozen=True)
class Config:
    """All that decides an SAE fit but the data and the seed. Invalid values raise ValueError on construction.

    Architecture: `n_codes` D, or `expansion` D/N where it is None; `activation` "relu" or "topk" (with `k`);
    `tied`; `decoder_bias`; `unit_norm` keeps each decoder row at length 1; `scale` "mean_length" divides x by the s
    that brings the mean length of its non-zero rows to √N, so that its unit does not matter ("none": s = 1).
    Loss: `loss` "l1_mean", "l1_sum" (module docstring) or "mse" (no penalty, for topk); `l1` is λ.
    Optimiser: Adam(`lr`), batches of `batch_size` rows, reshuffled every epoch; the step size falls linearly
    to zero over the last `decay` share of the epochs.
    Stopping: after `epochs` (where `steps` is given: after as many whole epochs as hold that many batches), or once
    the epoch's mean training loss has not improved for `patience` epochs (None: never early). The last weights are kept.
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
    epochs: int = 800
    steps: int | None = None
    patience: int | None = 10
    decay: float = 0.0
    held_out: float = 0.0

    def __post_init__(self):
        _check(self.n_codes is None or self.n_codes >= 1, "n_codes", self.n_codes, "at least 1")
        _check(self.expansion > 0, "expansion", self.expansion, "above 0")
        _check(self.activation in ("relu", "topk"), "activation", self.activation, "'relu' or 'topk'")
        _check((self.k is None) == (self.activation == "relu"), "k", self.k, "given for topk, and only there")
        _check(self.k is None or self.k >= 1, "k", self.k, "at least 1")
        _check(self.scale in ("none", "mean_length"), "scale", self.scale, "'none' or 'mean_length'")
        _check(self.init in ("xavier", "unit"), "init", self.init, "'xavier' or 'unit'")
        _check(self.loss in ("l1_mean", "l1_sum", "mse"), "loss", self.loss, "'l1_mean', 'l1_sum' or 'mse'")
        _check(self.l1 >= 0, "l1", self.l1, "at least 0")
        _check(self.lr > 0, "lr", self.lr, "above 0")
        _check(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        _check(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        _check(self.steps is None or self.steps >= 1, "steps", self.steps, "at least 1, or None")
        _check(self.patience is None or self.patience >= 1, "patience", self.patience, "at least 1, or None")
        _check(0 <= self.decay <= 1, "decay", self.decay, "between 0 and 1")
        _check(0 <= self.held_out < 1, "held_out", self.held_out, "at least 0 and below 1")

    def codes_for(self, n_neurons):
        """Dictionary size D for N neurons. ValueError if it comes out below 1, or below k."""
        n_codes = self.n_codes or int(n_neurons * self.expansion)
        _check(n_codes >= 1, "dictionary size", n_codes, f"at least 1 ({n_neurons} neurons × {self.expansion})")
        _check(self.k is None or self.k <= n_codes, "k", self.k, f"at most the dictionary size {n_codes}")
        return n_codes

    def epochs_for(self, n_rows):
        """Passes over n rows in the longest training."""
        return self.epochs if self.steps is None else -(-self.steps // -(-n_rows // self.batch_size))

    def l1_per_row(self, n_neurons, n_codes):
        """λ in the sum unit, whatever unit it was given in."""
        return {"l1_sum": 1.0, "l1_mean": n_neurons / n_codes, "mse": 0.0}[self.loss] * self.l1

    def but(self, **changes):
        """A copy with some fields changed. TypeError for a name that is no field."""
        return replace(self, **changes)


PUBLISHED = Config()
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

    `history` is the mean training loss of each epoch in the loss's own unit; `stopped` says why it ended.
    """

    def __init__(
        self, config, encoder, encoder_bias, decoder=None, decoder_bias=None, scale=1.0, history=(), stopped=""
    ):
        super().__init__()
        self.config, self.history, self.stopped = config, list(history), stopped
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
        return _keep_largest(z, self.config.k) if self.config.k else z

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


def _keep_largest(z, k):
    """z with all but the k largest entries of each row set to zero."""
    values, places = z.topk(min(k, z.shape[-1]), dim=-1)
    return torch.zeros_like(z).scatter_(-1, places, values)


@dataclass
class _Stack:
    """K fits of one shape under way: tensors with a leading K, Adam over them, and which fit is which."""

    config: Config
    x: torch.Tensor  # (K, n, N), scaled; K may be an expanded view of one data set
    l1: torch.Tensor  # (K, 1, 1), sum unit
    generators: list
    ids: list
    parameters: dict = field(default_factory=dict)
    optimizer: torch.optim.Optimizer | None = None

    def start(self):
        """Draw the initial weights, each fit from its own generator."""
        n_neurons = self.x.shape[-1]
        n_codes = self.config.codes_for(n_neurons)
        drawn = [_initial_weights(self.config, n_codes, n_neurons, g) for g in self.generators]
        place = {"device": self.x.device}
        self.parameters = {"encoder": torch.stack(drawn).to(**place)}
        self.parameters["encoder_bias"] = torch.zeros(len(drawn), 1, n_codes, **place)
        if not self.config.tied:
            self.parameters["decoder"] = self.parameters["encoder"].clone()
        if self.config.decoder_bias:
            self.parameters["decoder_bias"] = torch.zeros(len(drawn), 1, n_neurons, **place)
        self._new_optimizer()

    def _new_optimizer(self):
        self.optimizer = torch.optim.Adam(list(self.parameters.values()), lr=self.config.lr, fused=True)

    def epoch(self, lr):
        """One pass over all rows in a fresh order per fit. → mean batch loss per fit (K,)."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        n = self.x.shape[1]
        order = torch.stack([torch.randperm(n, generator=g) for g in self.generators]).to(self.x.device)
        losses = torch.zeros(len(self.ids), device=self.x.device)
        batches = order.split(self.config.batch_size, dim=1)
        for rows in batches:
            losses += self.step(_take_rows(self.x, rows))
        return losses / len(batches)

    def step(self, x):
        """One Adam step on x (K, B, N). → loss per fit (K,), in the loss's own unit, before the step."""
        squeeze = (lambda t: t[0]) if len(self.ids) == 1 else (lambda t: t)
        weights = {name: squeeze(p) for name, p in self.parameters.items()}
        loss, gradients = _loss_and_gradients(squeeze(x), weights, squeeze(self.l1), self.config)
        for name, p in self.parameters.items():
            p.grad = gradients[name].view_as(p)
        self.optimizer.step()
        if self.config.unit_norm:
            rows = self.parameters["encoder" if self.config.tied else "decoder"]
            rows /= rows.norm(dim=-1, keepdim=True).clamp_min_(1e-12)
        return loss.reshape(-1)

    def keep(self, places):
        """Go on with some of the fits only, with their optimiser state."""
        state = self.optimizer.state_dict()["state"]
        self.x, self.l1 = self.x[places], self.l1[places]
        self.ids, self.generators = ([values[i] for i in places] for values in (self.ids, self.generators))
        self.parameters = {name: p[places] for name, p in self.parameters.items()}
        self._new_optimizer()
        for p, old in zip(self.parameters.values(), state.values(), strict=True):
            self.optimizer.state[p] = {k: v[places] if v.ndim else v for k, v in old.items()}


def _initial_weights(config, n_codes, n_neurons, generator):
    if config.init == "xavier":
        bound = (6 / (n_codes + n_neurons)) ** 0.5
        W = (torch.rand(n_codes, n_neurons, generator=generator) * 2 - 1) * bound
    else:
        W = torch.randn(n_codes, n_neurons, generator=generator)
    if config.unit_norm or config.init == "unit":
        W /= W.norm(dim=1, keepdim=True)
    return W


def _take_rows(x, rows):
    """x (K, n, N), rows (K, B) → (K, B, N)."""
    if len(x) == 1:
        return x[0].index_select(0, rows[0])[None]
    return x[torch.arange(len(x), device=x.device)[:, None], rows]


def _loss_and_gradients(x, weights, l1, config):
    """Loss per fit, and its gradient by hand, for x (..., B, N) with or without a leading K.

    l1 is λ in the sum unit. The loss is averaged over rows; in the l1_mean unit it is also divided by N.
    """
    encoder, decoder = weights["encoder"], weights.get("decoder", weights["encoder"])
    z = (x @ encoder.mT).add_(weights["encoder_bias"]).relu_()
    if config.k:
        z = _keep_largest(z, config.k)
    residual = (z @ decoder).sub_(x)
    if config.decoder_bias:
        residual += weights["decoder_bias"]
    unit = 1 / (x.shape[-2] * (x.shape[-1] if config.loss == "l1_mean" else 1))
    loss = (residual.square().sum((-1, -2)) + l1[..., 0, 0] * z.sum((-1, -2))) * unit
    residual *= 2 * unit
    g_z = torch.ops.aten.threshold_backward((residual @ decoder.mT).add_(l1 * unit), z, 0)
    g_encoder, g_decoder = g_z.mT @ x, z.mT @ residual
    gradients = {"encoder_bias": g_z.sum(-2, keepdim=True)}
    if config.decoder_bias:
        gradients["decoder_bias"] = residual.sum(-2, keepdim=True)
    if config.tied:
        g_decoder += g_encoder
    else:
        gradients["encoder"] = g_encoder
    if config.unit_norm:
        g_decoder -= (g_decoder * decoder).sum(-1, keepdim=True) * decoder
    gradients["encoder" if config.tied else "decoder"] = g_decoder
    return loss, gradients


def _check_rows(x, name="activations"):
    if x.ndim != 2:
        raise ValueError(f"{name} must be (rows, neurons), got shape {tuple(x.shape)}")
    if len(x) < 2:
        raise ValueError(f"{name}: an SAE needs at least 2 rows, got {len(x)}")
    bad = x.numel() - int(torch.isfinite(x).sum())
    if bad:
        raise ValueError(f"{name} hold {bad} of {x.numel()} values that are NaN or infinite")
    if bool((x == x[:1]).all()):
        raise ValueError(f"{name} are constant: all {len(x)} rows are the same")


def _scales(x, config):
    """The divisor s of each data set in x (K, n, N): the mean length of its non-zero rows over √N, or one."""
    if config.scale == "none":
        return torch.ones(len(x), 1, 1, device=x.device)
    lengths = x.norm(dim=-1) / x.shape[-1] ** 0.5
    return torch.stack([row[row > 0].mean() for row in lengths])[:, None, None]


def fit(x, config=PROTOCOL, *, seed=0, label="SAE"):
    """Fit one SAE to activations x (n, N). → SparseAutoencoder. See `fit_stack`."""
    _check_rows(x)
    return fit_stack(x[None], config, seeds=[seed], label=label)[0]


def fit_stack(x, config=PROTOCOL, *, seeds, l1=None, label="SAEs"):
    """Fit K SAEs of one shape at once. → list of K SparseAutoencoder.

    x (K, n, N), or (n, N) shared by all; seeds: K integers, which decide initial weights and row order of
    their own fit only, so that a fit does not depend on its neighbours; l1: K values of λ in the
    configuration's unit, for configuration.l1. Each fit stops by its own rule.
    Raises ValueError for rows that are NaN, constant or too few, naming the data set.
    """
    seeds = list(seeds)
    x = x.detach().float()
    x = x.expand(len(seeds), -1, -1) if x.ndim == 2 or len(x) == 1 else x
    if len(x) != len(seeds):
        raise ValueError(f"{len(x)} data sets for {len(seeds)} seeds: expected one data set, or one a seed")
    shared = x.stride(0) == 0
    for i, rows in enumerate(x[:1] if shared else x):
        _check_rows(rows, "activations" if shared else f"activations of data set {i}")
    l1 = [config.l1] * len(seeds) if l1 is None else list(l1)
    configs = [config.but(l1=value) for value in l1]
    scales = _scales(x[:1], config).expand(len(x), 1, 1) if shared else _scales(x, config)
    x = (x[:1] / scales[:1]).expand(len(seeds), -1, -1) if shared else x / scales
    n_neurons = x.shape[-1]
    penalty = torch.tensor([c.l1_per_row(n_neurons, c.codes_for(n_neurons)) for c in configs])
    generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    stack = _Stack(config, x, penalty.view(-1, 1, 1).to(x), generators, list(range(len(seeds))))
    with torch.no_grad():
        return _run(stack, configs, scales, label)


def _learning_rate(config, epoch, n_epochs):
    """Constant, then linear to zero over the last `decay` share of the epochs."""
    left = 1 - epoch / n_epochs
    return config.lr * (min(1.0, left / config.decay) if config.decay else 1.0)


def _run(stack, configs, scales, label):
    """Epochs until every fit has stopped. → list of SparseAutoencoder in the order of `configs`."""
    stack.start()
    n_epochs = stack.config.epochs_for(stack.x.shape[1])
    watches = [_Watch(stack.config.patience, n_epochs) for _ in configs]
    fitted = [None] * len(configs)
    with progress(total=n_epochs, desc=label) as bar:
        for epoch in range(n_epochs):
            losses = stack.epoch(_learning_rate(stack.config, epoch, n_epochs))
            bar.update()
            for place, (i, loss) in enumerate(zip(stack.ids, losses.tolist(), strict=True)):
                why = watches[i].see(loss, f"{label}, fit {i}")
                if why and not fitted[i]:
                    weights = {name: p[place].clone() for name, p in stack.parameters.items()}
                    fitted[i] = _finished(configs[i], weights, scales[i], watches[i].history, why)
            going = [place for place, i in enumerate(stack.ids) if not fitted[i]]
            if not going:
                break
            if len(going) <= len(stack.ids) / 2:
                stack.keep(going)
    return fitted


class _Watch:
    """The stopping rule of one fit: its losses so far, and when the best was."""

    def __init__(self, patience, n_epochs):
        self.patience, self.n_epochs, self.history, self.best = patience, n_epochs, [], 0

    def see(self, loss, label):
        """Note the loss of an epoch. → why the fit stops now, or "". FloatingPointError unless it is finite."""
        if not loss < float("inf"):
            raise FloatingPointError(f"{label}: the loss became {loss} at epoch {len(self.history) + 1}")
        self.history.append(loss)
        epoch = len(self.history) - 1
        if loss < self.history[self.best]:
            self.best = epoch
        if self.patience is not None and epoch - self.best >= self.patience:
            return f"no better loss for {self.patience} epochs"
        return f"{self.n_epochs} epochs done" if epoch + 1 == self.n_epochs else ""


def _finished(config, weights, scale, history, why):
    flat = {name: w[0] if name.endswith("bias") else w for name, w in weights.items()}
    return SparseAutoencoder(config, **flat, scale=scale.reshape(()), history=history, stopped=why)
