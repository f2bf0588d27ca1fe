"""The house: a room imports only rooms above it, and `import superpos` stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "superpos"
ORDER = [
    "progress", "provenance", "checkpoint", "metrics", "descent", "sae", "dictionaries", "usage", "data", "networks", "attacks",
    "training", "robustness", "llc",
    "activations", "measurement",
    "systems.planted", "systems.toy", "systems.parity", "systems.programs", "systems.algorithms", "systems.modular",
    "systems.adversarial", "systems.texts", "systems.pretraining", "systems.survey", "systems.language",
    "sweep", "statistics", "transitions", "verdicts", "charts",
]  # fmt: skip
FLOORS = ["", "systems"]


def imports_of(room):
    tree = ast.parse((PACKAGE / f"{room.replace('.', '/')}.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("superpos"):
            inner = node.module.removeprefix("superpos").lstrip(".")
            yield from [inner] if inner in ORDER else [f"{inner}.{n.name}".lstrip(".") for n in node.names]
        elif isinstance(node, ast.Import):
            yield from (n.name.removeprefix("superpos.") for n in node.names if n.name.startswith("superpos."))


def test_every_room_has_its_place():
    rooms = {str(p.relative_to(PACKAGE).with_suffix("")).replace("/", ".") for p in PACKAGE.rglob("*.py")}
    assert {r for r in rooms if not r.endswith("__init__")} == set(ORDER)


@pytest.mark.parametrize("room", ORDER)
def test_a_room_imports_only_rooms_above_it(room):
    for other in imports_of(room):
        assert other in ORDER[: ORDER.index(room)], f"{room} imports {other}"


@pytest.mark.parametrize(
    "room",
    ["", ".sweep", ".systems.toy", ".systems.algorithms", ".systems.language", ".data", ".networks", ".statistics"],
)
def test_core_rooms_stay_light(room):
    heavy = [
        "nnsight",
        "altair",
        "transformers",
        "datasets",
        "tokenizers",
        "huggingface_hub",
        "torchvision",
        "matplotlib",
        "distributed",
        "sklearn",
        "vl_convert",
        "tracr",
        "jax",
    ]
    code = f"import superpos{room}, sys; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
