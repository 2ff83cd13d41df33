"""What chapter `latent/beta_vae` asks of a VAE on dSprites: what its code tells of the factors."""

import torch
from torch import Tensor

from companion.data import Dataset
from companion.estimate import Estimate
from companion.maths import gaussian_kl
from companion.metrics import (
    elbo_terms,
    importance_scores,
    kl_decomposition,
    mutual_information_gap,
    separated_predictability,
)
from companion.models.vae import VAE

COLLAPSED = 0.01  # nats: a dimension with less is as good as the prior


@torch.no_grad()
def posteriors(model: VAE, x: Tensor, batch: int = 1000) -> tuple[Tensor, Tensor]:
    """Mean and log-variance of q(z | x): images (N, 1, 64, 64) -> two of (N, K), on the CPU."""
    found = [model.encoder(part).float().cpu() for part in x.split(batch)]
    mean, log_variance = torch.cat(found).chunk(2, dim=1)
    return mean, log_variance


def of_factors(model: VAE, data: Dataset) -> dict[str, Estimate]:
    """Mutual information gap, bound and its terms on the held-out images.

    Once as published, of all means; once with the means of collapsed dimensions (a rate below
    0.01 nats) set to the prior's, which the bound cannot feel and the histograms can.
    """
    x, factors = data.examples("test")
    factors = factors.cpu()
    mean, log_variance = posteriors(model, x)
    active = gaussian_kl(mean[..., None], log_variance[..., None]).mean(0) > COLLAPSED
    return {
        "MIG": mutual_information_gap(mean, factors).score,
        "MIG, collapsed pruned": mutual_information_gap(mean * active, factors).score,
        **elbo_terms(model, x),
    }


def of_code(model: VAE, data: Dataset) -> dict[str, Estimate]:
    """The rate's three parts, SAP and DCI, on the held-out images."""
    x, factors = data.examples("test")
    mean, log_variance = posteriors(model, x)
    parts = kl_decomposition(mean, log_variance)
    half = len(mean) // 2
    fit, rest = ((mean[part], factors[part].cpu()) for part in (slice(half), slice(half, None)))
    dci = importance_scores(fit, rest)
    return {
        "mutual information": parts.mutual_information,
        "total correlation": parts.total_correlation,
        "dimension-wise KL": parts.dimension_wise,
        "SAP": separated_predictability(fit, rest).score,
        "disentanglement": dci.disentanglement,
        "completeness": dci.completeness,
        "informativeness": dci.informativeness,
    }
