"""What `pip install superpos` brings is what `superpos.measure` needs, and no tool of the book."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from book.run import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ONLY = """
import sys
from importlib.machinery import PathFinder

class Only(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if path is None and name in FORBIDDEN else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Only
"""
MEASURE = """
import torch
import superpos

model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU())
table = superpos.measure(model, torch.randn(200, 4), ["1"], sae=superpos.PROTOCOL.but(steps=20))
assert table.effective_features[0] > 1
counted = superpos.measure_rows(torch.randn(200, 4), sae=superpos.COUNTING.but(steps=20, sparsities=(2,)))
assert len(counted.reason[0]) > 5
"""


def name_of(text):
    return re.sub(r"[-_.]+", "-", text).lower()


def closure(requirements):
    """Names of all distributions that some requirements bring, by what those installed here declare."""
    found, todo = set(), list(requirements)
    while todo:
        one = Requirement(todo.pop())
        extras = [*one.extras, ""]
        if name_of(one.name) in found or (one.marker and not any(one.marker.evaluate({"extra": e}) for e in extras)):
            continue
        found.add(name_of(one.name))
        try:
            needed = metadata.requires(one.name) or []
        except metadata.PackageNotFoundError:
            continue
        todo += [text for text in needed if any(_asked(Requirement(text), e) for e in extras)]
    return found


def _asked(requirement, extra):
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def run_with(declared, code, without=()):
    """Run code in a process that can import the standard library, superpos and what is declared, but for some."""
    brought = closure(declared) - {*without}
    modules = metadata.packages_distributions().items()
    forbidden = {module for module, names in modules if not brought & {name_of(name) for name in names}} - {"superpos"}
    text = f"FORBIDDEN = {forbidden!r}\n{ONLY}\n{code}"
    return subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True)


def test_measure_needs_no_more_than_is_declared():
    result = run_with(PROJECT["dependencies"], MEASURE)
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.parametrize("missing", ["pydantic", "scikit-learn"])
def test_a_requirement_that_is_missing_would_be_noticed(missing):
    assert run_with(PROJECT["dependencies"], MEASURE, without=[missing]).returncode == 1


def test_the_package_brings_no_tool_of_the_book():
    brought = closure(PROJECT["dependencies"])
    tools = {"altair", "jupyter-book", "jupytext", "papermill", "nbval", "pytest", "torchvision", "statsmodels", "dask"}
    assert "torch" in brought
    assert not brought & tools


@pytest.mark.parametrize("kind", ["dependencies", *PROJECT["optional-dependencies"]])
def test_what_is_declared_admits_what_is_pinned(kind):
    declared = PROJECT[kind] if kind == "dependencies" else PROJECT["optional-dependencies"][kind]
    pinned = [line.partition(" ;")[0].split("==") for line in (ROOT / "requirements.txt").read_text().splitlines()]
    versions = {}
    for name, version in pinned:
        versions.setdefault(name_of(name), []).append(version)
    for text in declared:
        one = Requirement(text)
        assert all(one.specifier.contains(version) for version in versions[name_of(one.name)]), text


def test_readers_and_developers_pins_do_not_overlap():
    reader, developer = (
        {line.partition("==")[0] for line in (ROOT / name).read_text().splitlines()}
        for name in ("requirements.txt", "requirements-dev.txt")
    )
    assert not reader & developer
    oracles = {"sae-lens", "devinterp", "eai-sparsify", "adversarial-robustness-toolbox", "hypothesis", "playwright"}
    assert oracles <= developer
