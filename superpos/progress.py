"""Progress bars for people, never for stored outputs.

A bar goes to the terminal. Inside a notebook that is being stored nothing is printed, unless
``SUPERPOS_PROGRESS`` names a terminal to draw on (``make`` sets it to the one it runs in).
"""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from tqdm import tqdm

__all__ = ["progress", "silent_transformers"]


def progress(iterable: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """A tqdm bar on the terminal, over an iterable or updated by hand; silent where there is no terminal."""
    path = os.environ.get("SUPERPOS_PROGRESS")
    terminal = open(path, "w") if path and path != "off" else sys.stderr  # noqa: SIM115 - tqdm writes to it
    silent = path == "off" or not terminal.isatty()
    return tqdm(iterable, file=terminal, disable=silent, leave=False, dynamic_ncols=True, **options)


@contextlib.contextmanager
def silent_transformers() -> Iterator[None]:
    """No progress bars of transformers' own inside `with`: they would land in stored outputs."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
