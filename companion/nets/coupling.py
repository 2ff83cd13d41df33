"""Networks inside of a coupling: they may be anything, for nobody ever inverts them."""

import torch
from torch import Tensor, nn

START = 0.01  # standard deviation of the last weights: a coupling begins near the identity


def near_zero(layer: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    """Draw a layer's weights small and set its bias to 0."""
    nn.init.normal_(layer.weight, std=START)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def dense_net(inputs: int, outputs: int, width: int = 64, hidden: int = 2) -> nn.Sequential:
    """Map (B, inputs) to (B, outputs) through `hidden` layers of `width` units."""
    layers: list[nn.Module] = []
    for before in [inputs, *[width] * (hidden - 1)]:
        layers += [nn.Linear(before, width), nn.ReLU()]
    return nn.Sequential(*layers, near_zero(nn.Linear(width, outputs)))


class Residual(nn.Module):
    """x + conv1x1(relu(conv3x3(relu(x))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.near = nn.Conv2d(width, width, 3, padding=1)
        self.here = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> the same."""
        return x + self.here(torch.relu(self.near(torch.relu(x))))


def conv_net(inputs: int, outputs: int, width: int = 32, blocks: int = 1) -> nn.Sequential:
    """Map (B, inputs, H, W) to (B, outputs, H, W) through residual blocks."""
    return nn.Sequential(
        nn.Conv2d(inputs, width, 3, padding=1), *[Residual(width) for _ in range(blocks)],
        nn.ReLU(), near_zero(nn.Conv2d(width, outputs, 3, padding=1)),
    )  # fmt: skip


def glow_net(inputs: int, outputs: int, width: int = 32) -> nn.Sequential:
    """Map (B, inputs, H, W) to (B, outputs, H, W) by 3 x 3, 1 x 1 and 3 x 3 convolutions."""
    return nn.Sequential(
        nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU(),
        near_zero(nn.Conv2d(width, outputs, 3, padding=1)),
    )  # fmt: skip


def split_net(inputs: int, outputs: int) -> nn.Conv2d:
    """Map (B, inputs, H, W) to (B, outputs, H, W) by one 3 x 3 convolution near zero."""
    layer = nn.Conv2d(inputs, outputs, 3, padding=1)
    near_zero(layer)
    return layer
