"""How well a latent-variable model explains images, in nats per image."""

from collections.abc import Iterator
from math import log
from typing import Protocol

import torch
from torch import Tensor

from companion.estimate import Estimate, mean_of
from companion.maths import log_mean_exp
from companion.metrics.terms import mean_terms
from companion.models.vae import VAE

ROWS = 2000  # codes that are decoded at once


class Weighted(Protocol):
    """A model with latent variables that weighs its draws of them, as `VAE` does."""

    def log_weights(self, x: Tensor, samples: int) -> Tensor: ...


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
def importance_weighted_nll(model: Weighted, x: Tensor, samples: int, batch: int = 20) -> Estimate:
    """-log of the mean importance weight p(x, z) / q(z | x) over `samples` draws per image.

    An upper bound of -log p(x) that falls to it as `samples` grows (Burda et al. 2016, eq. 8).
    At most `ROWS` codes are decoded at once, so the memory is that of a batch, however many draws.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1 draw an image, got {samples}")
    found = []
    for part in x.split(batch):
        most = max(1, ROWS // len(part))
        counts = [most] * (samples // most) + [samples % most] * (samples % most > 0)
        drawn = [log_mean_exp(model.log_weights(part, n), 0) + log(n / samples) for n in counts]
        found.append(-torch.stack(drawn).logsumexp(0))
    return mean_of(torch.cat(found), "nats")
