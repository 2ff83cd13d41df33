"""The ten kinds of scenes of the CIFAR-10 stand-in: a thing of a few plain shapes before a ground.

A shape is |u|^p + |v|^p <= 1 around its middle: a diamond for p = 1, an ellipse for p = 2, nearly
a box for p = 8. Its coordinates are hundredths of half the picture, x to the right and y down.
"""

import torch
from torch import Tensor

from companion.data.drawing.canvas import Dice

SIDE = 32  # pixels
GROUNDS = {  # colours in 0..1 of the upper and of the lower half, and where they meet
    "sky": ((0.55, 0.75, 0.95), (0.75, 0.85, 0.95), 30),
    "road": ((0.70, 0.72, 0.75), (0.42, 0.42, 0.44), 15),
    "field": ((0.65, 0.75, 0.70), (0.35, 0.50, 0.22), -10),
    "room": ((0.72, 0.66, 0.58), (0.50, 0.40, 0.32), 45),
    "sea": ((0.65, 0.75, 0.85), (0.15, 0.32, 0.48), 25),
}
DARK, PALE = (0.12, 0.12, 0.14), (0.92, 0.92, 0.90)
LEGS = [(x, 50, 6, 34, 8) for x in (-40, -22, 22, 38)]
# Of each class: a ground, the body's lightest and darkest colour, its shapes x, y, half width,
# half height, power; then shapes that are dark and shapes that are pale.
Shapes = list[tuple[int, int, int, int, int]]
Kind = tuple[str, tuple[float, float, float], tuple[float, float, float], Shapes, Shapes, Shapes]
KINDS: list[Kind] = [
    ("sky", PALE, (0.5, 0.5, 0.6), [(0, 0, 78, 11, 2), (5, 10, 14, 48, 1), (-66, -16, 10, 22, 1)],
     [], [(62, -2, 8, 4, 2)]),  # airplane
    ("road", (0.9, 0.2, 0.2), (0.2, 0.3, 0.7), [(0, 18, 74, 18, 8), (-4, -8, 42, 18, 4)],
     [(-42, 36, 16, 16, 2), (42, 36, 16, 16, 2)], [(-4, -8, 30, 9, 8)]),  # automobile
    ("field", (0.8, 0.5, 0.3), (0.25, 0.2, 0.2), [(-4, 4, 36, 22, 2), (32, -20, 15, 14, 2),
     (-48, 14, 24, 7, 1)], [(36, -22, 4, 4, 2), (-4, 42, 3, 18, 8)], [(52, -17, 10, 4, 1)]),
    ("room", (0.8, 0.6, 0.4), (0.3, 0.28, 0.28), [(0, 8, 48, 44, 2), (-36, -40, 16, 26, 1),
     (36, -40, 16, 26, 1)], [(-18, 0, 7, 9, 2), (18, 0, 7, 9, 2)], [(0, 26, 16, 10, 2)]),  # cat
    ("field", (0.75, 0.5, 0.28), (0.5, 0.32, 0.18), [(0, 12, 46, 18, 2), (42, -20, 9, 30, 8),
     (54, -44, 18, 10, 2), *LEGS], [(46, -72, 3, 22, 8), (62, -72, 3, 22, 8)],
     [(-44, 10, 8, 10, 2)]),  # deer
    ("room", (0.9, 0.8, 0.65), (0.3, 0.2, 0.15), [(0, 24, 42, 46, 2), (0, -24, 32, 30, 2)],
     [(-36, -20, 11, 28, 2), (36, -20, 11, 28, 2), (0, -12, 8, 6, 2)], [(0, -2, 14, 8, 2)]),  # dog
    ("field", (0.45, 0.75, 0.25), (0.25, 0.4, 0.15), [(0, 24, 60, 30, 2), (-28, -12, 15, 15, 2),
     (28, -12, 15, 15, 2), (-62, 48, 20, 8, 2), (62, 48, 20, 8, 2)],
     [(-28, -12, 7, 7, 2), (28, -12, 7, 7, 2)], [(0, 38, 36, 10, 2)]),  # frog
    ("field", (0.5, 0.3, 0.2), (0.15, 0.12, 0.12), [(-4, 4, 52, 21, 2), (40, -30, 14, 38, 4),
     (58, -58, 24, 11, 2), (-60, 14, 9, 30, 2), *LEGS], [(28, -40, 6, 26, 2)], []),  # horse
    ("sea", (0.6, 0.3, 0.3), (0.25, 0.25, 0.4), [(0, 30, 82, 14, 4)],
     [(-4, -46, 3, 40, 8)], [(-10, 4, 40, 14, 8), (18, -22, 12, 16, 8)]),  # ship
    ("road", (0.85, 0.75, 0.3), (0.3, 0.4, 0.4), [(-22, -14, 52, 42, 8), (54, 6, 22, 24, 8)],
     [(-48, 38, 14, 14, 2), (0, 38, 14, 14, 2), (54, 38, 14, 14, 2)], [(60, -4, 11, 9, 8)]),
]  # fmt: skip


