"""Digits whose pixels are black or white: drawn from greys, or as they are; with a validation set.

A grey of g / 255 is taken for the probability of ink (Salakhutdinov and Murray 2008). Test
images are drawn once, with a fixed seed, the same for every reader; training images stay grey
here and are drawn anew whenever they are seen, by `companion.data.augment.redrawn`.
"""

from dataclasses import replace

import torch
from torch import Tensor

from companion.data.catalogue import load
from companion.data.dataset import Dataset, fingerprint
from companion.words import nearest

SPLITS = ("official", "85/10/5")
SEED = 0  # of the test images' pixels, and of the order before a split


def load_binary(name: str = "mnist", split: str = "official", images: int = 0) -> Dataset:
    """Load digits as `load` does; `test` is 0 or 255, `train` grey where the original is.

    images: use the first n training images; 0: all. split "85/10/5": of these, shuffled, 85 % are
    `train` and the rest is `test`, of which every third is for testing and the others are for
    validation (see `held_out`); the official test images are left alone. Raises ValueError for an
    unknown split, or for more images than there are.
    """
    if split not in SPLITS:
        raise ValueError(f"no split is called {split!r} {nearest(split, SPLITS)}")
    data = load(name)
    (x, y), (x_test, y_test) = data.train, data.test
    if not 0 <= images <= len(x):
        raise ValueError(f"images must be at most the {len(x)} training images, got {images}")
    x, y = x[: images or None], y[: images or None]
    if split == "85/10/5":
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(SEED))
        train, rest = order.split([len(x) * 85 // 100, len(x) - len(x) * 85 // 100])
        x, y, x_test, y_test = x[train], y[train], x[rest], y[rest]
    x_test = fixed(x_test)
    sha256 = fingerprint(x, y, x_test, y_test)
    return replace(data, train=(x, y), test=(x_test, y_test), split=split, sha256=sha256)


def fixed(images: Tensor) -> Tensor:
    """Draw black or white from greys, always the same: uint8 (N, 1, H, W) -> 0 or 255."""
    if not ((images > 0) & (images < 255)).any():
        return images
    draw = torch.rand(images.shape, generator=torch.Generator().manual_seed(SEED))
    return torch.where(255 * draw < images, 255, 0).to(torch.uint8)


def held_out(n: int, part: str) -> Tensor:
    """Tell which of n held-out rows are for "validation", two of three, or for "test": (k,)."""
    last = torch.arange(n) % 3 == 2
    return (last if part == "test" else ~last).nonzero()[:, 0]
