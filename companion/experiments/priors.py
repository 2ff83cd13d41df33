"""Chapter `latent/priors`: binary digits under a prior that is learned, and by sparse codes."""

from functools import partial

import torch
from torch import nn

from companion.data import small
from companion.data.augment import redrawn
from companion.data.binary import load_binary
from companion.maths import cosine
from companion.measures.priors import of_bound, of_code, of_ladder, of_likelihood, of_terms
from companion.models.hierarchy import Hierarchy
from companion.models.priors import (
    LearnedPriorHierarchy,
    LearnedPriorVAE,
    MixturePrior,
    VampPrior,
)
from companion.models.sparse import SparseAutoencoder
from companion.models.vae import VAE
from companion.nets.dense import DenseDecoder, dense
from companion.objectives.hierarchy import guarded_elbo
from companion.recipes import Loss, Measure, Player, Recipe, own_terms
from companion.words import nearest

PRIORS = ("normal", "mixture", "vamp")
BATCH, WHOLE = 200, 60_000  # images of a step; of an epoch, where no fewer are asked for


def encoder_of(hidden: int, outputs: int) -> nn.Sequential:
    """Two hidden layers between an image and a vector: (B, 1, 28, 28) -> (B, outputs)."""
    return nn.Sequential(nn.Flatten(), dense(28 * 28, hidden, hidden), nn.Linear(hidden, outputs))


def recipe(
    model: nn.Module, watch: Measure, measure: Measure, data: str, images: int, rate: float,
    horizon: int, loss: Loss = own_terms,
) -> Recipe:  # fmt: skip
    """Train, mostly by the model's own terms, on digits whose pixels are drawn for every batch."""
    pace = partial(torch.optim.Adam, lr=rate)
    player = Player(model, loss, pace, cosine(horizon, warmup=0.5, floor=0.01))
    return Recipe(
        model, {"model": player}, partial(load_binary, small(data), images=images), BATCH,
        augment=redrawn, watch=watch, measure=measure,
    )  # fmt: skip


def check_prior(prior: str) -> None:
    """Raise ValueError for an unknown prior."""
    if prior not in PRIORS:
        raise ValueError(f"no prior is called {prior!r} {nearest(prior, PRIORS)}")


def law_of(prior: str, components: int, latent: int) -> nn.Module:
    """The module of a prior that is learned."""
    return MixturePrior(components, latent) if prior == "mixture" else VampPrior(components)


def learned_prior(
    prior: str = "vamp", components: int = 200, data: str = "mnist", latent: int = 40,
    hidden: int = 300, images: int = 0, rate: float = 2e-3, horizon: int = 15,
) -> Recipe:  # fmt: skip
    """Train a VAE of binary digits with one of three priors; all else is equal.

    prior: "normal", "mixture" of free Gaussians, or "vamp", a mixture of posteriors at learned
    pseudo-inputs; components: of the mixture. Raises ValueError for an unknown prior.
    """
    check_prior(prior)
    nets = encoder_of(hidden, 2 * latent), DenseDecoder(latent, [hidden, hidden])
    model = VAE(*nets, latent)
    if prior != "normal":
        model = LearnedPriorVAE(*nets, latent, law_of(prior, components, latent))
    return recipe(model, of_bound, of_likelihood, data, images, rate, horizon)


def layered_prior(
    prior: str = "vamp", components: int = 200, data: str = "mnist",
    latents: tuple[int, ...] = (40, 40), hidden: int = 300, warmup: float = 3.0, images: int = 0,
    rate: float = 2e-3, horizon: int = 15,
) -> Recipe:  # fmt: skip
    """The same for the top layer of a ladder of latent layers, the lowest first.

    warmup: epochs in which the weight of the rates rises to 1. The others are as above.
    """
    check_prior(prior)
    trunk = nn.Sequential(nn.Flatten(), dense(28 * 28, hidden, hidden))
    nets = trunk, DenseDecoder(sum(latents), [hidden, hidden], skip=True)
    model = Hierarchy(*nets, latents, hidden, skip=True)
    if prior != "normal":
        law = law_of(prior, components, latents[-1])
        model = LearnedPriorHierarchy(*nets, latents, hidden, skip=True, learned=law)
    steps = round(warmup * (images or WHOLE) / BATCH)
    loss = partial(guarded_elbo, warmup=steps)
    return recipe(model, of_bound, of_ladder, data, images, rate, horizon, loss)


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
