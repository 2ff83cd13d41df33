"""Autoencoder and variational autoencoder."""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from companion.models.likelihoods import Bernoulli, Likelihood


class Autoencoder(nn.Module):
    """A code of K numbers between an encoder and a decoder (Hinton and Salakhutdinov 2006).

    encoder: images (B, C, H, W) -> (B, K); decoder: (B, K) -> (B, C, H, W) real numbers, which
    `pixels` turns into a distribution; head: code (B, K) -> class logits, if there is one.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent: int,
        pixels: Callable[[Tensor], Likelihood] = Bernoulli,
        head: nn.Module | None = None,
    ):
        super().__init__()
        if not isinstance(latent, int) or latent < 1:
            raise ValueError(f"latent must be at least 1 dimension, a whole number, got {latent}")
        self.encoder, self.decoder, self.latent = encoder, decoder, latent
        self.pixels, self.head = pixels, head

    def code(self, x: Tensor) -> Tensor:
        """One point per image, deterministic: (B, C, H, W) in [0, 1] -> (B, K)."""
        return self.encoder(x).float()

    def decode(self, z: Tensor) -> Likelihood:
        """Distribution over images for each code: (B, K) -> p(x | z) on (B, C, H, W)."""
        if z.shape[-1] != self.latent:
            raise ValueError(f"codes must have {self.latent} dimensions, got {z.shape[-1]}")
        return self.pixels(self.decoder(z).float())

    def classify(self, x: Tensor) -> Tensor:
        """Class logits from the code: (B, C, H, W) -> (B, classes)."""
        return self.labels(self.code(x))

    def labels(self, z: Tensor) -> Tensor:
        """Class logits of a code: (B, K) -> (B, classes)."""
        if self.head is None:
            raise ValueError("this model has no classifier head: build it with one")
        return self.head(z)

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """Nats that each image costs: distortion (B,), -log p(x | z) at its own code."""
        return {"distortion": -self.decode(self.code(x)).log_prob(x)}


class VAE(Autoencoder):
    """An autoencoder whose code is a distribution with a prior (Kingma and Welling 2014).

    The encoder returns mean and log-variance: (B, C, H, W) -> (B, 2 K).
    """

    def encode(self, x: Tensor) -> Independent:
        """Approximate posterior q(z | x), K independent normals per image."""
        mean, log_variance = self.encoder(x).float().chunk(2, dim=-1)
        return Independent(Normal(mean, (log_variance / 2).exp(), validate_args=False), 1)

    def code(self, x: Tensor) -> Tensor:
        """Mean of q(z | x): (B, C, H, W) -> (B, K)."""
        return self.encoder(x).float().chunk(2, dim=-1)[0]

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """The two terms of the negative bound, (B,) each, in nats, at one draw z of q(z | x)."""
        q = self.encode(x)
        return self.terms_at(x, q, q.rsample())

    def terms_at(self, x: Tensor, q: Distribution, z: Tensor) -> dict[str, Tensor]:
        """Distortion -log p(x | z) and rate KL(q(z | x) || p(z)) of images and their codes.

        Kingma and Welling 2014, eq. 10. Where the KL has no closed form the rate is that of the
        draw, log q(z | x) - log p(z), whose mean it is.
        """
        prior = self.prior()
        try:
            rate = kl_divergence(q, prior)
        except NotImplementedError:
            rate = q.log_prob(z) - prior.log_prob(z)
        return {"distortion": -self.decode(z).log_prob(x), "rate": rate}

    def log_weights(self, x: Tensor, samples: int) -> Tensor:
        """log p(x, z) / q(z | x) at draws z of q: (B, C, H, W) -> (samples, B), in nats.

        Burda et al. 2016, eq. 8: the weights' mean over the draws is unbiased for p(x).
        """
        q = self.encode(x)
        z = q.sample(torch.Size((samples,)))  # (S, B, K)
        many = x.expand(samples, *x.shape).flatten(0, 1)  # (S * B, C, H, W), draw by draw
        likelihood = self.decode(z.flatten(0, 1)).log_prob(many).view(samples, -1)
        return likelihood + self.prior().log_prob(z) - q.log_prob(z)

    def prior(self) -> Distribution:
        """Standard normal in K dimensions."""
        zero = next(self.parameters()).new_zeros(self.latent, dtype=torch.float32)
        return Independent(Normal(zero, zero + 1, validate_args=False), 1)

    def sample(self, n: int) -> Tensor:
        """Draw n images: z from the prior, then the mean of p(x | z); (n, C, H, W) in [0, 1]."""
        if n < 1:
            raise ValueError(f"n must be at least 1 image, got {n}")
        return self.decode(self.prior().sample(torch.Size((n,)))).mean


@torch.no_grad()
def second_moments(model: VAE, x: Tensor, batch: int = 500) -> tuple[Tensor, Tensor]:
    """Mean of each number of the code, and its second moment, over draws for images x; (K,) each.

    At the optimum of the bound they are 0 and 1, if the encoder ends and the decoder begins with
    a linear layer.
    """
    laws = [model.encode(part).base_dist for part in x.split(batch)]
    mean = torch.cat([law.mean for law in laws])
    variance = torch.cat([law.variance for law in laws])
    return mean.mean(0), (mean.square() + variance).mean(0)


@torch.no_grad()
def calibrated(model: VAE, x: Tensor) -> VAE:
    """Copy a VAE with its codes z moved and scaled to mean 0 and second moment 1 over images x.

    (z - m) / s is folded into the last layer of the encoder and undone in the first of the
    decoder: what is drawn from a code stays as it is, and the rate falls as far as it can.
    Raises ValueError unless both are linear.
    """
    mean, square = second_moments(model, x)
    scale = (square - mean.square()).sqrt()
    model = deepcopy(model)
    last, first = list(model.encoder.children())[-1], next(model.decoder.children())
    if not isinstance(last, nn.Linear) or not isinstance(first, nn.Linear):
        raise ValueError(f"needs linear layers beside the code, got {last} and {first}")
    k = model.latent
    last.weight[:k] /= scale[:, None]
    last.bias[:k] = (last.bias[:k] - mean) / scale
    last.bias[k:] -= 2 * scale.log()
    first.bias.add_(first.weight @ mean)
    first.weight *= scale
    return model
