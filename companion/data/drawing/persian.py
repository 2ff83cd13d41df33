"""Persian digits drawn by the package: an open font's outlines and a pen, by an unsteady hand."""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import Tensor

from companion.data.drawing.canvas import Dice, strokes
from companion.data.drawing.digits import path

FONT = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
CHUNK = 500  # images drawn at once
SPACING = 14  # thousandths of the font's em between two points of ink
DEPTH = 34  # thousandths, the least distance of such a point from the outline
BEND = 0.12  # of a glyph's box, how far a knot is pulled at most
PEN = (1.4, 3.1)  # pixels, of images 28 wide
EXTENT = (0.8, 1.3)  # longer side, in the room that there is; above 1 is 1
RING, DOT = (0.3, 0.85), (0.15, 0.45)  # the same for ۰, which some write as a dot
RAGGED = 0.4  # of full ink
# Each way to write a digit by hand: points x,y in hundredths of its box, y downwards; "|" lifts
# the pen.
HAND: dict[int, tuple[str, ...]] = {
    0: (
        "52,0 10,20 5,75 50,100 92,75 90,22 50,2",
        "60,5 15,10 0,60 40,100 95,80 95,30 40,3",
        "50,30 20,50 50,75 80,50 45,35 50,55",
    ),
    1: ("30,0 40,35 50,70 65,100", "50,0 52,35 50,70 48,100"),
    2: (
        "92,0 82,24 50,34 18,14 | 5,2 20,25 30,62 34,100",
        "95,8 70,32 30,30 | 8,0 28,30 32,62 40,100",
    ),
    3: (
        "95,0 92,24 72,28 57,6 50,27 28,30 15,12 | 5,2 18,28 28,62 34,100",
        "98,5 82,30 62,12 55,30 30,20 | 5,5 20,28 22,62 22,100",
        "95,4 75,24 60,10 45,26 15,10 | 5,0 14,30 22,65 34,100",
    ),
    4: (
        "88,0 58,8 50,24 70,34 98,32 | 5,4 20,25 30,60 36,100 | 20,26 36,32 52,27",
        "90,2 60,14 45,32 | 45,32 70,34 98,30 | 5,5 22,30 30,62 36,100 | 22,30 34,33 46,32",
        "95,10 55,2 50,30 95,28 | 8,2 24,28 26,64 28,100 | 24,30 36,32 50,28",
    ),
    5: (
        "50,0 18,32 4,72 24,98 48,74 74,99 97,70 84,32 48,2",
        "55,0 20,25 3,62 28,97 72,97 97,62 80,25 30,6",
        "50,0 15,45 5,85 35,98 50,70 66,98 96,82 82,42 42,4",
        "46,0 56,25 90,60 78,94 42,100 10,86 16,58 48,26 58,4",
    ),
    6: (
        "52,0 16,16 20,42 60,40 96,6 | 96,6 66,46 8,100",
        "35,0 8,22 32,44 78,34 | 90,2 76,45 62,100",
        "70,0 22,12 32,40 92,26 | 92,26 55,60 10,100",
        "55,4 20,4 12,34 50,46 88,24 | 88,24 70,56 20,98",
    ),
    7: (
        "3,0 25,52 45,100 | 45,100 68,52 98,2",
        "3,8 22,58 42,98 62,80 76,40 97,2",
    ),
    8: (
        "3,100 28,52 50,2 | 50,2 72,50 97,100",
        "3,95 30,50 45,3 60,10 76,55 98,98",
    ),
    9: (
        "84,20 50,0 8,22 34,46 82,22 | 82,22 84,60 92,100",
        "80,24 48,2 10,26 38,48 80,26 | 80,16 70,58 62,100",
        "70,14 30,4 12,30 50,46 72,18 | 72,18 80,60 98,100",
    ),
}
PRINTED = {4: (0x664,), 6: (0x666,)}  # ٤ and ٦, which some write beside ۴ and ۶
ASPECT = {  # width / height, from and to
    0: (0.75, 1.3),
    1: (0.08, 0.5),
    2: (0.4, 0.75),
    3: (0.55, 0.9),
    4: (0.5, 0.9),
    5: (0.7, 1.1),
    6: (0.45, 0.9),
    7: (0.55, 0.95),
    8: (0.55, 1.0),
    9: (0.4, 0.75),
}

Way = tuple[Callable[[Dice], Tensor], tuple[float, float]]


