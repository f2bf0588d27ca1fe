"""Labelled images: digits that ship with scikit-learn, torchvision's MNIST family and CIFAR-10, any image folder.

Images are (n, C, H, W) float32 in [0, 1]; labels (n,) integers. Downloads land in the folder that
``SUPERPOS_DATA`` names, else in ``~/.cache/superpos``; nothing is downloaded when the data lies there already.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.utils.data import Dataset

__all__ = ["DATASETS", "LabelledImages", "data_root", "load"]

TORCHVISION = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "cifar10": "CIFAR10"}
DATASETS = ("digits", *TORCHVISION, "folder:PATH")


@dataclass(frozen=True)
class LabelledImages(Dataset):
    """A labelled data set in memory: images (n, C, H, W) in [0, 1], labels (n,), and the names of the classes."""

    images: torch.Tensor
    labels: torch.Tensor
    classes: tuple

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i], self.labels[i]

    @property
    def shape(self):
        """Shape of one image (C, H, W)."""
        return tuple(self.images.shape[1:])

    def take(self, n, seed):
        """n images drawn at random without replacement. ValueError if there are fewer."""
        if not 1 <= n <= len(self):
            raise ValueError(f"n must be between 1 and {len(self)}, got {n}")
        rows = torch.randperm(len(self), generator=torch.Generator().manual_seed(int(seed)))[:n]
        return replace(self, images=self.images[rows], labels=self.labels[rows])

    def split(self, share, seed=0):
        """A random `share` of the images, and the rest. → (LabelledImages, LabelledImages)"""
        n = round(share * len(self))
        if not 1 <= n < len(self):
            raise ValueError(f"share must leave images on both sides of {len(self)}, got {share}")
        rows = torch.randperm(len(self), generator=torch.Generator().manual_seed(int(seed)))
        return tuple(replace(self, images=self.images[part], labels=self.labels[part]) for part in (rows[:n], rows[n:]))

    def only(self, classes):
        """The images of some classes (by index), relabelled 0, 1, … in the order given. ValueError for others."""
        unknown = [c for c in classes if not 0 <= c < len(self.classes)]
        if unknown or len(set(classes)) != len(classes) or not classes:
            raise ValueError(f"classes must be different indices from 0 to {len(self.classes) - 1}, got {classes}")
        order = torch.full((len(self.classes),), -1)
        order[list(classes)] = torch.arange(len(classes))
        labels = order[self.labels]
        names = tuple(self.classes[c] for c in classes)
        return LabelledImages(self.images[labels >= 0], labels[labels >= 0], names)


def data_root():
    """Where data sets lie: $SUPERPOS_DATA, else ~/.cache/superpos."""
    return Path(os.environ.get("SUPERPOS_DATA", Path.home() / ".cache" / "superpos"))


def load(name, *, root=None):
    """Train and test images of a data set. → (LabelledImages, LabelledImages)

    name: "digits" (1,797 images of 8×8, offline), "mnist", "fashion-mnist", "cifar10" (downloaded by torchvision
    into `root`, by default `data_root()`, unless there), or "folder:PATH": one folder of images per class, below
    PATH itself (a fifth is held back as test) or below PATH/train and PATH/test.
    Raises ValueError for an unknown name, FileNotFoundError with the remedy where the data is missing.
    """
    if name == "digits":
        return _load_digits()
    if name in TORCHVISION:
        return tuple(_load_torchvision(name, Path(root or data_root()), train) for train in (True, False))
    if name.startswith("folder:"):
        return _load_folder(Path(name.removeprefix("folder:")).expanduser())
    raise ValueError(f"unknown data set {name!r}; expected one of {', '.join(DATASETS)}")


def _split(images, labels, classes):
    """A fixed stratified split, one fifth for testing."""
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(range(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    return tuple(LabelledImages(images[rows], labels[rows], classes) for rows in (train, test))


def _load_digits():
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    return _split(images, torch.tensor(digits.target, dtype=torch.long), tuple(map(str, digits.target_names)))


def _load_torchvision(name, root, train):
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


def _load_folder(path):
    if not path.is_dir():
        raise FileNotFoundError(f"no folder at {path}; expected one folder of images per class below it")
    if (path / "train").is_dir() and (path / "test").is_dir():
        train, test = _read_folder(path / "train"), _read_folder(path / "test")
        if train.classes != test.classes:
            raise ValueError(f"{path}: train holds the classes {train.classes}, test {test.classes}")
        return train, test
    whole = _read_folder(path)
    return _split(whole.images, whole.labels, whole.classes)


def _read_folder(path):
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
