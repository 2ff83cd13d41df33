"""A VAE whose evidence and posterior are known: linear maps between Gaussians."""

import torch
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal, Normal

from companion.models.likelihoods import Gaussian
from companion.models.vae import VAE


class LinearVAE(VAE):
    """x = W z + b + s e, of 2 codes and 2 x 3 pixels, where W'W is diagonal.

    Then the posterior has independent dimensions: N(D W'(x - b), s^2 D), D = 1 / (diag W'W + s^2).
    With `exact` off, q is another Gaussian.
    """

    def __init__(self) -> None:
        super().__init__(nn.Identity(), nn.Identity(), latent=2)
        draw = torch.Generator().manual_seed(3)
        basis, _ = torch.linalg.qr(torch.randn(6, 2, generator=draw, dtype=torch.float64))
        self.weight = basis * torch.tensor([1.5, 0.7])  # (6, 2)
        self.bias = torch.randn(6, generator=draw, dtype=torch.float64)
        self.scale, self.exact = 0.5, False

    def map(self, z: Tensor) -> Tensor:
        """Mean of p(x | z): (B, 2) -> (B, 6)."""
        return z @ self.weight.T + self.bias

    def encode(self, x: Tensor) -> Independent:
        """The posterior p(z | x), or a Gaussian that is near it."""
        shrink = 1 / (self.weight.square().sum(0) + self.scale**2)
        mean = (x.flatten(1) - self.bias) @ self.weight * shrink
        std = (self.scale * shrink.sqrt()).expand_as(mean)
        if not self.exact:
            mean, std = 0.9 * mean + 0.1, 1.2 * std
        return Independent(Normal(mean, std), 1)

    def code(self, x: Tensor) -> Tensor:
        """Mean of q."""
        return self.encode(x).mean

    def decode(self, z: Tensor) -> Gaussian:
        """p(x | z)."""
        log_scale = torch.tensor(self.scale, dtype=torch.float64).log()
        return Gaussian(self.map(z).view(-1, 1, 2, 3), log_scale)

    def prior(self) -> Independent:
        """Standard normal, in double precision."""
        zero = torch.zeros(2, dtype=torch.float64)
        return Independent(Normal(zero, zero + 1), 1)


def log_evidence(model: LinearVAE, x: Tensor) -> Tensor:
    """log p(x) = log N(x; b, W W' + s^2 I), in nats: (B, 1, 2, 3) -> (B,)."""
    covariance = model.weight @ model.weight.T + model.scale**2 * torch.eye(6).double()
    return MultivariateNormal(model.bias, covariance).log_prob(x.flatten(1))


def images(n: int) -> Tensor:
    """Images of the model itself: (n, 1, 2, 3)."""
    torch.manual_seed(4)
    model = LinearVAE()
    return model.decode(torch.randn(n, 2, dtype=torch.float64)).sample()
