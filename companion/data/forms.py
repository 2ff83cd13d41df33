"""Forms: how stored tensors become what a model sees, and back. Written here once, for all."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Batch = tuple[Tensor, ...]
Decode = Callable[[Batch], Batch]


def unit(images: Tensor) -> Tensor:
    """Scale pixels from uint8 in 0..255 to float32 in [0, 1]; the shape stays."""
    if images.dtype != torch.uint8:
        raise TypeError(f"unit() takes uint8 pixels in 0..255, got {images.dtype}")
    return images.to(torch.float32) / 255


def signed(images: Tensor) -> Tensor:
    """Scale pixels from uint8 in 0..255 to float32 in [-1, 1]; the shape stays."""
    return 2 * unit(images) - 1


def levels(images: Tensor) -> Tensor:
    """Give pixels as the whole numbers that they are: uint8 in 0..255 -> int64."""
    if images.dtype != torch.uint8:
        raise TypeError(f"levels() takes uint8 pixels in 0..255, got {images.dtype}")
    return images.long()


def unsigned(x: Tensor) -> Tensor:
    """Bring pixels around [-1, 1] back to [0, 1]; what lies outside is cut."""
    return ((x + 1) / 2).clamp(0, 1)


def as_bytes(x: Tensor) -> Tensor:
    """Round pixels in [0, 1] to uint8 in 0..255: the inverse of `unit`."""
    return (255 * x).round().to(torch.uint8)


def first(change: Callable[[Tensor], Tensor]) -> Decode:
    """Make a decoder that changes the first tensor of a batch and leaves the others."""
    return lambda batch: (change(batch[0]), *batch[1:])


def stored(batch: Batch) -> Batch:
    """Leave a batch as it is stored."""
    return batch


IMAGES: Mapping[str, Decode] = {
    "unit": first(unit), "signed": first(signed), "levels": first(levels),
}  # fmt: skip
AS_STORED: Mapping[str, Decode] = {"stored": stored}
