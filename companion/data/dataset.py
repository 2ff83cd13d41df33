"""What `load` returns, and what everybody does with it first."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Dataset:
    """A training and a test set, and where they came from.

    Images: `train` and `test` are (images, labels), images uint8 (N, 1, 28, 28) in 0..255,
    labels int64 (N,) in 0..len(class_names) - 1. Exact worlds: points float32 (N, D) and labels.
    The tensors may be shared with other callers: read them, do not write into them.
    """

    name: str
    train: tuple[Tensor, ...]
    test: tuple[Tensor, ...]
    class_names: tuple[str, ...]
    source: str  # "original", "stand-in" (drawn by this package) or "exact" (density known)
    sha256: str  # of all the tensors, in their order: another split has another one
    split: str = "official"


def fingerprint(*tensors: Tensor) -> str:
    """Hash the bytes of tensors, one after the other, with SHA-256."""
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def unit(images: Tensor) -> Tensor:
    """Scale pixels from uint8 in 0..255 to float32 in [0, 1]; the shape stays."""
    if images.dtype != torch.uint8:
        raise TypeError(f"unit() takes uint8 pixels in 0..255, got {images.dtype}")
    return images.to(torch.float32) / 255
