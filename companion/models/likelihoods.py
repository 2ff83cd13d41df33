"""Distributions over images, one factor a pixel; log-probabilities are in nats per image."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi

import torch
from torch import Tensor, nn

from companion.maths import (
    bernoulli_log_prob,
    continuous_bernoulli_log_normaliser,
    continuous_bernoulli_mean,
)
from companion.words import nearest


@dataclass(frozen=True)
class Bernoulli:
    """Black or white with probability lambda = sigmoid(logits); (B, C, H, W).

    On grey pixels its "log-probability" is the binary cross-entropy: no density at all.
    """

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean image, in [0, 1]."""
        return torch.sigmoid(self.logits)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of images x in {0, 1}, in nats per image: (B, C, H, W) -> (B,)."""
        return bernoulli_log_prob(self.logits, x).flatten(1).sum(1)

    def sample(self) -> Tensor:
        """Draw black-and-white images."""
        return torch.bernoulli(self.mean)


@dataclass(frozen=True)
class ContinuousBernoulli:
    """Density C(lambda) lambda^x (1 - lambda)^(1 - x) on grey pixels x in [0, 1].

    Loaiza-Ganem and Cunningham 2019.
    """

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean image, in [0, 1]: nearer to grey than sigmoid(logits)."""
        return continuous_bernoulli_mean(self.logits)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of images x in [0, 1], in nats per image: (B, C, H, W) -> (B,)."""
        log_normaliser = continuous_bernoulli_log_normaliser(self.logits)
        return (bernoulli_log_prob(self.logits, x) + log_normaliser).flatten(1).sum(1)

    def sample(self) -> Tensor:
        """Draw grey images by inverting the distribution function."""
        u = torch.rand_like(self.logits)
        small = self.logits.abs() < 1e-3
        eta = torch.where(small, torch.ones_like(self.logits), self.logits)
        v = torch.where(eta > 0, 1 - u, u)  # mirrored, so that e^eta cannot overflow
        x = torch.log1p(v * torch.expm1(-eta.abs())) / -eta.abs()
        return torch.where(small, u, torch.where(eta > 0, 1 - x, x))


@dataclass(frozen=True)
class Gaussian:
    """Independent normal pixels around `mean`, all with the standard deviation `scale`."""

    mean: Tensor
    log_scale: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of real-valued images, in nats per image: (B, C, H, W) -> (B,)."""
        z = (x - self.mean) * torch.exp(-self.log_scale)
        return (-0.5 * z**2 - self.log_scale - 0.5 * log(2 * pi)).flatten(1).sum(1)

    def sample(self) -> Tensor:
        """Draw noisy images; values may leave [0, 1]."""
        return self.mean + self.log_scale.exp() * torch.randn_like(self.mean)


Likelihood = Bernoulli | ContinuousBernoulli | Gaussian


class GaussianHead(nn.Module):
    """Turn a decoder's output into a Gaussian with one learned scale for all pixels.

    Rybkin, Daniilidis and Levine 2021 ("sigma-VAE"); the scale is kept in [e^-4, 1].
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-1.0))

    def forward(self, raw: Tensor) -> Gaussian:
        return Gaussian(torch.sigmoid(raw), self.log_scale.clamp(-4, 0))


def unit_gaussian(raw: Tensor) -> Gaussian:
    """Normal pixels with standard deviation 1: the squared error as a likelihood."""
    return Gaussian(torch.sigmoid(raw), raw.new_zeros(()))


LIKELIHOODS: dict[str, Callable[[], Callable[[Tensor], Likelihood]]] = {
    "bernoulli": lambda: Bernoulli,
    "continuous-bernoulli": lambda: ContinuousBernoulli,
    "gaussian": GaussianHead,
    "unit-gaussian": lambda: unit_gaussian,
}


def likelihood(name: str) -> Callable[[Tensor], Likelihood]:
    """Find a pixel likelihood by name. Raises ValueError that lists the known ones."""
    if name not in LIKELIHOODS:
        raise ValueError(f"unknown likelihood {name!r} {nearest(name, LIKELIHOODS)}")
    return LIKELIHOODS[name]()
