"""What holds for every test: calls are checked, one core each, the longest first, and a table of times at the end.

Shapes and types of every call are checked while tests run: jaxtyping reads the annotations, beartype checks them.
"""

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path

import filelock
import pytest
from jaxtyping import install_import_hook
from xdist.scheduler import LoadScopeScheduling

# Workers of pytest-xdist share the cores. To be said before torch is imported.
os.environ |= {"OMP_NUM_THREADS": "1", "LOKY_MAX_CPU_COUNT": "1"}

install_import_hook("superpos", "typecheck.checked").__enter__()

PARTS = {  # what a part is called in the table: how its files begin
    "chapters run anew (nbval)": "tests/test_notebooks",
    "the site in a browser": "tests/test_site",
    "house, types, style": ("tests/test_house", "tests/test_contributing", "tests/test_style", "tests/test_packages"),
    "benchmark": "tests/test_benchmarks",
    "findings": "tests/findings",
    "core": "tests/",
}
LONGEST = (
    "site_pages",
    "colab",
    "faults",
    "adversarial",
    "sweep",
    "algorithms",
    "places",
    "llc",
    "contributing",
    "benchmarks",
    "survey",
    "pretraining",
    "site",
)


class ByFile(LoadScopeScheduling):
    """A file is done in one process, since its tests share what they load; but each chapter by itself."""

    def _split_scope(self, nodeid):
        return nodeid if "test_outputs_repeat" in nodeid else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """The marks of groups that pytest-xdist knows do not reach this version of pytest."""
    return ByFile(config, log)


def pytest_collection_modifyitems(items):
    """The longest first."""
    items.sort(key=_place)


def _place(item):
    name = item.path.stem.removeprefix("test_")
    if item.originalname == "test_outputs_repeat":
        return -1
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)


def pytest_terminal_summary(terminalreporter):
    """How long each part took."""
    seconds, tests, longest = defaultdict(float), defaultdict(set), {}
    for report in (one for kind in terminalreporter.stats.values() for one in kind if hasattr(one, "duration")):
        part = next((name for name, begins in PARTS.items() if report.nodeid.startswith(begins)), "other")
        seconds[part] += report.duration
        tests[part].add(report.nodeid)
        longest[part] = max(longest.get(part, (0, "")), (report.duration, report.nodeid.split("@")[0]))
    terminalreporter.section("seconds of one core")
    for part in sorted(seconds, key=seconds.get, reverse=True):
        worst = f"{longest[part][0]:.0f} s: {longest[part][1]}"
        terminalreporter.write_line(f"{part:26} {len(tests[part]):4} tests {seconds[part]:6.0f} s, longest {worst}")
    terminalreporter.write_line(f"{'all':26} {sum(map(len, tests.values())):4} tests {sum(seconds.values()):6.0f} s")


ROOT = Path(__file__).parents[1]
CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost",
]  # fmt: skip


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The site, built with warnings as errors once a run of the tests, whichever process asks first."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    with filelock.FileLock(shared / "site.lock"):
        done = shared / "site.done"
        if not done.exists():
            result = subprocess.run([sys.executable, "-m", "book.site"], cwd=ROOT, capture_output=True, text=True)
            done.write_text("" if result.returncode == 0 else result.stdout + result.stderr)
        assert not done.read_text(), done.read_text()[-6000:]
    return ROOT / "_build" / "html"


@pytest.fixture(scope="session")
def address(built):
    """The site as served on this machine."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(built))
    handler.log_message = lambda *_: None
    server = http.server.ThreadingHTTPServer(("localhost", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    """Chromium, which finds no other host than this one."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: browser tests skipped")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()
