"""The peers, each as a function x, seed, … → weights. Their code is imported when used, and none of it lies here.

paper                the paper's public code: a checkout that $SUPERPOS_PEER names (--peer)
sae_lens             SAELens' StandardTrainingSAE in its own trainer
dictionary_learning  its StandardTrainer
plain                an nn.Module, a DataLoader and torch.optim, as a careful user would write it
"""

import contextlib
import importlib
import importlib.util
import io
import itertools
import os
import subprocess
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import torch
from torch.nn import functional
from torch.utils.data import DataLoader

__all__ = ["available", "fit", "name_and_version", "paper_module", "quiet"]


def available(peer):
    """True if the peer can run here."""
    if peer == "paper":
        return bool(os.environ.get("SUPERPOS_PEER"))
    return peer == "plain" or importlib.util.find_spec(peer) is not None


def name_and_version(peer):
    """ "sae_lens 6.54.12"; for the paper's code the revision of the checkout."""
    if peer == "paper":
        root = os.environ["SUPERPOS_PEER"]
        git = subprocess.run(["git", "-C", root, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True)
        return f"superposition-measurement {git.stdout.strip() or 'unknown'}"
    return f"plain torch {torch.__version__}" if peer == "plain" else f"{peer} {version(peer)}"


def paper_module(name):
    """A module of the paper's adversarial experiments. FileNotFoundError if $SUPERPOS_PEER holds none."""
    folder = Path(os.environ.get("SUPERPOS_PEER", "")) / "experiments" / "adversarial"
    if not (folder / f"{name}.py").exists():
        raise FileNotFoundError(
            "no checkout of the paper's code: --peer must name a folder with experiments/adversarial/ "
            "(git clone https://github.com/leonardbereska/superposition-measurement)"
        )
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return importlib.import_module(name)


@contextlib.contextmanager
def quiet():
    """Swallow what a peer prints and warns."""
    streams = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with warnings.catch_warnings(), streams[0], streams[1]:
        warnings.simplefilter("ignore")
        yield


def fit(peer, x, *, seed, epochs=800, steps=8_000, l1=0.1, n_codes=None):
    """A peer's SAE of 4 N codes on x (n, N). → (weights, steps done)

    paper and plain: the published recipe to its own stop, at most `epochs` (λ = `l1` in the mean unit). The others:
    `steps` batches of 128, λ = `l1` in the sum unit, Adam at 1e-3, their other settings untouched but for warm-ups.
    """
    torch.manual_seed(seed)
    return FITS[peer](x, seed=seed, epochs=epochs, steps=steps, l1=l1, n_codes=n_codes or 4 * x.shape[1])


def _paper(x, *, epochs, l1, n_codes, **_):
    module, lines = paper_module("sae"), []
    log = type("Log", (), {"info": staticmethod(lines.append)})
    config = module.SAEConfig(n_codes / x.shape[1], l1, 128, 1e-3, epochs)
    fitted = module.train_sae(x, config, torch.device("cpu"), log)
    stopped = [int(line.split()[-1]) for line in lines if "Early stopping" in line]
    return _tied(fitted.encoder), (stopped or [epochs])[0] * -(-len(x) // 128)


def _plain(x, *, seed, epochs, l1, n_codes, **_):
    linear = torch.nn.Linear(x.shape[1], n_codes)
    torch.nn.init.xavier_uniform_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    optimizer = torch.optim.Adam(linear.parameters(), lr=1e-3)
    loader = DataLoader(x, batch_size=128, shuffle=True, generator=torch.Generator().manual_seed(seed))
    best, since, done = float("inf"), 0, 0
    for done in range(1, epochs + 1):  # noqa: B007 - used after the loop
        total = 0.0
        for batch in loader:
            z = functional.relu(linear(batch))
            loss = functional.mse_loss(z @ linear.weight, batch) + l1 * z.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        best, since = (total, 0) if total < best else (best, since + 1)
        if since >= 10:
            break
    return _tied(linear), done * len(loader)


def _tied(linear):
    W = linear.weight.detach()
    none = torch.zeros(W.shape[1])
    return {"encoder": W, "encoder_bias": linear.bias.detach(), "decoder": W, "decoder_bias": none}


def _shuffled(x, seed):
    """Batches of 128 without end, as a prepared tensor hands them out."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from (x[rows] for rows in torch.randperm(len(x), generator=generator).split(128) if len(rows) == 128)


def _sae_lens(x, *, seed, steps, l1, n_codes, **_):
    import sae_lens
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    shape = {"d_in": x.shape[1], "d_sae": n_codes, "l1_coefficient": l1, "apply_b_dec_to_input": True}
    net = sae_lens.StandardTrainingSAE(sae_lens.StandardTrainingSAEConfig(**shape))
    config = SAETrainerConfig(total_training_samples=128 * steps, train_batch_size_samples=128, lr=1e-3, lr_end=1e-3)
    net = SAETrainer(config, net, _shuffled(x, seed)).fit()
    return _untied(net.W_enc.T, net.b_enc, net.W_dec, net.b_dec), steps


def _dictionary_learning(x, *, seed, steps, l1, n_codes, **_):
    from dictionary_learning.trainers.standard import StandardTrainer

    trainer = StandardTrainer(
        steps=steps, activation_dim=x.shape[1], dict_size=n_codes, layer=0, lm_name="none", lr=1e-3, l1_penalty=l1,
        warmup_steps=0, sparsity_warmup_steps=None, seed=seed, device="cpu",
    )  # fmt: skip
    for step, batch in enumerate(itertools.islice(_shuffled(x, seed), steps)):
        trainer.update(step, batch)
    net = trainer.ae
    return _untied(net.encoder.weight, net.encoder.bias, net.decoder.weight.T, net.bias), steps


def _untied(encoder, encoder_bias, decoder, decoder_bias):
    """Both subtract the decoder's bias from the input first: the same as a shift of the encoder's bias."""
    encoder, encoder_bias, decoder, decoder_bias = (t.detach() for t in (encoder, encoder_bias, decoder, decoder_bias))
    shifted = encoder_bias - encoder @ decoder_bias
    return {"encoder": encoder, "encoder_bias": shifted, "decoder": decoder, "decoder_bias": decoder_bias}


FITS = {"paper": _paper, "plain": _plain, "sae_lens": _sae_lens, "dictionary_learning": _dictionary_learning}
