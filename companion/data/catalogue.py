"""The data sets by name: from the reader's folder, the cache, a mirror, or drawn."""

import warnings
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from companion.data import cifar, dsprites, faces, persian
from companion.data.dataset import Dataset, fingerprint
from companion.data.drawing.standins import draw
from companion.data.fetching import attempt
from companion.data.forms import IMAGES
from companion.data.originals import ARCHIVES, Found, find, missing, parse
from companion.environment import offline
from companion.words import nearest

SPLITS = ("official", "80/20")
STAND_IN = (60_000, 10_000)  # images that are drawn to train and to test on
DRAWN = {  # with a split of their own
    "cifar-10": cifar.load_cifar,
    "dsprites": dsprites.load,
    "faces": faces.load_faces,
    "persian": persian.load_persian,
}
SMALL = (*ARCHIVES, "persian")  # grey images of 28 x 28 pixels
_said: set[str] = set()  # what this process has been warned of


def known() -> tuple[str, ...]:
    """The names that `load` knows."""
    return (*ARCHIVES, *DRAWN)


def small(name: str) -> str:
    """Pass on the name of images (1, 28, 28), before any is drawn. ValueError for larger ones."""
    if name in DRAWN and name not in SMALL:
        raise ValueError(f"needs images of 28 x 28 pixels, got {name!r} {nearest(name, SMALL)}")
    return name


def load(name: str, split: str = "official") -> Dataset:
    """Load images uint8 (N, 1, 28, 28) in 0..255 and labels int64 (N,) of a data set.

    "cifar-10", "dsprites", "faces" and "persian" are as `load_cifar`, `dsprites.load`,
    `load_faces` and `load_persian` give them by default. The others are looked for in the folder
    COMPANION_DATA, then in the user's cache, then downloaded (unless COMPANION_OFFLINE is set);
    every byte is checked. Where the original cannot be had, pictures of the same shapes and
    classes are drawn, with one warning; `source` is then "stand-in". The split is the official
    one, 60,000 / 10,000, or "80/20": all 70,000 images in one fixed random order, 56,000 /
    14,000. Raises ValueError for an unknown name or split.
    """
    if name in DRAWN and split == "official":
        return DRAWN[name]()
    if name in DRAWN:
        raise ValueError(f"{name} has one split of its own, got {split!r}")
    if name not in ARCHIVES:
        raise ValueError(f"no data set is called {name!r} {nearest(name, known())}")
    if split not in SPLITS:
        raise ValueError(f"no split is called {split!r} {nearest(split, SPLITS)}")
    found, why_not = find(ARCHIVES[name]), ""
    if not found.contents:
        why_not = attempt(name)
        found = found if why_not else find(ARCHIVES[name])
    for path in found.damaged:
        warn_once(str(path), f"{path} is not the original file (wrong checksum) and is not used")
    if found.contents:
        tensors, source = original(found), "original"
    else:
        why_not += f"; {missing(ARCHIVES[name])}"
        warn_once(name, f"{name} is drawn by this package, not the original: {why_not}")
        tensors, source = drawn(name, *STAND_IN), "stand-in"
    tensors = tensors if split == "official" else shuffled(*tensors)
    names, sha256 = ARCHIVES[name].class_names, fingerprint(*tensors)
    return Dataset(name, tensors[:2], tensors[2:], names, source, sha256, split, IMAGES)


def warn_once(topic: str, sentence: str) -> None:
    """Warn the caller of `load`, once per process and topic."""
    if topic not in _said:
        _said.add(topic)
        warnings.warn(sentence, stacklevel=3)


def original(found: Found) -> tuple[Tensor, ...]:
    """Read training images and labels, test images and labels."""
    a, b, c, d = (parse(content) for content in found.contents)
    return a[:, None], b.long(), c[:, None], d.long()


@lru_cache(maxsize=2)
def drawn(name: str, train: int, test: int) -> tuple[Tensor, ...]:
    """Draw training images and labels, test images and labels: some seconds, once per process."""
    return *draw(name, train, seed=0), *draw(name, test, seed=1)


def shuffled(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor, ...]:
    """Pool training and test set and cut them again at 80 %, in one fixed random order."""
    images, labels = torch.cat([a, c]), torch.cat([b, d])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, test = order.split([len(order) * 4 // 5, len(order) - len(order) * 4 // 5])
    return images[train], labels[train], images[test], labels[test]


def status() -> list[dict[str, Any]]:
    """Say of each data set where its original is found, on which path and how many bytes.

    "missing" tells which names were looked for in which folders, if in vain.
    """
    otherwise = "a stand-in" if offline() else "a download, or a stand-in,"
    rows = []
    for name, archive in ARCHIVES.items():
        found = find(archive)
        rows.append(
            {
                "name": name,
                "found": found.kind or f"not here: {otherwise} would be used",
                "path": str(found.folder or ""),
                "bytes": sum(map(len, found.contents)),
                "damaged": [str(path) for path in found.damaged],
                "missing": "" if found.contents else missing(archive),
            }
        )
    return [*rows, cifar.status(), persian.status()]
