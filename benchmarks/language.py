"""Language models: the rate of an encoder, and the whole path for Pythia-70M, offline, on random weights of its shape."""

import json
import shutil
import tempfile
import time
from pathlib import Path

import torch

from benchmarks import material
from benchmarks.costs import _Peak
from superpos.dictionaries import Dictionary
from superpos.findings.language import releases, runs, survey, task, texts
from superpos.progress import silent_transformers
from superpos.usage import Usage

__all__ = ["PYTHIA", "SMALL", "encode", "path", "write_model"]

PYTHIA = {  # of EleutherAI/pythia-70m-deduped, and of the dictionaries published for it
    "layers": 6, "width": 512, "heads": 8, "mlp": 2048, "vocabulary": 50_304, "codes": 32_768, "k": 16,
}  # fmt: skip
SMALL = {"layers": 1, "width": 32, "heads": 2, "mlp": 64, "vocabulary": 512, "codes": 256, "k": 4}
ACTIVE = 2.9  # standard deviations above which a random code is active: about 60 of 32,768


def encode(*, kind, products, n_codes=32_768, n_neurons=512, n=4_096, repeats=3, threads=1):
    """Rate of summing codes, as a share of the rate of plain products of the same type on the same threads. → row

    kind: "relu" or "topk". gflops counts two operations for each weight and row.
    """
    generator = torch.Generator().manual_seed(material.NETWORK_SEED)
    W = torch.randn(n_codes, n_neurons, generator=generator) / n_neurons**0.5
    zero = torch.zeros(n_neurons)
    one = Dictionary(W, -ACTIVE * torch.ones(n_codes), W, zero, zero, PYTHIA["k"] if kind == "topk" else None)
    x = torch.randn(n, n_neurons, generator=generator)
    with material.threads(threads):
        sums, best = Usage(one, products), float("inf")
        sums.add(x[:512])
        rate = max(material.gflops(getattr(torch, products)) for _ in range(3))
        for _ in range(repeats):
            start = time.perf_counter()
            sums.add(x)
            best = min(best, time.perf_counter() - start)
        rate = max(rate, material.gflops(getattr(torch, products)))
    reached = 2 * n * n_codes * n_neurons / best / 1e9
    return {"gflops": reached, "plain": rate, "share": reached / rate, "microseconds_a_row": best / n * 1e6}


def path(*, dictionaries, n_texts, context, products, size="pythia", threads=1):
    """A model of random weights and dictionaries in a published format, written to disk and read back by the run that
    reads the published ones. → row: sites, tokens, seconds, tokens a second, peak memory of the run

    dictionaries: "marks" (19 sites) or "eleuther" (18). Everything is written to a temporary folder, 134 MB a site.
    """
    shape = {"pythia": PYTHIA, "small": SMALL}[size]
    root = Path(tempfile.mkdtemp(prefix="superpos-"))
    try:
        model = write_model(root / "model", shape)
        sites = _write_dictionaries(root / "dictionaries", model, shape, dictionaries)
        with material.threads(threads), _Peak() as peak:
            start = time.perf_counter()
            draw = texts.Draw("python:read", n_texts, material.NETWORK_SEED, context=context, windows="all")
            reading = task.Reading(products=products)
            run = runs.LanguageRun(str(model), f"{dictionaries}@{root / 'dictionaries'}", draw, reading=reading)
            rows = runs.language_run(run)
            seconds = time.perf_counter() - start
    finally:
        shutil.rmtree(root)
    if [row["site"] for row in rows] != sites:
        raise RuntimeError(f"expected rows of {sites}, got {[row['site'] for row in rows]}")
    return {
        "n_sites": len(rows), "n_tokens": rows[0]["n_tokens"], "seconds_of_run": seconds,
        "tokens_a_second": rows[0]["n_tokens"] / seconds, "memory_mib": peak.mib,
        "features": json.dumps([round(row["effective_features"]) for row in rows]),
        "l0": sum(row["l0"] for row in rows) / len(rows), "loss": rows[0]["loss"],
    }  # fmt: skip


def write_model(folder, shape):
    """A GPT-NeoX of random weights and a tokenizer of Python's texts, in Hugging Face's format. → Path"""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    texts.train_tokenizer(texts.python_texts("train"), min(8_192, shape["vocabulary"]), folder)
    config = GPTNeoXConfig(
        vocab_size=shape["vocabulary"], hidden_size=shape["width"], num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"], intermediate_size=shape["mlp"], max_position_embeddings=2_048,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), silent_transformers():
        torch.manual_seed(material.NETWORK_SEED)
        GPTNeoXForCausalLM(config).save_pretrained(folder)
    return folder


def _write_dictionaries(root, model, shape, source):
    """A random dictionary for every site, of a size that leaves few codes active there. → sites"""
    loaded = task.load_model(str(model))
    modules = task.site_modules(loaded)
    sample = texts.tokenize(texts.Draw("python:fit", 8, 0, context=64, windows="all"), loaded.tokenizer)
    rows = survey.collect(loaded, sample, modules, 256, task.Reading(), 0)
    generator = torch.Generator().manual_seed(material.NETWORK_SEED)
    W = torch.nn.functional.normalize(torch.randn(shape["codes"], shape["width"], generator=generator))
    written = []
    for site, x in rows.items():
        place = releases.locate(source, site, root)
        if place is None:
            continue
        mean = x.mean(0)
        threshold = ACTIVE * (x - mean).norm(dim=1).mean() / shape["width"] ** 0.5
        one = Dictionary(
            W, -threshold * torch.ones(len(W)), W, mean, mean, shape["k"] if source == "eleuther" else None
        )
        (material.save_sparsify if source == "eleuther" else material.save_saelens)(one, place)
        written.append(site)
    return written
