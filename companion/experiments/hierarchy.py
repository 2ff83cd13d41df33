"""Chapter `latent/hierarchy`: binary digits by one layer of latent variables, and by several."""

from dataclasses import replace
from functools import partial

import torch
from torch import nn

from companion.data import small
from companion.data.augment import redrawn
from companion.data.binary import load_binary
from companion.experiments.autoregressive import shown
from companion.maths import cosine
from companion.measures.hierarchy import of_bound, of_layers, of_likelihood
from companion.models.hierarchy import Hierarchy
from companion.models.made import MADE
from companion.models.vae import VAE
from companion.nets.dense import DenseDecoder, dense
from companion.objectives.hierarchy import guarded_elbo
from companion.recipes import Loss, Measure, Player, Recipe, own_terms

BATCH, WHOLE = 100, 60_000  # images of a step; of an epoch, where no fewer are asked for
PIXELS = 28 * 28


def trunk_of(hidden: int) -> nn.Sequential:
    """Features of images by two dense layers: (B, 1, 28, 28) -> (B, hidden)."""
    return nn.Sequential(nn.Flatten(), dense(PIXELS, hidden, hidden))


def binary_networks(latent: int, hidden: int) -> tuple[nn.Module, nn.Module]:
    """Encoder of images (B, 1, 28, 28) to (B, 2 latent), and decoder of codes to their logits."""
    encoder = nn.Sequential(trunk_of(hidden), nn.Linear(hidden, 2 * latent))
    return encoder, DenseDecoder(latent, [hidden, hidden])


def recipe(
    model: nn.Module, loss: Loss, measure: Measure, data: str, images: int, rate: float,
    horizon: int,
) -> Recipe:  # fmt: skip
    """Train on digits whose pixels are drawn anew for every batch; the rate rises, then falls."""
    pace = partial(torch.optim.Adam, lr=rate, fused=True)
    player = Player(model, loss, pace, cosine(horizon, warmup=0.5, floor=0.01))
    return Recipe(
        model, {"vae": player}, partial(load_binary, small(data), images=images), BATCH,
        augment=redrawn, watch=of_bound, measure=measure, keep=shown,
    )  # fmt: skip


def binary_vae(
    data: str = "mnist", latent: int = 40, hidden: int = 256, images: int = 0,
    rate: float = 2e-3, horizon: int = 60,
) -> Recipe:  # fmt: skip
    """Train a VAE of binary digits: the baseline with one latent layer."""
    model = VAE(*binary_networks(latent, hidden), latent)
    return recipe(model, own_terms, of_likelihood, data, images, rate, horizon)


def layered_vae(
    data: str = "mnist", latents: tuple[int, ...] = (40, 20), top_down: bool = True,
    skip: bool = True, depth: int = 2, hidden: int = 256, context: int = 0,
    warmup: float = 5.0, free: float = 0.0, alpha: float = 0.0, images: int = 0,
    rate: float = 2e-3, horizon: int = 60,
) -> Recipe:  # fmt: skip
    """Train a VAE of binary digits with a ladder of latent layers, the lowest first.

    depth: hidden layers of the decoder. context: hidden units of a MADE beside it; 0: none.
    warmup: epochs in which the weight of the rates rises to 1. free: nats of each layer's rate
    that cost nothing. top_down, skip, alpha: as in `Hierarchy`. Raises ValueError for a value
    that cannot be.
    """
    if not (warmup >= 0 and free >= 0):
        raise ValueError(f"warmup and free must be 0 or above, got {warmup} and {free}")
    code = sum(latents if skip else latents[:1])
    decoder = DenseDecoder(code, [hidden] * depth, skip)
    made = MADE(hidden=context) if context else None
    model = Hierarchy(trunk_of(hidden), decoder, latents, hidden, top_down, skip, made, alpha)
    steps = round(warmup * (images or WHOLE) / BATCH)
    loss = partial(guarded_elbo, warmup=steps, free=free)
    return replace(recipe(model, loss, of_layers, data, images, rate, horizon), keep=None)
