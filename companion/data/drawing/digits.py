"""The ten digits of the MNIST stand-in: a pen that follows a smooth curve through a few points."""

import torch
from torch import Tensor

from companion.data.drawing.canvas import Dice, spline, strokes

STEPS = 64  # points of ink on each digit
# Each way to write a digit: points x,y in hundredths of its box, y downwards; "|" lifts the pen.
WAYS: dict[int, tuple[str, ...]] = {
    0: (
        "55,0 10,25 5,70 40,100 85,75 92,30 50,0",
        "60,8 20,10 0,55 35,100 90,80 90,25 45,2",
    ),
    1: (
        "50,0 50,35 50,70 50,100",
        "25,25 52,0 50,50 50,100 | 25,100 50,100 78,100",
    ),
    2: (
        "10,25 40,0 85,20 60,60 5,100 | 5,100 50,95 100,97",
        "10,20 50,0 85,30 45,80 10,95 20,72 55,90 100,92",
    ),
    3: ("10,12 50,0 82,20 35,47 | 35,47 90,65 65,98 5,90",),
    4: (
        "30,0 12,55 50,60 95,55 | 78,10 70,55 65,100",
        "70,0 5,65 50,66 100,64 | 70,0 68,50 66,100",
    ),
    5: ("30,2 25,42 85,55 70,95 5,92 | 30,2 60,3 95,0",),
    6: ("70,0 25,35 10,75 45,100 85,78 55,55 15,72",),
    7: (
        "5,8 45,6 90,3 | 90,3 65,45 40,100",
        "2,10 45,5 93,3 60,50 42,100 | 25,53 55,50 88,48",
    ),
    8: ("80,15 40,0 20,25 75,65 55,100 15,78 60,42 82,15",),
    9: (
        "80,20 45,0 12,28 45,50 80,22 78,60 60,100",
        "85,10 40,2 12,35 50,48 85,12 75,70 30,98",
    ),
}


def path(dice: Dice, way: str) -> Tensor:
    """Follow one way of writing a digit with an unsteady hand: (n, STEPS, 2)."""
    lines = [[xy.split(",") for xy in line.split()] for line in way.split("|")]
    bent = []
    for line in lines:
        points = torch.tensor([[int(x), int(y)] for x, y in line], dtype=torch.float64) / 100
        unsteady = points + dice.between(-0.07, 0.07, *points.shape)
        bent.append(spline(len(line), STEPS // len(lines)) @ unsteady)
    return torch.cat(bent, 1)


def digit(dice: Dice, number: int) -> Tensor:
    """Write one digit n times: slant, turn, size, place and pen differ: (n, 28, 28) in [0, 1]."""
    ways = [path(dice, way) for way in WAYS[number]]
    which = dice.between(0, len(ways)).long().expand(-1, STEPS, 2)
    points = torch.stack(ways).gather(0, which[None])[0] - 0.5
    x = points[..., 0] * dice.between(11, 17, 1) - points[..., 1] * dice.between(-2, 8, 1)
    y = points[..., 1] * dice.between(17, 20.5, 1)
    turn = dice.between(-0.15, 0.15, 1)
    across = x * torch.cos(turn) - y * torch.sin(turn) + 13.5 + dice.between(-1, 1, 1)
    down = x * torch.sin(turn) + y * torch.cos(turn) + 13.5 + dice.between(-1, 1, 1)
    return strokes(torch.stack([across, down], -1), dice.between(1.6, 2.8))
