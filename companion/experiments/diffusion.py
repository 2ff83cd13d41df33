"""Chapters `diffusion/ddpm` and `diffusion/ddim`: diffusion models of small grey images."""

from functools import partial

import torch
from torch import Tensor, nn

from companion.data import load
from companion.data.forms import as_bytes
from companion.experiments.images import extractor_of
from companion.maths import cosine
from companion.measures.diffusion import OfDrawing, of_noise
from companion.models.diffusion import PREDICTS, SCHEDULES, Diffusion
from companion.nets.unet import CHANNELS, UNet
from companion.objectives.diffusion import WEIGHTS, denoising_loss
from companion.recipes import Player, Recipe
from companion.samplers.diffusion import from_fixed_noise
from companion.words import nearest

SHOWN = 30  # images that each watched epoch leaves in the run
CLASSES = 10


def shown(model: Diffusion) -> Tensor:
    """Images of the first fixed noises, as they are kept: uint8 (30, 1, 28, 28)."""
    return as_bytes(from_fixed_noise(model, SHOWN, steps=25))


def ddpm(
    data: str = "mnist",
    predicts: str = "velocity",
    weighting: str = "velocity",
    schedule: str = "cosine",
    steps: int = 1000,
    channels: tuple[int, ...] = CHANNELS,
    labels: bool = True,
    horizon: int = 20,
    ema: float = 0.999,
    thorough: bool = True,
) -> Recipe:
    """Train a U-Net of 1.8 million weights to undo noise; Adam 1e-3, falling along `horizon`.

    predicts: what the network's output means. weighting: of the noise's squared error, see
    `weight_of_noise`. labels: give it the class, withheld from every tenth image. ema: decay of
    the averaged weights that are measured and kept. thorough: measure many ways of drawing, too.
    Raises ValueError for a value that cannot be.
    """
    for name, known in ((predicts, PREDICTS), (weighting, WEIGHTS), (schedule, SCHEDULES)):
        if name not in known:
            raise ValueError(f"nothing is called {name!r} here {nearest(name, known)}")
    classes = CLASSES if labels else 0
    net: nn.Module = UNet(1, tuple(channels), classes)
    model = Diffusion(net, SCHEDULES[schedule](steps), predicts, classes)
    loss = partial(denoising_loss, weighting=weighting)
    pace = partial(torch.optim.Adam, lr=1e-3, betas=(0.9, 0.99), fused=True)
    player = Player(model.net, loss, pace, cosine(horizon, 0.2, 0.01))
    judge = extractor_of(data)
    return Recipe(
        model, {"denoiser": player}, partial(load, data), 128, "signed", ema=ema, clip=1.0,
        watch=of_noise, watch_every=2, measure=OfDrawing(judge.model, thorough), keep=shown,
        stands_on=(judge,),
    )  # fmt: skip
