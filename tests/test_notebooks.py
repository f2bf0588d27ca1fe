"""Notebook pairs in step, outputs that repeat (nbval), parameters checked, numbers in the table those of the rows."""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from book import run, site
from book.run import NOTEBOOKS, ROOT, chapter_names, source

HEADER = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %%
"""
ENVIRONMENT = {**os.environ, "SUPERPOS_PROGRESS": "off"}
ANOTHER_PROCESSOR = {  # which adds in another order: no AVX-512, and two threads, of which a chapter uses one
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "OMP_NUM_THREADS": "2",
}


@pytest.mark.parametrize("name", chapter_names())
def test_a_chapter_can_be_published(name):
    """The pair is in step, every cell was executed, no error, no path of this machine."""
    assert site.check_notebook(source(name)) == []


@pytest.mark.parametrize("name", chapter_names())
def test_charts_show_as_pictures_with_a_caption_and_a_text(name):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4)
    seen = 0
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "application/vnd.vegalite.v6+json" in data:
                seen += 1
                assert data["image/png"]
                assert len(data["text/plain"]) > 20
                assert cell.metadata["mystnb"]["figure"]["caption"]
                assert "nbval-ignore-output" in cell.metadata["tags"]
    assert seen >= 4


@pytest.mark.parametrize("name", chapter_names())
def test_outputs_repeat(name):
    """nbval runs the chapter anew, as on another processor, and compares all that it shows by the rule of `book.drift`.

    By the same rule `make chapters` leaves the notebook as it is, so what passes here leaves a clean checkout.
    """
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "book.drift", "--nbval"]
    words += [f"notebooks/{name}.ipynb"]
    words += ["-W", "ignore", "--nbval-kernel-name", "python3", "--nbval-cell-timeout", "300"]
    environment = ENVIRONMENT | ANOTHER_PROCESSOR
    result = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-4000:]
    assert "passed" in result.stdout


def test_another_processor_gives_other_digits():
    """So that what repeats above does not repeat because nothing was changed."""
    code = "import torch; torch.manual_seed(0); x = torch.randn(300, 300); print(repr((x @ x).sum().item()))"
    here, there = (
        subprocess.run([sys.executable, "-c", code], env=one, capture_output=True, text=True, check=True).stdout
        for one in (ENVIRONMENT, ENVIRONMENT | ANOTHER_PROCESSOR)
    )
    if here == there:
        pytest.skip("this processor has no other kernel to compare with")
    assert float(here) == pytest.approx(float(there), rel=1e-3)


def test_nbval_would_notice(tmp_path):
    cell = nbformat.v4.new_code_cell("print(1 + 1)", execution_count=1)
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="3\n")]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "wrong.ipynb")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "wrong.ipynb", "-W", "ignore"]
    assert subprocess.run(words, cwd=tmp_path, capture_output=True).returncode == 1


@pytest.mark.parametrize("name", chapter_names())
def test_full_scale_changes_only_parameters_that_exist(name):
    """The unknown-parameter check runs on the full-scale file too."""
    parameters = yaml.safe_load((NOTEBOOKS / "full" / f"{name}.yaml").read_text())
    run.check_parameters(NOTEBOOKS / f"{name}.ipynb", parameters)


def test_an_unknown_parameter_is_an_error_that_lists_those_there_are():
    with pytest.raises(SystemExit, match=r"unknown parameter 'n_modles'(.|\n)*n_models = 10"):
        run.main(["chapter", "02_toy_models", "-p", "n_modles", "3"])


@pytest.mark.parametrize(
    ("chapter", "name", "value", "message"),
    [
        ("03_dictionary", "expansions", "7", r"'expansions' of 03_dictionary must be a list, as '\[1, 2\]', got 7"),
        ("03_dictionary", "expansions", "-1,2", r"'expansions' of 03_dictionary must be a list, .* got '-1,2'"),
        ("03_dictionary", "expansions", "[2, many]", r"must be a list of numbers, as \[2.0, 4.0, 8.0\], got \[2, 'many'\]"),
        ("03_dictionary", "n_networks", "abc", "'n_networks' of 03_dictionary must be a whole number, as 3, got 'abc'"),
        ("03_dictionary", "n_networks", "2.5", "must be a whole number, as 3, got 2.5"),
        ("03_dictionary", "n_networks", "true", "must be a whole number, as 3, got True"),
        ("03_dictionary", "l1", "0.1", "'l1' of 03_dictionary must be a mapping, as '{name: value}', got 0.1"),
        ("11_what_survives", "length", "long", "'length' of 11_what_survives must be a number, as 0.5, got 'long'"),
    ],
)  # fmt: skip
def test_a_parameter_of_another_kind_is_an_error_before_anything_runs(chapter, name, value, message, monkeypatch):
    monkeypatch.setattr(run.papermill, "execute_notebook", lambda *a, **k: pytest.fail("something ran"))
    with pytest.raises(SystemExit, match=message):
        run.main(["chapter", chapter, "-p", name, value])


def test_a_site_that_fails_leaves_the_one_that_was_there(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "BUILD", tmp_path)
    monkeypatch.setattr(site, "INDEX", tmp_path / "html" / "index.html")
    monkeypatch.setattr(site, "check_notebook", lambda path: [])
    (tmp_path / "html").mkdir()
    site.INDEX.write_text("the old one")
    made = {"returncode": 1}

    def builds(command, **_):
        html = Path(command[command.index("--path-output") + 1]) / "_build" / "html"
        html.mkdir(parents=True)
        (html / "index.html").write_text("the new one")
        return subprocess.CompletedProcess(command, made["returncode"])

    monkeypatch.setattr(site.subprocess, "run", builds)
    with pytest.raises(SystemExit):
        site.build()
    assert site.INDEX.read_text() == "the old one"
    made["returncode"] = 0
    site.build()
    assert site.INDEX.read_text() == "the new one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["html"]


@pytest.mark.parametrize("command", ["chapter", "full"])
def test_an_unknown_chapter_lists_the_chapters(command):
    with pytest.raises(SystemExit, match=r"no chapter '99_nothing'; NAME is one of 01_measure_your_own, 02_toy_models"):
        run.main([command, "99_nothing"])


def test_a_failed_run_leaves_the_good_copy(tmp_path, monkeypatch):
    """A chapter that raises must not overwrite what it gave before."""
    monkeypatch.setattr(run, "NOTEBOOKS", tmp_path)
    path = tmp_path / "01_a.py"
    path.write_text(HEADER + "1 + 1\n")
    run.execute(path)
    good = path.with_suffix(".ipynb").read_bytes()
    run.execute(path)
    assert path.with_suffix(".ipynb").read_bytes() == good  # a re-run changes no byte
    path.write_text(path.read_text().replace("1 + 1", "1 / 0"))
    with pytest.raises(Exception, match="ZeroDivisionError"):
        run.execute(path)
    assert path.with_suffix(".ipynb").read_bytes() == good
    assert not run.in_step(path)


def test_a_chapter_that_fails_stops_no_other_and_is_named(tmp_path, monkeypatch, capsys):
    for name in ("NOTEBOOKS", "BUILD"):
        monkeypatch.setattr(run, name, tmp_path)
    monkeypatch.setattr(run, "SECONDS", tmp_path / "seconds.json")
    for name, code in (("01_a", "1 / 0"), ("02_b", "1 + 1")):
        (tmp_path / f"{name}.py").write_text(f"{HEADER}{code}\n")
    built = []
    monkeypatch.setattr(site, "build", lambda partial: built.append(partial) or ["01_a"])
    with pytest.raises(SystemExit) as stopped:
        run.run_book(None)
    assert str(stopped.value) == "failed: 01_a; not in the site: 01_a"
    assert built == [True]
    printed = capsys.readouterr().out
    assert "[2/2]" in printed
    assert "ZeroDivisionError" in printed
    assert "1 of 2 chapters executed" in printed
    assert (tmp_path / "02_b.ipynb").exists()
    assert list(json.loads(run.SECONDS.read_text())) == ["02_b"]
    gc.collect()  # an event loop or socket that is left open is an error here, and not in some later test


def test_some_verdicts_recomputed_with_numpy_alone():
    """r and its claim must match to the digits stored."""
    import numpy as np
    import pandas as pd

    results = ROOT / "book" / "results"
    verdicts = pd.read_csv(results / "verdicts.csv").set_index("id")
    truth = pd.read_csv(results / "toy_truth.csv")
    for reading, claim in (("protocol", "toy.r_protocol"), ("published", "toy.r_published_recipe")):
        mean = truth[truth.reading == reading].groupby("model")[["psi", "psi_weights"]].mean()
        r = np.corrcoef(mean.psi, mean.psi_weights)[0, 1]
        assert verdicts.ours[claim] == pytest.approx(r, abs=5e-4)
        assert verdicts.low[claim] < r < verdicts.high[claim]
        assert verdicts.n[claim] == len(mean) == 100
    assert verdicts.low["toy.r_protocol"] >= 0.95
    assert verdicts.ours["toy.r_frobenius_weights"] >= 0.985


def test_committed_rows_carry_their_provenance():
    import pandas as pd

    from superpos.provenance import PROVENANCE

    for path in (ROOT / "book" / "results").glob("*.csv"):
        if path.name in ("verdicts.csv", "statements.csv", "answers.csv"):
            continue
        table = pd.read_csv(path)
        assert table[list(PROVENANCE)].notna().all().all(), path.name
        assert not table.revision.str.endswith("+").any(), f"{path.name}: rows made by edited code"
