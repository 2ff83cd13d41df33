"""How well a latent-variable model explains images, in nats per image."""

from collections.abc import Iterator

import torch
from torch import Tensor

from companion.estimate import Estimate, mean_of
from companion.maths import log_mean_exp
from companion.metrics.terms import mean_terms
from companion.models.vae import VAE


def elbo_terms(model: VAE, x: Tensor, batch: int = 1000) -> dict[str, Estimate]:
    """Evidence lower bound and the model's own terms that it is made of, one draw of z an image.

    x: (N, C, H, W) as the model sees it. Returns "elbo" and the terms in nats per image.
    """

    def bounded() -> Iterator[dict[str, Tensor]]:
        for part in x.split(batch):
            terms = model.terms(part)
            yield {"elbo": -torch.stack([*terms.values()]).sum(0), **terms}

    return mean_terms(bounded(), "nats")


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
