"""Layers that cannot see what they must not: masked weights, masked convolutions."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from companion.words import nearest

REGIONS = ("before", "up to here", "above", "above or level", "left", "left or here")


class MaskedLinear(nn.Linear):
    """A linear layer whose weights are zero where the mask (outputs, inputs) is."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.float(), persistent=False)
        with torch.no_grad():
            self.weight *= self.mask

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs) to (B, outputs)."""
        return F.linear(x, self.weight * self.mask, self.bias)


def region(name: str, k: int) -> Tensor:
    """Mark what a pixel sees in the block of k pixels each way around it: bool (2k + 1, 2k + 1).

    Raises ValueError for an unknown name.
    """
    if name not in REGIONS:
        raise ValueError(f"no region is called {name!r} {nearest(name, REGIONS)}")
    place = torch.arange(-k, k + 1)
    row, column = place[:, None], place[None]
    level, whole = row == 0, torch.ones(2 * k + 1, 2 * k + 1, dtype=torch.bool)
    if name in ("before", "up to here"):  # in raster order
        last = 1 if name == "before" else 0
        return (row < 0) & whole | level & (column <= -last)
    if name in ("above", "above or level"):
        return (row < 0 if name == "above" else row <= 0) & whole
    return level & (column < 0 if name == "left" else column <= 0)


class MaskedConv2d(nn.Conv2d):
    """A convolution that looks at a region around each pixel; outside of the image is 0.

    Only the rows and columns that the region touches are computed, so its cost is that of the
    box around it.
    """

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, seen: str, k: int) -> None:
        mask = region(seen, k)
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        super().__init__(inputs, outputs, (len(rows), len(columns)))
        left, right = k - int(columns[0]), int(columns[-1]) - k
        up, down = k - int(rows[0]), int(rows[-1]) - k
        self.margin = (left, right, up, down)  # negative: cut
        self.register_buffer("mask", box.float(), persistent=False)
        with torch.no_grad():
            self.weight *= self.mask

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W)."""
        return F.conv2d(F.pad(x, self.margin), self.weight * self.mask, self.bias)
