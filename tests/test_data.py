"""Data sets: what ships, what lies in a folder, and what to say when nothing is there."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from superpos import data

SHARED = Path(os.environ.get("SUPERPOS_DATA", Path(__file__).parents[2] / "shared" / "data"))


def folder(path, sizes=((6, 6), (6, 6)), n=5):
    for name, size in zip(("cat", "dog"), sizes, strict=True):
        (path / name).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(np.full((*size, 3), 51 * i, dtype=np.uint8)).save(path / name / f"{i}.png")
    return path


def test_digits_ship():
    train, test = data.load("digits")
    assert (len(train), len(test)) == (1437, 360)
    assert train.shape == (1, 8, 8)
    assert (train.images.min(), train.images.max()) == (0, 1)
    assert torch.equal(train.labels.unique(), torch.arange(10))
    assert torch.equal(data.load("digits")[0].labels, train.labels)


def test_train_and_test_share_no_image():
    train, test = data.load("digits")
    known = {image.numpy().tobytes() for image in train.images}
    assert sum(image.numpy().tobytes() in known for image in test.images) == 0


def test_subsets_by_class_and_size():
    train, _ = data.load("digits")
    few = train.only([7, 3])
    assert few.classes == ("7", "3")
    assert torch.equal(few.labels.bincount(), train.labels.bincount()[[7, 3]])
    assert torch.equal(few.images[few.labels == 0], train.images[train.labels == 7])
    assert torch.equal(train.take(9, seed=1).images, train.take(9, seed=1).images)
    with pytest.raises(ValueError, match="0 to 9"):
        train.only([10])
    with pytest.raises(ValueError, match="between 1 and 1437, got 0"):
        train.take(0, seed=1)


@pytest.mark.skipif(not (SHARED / "MNIST").is_dir(), reason="MNIST does not lie on this machine")
def test_mnist_from_a_folder_that_holds_it():
    train, test = data.load("mnist", root=SHARED)
    assert (len(train), len(test), train.shape) == (60_000, 10_000, (1, 28, 28))
    assert train.images.mean() == pytest.approx(0.1307, abs=1e-4)


def test_a_folder_of_images(tmp_path):
    train, test = data.load(f"folder:{folder(tmp_path)}")
    assert train.classes == ("cat", "dog")
    assert (len(train), len(test), train.shape) == (8, 2, (3, 6, 6))
    values = torch.cat([train.images, test.images])[:, 0, 0, 0].unique()
    torch.testing.assert_close(values, torch.tensor([0, 0.2, 0.4, 0.6, 0.8]))


def test_a_folder_with_its_own_split(tmp_path):
    folder(tmp_path / "train", n=4), folder(tmp_path / "test", n=1)
    train, test = data.load(f"folder:{tmp_path}")
    assert (len(train), len(test)) == (8, 2)


def test_errors_name_the_remedy(tmp_path):
    with pytest.raises(ValueError, match="unknown data set 'minst'; expected one of digits, mnist"):
        data.load("minst")
    with pytest.raises(FileNotFoundError, match="no folder at"):
        data.load(f"folder:{tmp_path / 'nowhere'}")
    with pytest.raises(FileNotFoundError, match="no images below"):
        data.load(f"folder:{tmp_path}")
    with pytest.raises(ValueError, match="different shapes"):
        data.load(f"folder:{folder(tmp_path / 'mixed', sizes=((6, 6), (4, 4)))}")


def test_neither_data_nor_network(tmp_path, monkeypatch):
    from torchvision.datasets import MNIST

    def offline(self):
        raise RuntimeError("no network")

    monkeypatch.setattr(MNIST, "download", offline)
    with pytest.raises(FileNotFoundError, match="SUPERPOS_DATA; 'digits' needs neither"):
        data.load("mnist", root=tmp_path)


def test_the_root_is_a_setting(monkeypatch, tmp_path):
    monkeypatch.setenv("SUPERPOS_DATA", str(tmp_path))
    assert data.data_root() == tmp_path


def test_a_split_holds_every_image_once():
    train, _ = data.load("digits")
    a, b = train.split(0.25, seed=3)
    assert (len(a), len(b)) == (359, 1078)
    both = torch.cat([a.images, b.images]).flatten(1)
    assert torch.equal(both.sum(1).sort().values, train.images.flatten(1).sum(1).sort().values)
    assert torch.equal(a.labels, train.split(0.25, seed=3)[0].labels)
    with pytest.raises(ValueError, match=r"share must leave images on both sides of 1437, got 1\.0"):
        train.split(1.0)
