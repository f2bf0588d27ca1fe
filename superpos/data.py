"""Labelled images: digits that ship with scikit-learn, torchvision's MNIST family and CIFAR-10, any image folder.

Images are (n, C, H, W) float32 in [0, 1]; labels (n,) integers. Downloads land in the folder that
``SUPERPOS_DATA`` names, else in ``~/.cache/superpos``; nothing is downloaded when the data lies there already.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

__all__ = ["DATASETS", "LabelledImages", "data_root", "load"]

TORCHVISION = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "cifar10": "CIFAR10"}
DATASETS = ("digits", *TORCHVISION, "folder:PATH")


@dataclass(frozen=True)
class LabelledImages(Dataset):
    """A labelled data set in memory: images in [0, 1], their labels, and the names of the classes."""

    images: Float[Tensor, "n C H W"]
    labels: Int[Tensor, " n"]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Float[Tensor, "C H W"], Int[Tensor, ""]]:
        return self.images[i], self.labels[i]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image (C, H, W)."""
        return tuple(self.images.shape[1:])

    def _at(self, rows: Int[Tensor, " some"]) -> "LabelledImages":
        return replace(self, images=self.images[rows], labels=self.labels[rows])

    def take(self, n: int, seed: int) -> "LabelledImages":
        """n images drawn at random without replacement. Raises ValueError if there are fewer."""
        if not 1 <= n <= len(self):
            raise ValueError(f"n must be between 1 and {len(self)}, got {n}")
        return self._at(torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:n])

    def split(self, share: float, seed: int = 0) -> tuple["LabelledImages", "LabelledImages"]:
        """A random `share` of the images, and the rest. Raises ValueError if either would be empty."""
        n = round(share * len(self))
        if not 1 <= n < len(self):
            raise ValueError(f"share must leave images on both sides of {len(self)}, got {share}")
        rows = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self._at(rows[:n]), self._at(rows[n:])

    def only(self, classes: Sequence[int]) -> "LabelledImages":
        """The images of some classes (by index), relabelled 0, 1, … in the order given. Raises ValueError for others."""
        unknown = [c for c in classes if not 0 <= c < len(self.classes)]
        if unknown or len(set(classes)) != len(classes) or not classes:
            raise ValueError(f"classes must be different indices from 0 to {len(self.classes) - 1}, got {classes}")
        order = torch.full((len(self.classes),), -1)
        order[list(classes)] = torch.arange(len(classes))
        labels = order[self.labels]
        names = tuple(self.classes[c] for c in classes)
        return LabelledImages(self.images[labels >= 0], labels[labels >= 0], names)


Both = tuple[LabelledImages, LabelledImages]


def data_root() -> Path:
    """Where data sets lie: $SUPERPOS_DATA, else ~/.cache/superpos."""
    return Path(os.environ.get("SUPERPOS_DATA", Path.home() / ".cache" / "superpos"))


def load(name: str, *, root: str | Path | None = None) -> Both:
    """Training and test images of a data set.

    name: "digits" (1,797 images of 8×8, offline), "mnist", "fashion-mnist", "cifar10" (downloaded by torchvision
    into `root`, by default `data_root()`, unless there), or "folder:PATH": one folder of images per class, below
    PATH itself (a fifth is held back as test) or below PATH/train and PATH/test.
    Raises ValueError for an unknown name, FileNotFoundError with the remedy where the data is missing.
    """
    if name == "digits":
        return _load_digits()
    if name in TORCHVISION:
        folder = Path(root or data_root())
        return _load_torchvision(name, folder, train=True), _load_torchvision(name, folder, train=False)
    if name.startswith("folder:"):
        return _load_folder(Path(name.removeprefix("folder:")).expanduser())
    raise ValueError(f"unknown data set {name!r}; expected one of {', '.join(DATASETS)}")


def _split(images: LabelledImages) -> Both:
    """A fixed stratified split, one fifth for testing."""
    from sklearn.model_selection import train_test_split

    rows = torch.arange(len(images))
    train, test = train_test_split(rows, test_size=0.2, random_state=0, stratify=images.labels)
    return images._at(train), images._at(test)


def _load_digits() -> Both:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(digits.target, dtype=torch.long)
    return _split(LabelledImages(images, labels, tuple(map(str, digits.target_names))))


def _load_torchvision(name: str, root: Path, train: bool) -> LabelledImages:
    import torchvision

    kind = getattr(torchvision.datasets, TORCHVISION[name])
    try:
        root.mkdir(parents=True, exist_ok=True)
        data = kind(root=root, train=train, download=True)
    except (RuntimeError, OSError) as error:
        raise FileNotFoundError(
            f"{name} is not below {root} and could not be downloaded ({error}). Copy torchvision's layout there, "
            f"or name a folder that holds it in SUPERPOS_DATA; 'digits' needs neither."
        ) from error
    images = torch.as_tensor(data.data).float() / 255
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    return LabelledImages(images, torch.as_tensor(data.targets), tuple(data.classes))


def _load_folder(path: Path) -> Both:
    if not path.is_dir():
        raise FileNotFoundError(f"no folder at {path}; expected one folder of images per class below it")
    if (path / "train").is_dir() and (path / "test").is_dir():
        train, test = _read_folder(path / "train"), _read_folder(path / "test")
        if train.classes != test.classes:
            raise ValueError(f"{path}: train holds the classes {train.classes}, test {test.classes}")
        return train, test
    return _split(_read_folder(path))


def _read_folder(path: Path) -> LabelledImages:
    from torchvision.datasets import ImageFolder
    from torchvision.transforms.functional import pil_to_tensor

    try:
        folder = ImageFolder(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no images below {path}: expected {path}/CLASS/IMAGE.png or .jpg ({error})") from error
    images = [pil_to_tensor(image) for image, _ in folder]
    sizes = {tuple(image.shape) for image in images}
    if len(sizes) > 1:
        raise ValueError(f"images below {path} have different shapes {sorted(sizes)[:4]}; expected one size")
    return LabelledImages(torch.stack(images).float() / 255, torch.tensor(folder.targets), tuple(folder.classes))
