"""The original data sets: their files, how to know them, and where on this machine they lie."""

import gzip
import hashlib
import math
import re
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from companion.data.places import homes, located, looked_for


class Part(NamedTuple):
    """One file of a data set."""

    name: str  # unpacked; as published it is packed and ends in .gz
    shape: tuple[int, ...]
    md5: str  # of the .gz, as its authors publish it
    sha256: str  # of what is inside

    @property
    def size(self) -> int:
        """Bytes when unpacked: a magic number, the shape, one byte for each entry."""
        return 4 + 4 * len(self.shape) + math.prod(self.shape)


class Archive(NamedTuple):
    """A data set as it is published: training images and labels, test images and labels."""

    folder: str
    class_names: tuple[str, ...]
    mirrors: tuple[str, ...]
    parts: tuple[Part, ...]


def idx_parts(*hashes: tuple[str, str]) -> tuple[Part, ...]:
    """Name the four files of an MNIST-like data set, in the order of `Archive`."""
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    shapes = ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,))
    return tuple(
        Part(f"{name}-ubyte", shape, *pair)
        for name, shape, pair in zip(names, shapes, hashes, strict=True)
    )


FASHION_CLASSES = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
ARCHIVES = {
    # Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747; MIT licence
    "fashion-mnist": Archive(
        "FashionMNIST",
        tuple(FASHION_CLASSES.split(",")),
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        idx_parts(
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            ),
            (
                "25c81989df183df01b3e8a0aad5dffbe",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            ),
            (
                "bef4ecab320f06d8554ea6380940ec79",
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            ),
            (
                "bb300cfdad3c16e7a12a480ee83cd310",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
        ),
    ),
    # LeCun, Bottou, Bengio and Haffner 1998
    "mnist": Archive(
        "MNIST",
        tuple("0123456789"),
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://raw.githubusercontent.com/fgnt/mnist/master/",
        ),
        idx_parts(
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            ),
            (
                "d53e105ee54ea40749a09fcbcd1e9432",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ),
            (
                "9fb629c4189551a2d022fa330f9573f3",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            ),
            (
                "ec29112dd5afa0611ce80d1b7f02629c",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
    ),
}
CIFAR = "cifar-10"  # read by torchvision, which knows its checksums
CIFAR_FILES = (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta")


def intact_cifar(folder: Path) -> bool:
    """Whether a folder has all published batches of CIFAR-10, every byte of them checked."""
    from torchvision.datasets import CIFAR10  # takes seconds to load
    from torchvision.datasets.utils import check_integrity

    meta = (CIFAR10.meta["filename"], CIFAR10.meta["md5"])
    sums = [*CIFAR10.train_list, *CIFAR10.test_list, meta]
    return all(check_integrity(folder / name, md5) for name, md5 in sums)


def content_of(path: Path, part: Part) -> tuple[bytearray, str]:
    """Read a file, packed or not: its contents and their sha256, nothing if it is damaged.

    Never reads more than the original has, so a damaged or hostile .gz cannot fill the memory.
    """
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb") as file:
            content = bytearray(file.read(part.size + 1))
    except (OSError, EOFError, zlib.error):
        content = bytearray()
    return content, hashlib.sha256(content).hexdigest()


def unpacked(path: Path, part: Part) -> bytearray | None:
    """Read a file, packed or not, if its contents are the original's; else None."""
    content, sha256 = content_of(path, part)
    return content if sha256 == part.sha256 else None


class Found(NamedTuple):
    """The contents of a data set's files, where they lay, and files that are not the originals."""

    kind: str
    folder: Path | None
    contents: list[bytearray]
    damaged: list[Path]


def find(archive: Archive) -> Found:
    """Look on this machine for all files of a data set; every byte is checked."""
    damaged: list[Path] = []
    doubtful: list[Path] = []  # perhaps whole files of a set that this package does not know
    for place in located(*names_of(archive), packed=True):
        contents = []
        for part, paths in zip(archive.parts, place.files, strict=True):
            tried = [(path, *content_of(path, part)) for path in paths]
            contents += [content for _, content, sha256 in tried if sha256 == part.sha256][:1]
            wrong = [path for path, _, sha256 in tried if sha256 not in known_sums()]
            (damaged if named_like(place.folder, archive) else doubtful).extend(wrong)
        if len(contents) == len(archive.parts):
            return Found(place.kind, place.folder, contents, damaged)
    return Found("", None, [], damaged + doubtful)


def named_like(folder: Path, archive: Archive) -> bool:
    """Whether a folder is a data set's by its name or its parent's, or the reader's own."""
    names = {re.sub(r"[\W_]", "", name.lower()) for name in (folder.name, folder.parent.name)}
    return archive.folder.lower() in names or folder in [home for _, home in homes()]


def names_of(archive: Archive) -> list[str]:
    """The names of a data set's files, unpacked."""
    return [part.name for part in archive.parts]


def known_sums() -> set[str]:
    """The sums of all originals: another set's files have the same names, and are not damaged."""
    return {part.sha256 for archive in ARCHIVES.values() for part in archive.parts}


def missing(archive: Archive) -> str:
    """Say what was looked for, and where."""
    return looked_for(*names_of(archive), packed=True)


def parse(content: bytearray) -> Tensor:
    """Read an IDX file of unsigned bytes: uint8, with the shape that its header states."""
    zeros, kind, dimensions = struct.unpack_from(">HBB", content)
    if (zeros, kind) != (0, 8):
        raise ValueError(f"not an IDX file of unsigned bytes: it begins with {content[:4].hex()}")
    shape = struct.unpack_from(f">{dimensions}I", content, 4)
    return torch.frombuffer(content, dtype=torch.uint8, offset=4 + 4 * dimensions).view(shape)
