"""The small model: its name, its seed, its format, and a training that is stopped in the middle."""

import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from superpos.findings.language import pretraining
from superpos.findings.language.pretraining import Small, small_model

TINY = Small(layers=1, width=16, vocabulary=300, context=16, steps=12, batch=4)


@pytest.fixture(scope="module", autouse=True)
def few_texts():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            pretraining, "python_texts", lambda part: [f"def f{i}(x):\n    return x + {i}\n" * 20 for i in range(9)]
        )
        yield


def weights(folder):
    return load_file(folder / "model.safetensors")


def test_a_name_says_all():
    assert Small.parse(str(TINY)) == TINY
    assert Small.parse("small") == Small()
    assert Small.parse("small:width=64,lr=1e-3") == Small(width=64, lr=1e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("small:depth=3", "Small has no 'depth'; it has layers, width"),
        ("small:deep", "Small has no 'deep'"),
        ("small:width=wide", "width must be a valid integer, got 'wide'"),
        ("small:width=40", "multiple of 16, got 40"),
        ("small:layers=0", "layers must be greater than or equal to 1, got 0"),
        ("small:lr=0", "lr must be greater than 0"),
    ],
)
def test_a_wrong_name_is_named(text, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Small.parse(text)


def test_the_step_size_rises_and_falls():
    small = Small(steps=1000, lr=1.0)
    rates = [small.rate(step) for step in range(1000)]
    assert rates[0] == pytest.approx(1 / 50)
    assert max(rates) == rates[50] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)


def test_seeds_decide_and_the_global_state_is_left_alone(tmp_path):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    a, b = (small_model(TINY, tmp_path / name) for name in "ab")
    c = small_model(TINY.but(seed=2), tmp_path / "a")
    assert all(torch.equal(one, other) for one, other in zip(weights(a).values(), weights(b).values(), strict=True))
    assert any(not torch.equal(one, other) for one, other in zip(weights(a).values(), weights(c).values(), strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    written = (a / "model.safetensors").stat().st_mtime_ns
    assert small_model(str(TINY), tmp_path / "a") == a
    assert (a / "model.safetensors").stat().st_mtime_ns == written, "it is trained once"


def test_the_folder_is_one_that_transformers_reads(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = small_model(TINY, tmp_path)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert type(model).__name__ == "GPTNeoXForCausalLM"
    assert not list(folder.glob("*.bin")) + list(folder.glob("training*"))
    ids = torch.tensor([tokenizer("def f1(x):").input_ids])
    assert model(input_ids=ids).logits.shape == (1, ids.shape[1], 300)


def test_training_lowers_the_loss_and_zero_steps_do_nothing(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    untrained, trained = (small_model(TINY.but(steps=n, lr=1e-2), tmp_path) for n in (0, 60))
    text = pretraining.python_texts("train")[0]
    ids = torch.tensor([AutoTokenizer.from_pretrained(trained)(text).input_ids[:16]])
    losses = [
        AutoModelForCausalLM.from_pretrained(f)(input_ids=ids, labels=ids).loss.item() for f in (untrained, trained)
    ]
    assert losses[1] < losses[0] - 1
    start, other = (pretraining._untrained(TINY.but(seed=n)).state_dict() for n in (1, 2))
    assert not torch.equal(start["gpt_neox.embed_in.weight"], other["gpt_neox.embed_in.weight"])
    torch.testing.assert_close(weights(untrained)["gpt_neox.embed_in.weight"], start["gpt_neox.embed_in.weight"])


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining, "SAVED", 5)
    whole = small_model(TINY, tmp_path / "whole")
    rate = Small.rate

    def stops(small, step):
        if step == 8:
            raise KeyboardInterrupt
        return rate(small, step)

    with monkeypatch.context() as patch:
        patch.setattr(Small, "rate", stops)
        with pytest.raises(KeyboardInterrupt):
            small_model(TINY, tmp_path / "cut")
    began = []
    monkeypatch.setattr(Small, "rate", lambda small, step: began.append(step) or rate(small, step))
    cut = small_model(TINY, tmp_path / "cut")
    assert began[0] == 5
    for name, values in weights(whole).items():
        torch.testing.assert_close(weights(cut)[name], values, rtol=1e-5, atol=1e-6)


CHILD = """
import os, sys
from superpos.findings.language import pretraining
pretraining.SAVED = 1
pretraining.python_texts = lambda part: ["def f(x):\\n    return x\\n" * 50]
if sys.argv[2] == "look":
    pretraining.Small.rate = lambda small, step: print(step, flush=True) or os._exit(0)
pretraining.small_model("small:layers=1,width=16,vocabulary=300,context=16,steps=100000,batch=4", sys.argv[1])
"""


def test_a_killed_training_goes_on(tmp_path):
    """Killed without warning as soon as there is a checkpoint; the next process goes on from it."""
    process = subprocess.Popen([sys.executable, "-c", CHILD, tmp_path, "train"])
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*/training.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(tmp_path.glob("*/model.safetensors"))
    next_one = subprocess.run(
        [sys.executable, "-c", CHILD, tmp_path, "look"], capture_output=True, text=True, timeout=60
    )
    assert 0 < int(next_one.stdout) < 100_000, next_one.stderr


def test_divergence_is_named(tmp_path):
    with pytest.raises(FloatingPointError, match=r"small:.* the loss in step \d+ became (nan|inf)"):
        small_model(TINY.but(lr=1e30, steps=40), tmp_path)
