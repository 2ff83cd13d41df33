"""How well a latent-variable model explains images, in nats per image."""

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from companion.maths import log_mean_exp
from companion.metrics.estimate import Estimate, mean_of
from companion.models.vae import VAE, Autoencoder


@torch.no_grad()
def distortion(model: Autoencoder, x: Tensor, batch: int = 1000) -> Estimate:
    """-log p(x | code of x): images (N, C, H, W) in [0, 1]; nats per image, lower is better."""
    parts = [-model.decode(model.code(part)).log_prob(part) for part in x.split(batch)]
    return mean_of(torch.cat(parts), "nats")


@torch.no_grad()
def elbo_terms(model: VAE, x: Tensor, batch: int = 1000) -> dict[str, Estimate]:
    """Evidence lower bound and its two terms, one draw of z an image.

    x: (N, C, H, W) in [0, 1]. Returns "elbo", "distortion" and "rate" in nats per image.
    """
    distortions, rates = [], []
    for part in x.split(batch):
        q = model.encode(part)
        distortions.append(-model.decode(q.sample()).log_prob(part))
        rates.append(kl_divergence(q, model.prior()))
    d, r = torch.cat(distortions), torch.cat(rates)
    terms = {"elbo": -d - r, "distortion": d, "rate": r}
    return {name: mean_of(values, "nats") for name, values in terms.items()}


@torch.no_grad()
def importance_weighted_nll(model: VAE, x: Tensor, samples: int, batch: int = 20) -> Estimate:
    """-log of the mean importance weight p(x, z) / q(z | x) over `samples` draws per image.

    An upper bound of -log p(x) that falls to it as `samples` grows (Burda et al. 2016, eq. 8).
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1 draw an image, got {samples}")
    found = []
    for part in x.split(batch):
        q = model.encode(part)
        z = q.sample(torch.Size((samples,)))  # (S, B, K)
        many = part.repeat(samples, 1, 1, 1)  # (S * B, C, H, W), draw by draw
        likelihood = model.decode(z.flatten(0, 1)).log_prob(many).view(samples, -1)
        log_weight = likelihood + model.prior().log_prob(z) - q.log_prob(z)
        found.append(-log_mean_exp(log_weight, dim=0))
    return mean_of(torch.cat(found), "nats")
