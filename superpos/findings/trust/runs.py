"""One world read by one reader: settings → a row. A reader gives F, or an interval too, or a refusal."""

import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from superpos import PROTOCOL, PUBLISHED, activations, counting, data, metrics, networks, sae, sweep, training
from superpos.findings.trust import task
from superpos.measurement import measure_rows
from superpos.readings import TOP
from superpos.settings import Count, Positive, Whole, settings

Answer = float | tuple[float, float, float] | None  # F; F with the ends of its interval; or a refusal


@settings
class Run:
    """The `number`-th world of a `kind` (see `task`), of which `n_rows` rows are read."""

    kind: str
    number: Whole
    n_rows: Count = 8_000
    steps: Count = counting.COUNTING.steps


@settings
class Score:
    """A world as in Run, and its `reader`: one of READERS, or module:function, which takes rows and gives an Answer.

    `length` multiplies the training of the readers that train.
    """

    reader: str
    kind: str
    number: Whole
    n_rows: Count = 8_000
    length: Positive = 1.0


def count_run(run: Run) -> dict[str, Any]:
    """F by the count beside the truth, and all that speaks for and against it."""
    drawn = task.draw(run.kind, run.number, run.n_rows)
    found = counting.find(drawn.x, counting.COUNTING.but(steps=run.steps), seed=run.number)
    about = {"truth": drawn.truth, "n_neurons": drawn.x.shape[1], "rows_read": len(drawn.x)}
    return about | counting.evidence(found)


def score_run(run: Score) -> dict[str, Any]:
    """What a reader answers: F, low and high (NaN where it gives none), and whether it answered."""
    drawn = task.draw(run.kind, run.number, run.n_rows)
    answer = reader(run.reader, run.length)(drawn.x)
    refused = answer is None or (isinstance(answer, int | float) and math.isnan(answer))
    F, low, high = (math.nan,) * 3 if refused else answer if isinstance(answer, tuple) else (answer, math.nan, math.nan)
    seen = {"F": float(F), "low": float(low), "high": float(high), "answered": not refused}
    return {"truth": drawn.truth, "n_neurons": drawn.x.shape[1]} | seen


def reader(name: str, length: float = 1.0) -> Callable[[Tensor], Answer]:
    """A reader by its name. Raises ValueError for a name that is neither one of READERS nor module:function."""
    if name in READERS:
        return lambda x: READERS[name](x, length)
    module, colon, function = name.partition(":")
    if not colon:
        raise ValueError(f"reader must be module:function or one of {', '.join(READERS)}, got {name!r}")
    return getattr(importlib.import_module(module), function)


def counted(x: Float[Tensor, "n N"], length: float) -> Answer:
    """`superpos.measure_rows` as it comes."""
    changed = counting.COUNTING.but(steps=max(1, round(counting.COUNTING.steps * length)))
    row = measure_rows(x, sae=changed).iloc[0]
    if not row.identified:
        return None
    return row.effective_features, row.effective_features_low, row.effective_features_high


def _by(settings_of: sae.Settings) -> Callable[[Tensor, float], Answer]:
    """F of one SAE."""

    def read(x: Float[Tensor, "n N"], length: float) -> Answer:
        name = "steps" if settings_of.steps else "epochs"
        own = settings_of.but(**{name: max(1, round(getattr(settings_of, name) * length))})
        return float(measure_rows(x, sae=own).effective_features[0])

    return read


