"""Chapter `latent/faces`: VAEs of faces, and a network that reads attributes off a face."""

from functools import partial

import torch
from torch import Tensor, nn

from companion.data import Dataset, unit
from companion.data.face_drawing import KINDS
from companion.data.faces import load_faces
from companion.experiments.images import fast
from companion.maths import cosine
from companion.metrics import Estimate, elbo_terms, mean_of, signal_to_noise, similarity
from companion.models.classifier import Reader
from companion.models.likelihoods import likelihood as pixels_named
from companion.models.vae import VAE
from companion.nets import face_decoder, face_encoder, two_layer_decoder, two_layer_encoder
from companion.objectives import attribute_error, negative_elbo
from companion.players import Player, Recipe

WATCHED = 1000  # test faces, the first ones, that every measure sees


def watched(data: Dataset) -> Tensor:
    """The test faces that are measured, in [0, 1]: (N, 1, 128, 128)."""
    return unit(data.test[0][:WATCHED])


@torch.no_grad()
def of_reconstruction(model: VAE, data: Dataset) -> dict[str, Estimate]:
    """How near decoded codes come to their test faces; the bound and its terms."""
    x = watched(data)
    mean = torch.cat([model.decode(model.code(part)).mean for part in x.split(100)])
    return {
        "PSNR": signal_to_noise(mean, x),
        "SSIM": similarity(mean, x),
        **elbo_terms(model, x, batch=100),
    }


@torch.no_grad()
def of_reader(model: Reader, data: Dataset) -> dict[str, Estimate]:
    """Accuracy on binary attributes, and the squared correlation with continuous ones."""
    x, truth = watched(data), data.test[1][:WATCHED].cpu()
    found = torch.cat([model.read(part) for part in x.split(100)]).cpu()
    binary = torch.tensor(model.binary)
    right = ((found[:, binary] > 0.5) == (truth[:, binary] > 0.5)).double().mean(1)
    wrong = (found - truth)[:, ~binary].square() / truth[:, ~binary].var(0)
    return {"accuracy": mean_of(right, "accuracy"), "explained": mean_of(1 - wrong.mean(1))}


def recipe(model: nn.Module, player: Player, faces: str, n: int, batch: int = 128) -> Recipe:
    """What all networks of the chapter share: 128 x 128 faces, and what is measured."""
    data = partial(load_faces, faces, 128, n)
    name, watch = (
        ("reader", of_reader) if isinstance(model, Reader) else ("vae", of_reconstruction)
    )
    return Recipe(model, {name: player}, data, batch, watch=watch, watch_every=5)


def check_vae(latent: int, beta: float) -> None:
    """Raise ValueError for a latent size or a weight of the rate that cannot be."""
    if latent < 1 or beta < 0:
        raise ValueError(f"needs latent >= 1 and beta >= 0, got latent={latent} and beta={beta}")


def two_layer_face_vae(
    beta: float = 1.0, latent: int = 64, faces: str = "procedural", n: int = 20_000
) -> Recipe:
    """Train the homework's VAE: two layers each way, cross-entropy, Adam 5e-4, batches of 128.

    faces: as `load_faces` names them; n: how many to draw or read. beta: weight of the rate.
    Raises ValueError for a value that cannot be.
    """
    check_vae(latent, beta)
    model = VAE(two_layer_encoder(2 * latent), two_layer_decoder(latent), latent)
    adam = partial(torch.optim.Adam, lr=5e-4)
    return recipe(model, Player(fast(model), partial(negative_elbo, beta=beta), adam), faces, n)


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
    return recipe(model, Player(fast(model), loss, adam, schedule), faces, n, batch=32)


def face_reader(n: int = 20_000, horizon: int = 12) -> Recipe:
    """Train the network that reads all attributes off a procedural face, to judge edits."""
    model = Reader(face_encoder(len(KINDS)), KINDS)
    adam = partial(torch.optim.Adam, lr=2e-3)
    schedule = cosine(horizon, warmup=0.5, floor=0.02)
    player = Player(fast(model), attribute_error, adam, schedule)
    return recipe(model, player, "procedural", n)