@lru_cache
def cloud(code: int) -> Tensor:
    """Fill the middle of a glyph's strokes with points of ink, in its box [0, 1]^2: (P, 2)."""
    from matplotlib.font_manager import FontProperties  # on its first import it lists all fonts
    from matplotlib.textpath import TextPath

    glyph = TextPath((0, 0), chr(code), size=1000, prop=FontProperties(fname=FONT))
    sides = [np.stack([line[:-1], line[1:]], 1) for line in map(np.asarray, glyph.to_polygons())]
    begin, end = np.concatenate(sides).transpose(1, 0, 2)  # of each side of the outline: (M, 2)
    low, high = begin.min(0), begin.max(0)
    spacing, depth = np.minimum((SPACING, DEPTH), (high - low).max() / 16)  # a dot is small
    axes = [np.arange(a + spacing / 2, b, spacing) for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes), -1).reshape(-1, 1, 2)
    along = end - begin
    share = ((points - begin) * along).sum(2) / np.maximum((along**2).sum(1), 1e-9)
    away = points - begin - share.clip(0, 1)[..., None] * along
    deep = np.hypot(away[..., 0], away[..., 1]).min(1) >= depth
    above = (begin[:, 1] > points[..., 1]) != (end[:, 1] > points[..., 1])
    rise = np.where(along[:, 1] == 0, 1, along[:, 1])
    crossing = begin[:, 0] + (points[..., 1] - begin[:, 1]) / rise * along[:, 0]
    inside = (above & (points[..., 0] < crossing)).sum(1) % 2 == 1
    kept = points[inside & deep, 0] * [1, -1]
    kept -= kept.min(0)
    return torch.from_numpy(kept / np.maximum(kept.max(0), 1))


def bent(dice: Dice, points: Tensor) -> Tensor:
    """Move points (P, 2) of a box as if it were of rubber, nine knots pulled: (n, P, 2)."""
    knots = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    near = (2 * (points[:, :, None] - knots)).abs().clamp(max=1)
    near = torch.cos(near * (math.pi / 2)) ** 2  # (P, 2, 3): smooth, and the three add up to one
    weight = (near[:, 0, :, None] * near[:, 1, None, :]).flatten(1)
    return points + weight @ dice.between(-BEND, BEND, 9, 2)


def ways(digit: int) -> list[Way]:
    """List the ways to write a digit: points of ink (n, P, 2), and the longer side's extent."""
    codes = (0x6F0 + digit, *PRINTED.get(digit, ()))
    by_hand = [(partial(path, way=way), EXTENT if digit else RING) for way in HAND[digit]]
    printed = [(partial(bent, points=cloud(c)), EXTENT if digit else DOT) for c in codes]
    return [*by_hand, *printed]


def written(dice: Dice, digit: int, way: Way, size: int) -> Tensor:
    """Write a digit n times in one way: bool (n, size, size).

    Width, slant, turn, size, place, the pen and the raggedness of its edge differ.
    """
    ink_of, extent = way
    points = ink_of(dice) - 0.5
    x, y = points[..., 0] * dice.between(*ASPECT[digit], 1), points[..., 1]
    x = x - y * dice.between(-0.2, 0.2, 1)
    turn = dice.between(-0.15, 0.15, 1)
    x, y = x * torch.cos(turn) - y * torch.sin(turn), x * torch.sin(turn) + y * torch.cos(turn)
    points = torch.stack([x, y], -1)
    low, high = points.amin(1, keepdim=True), points.amax(1, keepdim=True)
    width = dice.between(*PEN) * (size / 28)
    reach = dice.between(*extent).clamp(max=1) * (size - 4) - width
    scale = reach.clamp(min=0.5) / (high - low).amax(2, keepdim=True).clamp(min=0.1)
    middle = (size - 1) / 2 + dice.between(-0.7, 0.7, 1, 2)
    ink = strokes((points - (low + high) / 2) * scale + middle, width, size)
    ragged = dice.between(0, RAGGED) * dice.between(-1, 1, size, size)
    return ink + ragged > 0.5


def draw(n: int, seed: int, size: int = 28) -> tuple[Tensor, Tensor]:
    """Draw n Persian digits: uint8 (n, 1, size, size), 0 paper and 255 ink; labels int64 (n,).

    Classes come in a random order and in equal number, as far as n allows, and so do the ways
    to write a digit: DejaVu Sans's glyphs, bent, and pen strokes of our own.
    """
    images = torch.empty(n, 1, size, size, dtype=torch.uint8)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    labels = torch.empty(n, dtype=torch.int64)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the pieces are so small that on a busy machine more are slower
    try:
        for digit in range(10):
            known, mine = ways(digit), order[digit::10]
            labels[mine] = digit
            for k, way in enumerate(known):
                for part, where in enumerate(mine[k :: len(known)].split(CHUNK)):
                    dice = Dice(len(where), (seed * 10 + digit) * 1_000_003 + k * 10_007 + part)
                    images[where, 0] = written(dice, digit, way, size).to(torch.uint8) * 255
    finally:
        torch.set_num_threads(threads)
    return images, labels
