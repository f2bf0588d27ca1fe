"""Write the book's address and release wherever a file has to name them: `make address`.

The one setting is superpos/address.py (REPOSITORY, SITE) and superpos/__init__.py (__version__). What was written last stands in
_config.yml, CITATION.cff and the first cells of the notebooks; every tracked text that names the old ones gets the new ones.
"""

import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from superpos import address  # noqa: E402

NO_TEXT = (".png", ".csv", ".svg", ".woff2")
KEPT = ("superpos/address.py", "CHANGELOG.md", "book/results/", "requirements", "tests/", "tools/")


def written(root):
    """What was written last: (repository, site, release)."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    release = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))["version"]
    return config["repository"]["url"], config["html"]["baseurl"], f"v{release}"


def replaced(text, old, new):
    """A text with the address and the release of now. A release is replaced only where a clone of it is asked for, or cited."""
    was, now = (one[0].removeprefix("https://github.com/") for one in (old, new))
    text = text.replace(old[1], new[1]).replace(old[0], new[0])
    text = text.replace(f"/github/{was}/blob/", f"/github/{now}/blob/")
    text = text.replace(f"--branch {old[2]} ", f"--branch {new[2]} ")
    plain_old, plain_new = old[2][1:], new[2][1:]
    return re.sub(rf"(?m)^(version: |  version = \{{){re.escape(plain_old)}", rf"\g<1>{plain_new}", text)


def write(root=ROOT, new=None):
    """Bring all tracked texts in step. → names of those that changed"""
    old, changed = written(root), []
    new = new or (address.REPOSITORY, address.SITE, address.release())
    files = subprocess.run(
        ["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in files:
        path = root / name
        if name.startswith(KEPT) or path.suffix in NO_TEXT or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        fresh = replaced(text, old, new)
        if fresh != text:
            path.write_text(fresh, encoding="utf-8")
            changed.append(name)
    return changed


if __name__ == "__main__":
    done = write()
    print("\n".join(done) or "all in step")
