"""Pinned requirements with hashes, a block a package.

python tools/pins.py beside ALL READER   the blocks of ALL that READER lacks
python tools/pins.py cpu FILE            FILE for a machine that takes torch without CUDA from PyTorch's own index: no package of
                                         CUDA's, and no hashes of torch and torchvision, whose builds there are others
"""

import re
import sys
from pathlib import Path

CUDA = re.compile(r"(nvidia-|cuda-|triton==)")
BUILT_TWICE = re.compile(r"(torch|torchvision)==")


def blocks(text: str) -> list[str]:
    """A package's line and its hashes, for each package; comments are left out."""
    found: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("#"):
            continue
        if line.startswith(" "):
            found[-1] += line
        elif line.strip():
            found.append(line)
    return found


def beside(whole: str, reader: str) -> str:
    """The blocks of the one that the other lacks."""
    there = set(blocks(reader))
    return "".join(block for block in blocks(whole) if block not in there)


def only(name: str, text: str) -> str:
    """The block of one package."""
    return "".join(block for block in blocks(text) if block.startswith(f"{name}=="))


def cpu(text: str) -> str:
    """Requirements without CUDA's packages and without the hashes of what is built twice."""
    kept = [block for block in blocks(text) if not CUDA.match(block)]
    return "".join(block.partition(" \\\n")[0].rstrip() + "\n" if BUILT_TWICE.match(block) else block for block in kept)


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    given = [word if what == "only" and not i else Path(word).read_text() for i, word in enumerate(words)]
    sys.stdout.write({"beside": beside, "only": only, "cpu": cpu}[what](*given))
