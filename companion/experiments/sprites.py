"""Chapter `latent/beta_vae`: VAEs on dSprites, and what their codes tell of the factors."""

from functools import partial

import torch

from companion.data import dsprites
from companion.maths import cosine
from companion.measures.sprites import of_code, of_factors
from companion.models.vae import VAE
from companion.nets import channels_last, sprite_decoder, sprite_encoder
from companion.objectives import negative_elbo, negative_tc_elbo
from companion.recipes import Loss, Player, Recipe

ADAM = partial(torch.optim.Adam, lr=1.5e-3, fused=True)
IMAGES = dsprites.ROWS - dsprites.HELD_OUT  # that a model trains on


def recipe(latent: int, beta: float, images: int, horizon: int, loss: Loss) -> Recipe:
    """What the VAEs of the chapter share: networks, optimizer, data, measures."""
    if not beta >= 0:
        raise ValueError(f"beta must be 0 or above, got {beta}")
    if latent < 2:
        raise ValueError(f"latent must be at least 2 dimensions, got {latent}")
    if not 0 <= images <= IMAGES:
        raise ValueError(f"images must be 0 (all) to {IMAGES:,}, got {images}")
    model = VAE(sprite_encoder(2 * latent), sprite_decoder(latent), latent)
    schedule = cosine(horizon, 0.035, 0.05, hold=0.75 * horizon)
    player = Player(channels_last(model), loss, ADAM, schedule)
    players, data = {"vae": player}, partial(dsprites.load, images)
    return Recipe(model, players, data, watch=of_factors, measure=of_code)


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
