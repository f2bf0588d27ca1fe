"""“Add a finding” of CONTRIBUTING.md, followed to the letter in a copy of the house."""

import os
import re
import shutil
import subprocess
import sys
import textwrap

import pandas as pd
import pytest
import test_house

from book.run import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
STEPS = TEXT.partition("## Add a finding")[2]


def files():
    """{path: text} of the files that the steps write."""
    blocks = re.findall(r"(?m)^ {3}`([\w/.]+)`\n {3}```\w+\n((?: {3}.*\n|\n)*?) {3}```", STEPS)
    return {path: textwrap.dedent(body) for path, body in blocks}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the house in which the steps were followed."""
    root = tmp_path_factory.mktemp("house")
    for name in ("superpos", "book", "notebooks", "tests", "benchmarks"):
        skip = shutil.ignore_patterns("__pycache__", "*.ipynb", ".ipynb_checkpoints")
        shutil.copytree(ROOT / name, root / name, ignore=skip)
    for path, body in files().items():
        if path == "superpos/seeds.py":
            table = (root / path).read_text()
            body = table.replace('    "planted.sae"', f'{body}    "planted.sae"', 1)
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(body)
    return root


def do(house, *words):
    environment = {**os.environ, "PYTHONPATH": str(house), "SUPERPOS_PROGRESS": "off", "SUPERPOS_REVISION": "copy"}
    result = subprocess.run([sys.executable, *words], cwd=house, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


def test_there_are_at_most_eight_steps_and_each_writes_a_file():
    assert 5 <= len(re.findall(r"(?m)^\d\. ", STEPS)) <= 8
    assert len(files()) == 9


def test_the_new_wing_follows_the_rules(house):
    assert test_house.faults(test_house.modules(house / "superpos")) == []
    do(house, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/findings/test_noise.py", "tests/test_seeds.py")


def test_full_scale_fills_rows_and_verdicts(house):
    do(house, "-m", "book.run", "full", "30_noise")
    rows = pd.read_csv(house / "book" / "results" / "noise.csv")
    assert sorted(rows.seed) == [0, 1, 2, 3, 4]
    assert (rows.psi > 0).all()
    verdicts = pd.read_csv(house / "book" / "results" / "verdicts.csv").set_index("id")
    before = pd.read_csv(ROOT / "book" / "results" / "verdicts.csv").set_index("id")
    assert verdicts.ours["noise.psi"] == pytest.approx(rows.psi.mean(), abs=5e-4)
    pd.testing.assert_frame_equal(verdicts.drop("noise.psi"), before)
    told = pd.read_csv(house / "book" / "results" / "answers.csv").set_index("chapter")
    assert f"{rows.psi.mean():.3g}" in told.answer["30_noise"]
    assert "5 draws of noise" in told.rests_on["30_noise"]


def test_row_17_of_a_results_file_says_what_makes_it():
    """Every committed row holds its settings and its provenance, and its place among the rows of its run."""
    table = pd.read_csv(ROOT / "book" / "results" / "toy.csv")
    row = table.iloc[17]
    from superpos.findings.toy import runs
    from superpos.settings import defaults

    known = {name: row[name] for name in defaults(runs.Run) | {"reading": 0, "n_models": 0} if name in table}
    assert {"reading", "seed", "n_neurons", "l1", "n_rows"} <= set(known)
    assert re.fullmatch(r"\d+/\d+", row["row"])
    assert row[["revision", "versions", "device", "seconds", "finished"]].notna().all()
