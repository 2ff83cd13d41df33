"""CIFAR-10: the published batches, a part of them as PNG files in folders, or drawn scenes.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

# What reads pictures is imported where it is used: it takes seconds and 300 MB to load.
import hashlib
import re
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from companion.data.dataset import Dataset, fingerprint
from companion.data.downloads import DataError
from companion.data.drawing.standins import draw
from companion.data.fetching import attempt
from companion.data.forms import IMAGES
from companion.data.originals import CIFAR, CIFAR_FILES, intact_cifar
from companion.data.places import below, cache, homes, located, looked_for
from companion.environment import offline
from companion.files import RunError
from companion.tensors import load_tensors, save_tensors

CLASS_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
PARTS = ("train", "test")
SIZE = 32  # pixels a side
NAMED = re.compile(r"cifar[\W_]*10(?!\d)", re.I)  # a folder that should hold the set
# The tensors of 16,000 + 4,000 of the images, as `read_part` orders them.
KNOWN_PART = "f9fe8b4f44bfec62b0b52db2ccc7f48d57afa1e22f9ee404ff3eb6b2cea36cec"
STAND_IN = (20_000, 4_000)  # scenes that are drawn to train and to test on


class Part(NamedTuple):
    """A folder `train` and a folder `test`, each of ten folders of PNG files."""

    kind: str  # whose it is: "COMPANION_DATA" or "cache"
    folder: Path
    files: tuple[tuple[Path, ...], ...]  # of training and testing, class by class

    @property
    def sizes(self) -> str:
        """How many images there are to train and to test on, in words."""
        return " + ".join(f"{len(files):,}" for files in self.files) + " images"


def find_whole() -> tuple[Path | None, str, list[Path]]:
    """Find the folder of all published batches and whose it is; and folders with wrong ones."""
    damaged = []
    for place in located(*CIFAR_FILES):
        if place.whole and intact_cifar(place.folder):
            return place.folder, place.kind, damaged
        damaged.append(place.folder)
    return None, "", damaged


def find_part() -> Part | None:
    """Find a folder called after the set that holds `train` or `test`.

    Raises DataError unless it has both, of each class at least one PNG file and as many as of
    any other, and no further class.
    """
    for kind, home in homes():
        for folder, _ in below(home):
            if NAMED.match(folder.name) and any((folder / part).is_dir() for part in PARTS):
                return Part(kind, folder, tuple(listed(folder, part) for part in PARTS))
    return None


def listed(folder: Path, part: str) -> tuple[Path, ...]:
    """List the PNG files of one part, in the order of the classes and of their names."""
    files = {name: sorted((folder / part / name).glob("*.png")) for name in CLASS_NAMES}
    counts = {name: len(found) for name, found in files.items()}
    few, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    fault = ""
    if not counts[few]:
        fault = f"{part}/{few} has no PNG files"
    elif counts[few] != counts[most]:
        fault = f"{part}/{few} has {counts[few]:,} PNG files and {part}/{most} {counts[most]:,}"
    elif more := {entry.name for entry in (folder / part).iterdir()} - set(CLASS_NAMES):
        fault = f"{part}/{min(more)} is no class of the set"
    if fault:
        raise DataError(f"{folder} is no class-balanced part of CIFAR-10: {fault}")
    return tuple(path for found in files.values() for path in found)


def read_picture(path: Path) -> np.ndarray:
    """Read one PNG file: uint8 (32, 32, 3). Raises DataError if it is another kind of picture."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            kind = f"{picture.width} x {picture.height} pixels in {picture.mode}"
            pixels = np.asarray(picture)
    except (OSError, SyntaxError, ValueError) as error:  # whatever a damaged file may cause
        raise DataError(f"{path} cannot be read as a picture") from error
    if kind != f"{SIZE} x {SIZE} pixels in RGB":
        raise DataError(f"{path} should have 32 x 32 pixels in RGB, it has {kind}")
    return pixels


