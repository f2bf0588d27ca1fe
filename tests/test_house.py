"""The house, read from its rules: who may import whom, what stays light, and the figures that keep it readable.

Nothing here lists rooms or findings: a new one is under the same rules as soon as its file is there.
"""

import ast
import itertools
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "superpos"
DOORS = ("task", "runs", "analysis", "claims")  # each may use those before it
HEAVY = (  # imported by the room that needs it, when it is used
    "nnsight", "altair", "vl_convert", "PIL", "transformers", "datasets", "tokenizers", "huggingface_hub", "torchvision",
    "matplotlib", "distributed", "sklearn", "tracr", "jax", "devinterp",
)  # fmt: skip
DRAWING = ("charts", "chapter", "explorer")  # Altair's rooms


@cache
def modules(package=PACKAGE):
    """{dotted name: path} of all modules of a package."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name, known):
    """Modules of the package that a module imports, anywhere in its code."""
    for node in ast.walk(ast.parse(known[name].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (one if one in known else node.module for one in inner if node.module in known)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)


def wing_and_door(name):
    """("toy", "runs") of superpos.findings.toy.runs; ("", "") of a room of the core."""
    parts = name.split(".")
    return (parts[2], parts[3] if len(parts) > 3 else "") if parts[1:2] == ["findings"] and len(parts) > 2 else ("", "")


def faults(known):
    """What breaks the rules of import. → list of sentences"""
    found = []
    for name in known:
        wing, door = wing_and_door(name)
        for other in imports(name, known):
            to_wing, to_door = wing_and_door(other)
            if to_wing and not wing and name.split(".")[1:2] != ["findings"]:
                found.append(f"the core must not import a finding: {name} imports {other}")
            elif to_wing and wing and to_wing != wing:
                found.append(f"findings must not import each other: {name} imports {other}")
            elif to_wing == wing and door in DOORS and to_door in DOORS and DOORS.index(to_door) > DOORS.index(door):
                found.append(f"{door} must not import the later door {to_door}: {name} imports {other}")
            elif to_wing == wing and wing and door not in DOORS and to_door in DOORS[1:]:
                found.append(f"only doors may import {to_door}: {name} imports {other}")
    return found


def test_imports_follow_the_rules():
    assert faults(modules()) == []


def test_no_circle_of_imports():
    known = modules()
    reached = {name: set(imports(name, known)) - {"superpos"} for name in known if name != "superpos"}
    while True:
        ready = {name for name, others in reached.items() if not (others & reached.keys()) - {name}}
        if not ready:
            break
        reached = {name: others for name, others in reached.items() if name not in ready}
    assert not reached, f"modules that import each other in a circle, or stand above one: {sorted(reached)}"


@pytest.mark.parametrize(
    ("line", "where", "words"),
    [
        ("from superpos.findings.toy import task", "superpos/metrics.py", "the core must not import a finding"),
        ("from superpos.findings.toy.task import Toy", "superpos/findings/parity/task.py", "must not import each other"),
        ("from superpos.findings.toy import claims", "superpos/findings/toy/analysis.py", "analysis must not import the later"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_named(line, where, words, tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "superpos", ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / where
    path.write_text(path.read_text() + f"\n{line}\n")
    assert any(words in fault for fault in faults(modules(tmp_path / "superpos")))


def test_rooms_stay_light():
    """Every module is imported by itself, and none brings a heavy library with it."""
    light = [name for name in modules() if name.rpartition(".")[2] not in DRAWING]
    code = f"""
import importlib, sys
for name in {light}:
    importlib.import_module(name)
    heavy = [m for m in {HEAVY} if m in sys.modules]
    assert not heavy, (name, heavy)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-1000:]


def functions(path):
    """(name, lines without the docstring, arguments, public, annotated) of every function of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            doc = ast.get_docstring(node, clean=False)
            lines = node.end_lineno - node.lineno + 1 - (doc.count("\n") + 1 if doc else 0)
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            given = [arg for arg in given if arg.arg not in ("self", "cls")]
            told = all(arg.annotation for arg in given) and node.returns is not None
            yield f"{path.relative_to(ROOT)}:{node.name}", lines, len(given), not node.name.startswith("_"), told


ALL = [one for path in modules().values() for one in functions(path)]


def test_functions_are_short_and_take_few_arguments():
    lengths = sorted(lines for _, lines, *_ in ALL)
    assert lengths[int(0.9 * len(lengths))] <= 18
    assert [name for name, lines, *_ in ALL if lines > 45] == []
    assert [name for name, _, given, *_ in ALL if given > 10] == []


def test_every_public_function_is_annotated():
    assert [name for name, *_, public, told in ALL if public and not told] == []


def test_files_are_short():
    assert [str(path) for path in modules().values() if len(path.read_text().splitlines()) > 400] == []


CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9]*.py"))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_is_short_and_holds_no_functions(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 420
    cells = [cell.partition("\n") for cell in re.split(r"(?m)^# %%", text)[1:]]
    code = [(head, body) for head, _, body in cells if "markdown" not in head]
    for head, body in code:
        lines = [line for line in body.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        assert len(lines) <= 30, body
        assert not re.search(r"^(def|class) ", body, re.MULTILINE), (
            "logic belongs to analysis.py, where a test reaches it"
        )
        if '"parameters"' in head:
            assert len(lines) <= 12 or sum(1 for line in lines if re.match(r"\w+:", line)) <= 12
    begins = next(body for _, body in code if "chapter.begin(" in body)
    assert len([line for line in begins.splitlines() if line.strip()]) <= 3


def test_every_wing_has_the_same_doors():
    """A wing says what it is, and has a task, or leaves a door out; what else it holds is no second door."""
    for folder in sorted(
        path for path in (PACKAGE / "findings").iterdir() if path.is_dir() and path.name != "__pycache__"
    ):
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), folder.name
        assert {"task", "runs"} <= {path.stem for path in folder.glob("*.py")}, folder.name


def test_no_two_tests_share_a_name():
    """pytest finds files by their name alone."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert [name for name, same in itertools.groupby(sorted(names)) if len(list(same)) > 1] == []
