"""One setting says where the book lies: nothing else does, and a change of it reaches every file that names it."""

import re
import subprocess

import yaml

from book.run import ROOT
from superpos import address
from tools import address as tool

TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def test_what_is_written_is_the_setting():
    assert tool.written(ROOT) == (address.REPOSITORY, address.SITE, address.release())


def test_a_new_address_and_release_reach_every_file(tmp_path):
    """On a copy: afterwards the old address stands nowhere, and each Colab cell asks for the new release."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "copy")], check=True)
    copy = tmp_path / "copy"
    for name in TRACKED:  # as the working tree is, which may be ahead of what is committed
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    new = ("https://github.com/somebody/else", "https://somebody.example/else/", "v7.8.9")
    changed = tool.write(copy, new)
    assert {
        "README.md",
        "_config.yml",
        "CITATION.cff",
        "notebooks/02_toy_models.py",
        "notebooks/02_toy_models.ipynb",
    } <= set(changed)
    left = [name for name in TRACKED if not name.startswith(tool.KEPT) and (copy / name).suffix not in tool.NO_TEXT]
    old = re.compile(re.escape(address.REPOSITORY) + "|" + re.escape(address.SITE))
    assert [name for name in left if old.search((copy / name).read_text(encoding="utf-8"))] == []
    for path in (copy / "notebooks").glob("[0-9]*.py"):
        assert "--branch v7.8.9 https://github.com/somebody/else" in path.read_text(encoding="utf-8"), path.name
    assert yaml.safe_load((copy / "CITATION.cff").read_text())["version"] == "7.8.9"
    assert tool.written(copy) == new
