"""Chapter `latent/priors`: binary digits under a prior that is learned, and by sparse codes."""

from functools import partial

import torch
from torch import nn

from companion.data import small
from companion.data.augment import redrawn
from companion.data.binary import load_binary
from companion.maths import cosine
from companion.measures.priors import of_bound, of_code, of_likelihood, of_terms
from companion.models.priors import LearnedPriorVAE, MixturePrior, VampPrior
from companion.models.sparse import SparseAutoencoder
from companion.models.vae import VAE
from companion.nets.dense import DenseDecoder, dense
from companion.recipes import Measure, Player, Recipe, own_terms
from companion.words import nearest

PRIORS = ("normal", "mixture", "vamp")
BATCH = 200


def encoder_of(hidden: int, outputs: int) -> nn.Sequential:
    """Two hidden layers between an image and a vector: (B, 1, 28, 28) -> (B, outputs)."""
    return nn.Sequential(nn.Flatten(), dense(28 * 28, hidden, hidden), nn.Linear(hidden, outputs))


def recipe(
    model: nn.Module, watch: Measure, measure: Measure, data: str, images: int, rate: float,
    horizon: int,
) -> Recipe:  # fmt: skip
    """Train by the model's own terms on digits whose pixels are drawn anew for every batch."""
    pace = partial(torch.optim.Adam, lr=rate)
    player = Player(model, own_terms, pace, cosine(horizon, warmup=0.5, floor=0.01))
    return Recipe(
        model, {"model": player}, partial(load_binary, small(data), images=images), BATCH,
        augment=redrawn, watch=watch, measure=measure,
    )  # fmt: skip


def learned_prior(
    prior: str = "vamp", components: int = 200, data: str = "mnist", latent: int = 40,
    hidden: int = 300, images: int = 0, rate: float = 2e-3, horizon: int = 15,
) -> Recipe:  # fmt: skip
    """Train a VAE of binary digits with one of three priors; all else is equal.

    prior: "normal", "mixture" of free Gaussians, or "vamp", a mixture of posteriors at learned
    pseudo-inputs; components: of the mixture. Raises ValueError for an unknown prior.
    """
    if prior not in PRIORS:
        raise ValueError(f"no prior is called {prior!r} {nearest(prior, PRIORS)}")
    nets = encoder_of(hidden, 2 * latent), DenseDecoder(latent, [hidden, hidden])
    model = VAE(*nets, latent)
    if prior != "normal":
        free = prior == "mixture"
        law = MixturePrior(components, latent) if free else VampPrior(components)
        model = LearnedPriorVAE(*nets, latent, law)
    return recipe(model, of_bound, of_likelihood, data, images, rate, horizon)


def sc_vae(
    lam: float = 0.5, normalised: bool = True, features: int = 40, atoms: int = 128,
    steps: int = 5, data: str = "mnist", hidden: int = 150, images: int = 0,
    rate: float = 2e-3, horizon: int = 10,
) -> Recipe:  # fmt: skip
    """Train an autoencoder whose latents are sparse codes, found by `steps` of learned ISTA.

    lam: nats for each unit of |z|. normalised: give the features of each image mean 0 and
    variance 1, so that they cannot all fall below the threshold.
    """
    encoder = encoder_of(hidden, features)
    if normalised:
        encoder.append(nn.LayerNorm(features, elementwise_affine=False))
    decoder = DenseDecoder(features, [hidden, hidden])
    model = SparseAutoencoder(encoder, decoder, features, atoms, lam, steps)
    return recipe(model, of_terms, of_code, data, images, rate, horizon)
