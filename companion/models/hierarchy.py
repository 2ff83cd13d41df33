"""VAEs with a ladder of latent layers z_1 (at the pixels) to z_L (on top)."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.distributions import (
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from companion.models.likelihoods import Bernoulli
from companion.models.made import MADE
from companion.nets.dense import dense

Inferred = tuple[list[Tensor], list[Independent], list[Distribution]]  # z_i, q_i and p_i
Draw = Callable[[Independent, bool], Tensor]


def gaussian(mean: Tensor, log_variance: Tensor) -> Independent:
    """Independent normals: (..., K)."""
    return Independent(Normal(mean, (log_variance / 2).exp(), validate_args=False), 1)


def normal(both: Tensor) -> Independent:
    """Independent normals of means and log-variances: (..., 2 K)."""
    return gaussian(*both.chunk(2, -1))


def product(one: Independent, other: Independent) -> Independent:
    """The normalised product of two laws of independent normals.

    Precisions add, and the mean is weighted by them (Sønderby et al. 2016, eq. 17-19).
    """
    a, b = one.base_dist.variance, other.base_dist.variance
    variance = 1 / (1 / a + 1 / b)
    mean = variance * (one.base_dist.mean / a + other.base_dist.mean / b)
    return gaussian(mean, variance.log())


def chain(k: int, alpha: float, like: Tensor) -> MultivariateNormal:
    """The prior of a delta-VAE: z_1 ~ N(0, 1), then z_t ~ N(alpha z_{t - 1}, 1 - alpha^2).

    Each number alone is standard normal (Razavi et al. 2019, section 3).
    """
    place = torch.arange(k, device=like.device)
    covariance = alpha ** (place[:, None] - place).abs().to(torch.float32)
    return MultivariateNormal(torch.zeros_like(covariance[0]), covariance, validate_args=False)


class Hierarchy(nn.Module):
    """p(x | z) p(z_1 | z_2) ... p(z_L), all latent laws of independent normals.

    trunk: images (B, C, H, W) -> features (B, width). decoder: codes -> logits (B, C, H, W), from
    z_1, or from all layers side by side if `skip`. latents: sizes (K_1, ..., K_L).
    top_down: q = q(z_L | x) ... q(z_1 | x, z_2), each the product of the layer's prior and what
    the image says (a ladder); else q(z_1 | x) q(z_2 | z_1) ..., from the bottom up.
    context: adds to the decoder's logits what the pixels before each pixel say. alpha: of a
    delta-VAE's prior. Raises ValueError for no layers, or an alpha that is not in [0, 1).
    """

    def __init__(
        self, trunk: nn.Module, decoder: nn.Module, latents: Sequence[int], width: int,
        top_down: bool = True, skip: bool = False, context: MADE | None = None,
        alpha: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        if not latents or min(latents) < 1 or not 0 <= alpha < 1:
            raise ValueError(f"needs latents >= 1 and alpha in [0, 1), got {latents}, {alpha}")
        self.trunk, self.decoder, self.context = trunk, decoder, context
        self.latents, self.top_down, self.skip = tuple(latents), top_down, skip
        self.alpha = alpha
        read = [width] * len(latents) if top_down else [width, *latents]
        self.reads = nn.ModuleList(dense(n, width) for n in read[1 : len(latents)])
        self.heads = nn.ModuleList(nn.Linear(width, 2 * k) for k in latents)
        self.priors = nn.ModuleList(
            nn.Sequential(dense(above, width), nn.Linear(width, 2 * k))
            for k, above in pairwise(latents)
        )

    def prior(self) -> Distribution:
        """The law of the top layer."""
        like = next(self.parameters())
        if self.alpha:
            return chain(self.latents[-1], self.alpha, like)
        zero = like.new_zeros(self.latents[-1], dtype=torch.float32)
        return gaussian(zero, zero)

    def below(self, layer: int, above: Tensor) -> Independent:
        """p(z_layer | z_above), `layer` counted from 0."""
        return normal(self.priors[layer](above))

    def infer(self, x: Tensor, samples: int = 0, mean: bool = False) -> Inferred:
        """Draw all layers: z_i (samples, B, K_i), or (B, K_i) if samples = 0, with their laws.

        mean: take each law's mean instead of a draw.
        """
        shape = torch.Size((samples,) if samples else ())

        def one(q: Independent, whole: bool) -> Tensor:
            shaped = shape if whole else torch.Size()
            return q.mean.expand(shaped + q.mean.shape) if mean else q.rsample(shaped)

        return (self.downward if self.top_down else self.upward)(self.trunk(x).float(), one)

    def upward(self, h: Tensor, one: Draw) -> Inferred:
        """Read each layer from the layer below."""
        q, z = [], []
        for i, head in enumerate(self.heads):
            q.append(normal(head(self.reads[i - 1](z[-1]) if i else h)))
            z.append(one(q[-1], i == 0))
        p = [self.below(i, above) for i, above in enumerate(z[1:])]
        return z, q, [*p, self.prior()]

    def downward(self, h: Tensor, one: Draw) -> Inferred:
        """Read features upwards, then draw from the top, each layer's prior beside the image."""
        said = []
        for i, head in enumerate(self.heads):
            h = self.reads[i - 1](h) if i else h
            said.append(normal(head(h)))
        q, p = [said[-1]], [self.prior()]
        z = [one(q[0], True)]
        for i in reversed(range(len(said) - 1)):
            p.insert(0, self.below(i, z[0]))
            q.insert(0, product(said[i], p[0]))
            z.insert(0, one(q[0], False))
        return z, q, p

    def decode(self, z: Sequence[Tensor], x: Tensor | None = None) -> Bernoulli:
        """p(x | z) of all layers' codes (B, K_i); x: the image, where the decoder sees it too."""
        logits = self.decoder(torch.cat([*z], -1) if self.skip else z[0]).float()
        if self.context is not None:
            if x is None:
                raise ValueError("a decoder with a context needs the image, got None")
            logits = logits + self.context.logits(x)
        return Bernoulli(logits)

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """Nats that each image costs, (B,) each: "distortion", "rate 1" ... "rate L".

        Top-down all rates are KLs, given a draw of the layers above. Bottom-up only the last is:
        the others are log q / p at the draw. So is the last where the KL has no closed form.
        """
        z, q, p = self.infer(x)
        found = {"distortion": -self.decode(z, x).log_prob(x)}
        top = len(z) - 1
        for i in range(top + 1):
            found[f"rate {i + 1}"] = rate(z[i], q[i], p[i], self.top_down or i == top)
        return found

    def log_weights(self, x: Tensor, samples: int) -> Tensor:
        """log p(x, z) / q(z | x) at draws of all layers: (samples, B), in nats."""
        z, q, p = self.infer(x, samples)
        many = x.expand(samples, *x.shape).flatten(0, 1)
        flat = [part.flatten(0, 1) for part in z]
        weight = self.decode(flat, many).log_prob(many).view(samples, -1)
        for code, by_q, by_p in zip(z, q, p, strict=True):
            weight = weight + by_p.log_prob(code) - by_q.log_prob(code)
        return weight

    def generate(self, n: int, held: Mapping[int, Tensor] | None = None) -> list[Tensor]:
        """Draw codes of all layers from the top down, (n, K_i); those in `held` stay.

        held: codes (n, K_i) by layer, counted from 0.
        """
        held, z = held or {}, []
        for i in reversed(range(len(self.latents))):
            law = self.below(i, z[0]) if z else self.prior()
            draw = law.sample() if z else law.sample(torch.Size((n,)))
            z.insert(0, held.get(i, draw))
        return z

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Draw n images: the mean of p(x | z), (n, C, H, W); with a context pixel by pixel."""
        if n < 1:
            raise ValueError(f"n must be at least 1 image, got {n}")
        z = self.generate(n)
        if self.context is None:
            return self.decode(z).mean
        x = torch.zeros_like(self.decoder(torch.cat(z, -1) if self.skip else z[0]))
        flat = x.flatten(1)
        for i in range(flat.shape[1]):
            flat[:, i] = torch.bernoulli(self.decode(z, x).mean.flatten(1)[:, i])
        return x


def rate(z: Tensor, q: Distribution, p: Distribution, closed: bool) -> Tensor:
    """KL(q || p) in closed form if asked for and known, else log q(z) / p(z) at the draw."""
    if closed:
        try:
            return kl_divergence(q, p)
        except NotImplementedError:
            pass
    return q.log_prob(z) - p.log_prob(z)
