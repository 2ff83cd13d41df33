"""dSprites: white squares, ellipses and hearts on black, in every combination of five factors."""

import hashlib
import math
import warnings
import zipfile
import zlib
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from companion.data.dataset import Dataset, fingerprint
from companion.data.downloads import DataError
from companion.data.forms import first
from companion.data.places import cache, located
from companion.files import RunError, write_atomically

FACTORS = ("shape", "scale", "orientation", "position x", "position y")
SHAPES = ("square", "ellipse", "heart")
SIZES = (3, 6, 40, 32, 32)  # values of each factor; the last one varies fastest
ROWS = math.prod(SIZES)  # 737,280
SIZE = 64  # pixels a side
FEW = 50_000  # images are drawn sooner than all are read
HELD_OUT = 10_000  # rows, in a fixed random order, that no model trains on
WINDOW = 28  # pixels a side: no sprite is larger
HEART_UNIT, HEART_DROP = 0.6618, 1.44  # pixels: the curve's unit, and how high its middle lies
CHUNK = 2_048  # images drawn at once
ORIGINAL = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
BLOB = "d98996d3f8ee1550e06b9d4ed78d0beb478910d5"  # Git's id of the original file


def factors_of(rows: Tensor) -> Tensor:
    """Split row numbers (N,) of the data set into the indices of the five factors, (N, 5) int64.

    Raises ValueError for a row that is not in 0..737,279.
    """
    if len(rows) and (rows.min() < 0 or rows.max() >= ROWS):
        got = f"{rows.min()} to {rows.max()}"
        raise ValueError(f"rows of dSprites are numbered 0 to {ROWS - 1:,}, got {got}")
    return torch.stack(torch.unravel_index(rows, SIZES), 1)


def values_of(factors: Tensor) -> Tensor:
    """Turn factor indices (N, 5) into the original's values, float64 (N, 5).

    Shape 1, 2, 3; scale 0.5 to 1; orientation 0 to 2 pi, both ends counted; positions 0 to 1.
    """
    shape, scale, turn, x, y = factors.double().unbind(1)
    angle = turn * (2 * math.pi / 39)
    return torch.stack([shape + 1, 0.5 + scale / 10, angle, x / 31, y / 31], 1)


def heart(x: Tensor, y: Tensor) -> Tensor:
    """Say which points lie in the heart; pixels from its middle, x to the right and y down.

    Its outline is x = sin(t)^3, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t upwards, stretched
    to about 19.2 x 19.2 pixels; a line of constant x meets it twice, at t and at pi - t.
    """
    cosine = (1 - (x.abs() / 9.6).clamp(max=1) ** (2 / 3)).sqrt()
    odd = 19 * cosine - 8 * cosine**3  # 13 cos t - 2 cos 3t
    even = 8 * cosine**4 + 2 * cosine**2 - 4  # 5 cos 2t + cos 4t
    height = -(y + HEART_DROP) / HEART_UNIT
    return (x.abs() <= 9.6) & ((height + even).abs() <= odd)


def ellipse(x: Tensor, y: Tensor) -> Tensor:
    """Say which points lie in the ellipse, 25.5 x 14.4 pixels."""
    return (x / 12.77) ** 2 + (y / 7.22) ** 2 <= 1


def square(x: Tensor, y: Tensor) -> Tensor:
    """Say which points lie in the square, 19.2 x 19.2 pixels."""
    return torch.maximum(x.abs(), y.abs()) <= 9.6


def stamp(factors: Tensor, out: Tensor) -> None:
    """Draw factors (N, 5) into black images (N, 64, 64): a pixel by where its centre lies."""
    shape, (_, scale, angle, x, y) = factors[:, 0], values_of(factors)[:, :, None, None].unbind(1)
    window = torch.arange(WINDOW)
    across, down = 16 + 32 * x, 16 + 32 * y  # the sprite's middle
    columns = across.floor().long() - WINDOW // 2 + window  # (N, 1, 28)
    rows = down.floor().long() - WINDOW // 2 + window[:, None]  # (N, 28, 1)
    dx, dy = (columns + 0.5 - across) / scale, (rows + 0.5 - down) / scale
    turned_x = angle.cos() * dx - angle.sin() * dy  # (N, 28, 28)
    turned_y = angle.sin() * dx + angle.cos() * dy
    for label, inside in enumerate((square, ellipse, heart)):
        which = (shape == label).nonzero()[:, 0]
        if len(which):
            white = inside(turned_x[which], turned_y[which])
            out[which[:, None, None], rows[which], columns[which]] = white.to(torch.uint8)


