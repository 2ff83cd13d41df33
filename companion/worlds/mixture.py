"""The exact world of diffusion: a Gaussian mixture under noise, all of it in closed form."""

import math

import torch
from torch import Tensor

from companion.paths import Prediction, translate


class NoisedMixture:
    """Round Gaussians in D dimensions, and everything a diffusion model would have to learn.

    At time t a component of mean m and deviation s is one of mean a m and variance a^2 s^2 + b^2,
    with a^2 = alpha_bar_t = 1 - b^2. weights (K,), above 0; means (K, D); deviations (K,), 0 or
    above; alpha_bar (T + 1,). Raises ValueError for shapes or signs that do not fit.
    """

    def __init__(self, weights: Tensor, means: Tensor, deviations: Tensor, alpha_bar: Tensor):
        shapes = [tuple(part.shape) for part in (weights, means, deviations)]
        if means.ndim != 2 or shapes[0] != shapes[2] or shapes[0] != shapes[1][:1]:
            raise ValueError(f"needs weights (K,), means (K, D), deviations (K,), got {shapes}")
        if weights.min() <= 0 or deviations.min() < 0:
            raise ValueError("weights must be above 0 and deviations 0 or above")
        self.log_weights = (weights / weights.sum()).log()
        self.means, self.deviations, self.alpha_bar = means, deviations, alpha_bar

    def parts(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Signal (B, 1, 1), offsets x - a m (B, K, D), variances (B, K, 1), log joint (B, K)."""
        kept = self.alpha_bar[t].to(x.dtype)[:, None, None]
        variance = kept * self.deviations[:, None] ** 2 + 1 - kept
        offset = x[:, None] - kept.sqrt() * self.means
        log_prob = -0.5 * (offset**2 / variance + (2 * math.pi * variance).log()).sum(-1)
        return kept.sqrt(), offset, variance, self.log_weights + log_prob

    def log_prob(self, x: Tensor, t: Tensor) -> Tensor:
        """log q(x_t) of points (B, D) at times t (B,), in nats: (B,)."""
        return self.parts(x, t)[3].logsumexp(1)

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """Gradient of `log_prob` by x: (B, D)."""
        _, offset, variance, joint = self.parts(x, t)
        return -(joint.softmax(1)[..., None] * offset / variance).sum(1)

    def predict(self, x: Tensor, t: Tensor) -> Prediction:
        """Posterior means of noise, clean point and velocity given x_t (B, D), t (B,) of 1..T.

        E[x_0 | x_t] is the mean over components of m + a s^2 / (a^2 s^2 + b^2) (x_t - a m).
        """
        signal, offset, variance, joint = self.parts(x, t)
        pull = signal * self.deviations[:, None] ** 2 / variance
        clean = (joint.softmax(1)[..., None] * (self.means + pull * offset)).sum(1)
        signal = signal[:, 0]
        return translate("clean", clean, x, signal, (1 - signal**2).sqrt())

    def sample(self, n: int, t: int = 0, generator: torch.Generator | None = None) -> Tensor:
        """Draw n points of time t: (n, D)."""
        which = torch.multinomial(self.log_weights.exp(), n, True, generator=generator)
        kept = self.alpha_bar[t].to(self.means.dtype)
        noise = torch.randn(n, self.means.shape[1], generator=generator, dtype=self.means.dtype)
        spread = (kept * self.deviations[which] ** 2 + 1 - kept).sqrt()[:, None]
        return kept.sqrt() * self.means[which] + spread * noise
