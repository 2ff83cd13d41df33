"""Dense networks between vectors, and between images and vectors."""

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor, nn


def dense(
    inputs: int, *widths: int, activation: Callable[[], nn.Module] = nn.SiLU
) -> nn.Sequential:
    """Linear layers with an activation after each: (B, inputs) -> (B, last width)."""
    layers: list[nn.Module] = []
    for before, after in zip((inputs, *widths), widths, strict=False):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers)


class DenseDecoder(nn.Module):
    """Codes (B, inputs) to one real number per pixel, (B, *shape), through hidden layers.

    skip: let each hidden layer, and the last, read the code again beside the layer before it
    (Dieng et al. 2019).
    """

    def __init__(
        self, inputs: int, widths: Sequence[int], skip: bool = False,
        shape: tuple[int, ...] = (1, 28, 28),
    ) -> None:  # fmt: skip
        super().__init__()
        again = inputs if skip else 0
        self.skip, self.shape = skip, shape
        sizes = [inputs, *(width + again for width in widths)]
        outputs = [*widths, prod(shape)]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, outputs, strict=True))

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, inputs) to (B, *shape)."""
        h = self.layers[0](z)
        for layer in self.layers[1:]:
            h = nn.functional.silu(h)
            h = layer(torch.cat([h, z], -1) if self.skip else h)
        return h.unflatten(-1, self.shape)
