"""Networks of energies: residual, smooth, without normalisation, so that slopes can be trusted."""

from torch import Tensor, nn
from torch.nn import functional as F


class EnergyBlock(nn.Module):
    """x + conv1x1(silu(conv3x3(silu(x)))); at first it changes nothing.

    halves: a stride of 2, and the mean of 2 x 2 pixels on the way past. No batch normalisation:
    the energy of an image must not depend on the images beside it.
    """

    def __init__(self, before: int, after: int, halves: bool = False):
        super().__init__()
        self.near = nn.Conv2d(before, after, 3, stride=1 + halves, padding=1)
        self.here = nn.Conv2d(after, after, 1)
        self.match = nn.Conv2d(before, after, 1) if before != after else nn.Identity()
        self.halves = halves
        nn.init.zeros_(self.here.weight)

    def forward(self, x: Tensor) -> Tensor:
        past = F.avg_pool2d(x, 2, ceil_mode=True) if self.halves else x
        return self.match(past) + self.here(F.silu(self.near(F.silu(x))))


def image_energy(
    outputs: int = 1, channels: int = 1, side: int = 28, width: int = 16
) -> nn.Sequential:
    """Nine residual blocks, three at each of three sizes: (B, C, S, S) -> (B, outputs).

    Blocks of 4 x 4 pixels become channels first; `width` channels, then 2 and 3 times as many.
    The last layer is linear: an energy may be any number. Raises ValueError unless 4 divides the
    side.
    """
    if side % 4 or side < 8 or width < 1:
        raise ValueError(f"needs a side of 8 or more that 4 divides, got {side} and width {width}")
    layers: list[nn.Module] = [nn.PixelUnshuffle(4)]
    layers += [nn.Conv2d(16 * channels, width, 3, padding=1)]
    before, size = width, side // 4
    for level in range(3):
        for block in range(3):
            halves = level > 0 and block == 0
            layers.append(EnergyBlock(before, (level + 1) * width, halves))
            before, size = (level + 1) * width, (size + 1) // 2 if halves else size
    return nn.Sequential(
        *layers, nn.SiLU(), nn.Flatten(), nn.Linear(before * size * size, outputs)
    )


def point_network(inputs: int = 2, width: int = 64) -> nn.Sequential:
    """Two hidden layers for points: (B, inputs) -> (B, 1)."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
        nn.Linear(width, 1),
    )  # fmt: skip
