"""What `pip install superpos` brings is what `superpos.measure` needs, and no tool of the book."""

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement

from book.run import ROOT
from tools import pins

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


def pinned(file):
    """Name and version of all packages of a file of pins. AssertionError for one without a hash."""
    found = []
    for block in pins.blocks((ROOT / file).read_text()):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block
        found.append(re.match(r"([^=\s]+)==([^\s;]+)", block).groups())
    return found


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
    versions = {}
    for name, version in pinned("requirements.txt"):
        versions.setdefault(name_of(name), []).append(version)
    for text in declared:
        one = Requirement(text)
        assert all(one.specifier.contains(version) for version in versions[name_of(one.name)]), text


def test_readers_and_developers_pins_agree():
    """A package stands in both where the tests need it on more platforms than readers do, and then in one version."""
    reader, developer = (dict(pinned(file)) for file in ("requirements.txt", "requirements-dev.txt"))
    both = reader.keys() & developer.keys()
    assert len(both) < 5
    assert all(reader[name] == developer[name] for name in both)
    oracles = {"sae-lens", "devinterp", "eai-sparsify", "adversarial-robustness-toolbox", "hypothesis", "playwright"}
    assert oracles <= developer.keys()


def test_every_pin_has_a_hash():
    for file in ("requirements.txt", "requirements-dev.txt", "requirements-pretrained.txt"):
        assert pinned(file)


def test_pins_for_a_machine_without_cuda():
    block = "{} \\\n    --hash=sha256:{}\n".format
    text = "# a comment\n" + block("a==1", "aa") + block("nvidia-x==2 ; linux", "bb") + block("torch==3", "cc")
    assert pins.cpu(text) == block("a==1", "aa") + "torch==3\n"
    assert pins.beside(text, block("a==1", "aa") + block("torch==3", "cc")) == block("nvidia-x==2 ; linux", "bb")
    assert pins.only("a", text) == block("a==1", "aa")


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit_and_have_few_rights(path):
    workflow = yaml.safe_load(path.read_text())
    rights = [workflow["permissions"], *(job.get("permissions", {}) for job in workflow["jobs"].values())]
    allowed = {"contents": "read", "pages": "write", "id-token": "write", "attestations": "write"}
    assert all(given.items() <= allowed.items() for given in rights)
    assert set(workflow["permissions"]) <= {"contents"}
    used = re.findall(r"uses: (.*)", path.read_text())
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", one) for one in used), used


def test_the_package_is_built_and_would_be_taken(tmp_path):
    """By `uv build` and `twine check --strict`; it holds what `superpos.measure` needs, and no test or chapter."""
    build = [sys.executable, "-m", "uv", "build", "-q", "--out-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    wheel, source = (next(tmp_path.glob(end)) for end in ("*.whl", "*.tar.gz"))
    check = [sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(source)]
    said = subprocess.run(check, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    names = zipfile.ZipFile(wheel).namelist()
    assert {"superpos/intervals.csv", "superpos/py.typed", "superpos/measurement.py"} <= set(names)
    assert {name.split("/")[0] for name in names} == {"superpos", wheel.name.split("-py3")[0] + ".dist-info"}
