"""Exact worlds: data whose density is known, to measure what a model has learned."""

import math

import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from companion.data.dataset import Dataset, fingerprint


def eight_gaussians_density(radius: float = 2.0, std: float = 0.1) -> MixtureSameFamily:
    """Equal mixture of eight round Gaussians on a circle: a distribution over points (2,)."""
    if radius < 0 or std <= 0:
        raise ValueError(f"need radius >= 0 and std > 0, got radius={radius} and std={std}")
    angle = torch.arange(8) * (2 * math.pi / 8)
    centres = radius * torch.stack([angle.cos(), angle.sin()], -1)  # (8, 2)
    rounds = Independent(Normal(centres, torch.full_like(centres, std)), 1)
    return MixtureSameFamily(Categorical(torch.ones(8)), rounds)


def eight_gaussians(n: int, seed: int = 0, radius: float = 2.0, std: float = 0.1) -> Dataset:
    """Sample n training and n test points, float32 (n, 2), labelled by their Gaussian, 0..7.

    Their log-density, in nats, is `eight_gaussians_density(radius, std).log_prob(points)`.
    """
    if n < 1:
        raise ValueError(f"need at least one point, got n={n}")
    centres = eight_gaussians_density(radius, std).component_distribution.mean
    generator = torch.Generator().manual_seed(seed)

    def sample() -> tuple[Tensor, Tensor]:
        label = torch.randint(8, (n,), generator=generator)
        return centres[label] + std * torch.randn(n, 2, generator=generator), label

    train, test = sample(), sample()
    names = tuple(f"{45 * k} degrees" for k in range(8))
    sha256 = fingerprint(*train, *test)
    return Dataset("eight-gaussians", train, test, names, "exact", sha256, f"{n}/{n}")
