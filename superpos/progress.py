"""Progress bars for people, never for stored outputs.

A bar goes to the terminal. Inside a notebook that is being stored nothing is printed, unless
``SUPERPOS_PROGRESS`` names a terminal to draw on (``make`` sets it to the one it runs in).
"""

import os
import sys

from tqdm import tqdm

__all__ = ["progress"]


def progress(iterable=None, **options):
    """tqdm over `iterable` on the terminal, silent where there is none. Options are tqdm's own."""
    path = os.environ.get("SUPERPOS_PROGRESS")
    terminal = open(path, "w") if path and path != "off" else sys.stderr  # noqa: SIM115 - tqdm writes to it
    silent = path == "off" or not terminal.isatty()
    return tqdm(iterable, file=terminal, disable=silent, leave=False, dynamic_ncols=True, **options)
