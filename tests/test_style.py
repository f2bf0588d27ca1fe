"""The checks that need no running code: style, format, types."""

import subprocess
import sys
from pathlib import Path

import pytest

from book.run import ROOT


@pytest.mark.parametrize(
    "words",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["pyrefly", "check", "--summary=none"]],
    ids=["ruff check", "ruff format", "pyrefly"],
)
def test_style_format_and_types(words):
    result = subprocess.run(
        [Path(sys.executable).parent / words[0], *words[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