def draw(factors: Tensor) -> Tensor:
    """Draw the images of factor indices (N, 5): uint8 in {0, 1}, (N, 64, 64).

    A pixel is white if its centre lies in the sprite. Raises ValueError for an index that its
    factor does not have.
    """
    if factors.ndim != 2 or factors.shape[1] != 5 or factors.is_floating_point():
        got = f"{factors.dtype} {tuple(factors.shape)}"
        raise ValueError(f"factors must be whole numbers (N, 5), got {got}")
    wrong = ((factors < 0) | (factors >= torch.tensor(SIZES))).any(1)
    if wrong.any():
        got = factors[wrong][0].tolist()
        raise ValueError(f"factor indices must be 0 or above and below {SIZES}, got {got}")
    images = torch.zeros(len(factors), SIZE, SIZE, dtype=torch.uint8)
    for part, out in zip(factors.split(CHUNK), images.split(CHUNK), strict=True):
        stamp(part, out)
    return images


def pack(images: Tensor) -> Tensor:
    """Store eight pixels in a byte: {0, 1} uint8 (N, 64, 64) -> uint8 (N, 64, 8)."""
    return torch.from_numpy(np.packbits(images.numpy(), axis=2))


def unpack(bits: Tensor) -> Tensor:
    """Undo `pack`, on any device: uint8 (N, 64, 8) -> float32 (N, 1, 64, 64), 0 or 1."""
    if bits.dtype != torch.uint8 or bits.shape[1:] != (SIZE, SIZE // 8):
        got = f"{bits.dtype} {tuple(bits.shape)}"
        raise ValueError(f"packed images are uint8 (N, 64, 8), got {got}")
    shifts = torch.arange(7, -1, -1, device=bits.device, dtype=torch.uint8)
    return (bits[..., None] >> shifts & 1).view(-1, 1, SIZE, SIZE).float()


FORMS = {"unit": first(unpack)}


def shuffle() -> tuple[Tensor, Tensor]:
    """Cut all row numbers, in one fixed random order, in two: to train on, and 10,000 held out."""
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(0))
    return order[HELD_OUT:], order[:HELD_OUT]


def held_out() -> tuple[Tensor, Tensor]:
    """Draw the 10,000 held-out images: uint8 (10,000, 64, 64) in {0, 1}; factors (10,000, 5)."""
    factors = factors_of(shuffle()[1])
    return draw(factors), factors


@lru_cache(maxsize=1)
def load(images: int = 0) -> Dataset:
    """Load dSprites: packed images uint8 (N, 64, 8), for `unpack`, and factors int64 (N, 5).

    10,000 rows are held out at random as `test`; the first `images` of the others (0: all) are
    `train`. From the original file if COMPANION_DATA or the cache has it (`source` is then
    "original"), else drawn ("procedural"); all together once, in less than two minutes, and kept
    in the cache. Raises ValueError if there are not so many images.
    """
    train, test = shuffle()
    if not 0 <= images <= len(train):
        raise ValueError(f"images must be 0 (all) to {len(train):,}, got {images}")
    train = train[: images or len(train)]
    path = next((place.files[0][0] for place in located(ORIGINAL)), None)
    kept = cache() / "dsprites-drawn.bin"
    if path is None and images and (images <= FEW or not kept.exists()):
        packed = [pack(draw(factors_of(rows))) for rows in (train, test)]
    else:
        bits = drawn(kept) if path is None else read_original(path)
        packed = [bits[train], bits[test]]
    parts = packed[0], factors_of(train), packed[1], factors_of(test)
    source = "procedural" if path is None else "original"
    split = f"{len(train)}/{len(test)}"
    sha256 = fingerprint(*parts)
    return Dataset("dsprites", parts[:2], parts[2:], FACTORS, source, sha256, split, FORMS)


def read_original(path: Path) -> Tensor:
    """Read and pack the published file, piece by piece: unpacked it would fill 3 GB.

    Raises DataError if it is not the published one.
    """
    blob = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    blob.update(path.read_bytes())
    if blob.hexdigest() != BLOB:
        raise DataError(f"{path} is not the published file (wrong checksum): move it away")
    bits = torch.empty(ROWS, SIZE, SIZE // 8, dtype=torch.uint8)
    with zipfile.ZipFile(path) as archive, archive.open("imgs.npy") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        for out in bits.split(CHUNK):
            content = bytearray(file.read(out.shape[0] * SIZE * SIZE))
            out[:] = pack(torch.frombuffer(content, dtype=torch.uint8).view(-1, SIZE, SIZE))
    return bits


def drawn(path: Path) -> Tensor:
    """Recall all images, packed (737,280, 64, 8), from the cache; else draw and keep them."""
    with suppress(OSError, zlib.error):
        stored = path.read_bytes()
        bits = bytearray(zlib.decompress(stored[32:]))
        if hashlib.sha256(bits).digest() == stored[:32]:
            return torch.frombuffer(bits, dtype=torch.uint8).view(ROWS, SIZE, SIZE // 8)
    rows = torch.arange(ROWS).split(8 * CHUNK)
    packed = torch.cat([pack(draw(factors_of(part))) for part in rows])
    try:
        with write_atomically(path) as draft:
            content = packed.numpy().tobytes()
            draft.write_bytes(hashlib.sha256(content).digest() + zlib.compress(content, 1))
    except RunError as error:
        warnings.warn(f"the drawn images are not kept: {error}", stacklevel=3)
    return packed
