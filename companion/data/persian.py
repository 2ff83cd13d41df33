"""Persian digits: those of the Hoda set in frames of one size, or drawn if they are not here."""

import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from companion.data.dataset import Dataset, fingerprint
from companion.data.drawing import persian as drawing
from companion.data.fetching import BY_HAND
from companion.data.forms import IMAGES
from companion.data.hoda import PARTS, Scans, find, genuine, read_part
from companion.data.places import Place, looked_for

CLASS_NAMES = tuple(chr(0x6F0 + digit) for digit in range(10))  # ۰ to ۹: label k is the digit k
SIZES = (28, 32)  # pixels a side
MARGIN = 2  # pixels on each side that stay empty
CHUNK = 1000  # scans framed at once
STAND_IN = (60_000, 20_000)  # digits that are drawn to train and to test on


def overlap(extent: np.ndarray, longer: np.ndarray, room: int, size: int) -> np.ndarray:
    """Measure how much of each source pixel lies in each pixel of the frame, along one axis.

    A scan is shrunk only if its longer side has more than size - 2 MARGIN pixels. A pixel
    of the frame is 2 `longer` units wide, so all numbers are whole: float32 (N, size, room).
    """
    extent, longer = (one.astype(np.int32)[:, None, None] for one in (extent, longer))  # fast
    pixel = 2 * longer
    source = np.minimum(pixel, 2 * (size - 2 * MARGIN))  # the width of a source pixel
    whole = (size - extent) // 2 * pixel
    start = np.where(pixel > source, (size * pixel - extent * source) // 2, whole)
    left = np.arange(size, dtype=np.int32)[None, :, None] * pixel
    begin = start + np.arange(room, dtype=np.int32)[None, None] * source
    shared = np.minimum(left + pixel, begin + source) - np.maximum(left, begin)
    return np.maximum(shared, 0).astype(np.float32)


def framed(scans: Scans, size: int) -> Tensor:
    """Put each scan in the middle of a square: uint8 (N, 1, size, size), 0 paper and 255 ink.

    The middle of the scan's edges comes to the middle of the square. A scan whose longer side
    has more than size - 4 pixels is shrunk to that, its aspect ratio kept; a pixel is then ink
    if at least half of its area is. The others stay as they are, pixel by pixel.
    """
    framed = torch.empty(len(scans.labels), 1, size, size, dtype=torch.uint8)
    images = scans.images()
    for begin in range(0, len(framed), CHUNK):
        chunk = slice(begin, begin + CHUNK)
        width, height = scans.widths[chunk], scans.heights[chunk]
        sheet = np.zeros((len(width), height.max(), width.max()), np.float32)
        for scan, image in zip(sheet, images, strict=False):
            scan[: image.shape[0], : image.shape[1]] = image
        longer = np.maximum(width, height)
        rows = overlap(height, longer, sheet.shape[1], size)
        columns = overlap(width, longer, sheet.shape[2], size).transpose(0, 2, 1)
        covered = rows @ sheet @ columns  # whole numbers below 2^24: exact in float32
        ink = covered >= 2 * (longer**2)[:, None, None]
        framed[chunk, 0] = torch.from_numpy(ink.astype(np.uint8) * 255)
    return framed


@lru_cache(maxsize=1)
def original(paths: tuple[Path, ...], size: int) -> tuple[Tensor, ...]:
    """Read and frame training images and labels, test images and labels.

    The test file is sorted by class: its order is drawn anew, always the same, so that the first
    n of its images hold all digits.
    """
    train, test = (read_part(path, part) for path, part in zip(paths, PARTS, strict=True))
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(test.labels)))
    images, labels = framed(test, size)[order], torch.tensor(test.labels)[order]
    return framed(train, size), torch.tensor(train.labels), images, labels


@lru_cache(maxsize=len(SIZES))
def drawn(size: int, train: int, test: int) -> tuple[Tensor, ...]:
    """Draw training images and labels, test images and labels; warn, once per process and size."""
    why = f"{BY_HAND['persian']}; {missing()}"
    warnings.warn(f"persian is drawn by this package, not the original: {why}", stacklevel=3)
    draw = drawing.draw
    return *draw(train, seed=0, size=size), *draw(test, seed=1, size=size)


def missing() -> str:
    """Say what was looked for, and where."""
    return looked_for(*(part.name for part in PARTS))


def paths_of(place: Place | None) -> tuple[Path, ...]:
    """The two files of the set, training and test; none if they are not here."""
    return tuple(some[0] for some in place.files) if place else ()


def load_persian(size: int = 28) -> Dataset:
    """Load Persian digits uint8 (N, 1, size, size), 0 paper or 255 ink, and labels int64 (N,).

    Label k is the digit k, written ۰ to ۹. The original is the Hoda set (Khosravi and Kabir
    2007), framed as `framed` says, in its official split: 60,000 to train on and 20,000 to test
    on, both in random order. It is free for research and non-commercial use only, so only the
    reader can fetch it: its two files are looked for in COMPANION_DATA and in the cache, and in
    folders there. If they are not found, as many digits are drawn, with one warning; `source` is
    then "stand-in". Raises ValueError if size is neither 28 nor 32, DataError if a file is
    damaged: nothing is put in its place.
    """
    if size not in SIZES:
        raise ValueError(f"Persian digits are 28 or 32 pixels wide, got size={size}")
    paths = paths_of(find())
    parts = original(paths, size) if paths else drawn(size, *STAND_IN)
    source = "original" if paths else "stand-in"
    sha256 = fingerprint(*parts)
    return Dataset("persian", parts[:2], parts[2:], CLASS_NAMES, source, sha256, forms=IMAGES)


def status() -> dict[str, Any]:
    """Say where the original is found, on which path, how many bytes, and which are damaged."""
    place = find()
    paths = paths_of(place)
    pairs = zip(paths, PARTS, strict=False)
    damaged = [str(path) for path, part in pairs if not genuine(path, part)[1]]
    found = place.kind if place else "not here: a stand-in would be used"
    return {
        "name": "persian",
        "found": "damaged: refused" if damaged else found,
        "path": str(place.folder if place else ""),
        "bytes": sum(path.stat().st_size for path in paths),
        "damaged": damaged,
        "missing": "" if place else missing(),
    }