def read_part(part: Part) -> tuple[Tensor, ...]:
    """Read training images and labels, test images and labels, each in one fixed random order."""
    tensors = []
    for files in part.files:
        images = torch.from_numpy(np.stack([read_picture(path) for path in files]))
        labels = torch.arange(10).repeat_interleave(len(files) // 10)
        order = torch.randperm(len(files), generator=torch.Generator().manual_seed(0))
        tensors += [images.permute(0, 3, 1, 2)[order].contiguous(), labels[order]]
    return tuple(tensors)


@lru_cache(maxsize=1)
def recalled(part: Part) -> tuple[Tensor, ...]:
    """Recall a part from one file in the cache if no PNG has changed since, or read and keep it.

    20,000 PNG files take five seconds to decode, the file half a second.
    """
    sha = hashlib.sha256()
    for path in (path for files in part.files for path in files):
        state = path.stat()
        sha.update(f"{path} {state.st_size} {state.st_mtime_ns}\n".encode())
    kept, names = cache() / "cifar-10-part.safetensors", ("a", "b", "c", "d")
    try:
        tensors, _ = load_tensors(kept, files=sha.hexdigest())
        return tuple(tensors[name] for name in names)
    except (RunError, KeyError):  # not there, damaged, or of other files
        tensors = read_part(part)
    try:
        save_tensors(kept, dict(zip(names, tensors, strict=True)), files=sha.hexdigest())
    except RunError as error:
        warnings.warn(f"the pictures of {part.folder} are not kept: {error}", stacklevel=4)
    return tensors


@lru_cache(maxsize=1)
def original(folder: Path) -> tuple[Tensor, ...]:
    """Read training images and labels, test images and labels of the published batches."""
    from torchvision.datasets import CIFAR10

    here = type("CIFAR10", (CIFAR10,), {"base_folder": folder.name})
    tensors = []
    for train in (True, False):
        batches = here(folder.parent, train=train)
        images = torch.from_numpy(batches.data).permute(0, 3, 1, 2).contiguous()
        tensors += [images, torch.tensor(batches.targets)]
    return tuple(tensors)


@lru_cache(maxsize=1)
def drawn(train: int, test: int, why: str) -> tuple[Tensor, ...]:
    """Draw training images and labels, test images and labels; warn, once per process."""
    warnings.warn(f"{CIFAR} is drawn by this package, not the original: {why}", stacklevel=4)
    return *draw(CIFAR, train, seed=0), *draw(CIFAR, test, seed=1)


def load_cifar() -> Dataset:
    """Load CIFAR-10: images uint8 (N, 3, 32, 32) in 0..255 and labels int64 (N,).

    Looked for in COMPANION_DATA and the cache: first the published batches, 50,000 to train on
    and 10,000 to test on; then a part of them, `cifar10.../{train,test}/<class>/*.png`, in one
    fixed random order. If neither is there, the batches are downloaded (170 MB, unless
    COMPANION_OFFLINE is set); if they cannot be had, scenes are drawn, with one warning. `source`
    is "original", "stand-in", or says that it is a part and how large: "original (in part: ...)"
    if its pixels are those that this package knows, else "unverified (in part: ...)", with a
    warning. Raises DataError for a part that is not class-balanced or has a picture that cannot
    be read: nothing is put in its place.
    """
    folder, _, damaged = find_whole()
    part = None if folder else find_part()
    why = "" if folder or part else attempt(CIFAR)
    if not (folder or part or why):
        folder, _, damaged = find_whole()
    for wrong in damaged:
        what = "its batches are not the original ones (wrong checksum), or not all there"
        warnings.warn(f"{wrong} is not used: {what}", stacklevel=3)
    if folder:
        tensors, source = original(folder), "original"
    elif part:
        tensors = recalled(part)
        source = f"original (in part: {part.sizes})"
    else:
        tensors, source = drawn(*STAND_IN, f"{why}; {missing()}"), "stand-in"
    sha256 = fingerprint(*tensors)
    if part and sha256 != KNOWN_PART:
        source = f"unverified (in part: {part.sizes})"
        what = "it cannot be checked whether they are CIFAR-10's"
        warnings.warn(f"{part.folder} holds {part.sizes}: {what}", stacklevel=3)
    return Dataset(CIFAR, tensors[:2], tensors[2:], CLASS_NAMES, source, sha256, forms=IMAGES)


def missing() -> str:
    """Say what was looked for, and where."""
    return looked_for(*CIFAR_FILES) + "; nor is there a folder cifar10 of PNG files"


def status() -> dict[str, Any]:
    """Say where the set or a part is found, on which path, how many bytes, and what is damaged."""
    folder, found, damaged = find_whole()
    files = [folder / name for name in CIFAR_FILES] if folder else []
    if not folder:
        try:
            if part := find_part():
                folder, found = part.folder, f"{part.kind}, in part: {part.sizes}"
                files = [path for some in part.files for path in some]
        except DataError as error:
            found = f"damaged: refused, {error}"
    otherwise = "a stand-in" if offline() else "a download, or a stand-in,"
    return {
        "name": CIFAR,
        "found": found or f"not here: {otherwise} would be used",
        "path": str(folder or ""),
        "bytes": sum(path.stat().st_size for path in files),
        "damaged": [str(path) for path in damaged],
        "missing": "" if found else missing(),
    }
