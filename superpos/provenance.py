"""What made a number: code revision, library versions, device, time."""

import functools
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

__all__ = ["PROVENANCE", "device_name", "provenance", "revision", "versions"]

PROVENANCE = ("revision", "versions", "device", "seconds", "finished")


@functools.cache
def revision() -> str:
    """The git revision of the code that runs, with "+" where superpos/ was edited since.

    Without git it is what the environment calls SUPERPOS_REVISION, or "unknown". The checkout may belong to another user: git
    would not read it, lest its settings run a program, but the code that runs here is of that checkout already.
    """
    ask = functools.partial(subprocess.check_output, cwd=Path(__file__).parent, text=True, stderr=subprocess.DEVNULL)
    git = ["git", "-c", "safe.directory=*"]
    try:
        edited = ask([*git, "status", "--porcelain", "--", "."])
        return ask([*git, "rev-parse", "--short=10", "HEAD"]).strip() + ("+" if edited else "")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("SUPERPOS_REVISION", "unknown")


@functools.cache
def versions() -> str:
    """The versions of what computes, as in "superpos 0.1.0, torch 2.13.0"."""
    try:
        own = version("superpos")
    except PackageNotFoundError:
        own = "uninstalled"
    return f"superpos {own}, torch {torch.__version__}"


@functools.cache
def device_name() -> str:
    """The name of the GPU if torch sees one, else of the processor."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return next(iter(models), platform.processor() or platform.machine())


def provenance(seconds: int | float) -> dict[str, Any]:
    """The values of the PROVENANCE columns for a run that took some seconds and ended now."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return dict(zip(PROVENANCE, (revision(), versions(), device_name(), round(seconds, 3), now), strict=True))
