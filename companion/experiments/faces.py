"""Chapter `latent/faces`: VAEs of faces, and a network that reads attributes off a face."""

from functools import partial

import torch
from torch import nn

from companion.data.drawing.faces import KINDS
from companion.data.faces import load_faces
from companion.maths import cosine
from companion.measures.faces import of_reader, of_reconstruction
from companion.models.classifier import Reader
from companion.models.likelihoods import likelihood as pixels_named
from companion.models.vae import VAE
from companion.nets import (
    channels_last,
    face_decoder,
    face_encoder,
    four_layer_decoder,
    four_layer_encoder,
    two_layer_decoder,
    two_layer_encoder,
)
from companion.objectives import attribute_error, negative_elbo
from companion.recipes import Player, Recipe


def recipe(
    model: nn.Module, player: Player, faces: str, n: int, batch: int = 128, colour: bool = False,
    size: int = 128,
) -> Recipe:  # fmt: skip
    """What all networks of the chapter share: faces, and what is measured."""
    data = partial(load_faces, faces, size, n, colour=colour)
    name, watch = (
        ("reader", of_reader) if isinstance(model, Reader) else ("vae", of_reconstruction)
    )
    return Recipe(model, {name: player}, data, batch, watch=watch, watch_every=5)


def check_vae(latent: int, beta: float) -> None:
    """Raise ValueError for a latent size or a weight of the rate that cannot be."""
    if latent < 1 or not beta >= 0:
        raise ValueError(f"needs latent >= 1 and beta >= 0, got latent={latent} and beta={beta}")


def two_layer_face_vae(
    beta: float = 1.0, latent: int = 64, faces: str = "procedural", n: int = 20_000
) -> Recipe:
    """Train a VAE with two layers each way, cross-entropy, Adam 5e-4, batches of 128.

    faces: as `load_faces` names them; n: how many to draw or read. beta: weight of the rate.
    Raises ValueError for a value that cannot be.
    """
    check_vae(latent, beta)
    model = VAE(two_layer_encoder(2 * latent), two_layer_decoder(latent), latent)
    adam = partial(torch.optim.Adam, lr=5e-4)
    return recipe(
        model, Player(channels_last(model), partial(negative_elbo, beta=beta), adam), faces, n
    )


def four_layer_face_vae(
    beta: float = 1.0, latent: int = 64, faces: str = "procedural", n: int = 20_000,
    dropout: float = 0.1, colour: bool = True,
) -> Recipe:  # fmt: skip
    """Train the homework's VAE: four convolutions each way with normalisation and dropout.

    Colour pictures, cross-entropy, Adam 5e-4, batches of 128. dropout: share of the features
    that are left out. The other choices are those of `two_layer_face_vae`.
    """
    check_vae(latent, beta)
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be 0 or above and below 1, got {dropout}")
    channels = 3 if colour else 1
    encoder = four_layer_encoder(2 * latent, channels, dropout)
    model = VAE(encoder, four_layer_decoder(latent, channels, dropout), latent)
    adam = partial(torch.optim.Adam, lr=5e-4)
    player = Player(channels_last(model), partial(negative_elbo, beta=beta), adam)
    return recipe(model, player, faces, n, colour=colour)


def face_vae(
    beta: float = 1.0, latent: int = 64, faces: str = "procedural", n: int = 20_000,
    horizon: int = 30,
) -> Recipe:  # fmt: skip
    """Train a deeper VAE with normalised layers and a learned scale of the pixels' noise.

    Batches of 32: small features of a face, such as the mouth, are found late, after many steps.
    horizon: epochs in which the learning rate falls from 2e-3 to a fiftieth of it. The other
    choices are those of `two_layer_face_vae`.
    """
    check_vae(latent, beta)
    pixels = pixels_named("gaussian")
    model = VAE(face_encoder(2 * latent), face_decoder(latent), latent, pixels)
    adam = partial(torch.optim.Adam, lr=2e-3)
    schedule = cosine(horizon, warmup=0.5, floor=0.02)
    loss = partial(negative_elbo, beta=beta)
    return recipe(model, Player(channels_last(model), loss, adam, schedule), faces, n, batch=32)


def face_reader(n: int = 20_000, horizon: int = 12, size: int = 128) -> Recipe:
    """Train the network that reads all attributes off a procedural face, to judge edits.

    size: pixels of a side. Raises ValueError unless it is 32, 64 or 128.
    """
    if size not in (32, 64, 128):
        raise ValueError(f"size must be 32, 64 or 128 pixels, got {size}")
    model = Reader(face_encoder(len(KINDS), size=size), KINDS)
    adam = partial(torch.optim.Adam, lr=2e-3)
    schedule = cosine(horizon, warmup=0.5, floor=0.02)
    player = Player(channels_last(model), attribute_error, adam, schedule)
    return recipe(model, player, "procedural", n, size=size)
