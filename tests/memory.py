"""How much memory a piece of Python takes, in a fresh process."""

import subprocess
import sys
from pathlib import Path

import pytest

AROUND = """
import re, sys, threading, time
sys.path[:0] = {path}
{before}
held = lambda: int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024
at_first, peak = held(), [0]
def watch():
    while True:
        peak.append(held())
        time.sleep(0.005)
threading.Thread(target=watch, daemon=True).start()
{measured}
print(max(peak) - at_first)
"""


def growth(before: str, measured: str, path: list[str]) -> int:
    """MiB that `measured` takes at most beyond what is held after `before`; skips where memory cannot be read."""
    if not Path("/proc/self/status").exists():
        pytest.skip("memory is read from /proc, which is not here")
    code = AROUND.format(before=before, measured=measured, path=path)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return int(result.stdout)