def scene(dice: Dice, label: int) -> Tensor:
    """Draw one class, each time moved, stretched, mirrored and tinted: (n, 3, 32, 32) in 0..1."""
    ground, light, dark, bodies, darks, pales = KINDS[label]
    axis = (torch.arange(SIDE, dtype=torch.float64) * 2 + 1 - SIDE) * 100 / SIDE  # -97 .. 97
    mirror = 1 - 2 * dice.chance(0.5)
    scale = dice.between(0.75, 1.15)
    x = mirror * (axis.view(1, 1, -1) - dice.between(-14, 14)) / scale  # (n, 1, 32)
    y = (axis.view(1, -1, 1) - dice.between(-12, 12)) / (scale * dice.between(0.85, 1.15))
    upper, lower, meet = GROUNDS[ground]
    below = ((axis.view(1, -1, 1) - meet - dice.between(-15, 15)) / 25 + 0.5).clamp(0, 1)
    picture = mixed(tinted(dice, upper, 0.14), tinted(dice, lower, 0.14), below[:, None])
    share = dice.between(0, 1)[..., None]
    body = mixed(tinted(dice, light, 0.1), tinted(dice, dark, 0.1), share)
    body = body * (1 - 0.25 * ((y[:, None] + 30) / 100).clamp(-0.5, 1))  # light falls from above
    for shapes, colour in ((bodies, body), (darks, tinted(dice, DARK, 0.06)),
                           (pales, tinted(dice, PALE, 0.08))):  # fmt: skip
        picture = mixed(picture, colour, covered(x, y, shapes)[:, None])
    blots = torch.nn.functional.interpolate(dice.between(-1, 1, 3, 8, 8), scale_factor=4)
    grain = dice.between(-0.06, 0.06, 3, SIDE, SIDE)
    return (picture + 0.05 * blots + grain).clamp(0, 1)


def tinted(dice: Dice, colour: tuple[float, float, float], by: float) -> Tensor:
    """Give each picture its own shade of a colour: (n, 3, 1, 1)."""
    shade = dice.between(-by, by)[..., None] + dice.between(-by / 2, by / 2, 3, 1, 1)
    return torch.tensor(colour, dtype=torch.float64).view(1, 3, 1, 1) + shade


def mixed(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Go from one colour to the other, as far as `share` says."""
    return one + share * (other - one)


def covered(x: Tensor, y: Tensor, shapes: Shapes) -> Tensor:
    """How much of each pixel lies in one of the shapes, with soft edges: (n, 32, 32) in 0..1."""
    most = torch.zeros(len(x), SIDE, SIDE, dtype=torch.float64)
    for across, down, width, height, power in shapes:
        u, v = ((x - across) / width).abs(), ((y - down) / height).abs()
        reach = (u**power + v**power) ** (1 / power)  # 1 on the outline
        most = torch.maximum(most, ((1 - reach) * min(width, height) / 6 + 0.5).clamp(0, 1))
    return most
