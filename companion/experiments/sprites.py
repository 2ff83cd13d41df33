"""Chapter `latent/beta_vae`: VAEs on dSprites, and what their codes tell of the factors."""

from functools import partial

import torch
from torch import Tensor

from companion.data import Dataset, dsprites
from companion.experiments.images import fast
from companion.maths import cosine, gaussian_kl
from companion.metrics import (
    Estimate,
    elbo_terms,
    importance_scores,
    kl_decomposition,
    mutual_information_gap,
    separated_predictability,
)
from companion.models.vae import VAE
from companion.nets import sprite_decoder, sprite_encoder
from companion.objectives import negative_elbo, negative_tc_elbo
from companion.players import Batch, Loss, Player, Recipe

BATCH = 128
COLLAPSED = 0.01  # nats: a dimension with less is as good as the prior
ADAM = partial(torch.optim.Adam, lr=1.5e-3, fused=True)
IMAGES = dsprites.ROWS - dsprites.HELD_OUT  # that a model trains on


def white_on_black(batch: Batch) -> Batch:
    """Unpack stored images (B, 64, 8) to float32 (B, 1, 64, 64) in {0, 1}; leave the factors."""
    return dsprites.unpack(batch[0]), *batch[1:]


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
    bits, factors = data.test[0], data.test[1].cpu()
    x = dsprites.unpack(bits)
    mean, log_variance = posteriors(model, x)
    active = gaussian_kl(mean[..., None], log_variance[..., None]).mean(0) > COLLAPSED
    return {
        "MIG": mutual_information_gap(mean, factors).score,
        "MIG, collapsed pruned": mutual_information_gap(mean * active, factors).score,
        **elbo_terms(model, x),
    }


def of_code(model: VAE, data: Dataset) -> dict[str, Estimate]:
    """The rate's three parts, SAP and DCI, on the held-out images."""
    bits, factors = data.test
    mean, log_variance = posteriors(model, dsprites.unpack(bits))
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


def recipe(latent: int, beta: float, images: int, horizon: int, loss: Loss) -> Recipe:
    """What the VAEs of the chapter share: networks, optimizer, data, measures."""
    if beta < 0:
        raise ValueError(f"beta must be 0 or above, got {beta}")
    if latent < 2:
        raise ValueError(f"latent must be at least 2 dimensions, got {latent}")
    if not 0 <= images <= IMAGES:
        raise ValueError(f"images must be 0 (all) to {IMAGES:,}, got {images}")
    model = VAE(sprite_encoder(2 * latent), sprite_decoder(latent), latent)
    player = Player(fast(model), loss, ADAM, cosine(horizon, 0.035, 0.05, hold=0.75 * horizon))
    players, data = {"vae": player}, partial(dsprites.load, images)
    return Recipe(model, players, data, BATCH, white_on_black, watch=of_factors, measure=of_code)


def beta_vae(beta: float = 1.0, latent: int = 10, images: int = 0, horizon: int = 1) -> Recipe:
    """Train a beta-VAE on dSprites (Higgins et al. 2017, eq. 4).

    beta: weight of the rate; 1 is the VAE. images: train on the first n in a fixed random order;
    0: on all 727,280. horizon: epochs, in the last fifth of which the learning rate falls from
    1.5e-3 to a twentieth of it. Raises ValueError for a value that cannot be.
    """
    return recipe(latent, beta, images, horizon, partial(negative_elbo, beta=beta))


def beta_tcvae(beta: float = 25.0, latent: int = 10, images: int = 0, horizon: int = 1) -> Recipe:
    """Train a beta-TCVAE on dSprites (Chen et al. 2018, eq. 4): only total correlation costs more.

    The choices are those of `beta_vae`; beta weighs the total correlation.
    """
    n = images or IMAGES
    return recipe(latent, beta, images, horizon, partial(negative_tc_elbo, n=n, beta=beta))
