"""Give columns of results files that were filled before the findings were wings the names that the code has now.

    python tools/rename_columns.py FOLDER

No value is changed and no row is moved: only the first line of a file is written anew.
"""

import csv
import sys
from pathlib import Path

RENAMED = {
    "toy": {"config": "reading", "n": "n_rows"},
    "toy_truth": {"config": "reading", "n": "n_rows"},
    "planted": {"config": "reading", "n": "n_rows"},
    "dictionary": {"recipe": "reading"},
    "dropout": {"recipe": "reading"},
    "grokking": {"network": "architecture", "hidden": "width"},
    "grokking_timeline": {"network": "architecture", "hidden": "width"},
    "grokking_variations": {"hidden": "width"},
    "adversarial": {"network": "architecture"},
    "adversarial_masking": {"network": "architecture"},
    "adversarial_readings": {"network": "architecture"},
    "adversarial_resnet": {"network": "architecture"},
    "adversarial_resnet_masking": {"network": "architecture"},
    "costs": {"n": "n_rows"},
    "speed_extract": {"network": "architecture"},
    "speed_pgd_epoch": {"network": "architecture"},
    "speed_whole": {"config": "reading"},
}


def rename(path: Path, names: dict[str, str]) -> None:
    """Rewrite the header of one file; the bytes below it stay. ValueError where a new name is there already."""
    header, _, rest = path.read_bytes().partition(b"\n")
    old = next(csv.reader([header.decode()]))
    new = [names.get(name, name) for name in old]
    if len(set(new)) < len(new):
        raise ValueError(f"{path} would have a column twice: {new}")
    path.write_bytes(",".join(new).encode() + b"\n" + rest)


if __name__ == "__main__":
    for name, columns in RENAMED.items():
        if (path := Path(sys.argv[1]) / f"{name}.csv").exists():
            rename(path, columns)
