"""Build the site with warnings as errors; refuse notebooks that hold errors or were never executed."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import yaml

from book.run import BUILD, ROOT, chapter_names, in_step, source

INDEX = BUILD / "html" / "book" / "index.html"


def check_notebook(path):
    """What keeps a chapter from being published. → list of sentences, empty if nothing does"""
    if not path.with_suffix(".ipynb").exists():
        return [f"{path.stem}: it has no .ipynb yet"]
    notebook = nbformat.read(path.with_suffix(".ipynb"), 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    faults = []
    if not in_step(path):
        faults.append("its .py and .ipynb differ")
    if any(cell.execution_count is None for cell in code):
        faults.append("it holds a cell that was never executed")
    if any(output.output_type == "error" for output in outputs):
        faults.append("it holds an error")
    if any(str(ROOT) in str(output) or str(Path.home()) in str(output) for output in outputs):
        faults.append("an output holds a path of this machine")
    return [f"{path.stem}: {fault}" for fault in faults]


def build(partial=False):
    """Build the site, warnings as errors. → names of the chapters that are not in it

    partial: leave chapters that cannot be published out, and what points at them dangles, instead of refusing to build.
    SystemExit that says what is wrong with which chapter, or with the builder's status.
    """
    faults = {name: check_notebook(source(name)) for name in chapter_names()}
    left_out = [name for name in faults if faults[name]]
    listing = "\n".join(line for lines in faults.values() for line in lines)
    if left_out and not partial:
        sys.exit(f"{listing}\nmake chapters executes them anew")
    if left_out:
        print(listing)
    aside = BUILD / f"next-{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        contents = Path(folder) / "_toc.yml"
        contents.write_text(_contents_without(left_out))
        command = [Path(sys.executable).parent / "jupyter-book", "build", ROOT, "--toc", contents, "--all", "-q", "-n"]
        command += ["--path-output", aside, *([] if left_out else ["-W", "--keep-going"])]
        result = subprocess.run(
            [*map(str, command)], cwd=ROOT, env={**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(ROOT)}
        )
    if result.returncode:
        print("the site that was there stands as it was" if INDEX.exists() else "there is no site")
        sys.exit(result.returncode)
    put_in_place(aside / "_build" / "html", BUILD / "html")
    shutil.rmtree(aside)
    print(f"Built {os.path.relpath(BUILD / 'html' / 'index.html', ROOT)}")
    return left_out


def put_in_place(new, place):
    """Move a folder to where another may stand, which goes only when the new one is there."""
    old = place.with_name(f"{place.name}.old-{os.getpid()}")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def _contents_without(left_out):
    """The table of contents but for some chapters."""
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    for part in contents["parts"]:
        part["chapters"] = [one for one in part["chapters"] if Path(one["file"]).name not in left_out]
    contents["parts"] = [part for part in contents["parts"] if part["chapters"]]
    return yaml.safe_dump(contents, sort_keys=False, allow_unicode=True)


if __name__ == "__main__":
    build()
