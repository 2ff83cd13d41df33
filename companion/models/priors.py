"""Priors that are learned: mixtures of Gaussians, free or made of posteriors (VampPrior)."""

from collections.abc import Callable
from math import log, pi
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional as F

from companion.models.hierarchy import Hierarchy
from companion.models.vae import VAE

SPREAD = 0.5  # of the centres of a free mixture, at first


class GaussianMixture(Distribution):
    """A mixture of K Gaussians with diagonal covariances in D dimensions.

    mean, log_variance: (K, D); log_weight: (K,), of weights that sum to 1. Densities of many
    points cost two products of matrices, and hold (N, K) numbers at once, not (N, K, D).
    """

    def __init__(self, mean: Tensor, log_variance: Tensor, log_weight: Tensor):
        if mean.ndim != 2 or mean.shape != log_variance.shape or len(mean) != len(log_weight):
            shapes = tuple(mean.shape), tuple(log_variance.shape), tuple(log_weight.shape)
            raise ValueError(
                f"needs means and log-variances (K, D) and weights (K,), got {shapes}"
            )
        super().__init__(event_shape=mean.shape[1:], validate_args=False)
        self.mean_of_each, self.log_variance, self.log_weight = mean, log_variance, log_weight

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of points, in nats: (..., D) -> (...)."""
        precision = (-self.log_variance).exp()
        pull = self.mean_of_each * precision
        size = (self.mean_of_each * pull + self.log_variance + log(2 * pi)).sum(1)
        square = F.linear(value.square(), precision, size - 2 * self.log_weight)
        return torch.logsumexp(F.linear(value, pull) - 0.5 * square, -1)

    @torch.no_grad()
    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Draw a component, then a point of it: (*sample_shape, D)."""
        n = torch.Size(sample_shape).numel()
        k = torch.multinomial(self.log_weight.exp(), n, replacement=True)
        centre, scale = self.mean_of_each[k], (0.5 * self.log_variance[k]).exp()
        return (centre + scale * torch.randn_like(centre)).view(*sample_shape, -1)


class MixturePrior(nn.Module):
    """A free mixture: K centres, variances and weights are parameters."""

    def __init__(self, components: int, latent: int):
        super().__init__()
        check_components(components)
        self.mean = nn.Parameter(SPREAD * torch.randn(components, latent))
        self.log_variance = nn.Parameter(torch.zeros(components, latent))
        self.logits = nn.Parameter(torch.zeros(components))

    def forward(self, encoder: Callable[[Tensor], Tensor]) -> GaussianMixture:
        """The mixture; the encoder has no say."""
        return GaussianMixture(self.mean, self.log_variance, self.logits.log_softmax(0))


class VampPrior(nn.Module):
    """A mixture of posteriors at K learned pseudo-inputs (Tomczak and Welling 2018, eq. 9).

    Pseudo-inputs begin as smooth random clouds: of white noise all posteriors would be much the
    same.
    """

    def __init__(self, components: int, shape: tuple[int, ...] = (1, 28, 28)):
        super().__init__()
        check_components(components)
        coarse = torch.randn(components, shape[0], 7, 7)
        clouds = F.interpolate(coarse, shape[1:], mode="bilinear")
        self.logits = nn.Parameter(4 * clouds - 3)

    def inputs(self) -> Tensor:
        """Pseudo-inputs, pixels in [0, 1]: (K, C, H, W)."""
        return torch.sigmoid(self.logits)

    def forward(self, encoder: Callable[[Tensor], Tensor]) -> GaussianMixture:
        """q(z | u_k), equally weighted; encoder: pseudo-inputs -> (K, 2 D)."""
        mean, log_variance = encoder(self.inputs()).float().chunk(2, -1)
        return GaussianMixture(mean, log_variance, equal_weights(mean))


def equal_weights(mean: Tensor) -> Tensor:
    """Logarithms of K equal weights: (K, D) -> (K,)."""
    return mean.new_full((len(mean),), -log(len(mean)))


def check_components(components: int) -> None:
    """Raise ValueError for a mixture of nothing."""
    if components < 1:
        raise ValueError(f"a mixture needs at least 1 component, got {components}")


class LearnedPriorVAE(VAE):
    """A VAE whose prior is a module that turns the encoder into a law of codes."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, latent: int, learned: nn.Module):
        super().__init__(encoder, decoder, latent)
        self.learned = learned

    def prior(self) -> Distribution:
        """The learned law p(z), in K dimensions."""
        return self.learned(self.encoder)


class LearnedPriorHierarchy(Hierarchy):
    """A ladder of latent layers, read from the top down, whose top layer has a learned prior."""

    def __init__(self, *of_hierarchy: Any, learned: nn.Module, **named: Any):
        super().__init__(*of_hierarchy, **named)
        if not self.top_down:
            raise ValueError("from the bottom up the top layer is no function of the image")
        self.learned = learned

    def top(self, x: Tensor) -> Tensor:
        """Means and log-variances of q(z_L | x): (B, C, H, W) -> (B, 2 K_L)."""
        h = self.trunk(x)
        for read in self.reads:
            h = read(h)
        return self.heads[-1](h)

    def prior(self) -> Distribution:
        """The learned law of the top layer."""
        return self.learned(self.top)


@torch.no_grad()
def posteriors_at(model: VAE, x: Tensor, batch: int = 1000) -> GaussianMixture:
    """Mix the posteriors of images x, equally weighted: the aggregate posterior of these."""
    laws = [model.encode(part).base_dist for part in x.split(batch)]
    mean = torch.cat([law.mean for law in laws])
    variance = torch.cat([law.variance for law in laws])
    return GaussianMixture(mean, variance.log(), equal_weights(mean))
