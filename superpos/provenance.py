"""What made a number: code revision, library versions, device, time."""

import functools
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

__all__ = ["PROVENANCE", "device_name", "provenance", "revision", "versions"]

PROVENANCE = ("revision", "versions", "device", "seconds", "finished")


@functools.cache
def revision():
    """Git revision of the code that runs, "+" where superpos/ was edited since; $SUPERPOS_REVISION, or "unknown"."""
    here = Path(__file__).parent

    def git(*words):
        return subprocess.run(["git", "-C", here, *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        edited = git("status", "--porcelain", "--", ".")
        return git("rev-parse", "--short=10", "HEAD") + ("+" if edited else "")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("SUPERPOS_REVISION", "unknown")


@functools.cache
def versions():
    """Versions of what computes: "superpos 0.1.0, torch 2.13.0"."""
    try:
        own = version("superpos")
    except PackageNotFoundError:
        own = "uninstalled"
    return f"superpos {own}, torch {torch.__version__}"


@functools.cache
def device_name():
    """Name of the GPU if torch sees one, else of the processor."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        if models:
            return models[0]
    return platform.processor() or platform.machine()


def provenance(seconds):
    """Values of the PROVENANCE columns for a run that took `seconds` and ended now. → dict"""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return dict(zip(PROVENANCE, (revision(), versions(), device_name(), round(seconds, 3), now), strict=True))
