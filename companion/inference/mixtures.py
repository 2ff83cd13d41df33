"""Mixtures of Gaussians: coordinate ascent for a Bayesian one, and EM for likelihood."""

from __future__ import annotations

from math import log, pi

import torch
from torch import Tensor
from torch.distributions import Categorical, MultivariateNormal, Normal

MOST = 2**20  # assignments of points to components that are summed one by one


class MixtureMeanField:
    """q(means) q(labels) near the posterior of a Bayesian mixture with known noise.

    Model: K means from N(0, spread^2 I), a label for each point uniform over the K, and the
    point from N(mean of its label, noise^2 I). `x` (N, D) are the points, `means` (K, D) where
    the means of q begin, with variance noise^2; the labels begin uniform.

    Raises `ValueError` for shapes that do not fit and scales that are not positive.

    >>> x = torch.tensor([[-3.0], [-2.5], [2.4], [3.1]])
    >>> q = MixtureMeanField(x, means=x[[0, -1]])
    >>> for _ in range(5):
    ...     q.step()
    >>> q.shares.argmax(1).tolist(), q.elbo() < mixture_log_evidence(x, components=2)
    ([0, 0, 1, 1], True)
    """

    def __init__(self, x: Tensor, means: Tensor, noise: float = 1.0, spread: float = 10.0) -> None:
        self.x, self.means = fitting(x, means)
        self.noise, self.spread = positive(noise, "noise"), positive(spread, "spread")
        n, k = len(self.x), len(self.means)
        self.variances = torch.full((k,), noise**2, dtype=torch.float64)  # q(mean_k), (K,)
        self.shares = torch.full((n, k), 1 / k, dtype=torch.float64)  # q(label_n = k)

    @property
    def factors(self) -> tuple[Normal, Categorical]:
        """The laws of the means, (K, D), and of the labels, (N,)."""
        return Normal(self.means, self.variances.sqrt()[:, None]), Categorical(self.shares)

    def misfit(self) -> Tensor:
        """Average |x_n - mean_k|^2 under q, (N, K)."""
        return torch.cdist(self.x, self.means) ** 2 + self.x.shape[1] * self.variances

    def update_labels(self) -> None:
        """Make the labels' factors the best ones given that of the means."""
        self.shares = (-self.misfit() / (2 * self.noise**2)).softmax(1)

    def update_means(self) -> None:
        """Make the means' factors the best ones given those of the labels."""
        precision = 1 / self.spread**2 + self.shares.sum(0) / self.noise**2
        self.variances = 1 / precision
        self.means = self.shares.T @ self.x / self.noise**2 / precision[:, None]

    def step(self) -> None:
        """Update all labels, which do not depend on one another, then all means."""
        self.update_labels()
        self.update_means()

    def elbo(self) -> float:
        """Compute the bound on log p(x), in nats."""
        d, (n, k) = self.x.shape[1], self.shares.shape
        squares = (self.means**2).sum(1) + d * self.variances
        prior = -d / 2 * log(2 * pi * self.spread**2) - squares / (2 * self.spread**2)
        fit = -d / 2 * log(2 * pi * self.noise**2) - self.misfit() / (2 * self.noise**2)
        entropy = d / 2 * (2 * pi * self.variances).log() + d / 2
        labels = torch.special.entr(self.shares).sum() - n * log(k)
        return (prior.sum() + (self.shares * fit).sum() + entropy.sum() + labels).item()


def mixture_log_evidence(
    x: Tensor, components: int, noise: float = 1.0, spread: float = 10.0
) -> float:
    """Compute log p(x) of the model of `MixtureMeanField` exactly, in nats; x is (N, D).

    Sums the closed form over all labellings, K^(N - 1) of them, because by symmetry the first
    point may have the first label. Raises `ValueError` if that is more than 2^20.
    """
    x = x.double()
    n, d = x.shape
    if components < 1 or components ** (n - 1) > MOST:
        count = f"{components}^({n} - 1)"
        raise ValueError(f"labellings are summed one by one, at most {MOST:,}, got {count}")
    rest = torch.cartesian_prod(*[torch.arange(components)] * (n - 1)).reshape(-1, n - 1)
    labels = torch.cat([torch.zeros(len(rest), 1, dtype=torch.long), rest], 1)
    total = -n * d / 2 * log(2 * pi * noise**2) - (x**2).sum() / (2 * noise**2)
    log_joint = total - (n - 1) * log(components)  # K equal terms, each with chance K^-N
    for k in range(components):
        mine = (labels == k).double()
        variance = 1 / (1 / spread**2 + mine.sum(1) / noise**2)
        pull = ((mine @ x) ** 2).sum(1) * variance / (2 * noise**4)
        log_joint = log_joint + d / 2 * (variance / spread**2).log() + pull
    return log_joint.logsumexp(0).item()