def saelens(x: Float[Tensor, "n N"], length: float) -> Answer:
    """F of SAELens's standard SAE at its defaults, 4 N codes, trained on a million rows of x."""
    from sae_lens import SAETrainer, StandardTrainingSAE, StandardTrainingSAEConfig
    from sae_lens.config import LoggingConfig, SAETrainerConfig

    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        fitted = StandardTrainingSAE(StandardTrainingSAEConfig(d_in=x.shape[1], d_sae=4 * x.shape[1]))
        config = SAETrainerConfig(
            n_checkpoints=0, checkpoint_path=None, save_final_checkpoint=False,
            total_training_samples=round(1_000_000 * length), device="cpu", autocast=False, lr=3e-4, lr_end=3e-4,
            lr_scheduler_name="constant", lr_warm_up_steps=0, adam_beta1=0.9, adam_beta2=0.999, lr_decay_steps=0,
            n_restart_cycles=1, train_batch_size_samples=1024, dead_feature_window=1000, feature_sampling_window=2000,
            logger=LoggingConfig(log_to_wandb=False, eval_every_n_wandb_logs=2**31 - 1), n_batches_for_norm_estimate=1,
        )  # fmt: skip
        SAETrainer(cfg=config, sae=fitted, data_provider=_endless(x, 1024)).fit()
    return metrics.effective_features(metrics.code_shares(fitted.encode(x).detach()))


def _endless(x, size):
    while True:
        yield x[torch.randint(len(x), (size,))]


def _effective_rank(x: Float[Tensor, "n N"], length: float) -> Answer:
    return metrics.effective_rank(x - x.mean(0))


def _participation_ratio(x: Float[Tensor, "n N"], length: float) -> Answer:
    return metrics.participation_ratio(x)


def _two_nn(x: Float[Tensor, "n N"], length: float) -> Answer:
    return metrics.two_nn(x[:2000])


@settings
class Layer:
    """A layer of a network trained on images, or left untrained (`epochs` 0), and its `reader`: the ladder of readings.

    `layer` is the place of the layer among those that the network names.
    """

    reader: str
    dataset: str
    layer: Whole = 0
    width: Count = 64
    epochs: Whole = 10
    seed: Whole = 0
    n_rows: Count = 8_000
    length: Positive = 1.0


def layer_run(run: Layer) -> dict[str, Any]:
    """What a reader answers on one layer; for the count, its evidence and the reason of a refusal too."""
    train, test = data.load(run.dataset)
    about = {"shape": train.shape, "n_classes": len(train.classes), "width": run.width, "seed": run.seed}
    model = networks.build("mlp", **about)
    if run.epochs:
        training.train(model, train, training.Settings(epochs=run.epochs), seed=run.seed)
    name = list(model.layers)[run.layer]
    x = activations.read_activations(model, train, name, n_samples=run.n_rows, seed=run.seed)[name].x
    seen = {"name": name, "n_neurons": x.shape[1], "accuracy": training.accuracy(model, test)}
    if run.reader != "count":
        return seen | {"F": reader(run.reader, run.length)(x), "low": math.nan, "high": math.nan, "reason": ""}
    settings_of = counting.COUNTING.but(steps=max(1, round(counting.COUNTING.steps * run.length)))
    row = measure_rows(x, sae=settings_of, seeds=[run.seed]).iloc[0]
    ends = {"low": row.effective_features_low, "high": row.effective_features_high}
    return seen | {"F": row.effective_features, **ends, "reason": row.reason}


READERS: dict[str, Callable[[Tensor, float], Answer]] = {
    "count": counted,
    "protocol": _by(PROTOCOL),
    "published": _by(PUBLISHED),
    "TopK, k = 4": _by(TOP),
    "SAELens": saelens,
    "effective rank": _effective_rank,
    "participation ratio": _participation_ratio,
    "TwoNN": _two_nn,
}


def worlds(blocks: Sequence[Sequence], **fields: Any) -> list[Run]:
    """Runs over blocks of worlds, each a kind, its first number, how many, and, if not one, the step of the numbers."""
    return [Run(kind, first + i * sum(step or [1]), **fields) for kind, first, n, *step in blocks for i in range(n)]


def frozen(readers: Sequence[str], n_worlds: int, kinds: Sequence[str] = task.FROZEN, **fields: Any) -> list[Score]:
    """The frozen worlds of the benchmark for some readers: the first numbers of each kind."""
    return sweep.expand(Score, reader=list(readers), kind=list(kinds), number=range(n_worlds), **fields)


def ladder(readers: Sequence[str], **fields: Any) -> list[Layer]:
    """One layer, or several, by some readers."""
    return sweep.expand(Layer, reader=list(readers), **fields)
