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


def two_moons_density(std: float = 0.1, along: int = 64) -> MixtureSameFamily:
    """Two half circles that reach into one another, each of `along` equal Gaussians: points (2,).

    Centred and of radius 1.5, so that the law's spread is about that of N(0, I).
    """
    if along < 1 or std <= 0:
        raise ValueError(f"need along >= 1 and std > 0, got along={along} and std={std}")
    angle = torch.linspace(0, math.pi, along)
    upper = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], -1)
    centres = 1.5 * torch.cat([upper, -upper])  # (2 * along, 2)
    rounds = Independent(Normal(centres, torch.full_like(centres, std)), 1)
    return MixtureSameFamily(Categorical(torch.ones(2 * along)), rounds)


def two_moons(n: int, seed: int = 0, std: float = 0.1) -> Dataset:
    """Sample n training and n test points, float32 (n, 2), labelled by their moon, 0 or 1.

    Their log-density, in nats, is `two_moons_density(std).log_prob(points)`.
    """
    if n < 1:
        raise ValueError(f"need at least one point, got n={n}")
    centres = two_moons_density(std).component_distribution.mean
    generator = torch.Generator().manual_seed(seed)

    def sample() -> tuple[Tensor, Tensor]:
        which = torch.randint(len(centres), (n,), generator=generator)
        noise = std * torch.randn(n, 2, generator=generator)
        return centres[which] + noise, which // (len(centres) // 2)

    train, test = sample(), sample()
    sha256 = fingerprint(*train, *test)
    return Dataset("two-moons", train, test, ("upper", "lower"), "exact", sha256, f"{n}/{n}")