class MixtureEM:
    """Maximum likelihood for a mixture of Gaussians by EM (Dempster, Laird and Rubin 1977).

    `x` (N, D) are the points, `means` (K, D) where the means begin; weights begin equal and all
    covariances as that of `x`. EM is coordinate ascent: `step` updates q(labels), then the
    parameters, and `elbo` is the bound of the present pair.

    >>> x = torch.tensor([[-3.0], [-2.5], [2.4], [3.1]])
    >>> em = MixtureEM(x, means=x[[0, -1]])
    >>> for _ in range(5):
    ...     em.step()
    >>> em.means.flatten().tolist()
    [-2.75, 2.75]
    """

    def __init__(self, x: Tensor, means: Tensor) -> None:
        self.x, self.means = fitting(x, means)
        k = len(self.means)
        self.weights = torch.full((k,), 1 / k, dtype=torch.float64)
        covariance = torch.cov(self.x.T, correction=0).reshape(self.x.shape[1], -1)
        self.covariances = covariance.repeat(k, 1, 1)  # (K, D, D)
        self.shares = self.weights.expand(len(self.x), -1)

    @property
    def factors(self) -> Categorical:
        """The laws of the labels, (N,)."""
        return Categorical(self.shares)

    def log_joint(self) -> Tensor:
        """Compute log p(x_n, label k), (N, K).

        Raises `ValueError` if a component has shrunk onto a point or a line.
        """
        try:
            parts = MultivariateNormal(self.means, self.covariances)
        except (ValueError, RuntimeError) as error:  # not positive definite
            raise ValueError(
                f"a covariance of the {len(self.means)} components is no longer positive "
                "definite: the likelihood has no maximum there, so start elsewhere"
            ) from error
        return self.weights.log() + parts.log_prob(self.x[:, None])

    def log_likelihood(self) -> float:
        """Compute log p(x) of all points, in nats."""
        return self.log_joint().logsumexp(1).sum().item()

    def step(self) -> None:
        """Make q the posterior of the labels, then match the moments that it implies."""
        self.shares = self.log_joint().softmax(1)
        counts = self.shares.sum(0)
        self.weights = counts / len(self.x)
        self.means = self.shares.T @ self.x / counts[:, None]
        apart = self.x[:, None] - self.means  # (N, K, D)
        spread = torch.einsum("nk,nkd,nke->kde", self.shares, apart, apart)
        self.covariances = spread / counts[:, None, None]

    def elbo(self) -> float:
        """Compute E_q log p(x, labels) + entropy of q, in nats."""
        energy = (self.shares * self.log_joint()).sum()
        return (energy + torch.special.entr(self.shares).sum()).item()


def fitting(x: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
    """Return points (N, D) and means (K, D) in float64; raises `ValueError` for others."""
    apart = x.ndim != 2 or means.ndim != 2 or x.shape[1:] != means.shape[1:]
    if apart or 0 in (*x.shape, *means.shape):
        shapes = f"{tuple(x.shape)} and {tuple(means.shape)}"
        raise ValueError(f"need points (N, D) and means (K, D), got shapes {shapes}")
    if not bool(x.isfinite().all() & means.isfinite().all()):
        raise ValueError("points and means must be finite numbers, got NaN or infinity")
    return x.double(), means.double()


def positive(scale: float, name: str) -> float:
    """Return a scale that is above 0; raises `ValueError` with its name otherwise."""
    if not 0 < scale < float("inf"):
        raise ValueError(f"the {name} must be a number above 0, got {scale}")
    return float(scale)
