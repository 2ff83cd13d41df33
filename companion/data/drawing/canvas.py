"""What the stand-ins are drawn with: dice, outlines, strokes and cloth, many images at once.

All of it in float64, so that the last bit never decides how a pixel is rounded: the same seed
gives the same bytes whatever the machine and the number of threads.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

SIZE = 28  # pixels a side; a pixel's centre has whole coordinates 0..27
AXIS = torch.arange(SIZE, dtype=torch.float64)
ROWS = AXIS.view(1, SIZE, 1)
COLUMNS = AXIS.view(1, 1, SIZE)


class Dice:
    """The random choices for n images; one seed, one sequence."""

    def __init__(self, n: int, seed: int) -> None:
        self.n = n
        self.generator = torch.Generator().manual_seed(seed)

    def between(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform numbers in [low, high], (n, 1, 1) or (n, *shape)."""
        shape = shape or (1, 1)
        u = torch.rand(self.n, *shape, generator=self.generator, dtype=torch.float64)
        return low + (high - low) * u

    def chance(self, prob: float) -> Tensor:
        """One with probability `prob`, else zero: (n, 1, 1)."""
        return (self.between(0, 1) < prob).double()


def profile(t: Tensor, knots: Sequence[float], values: Tensor) -> Tensor:
    """Join the points (knots[k], values[:, k]) by straight lines and read them at t.

    t is (n, 28, 1) or (n, 1, 28), values (n, K); beyond the ends the line is level.
    """
    knot = torch.tensor(knots, dtype=torch.float64)
    flat = t.flatten(1).contiguous()
    right = torch.searchsorted(knot, flat).clamp(1, len(knots) - 1)
    share = ((flat - knot[right - 1]) / (knot[right] - knot[right - 1])).clamp(0, 1)
    line = values.gather(1, right - 1) * (1 - share) + values.gather(1, right) * share
    return line.view(t.shape)


def jittered(dice: Dice, values: Sequence[float], by: float) -> Tensor:
    """One copy of `values` per image, each number moved by up to `by` pixels: (n, K)."""
    return torch.tensor(values, dtype=torch.float64) + dice.between(-by, by, len(values))


def band(u: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """Cover the pixels with low <= u <= high, with soft edges one pixel wide."""
    return torch.minimum(u - low, high - u).add(0.5).clamp(0, 1)


def spline(knots: int, steps: int) -> Tensor:
    """Weights (steps, knots) of a Catmull-Rom curve through `knots` points, at equal times."""
    time = torch.linspace(0, knots - 1, steps, dtype=torch.float64)
    piece = time.floor().clamp(max=knots - 2)
    s = time - piece
    cubics = (
        (-s + 2 * s**2 - s**3) / 2,
        (2 - 5 * s**2 + 3 * s**3) / 2,
        (s + 4 * s**2 - 3 * s**3) / 2,
        (-(s**2) + s**3) / 2,
    )
    weights = torch.zeros(steps, knots, dtype=torch.float64)
    for shift, cubic in enumerate(cubics):
        where = (piece.long() + shift - 1).clamp(0, knots - 1)  # the ends count twice
        weights.scatter_add_(1, where[:, None], cubic[:, None])
    return weights


def strokes(points: Tensor, width: Tensor | float, size: int = SIZE) -> Tensor:
    """Draw along points (n, P, 2) of (x, y), closer together than `width`: (n, size, size).

    A Gaussian spot is a product of a column and a row, so the sum over all spots is a product
    of matrices; what is dense enough is full ink.
    """
    spread = 0.5 * torch.as_tensor(width, dtype=torch.float64).view(-1, 1, 1)
    axis = torch.arange(size, dtype=torch.float64)
    down = torch.exp(-(((points[:, None, :, 1] - axis[:, None]) / spread) ** 2))
    along = torch.exp(-(((points[:, :, None, 0] - axis) / spread) ** 2))
    return (1.5 * down @ along - 0.3).clamp(0, 1)  # (n, S, P) (n, P, S) -> (n, S, S)


def cloth(dice: Dice, u: Tensor, stripes: float, checks: float, prints: float) -> Tensor:
    """Brightness of a piece of cloth in [0.08, 1]; the numbers say how often each pattern is."""
    dark = dice.chance(0.2)
    base = dark * dice.between(0.2, 0.45) + (1 - dark) * dice.between(0.55, 1.0)
    waves = [
        (3 * torch.sin(axis * dice.between(0.7, 2.2) + dice.between(0, 6))).clamp(-1, 1)
        for axis in (ROWS, COLUMNS)
    ]
    checked = dice.chance(checks)
    across = torch.maximum(dice.chance(stripes), checked) * dice.between(0.08, 0.3) * waves[0]
    along = checked * dice.between(0.08, 0.22) * waves[1]
    coarse = torch.arange(8, dtype=torch.float64) * 4  # a grid of random greys, made smooth
    weight = (1 - (AXIS[:, None] - coarse).abs() / 4).clamp(min=0)
    blots = weight @ dice.between(-1, 1, 8, 8) @ weight.T
    printed = 0.06 + dice.chance(prints) * dice.between(0.1, 0.5)
    fold = dice.between(-0.25, 0.15) * (u / 13) ** 2 + dice.between(-0.1, 0.1) * (ROWS / 14 - 1)
    grain = dice.between(-0.04, 0.04, SIZE, SIZE)
    return (base + across + along + printed * blots + fold + grain).clamp(0.08, 1)
