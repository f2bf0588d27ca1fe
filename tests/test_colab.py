"""The first cell of a chapter, as Colab runs it: in a kernel that is running, beside a torch that must stay."""

import importlib.metadata
import json
import os
import re
import resource
import subprocess
import sys
import time

import nbformat
import pytest

from book.run import NOTEBOOKS, ROOT, chapter_names
from superpos import address

KERNEL = """
import json, os, subprocess, sys, types

class Shell:
    def system(self, command):
        subprocess.run(["bash", "-c", command], check=True)
    def run_line_magic(self, name, line):
        assert name == "cd"
        os.chdir(line.removeprefix("-q "))

sys.modules["google.colab"] = types.ModuleType("google.colab")
get_ipython = Shell
import torch
before = torch.__version__
exec(open(sys.argv[1]).read())
from superpos import chapter, charts
import superpos, torchvision, statsmodels, importlib.metadata
here = chapter.begin("", "../book/results")
from superpos.findings.toy import claims
box = chapter.answer(claims.answer)
print(json.dumps({
    "torch": importlib.metadata.version("torch"), "same": before == torch.__version__, "box": repr(box),
    "where": superpos.__file__,
}))
"""


def first_cell(name):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4)
    return next(cell.source for cell in notebook.cells if cell.cell_type == "code" and "google.colab" in cell.source)


@pytest.mark.parametrize("name", chapter_names())
def test_the_first_cell_asks_for_the_release_of_this_page(name):
    cell = first_cell(name)
    assert f"--branch {address.release()} {address.REPOSITORY} " in cell
    assert "pip install -q -c torch.txt" in cell
    asked = re.search(r"superpos\[([a-z,]+)\]", cell)[1].split(",")
    extras = importlib.metadata.metadata("superpos").get_all("Provides-Extra")
    assert "book" in asked
    assert set(asked) <= set(extras)


def clean(folder):
    """A virtual environment that holds torch, torchvision and what they need, and nothing else: links to those of now."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    held, wanted = folder / "held", ["torch", "torchvision"]
    held.mkdir()
    seen = set()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        found = importlib.metadata.distribution(name)
        for top in {str(file).split("/")[0] for file in found.files or () if not str(file).startswith("..")}:
            if not (held / top).exists():
                (held / top).symlink_to(found.locate_file(top))
        for line in found.requires or ():
            needed = re.split(r"[ ;<>=!~\[(]", line)[0]
            if "extra ==" not in line and importable(needed):
                wanted.append(needed)
    site = next((folder / "lib").glob("python*")) / "site-packages"
    (site / "held.pth").write_text(f"{held}\n")
    return folder / "bin" / "python"


def importable(name):
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def test_it_installs_in_under_a_minute_and_leaves_torch_alone(tmp_path):
    python = clean(tmp_path / "venv")
    origin = tmp_path / "origin"
    subprocess.run(["git", "clone", "-q", "--bare", str(ROOT), str(origin)], check=True)
    subprocess.run(["git", "tag", "-f", address.release()], cwd=origin, check=True, capture_output=True)
    (tmp_path / "cell.py").write_text(first_cell("02_toy_models"))
    (tmp_path / "kernel.py").write_text(KERNEL)
    (tmp_path / "content").mkdir()
    environment = {
        "PATH": f"{python.parent}:/usr/bin:/bin", "HOME": str(tmp_path), "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{origin}.insteadOf", "GIT_CONFIG_VALUE_0": address.REPOSITORY,
        "GIT_CONFIG_NOSYSTEM": "1",
    }  # fmt: skip
    environment |= {
        name: value for name, value in os.environ.items() if "pip_" in name.lower() or "proxy" in name.lower()
    }
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [str(python), str(tmp_path / "kernel.py"), str(tmp_path / "cell.py")]
    done = subprocess.run(words, cwd=tmp_path / "content", env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["same"]
    assert said["torch"] == importlib.metadata.version("torch")
    assert str(tmp_path / "venv") in said["where"], "the installed package, not a checkout that happens to be near"
    assert "toy models" in said["box"]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    work = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert work < 60, f"{work:.0f} s of one core, {seconds:.0f} s by the clock, beside which other tests run"
