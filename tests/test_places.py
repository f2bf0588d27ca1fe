"""Places where people run it: a path with spaces and umlauts, no locale, no home to write to; and chapters that are ended."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from book.run import ROOT

SMALL = """
import sys
import torch
import superpos
from superpos import charts, checkpoint, sae, sweep

model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU())
table = superpos.measure(model, torch.randn(200, 4), ["1"], sae=superpos.PROTOCOL.but(steps=20))
assert table.effective_features[0] > 1

def square(x, word):
    return {"y": x * x}

if __name__ == "__main__":
    rows = sweep.run(square, sweep.expand(x=range(3), word="größer"), "Ergebnisse für alle/rows.csv", n_jobs=2)
    assert rows.word.tolist() == ["größer"] * 3
    assert sweep.read("Ergebnisse für alle/rows.csv").y.tolist() == [0, 1, 4]
    fitted = sae.fit(torch.randn(100, 4), superpos.PROTOCOL.but(steps=5))
    fitted.save("Ergebnisse für alle/ä.safetensors")
    sae.SparseAutoencoder.load("Ergebnisse für alle/ä.safetensors")
    chart = charts.points(rows, "x", charts.Axis("y", "größer"), color="word")
    assert charts._bundle(chart.to_dict())["image/png"]
    print(superpos.__file__.encode("ascii", "backslashreplace").decode())
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A checkout at a path with a space and an umlaut."""
    folder = tmp_path_factory.mktemp("a") / "Mein Büchlein"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    return folder


def test_a_checkout_at_any_path_without_locale_or_home(elsewhere, tmp_path):
    (tmp_path / "small.py").write_text(SMALL, encoding="utf8")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "HOME", "XDG"))
    }
    environment |= {
        "LC_ALL": "C",
        "HOME": "/dev/null/nowhere",
        "PYTHONPATH": str(elsewhere),
        "SUPERPOS_PROGRESS": "off",
    }
    words = [sys.executable, str(tmp_path / "small.py")]
    said = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr[-3000:]
    assert "Mein B" in said.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a checkout to another user")
def test_rows_name_the_code_of_a_checkout_that_belongs_to_another_user(tmp_path):
    folder = tmp_path / "theirs"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    asked = ["git", "rev-parse", "--short=10", "HEAD"]
    head = subprocess.run(asked, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
    try:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, 65534, 65534)
    except OSError as error:
        pytest.skip(f"this machine gives no file to another user: {error}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}  # which may trust all folders
    refused = subprocess.run(asked, cwd=folder, env=environment, capture_output=True, text=True)
    assert "dubious ownership" in refused.stderr, "git reads it all the same: nothing is tried here"
    code = "from superpos.provenance import revision; print(revision())"
    environment |= {"PYTHONPATH": str(folder)}
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert said.stdout.strip() == head, said.stderr


@pytest.mark.parametrize(
    ("python", "words"),
    [
        (None, "none that runs"),  # what it led to is gone, as after an upgrade of the system
        ("import sys; sys.version_info = (3, 9, 18); exec(sys.argv[1])", "Python 3.9.18"),
    ],
)
def test_an_environment_of_another_python_is_named(elsewhere, python, words):
    binary = elsewhere / ".venv" / "bin" / "python"
    binary.parent.mkdir(parents=True, exist_ok=True)
    binary.unlink(missing_ok=True)
    if python is None:
        binary.symlink_to("/nowhere/python3")
    else:
        binary.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.18 || exec "{sys.executable}" -c "{python}" "$2"\n'
        )
        binary.chmod(0o755)
    told = subprocess.run(["make", "env"], cwd=elsewhere, capture_output=True, text=True)
    assert told.returncode != 0
    assert (
        f"superpos needs Python 3.11 or newer, and .venv holds {words}. Make it anew: rm -r .venv; make env"
        in told.stdout
    )


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=lambda one: one.name)
def test_a_chapter_that_is_ended_in_the_middle_stays_as_it_was(elsewhere, end):
    """And its kernel ends with it."""
    folder = elsewhere / "notebooks"
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    hears = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # which a shell's background jobs do not
    code = f"{hears}; from book.run import execute_all; execute_all(['02_toy_models'], 2)"
    environment = {**os.environ, "PYTHONPATH": str(elsewhere), "SUPERPOS_PROGRESS": "off"}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=elsewhere, env=environment, stderr=subprocess.DEVNULL)
    try:
        kernels = []
        while not kernels:
            assert process.poll() is None
            children = psutil.Process(process.pid).children(recursive=True)
            kernels = [one for one in children if "ipykernel_launcher" in one.cmdline()]
            time.sleep(0.1)
        time.sleep(3)
        process.send_signal(end)
        asked = time.perf_counter()
        assert process.wait(timeout=60) != 0
        psutil.wait_procs(kernels, timeout=30)
        assert not any(one.is_running() for one in kernels)
        assert time.perf_counter() - asked < 30, "it must not wait for the chapter's end"
    finally:
        process.kill()
        process.wait()
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
