"""What a set of images covers: classes of a classifier, and the manifold of the real images."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from companion.estimate import Estimate, mean_of


def class_histogram(logits: Tensor) -> Tensor:
    """Share of images that a classifier puts into each class: logits (N, C) -> (C,)."""
    if logits.ndim != 2 or len(logits) < 2:
        raise ValueError(f"needs logits (N, C) with N at least 2, got {tuple(logits.shape)}")
    return torch.bincount(logits.argmax(1), minlength=logits.shape[1]).double() / len(logits)


def imbalance(shares: Tensor, n: int) -> Estimate:
    """KL(shares || uniform) in nats: 0 where all C classes are equally frequent, log C for one.

    shares: (C,), of n images. The standard error is that of log p over the images (delta method).
    Raises ValueError unless the shares are a distribution and n is at least 2.
    """
    shares = shares.double()
    if shares.ndim != 1 or shares.min() < 0 or abs(shares.sum().item() - 1) > 1e-6 or n < 2:
        raise ValueError(
            f"needs shares (C,) that sum to 1, of 2 or more images, got {shares}, {n}"
        )
    log_prob = shares.clamp_min(1e-300).log()  # 0 log 0 = 0
    entropy = -(shares * log_prob).sum()
    variance = (shares * (log_prob + entropy).square()).sum()
    error = (variance / n).sqrt().item()
    return Estimate(math.log(len(shares)) - entropy.item(), error, n, "nats")


def effective_classes(shares: Tensor, n: int) -> Estimate:
    """exp(entropy) of the shares (C,): how many equally frequent classes are as diverse."""
    found = imbalance(shares, n)
    value = len(shares) * math.exp(-found.value)
    return Estimate(value, value * found.error, n, "classes")


class Overlap(NamedTuple):
    """How two sets of points overlap; each is near 1 for two sets of one distribution."""

    precision: Estimate  # fakes inside of some real point's ball
    recall: Estimate  # real points inside of some fake's ball
    density: Estimate  # balls of real points around a fake, over k; may be above 1
    coverage: Estimate  # real points whose ball holds a fake


def radii(x: Tensor, k: int) -> Tensor:
    """Distance of each point to its k-th nearest neighbour, itself not counted: (N, D) -> (N,)."""
    return torch.cat([torch.cdist(part, x).kthvalue(k + 1, 1).values for part in x.split(1000)])


def overlap(real: Tensor, fake: Tensor, k: int = 5) -> Overlap:
    """Precision and recall, density and coverage of features (N, D) and (M, D).

    A point's ball reaches to its k-th neighbour of its own set. Precision and recall: Kynkäänniemi
    et al. 2019, eq. 2; density and coverage, which single outliers move less: Naeem et al. 2020,
    section 3. Errors are over the points that are counted, the other set held fixed. Raises
    ValueError unless both are points of one space, more than k of each.
    """
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        got = f"{tuple(real.shape)} and {tuple(fake.shape)}"
        raise ValueError(f"needs features (N, D) and (M, D), got {got}")
    if not 1 <= k < min(len(real), len(fake)):
        raise ValueError(f"k must be from 1 to {min(len(real), len(fake)) - 1}, got {k}")
    real, fake = real.double(), fake.double()
    around_real, around_fake = radii(real, k), radii(fake, k)
    balls = torch.zeros(len(fake), dtype=torch.double)  # of real points, around each fake
    recalled, covered = [], []
    for part, radius in zip(real.split(1000), around_real.split(1000), strict=True):
        apart = torch.cdist(part, fake)
        balls += (apart <= radius[:, None]).sum(0)
        covered.append((apart <= radius[:, None]).any(1))
        recalled.append((apart <= around_fake).any(1))
    return Overlap(
        mean_of((balls > 0).double(), "share of fakes"),
        mean_of(torch.cat(recalled).double(), "share of real images"),
        mean_of(balls / k),
        mean_of(torch.cat(covered).double(), "share of real images"),
    )
