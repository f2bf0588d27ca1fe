"""Build the site with warnings as errors; refuse notebooks that hold errors or were never executed."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat

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


def main():
    faults = [fault for name in chapter_names() for fault in check_notebook(source(name))]
    if faults:
        sys.exit("\n".join([*faults, "make chapters executes them anew"]))
    command = [Path(sys.executable).parent / "jupyter-book", "build", ROOT, "--all", "-q", "-W", "-n", "--keep-going"]
    result = subprocess.run([*map(str, command)], cwd=ROOT, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    if result.returncode:
        sys.exit(result.returncode)
    print(f"Built {os.path.relpath(BUILD / 'html' / 'index.html', ROOT)}")


if __name__ == "__main__":
    main()
