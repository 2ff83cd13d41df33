"""Chains of energy-based models: the walk that trains them, and their samples."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from companion.models.energy import EnergyModel, Walk

Slope = Callable[[Tensor], Tensor]


@torch.no_grad()
def walk_path(
    slope: Slope, x: Tensor, walk: Walk, generator: torch.Generator | None = None
) -> Iterator[Tensor]:
    """Yield x (B, ...) after each move of a walk down an energy whose gradient is `slope`."""
    for step, noise in walk.moves():
        down = step * slope(x).clamp(-walk.limit, walk.limit)
        shake = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        x = (x - down + noise * shake).clamp(walk.low, walk.high)
        yield x


def walked(
    model: EnergyModel, x: Tensor, y: Tensor | None = None, walk: Walk | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:  # fmt: skip
    """Where chains that start at x end, classes y held; walk: another one than the model's."""
    for moved in walk_path(lambda at: model.slope(at, y), x, walk or model.walk, generator):
        x = moved
    return x


def from_noise(model: EnergyModel, n: int, walk: Walk | None = None, at_once: int = 100) -> Tensor:
    """Walk from n fixed fresh starts, with classes in turn: (n, ...), on the CPU."""
    found = []
    device = next(model.network.parameters()).device
    for begin in range(0, n, at_once):
        rows = torch.arange(begin, min(begin + at_once, n))
        generator = torch.Generator().manual_seed(begin)
        x = model.fresh(len(rows), generator)
        y = (rows % model.classes).to(device) if model.classes else None
        found.append(walked(model, x, y, walk, generator).cpu())
    return torch.cat(found)
