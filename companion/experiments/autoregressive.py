"""Chapter `likelihood/image_gpt`: laws of binary digits, one pixel or token after the other."""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from companion.data import small
from companion.data.augment import redrawn
from companion.data.binary import load_binary
from companion.data.forms import as_bytes
from companion.maths import cosine
from companion.measures.autoregressive import of_few, of_most, of_test, of_validation
from companion.models.image_gpt import ImageGPT
from companion.models.made import MADE
from companion.models.pixelcnn import PixelCNN
from companion.recipes import Measure, Player, Recipe, constant, own_terms

SHOWN = 20  # digits that each epoch leaves in the run, always of the same random numbers
CLASSES = 10
PACES = {True: partial(cosine, warmup=0.05, floor=0.01), False: lambda horizon: constant}


def shown(model: Any) -> Tensor:
    """Digits of fixed random numbers, as they are kept: uint8 (20, 1, 28, 28)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return as_bytes(model.sample(SHOWN))


def ten_shown(model: PixelCNN) -> Tensor:
    """The same for a model that draws slowly: uint8 (10, 1, 28, 28)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return as_bytes(model.sample(SHOWN // 2))


def recipe(
    model: nn.Module, data: str, images: int, batch: int, rate: float, horizon: int,
    split: str = "official", falls: bool = True,
) -> Recipe:  # fmt: skip
    """Train a law of digits by its own nats: Adam, the rate rising quickly and then falling."""
    pace = partial(torch.optim.Adam, lr=rate, betas=(0.9, 0.99))
    player = Player(model, own_terms, pace, PACES[falls](horizon))
    watch: Measure = of_few if split == "official" else of_validation
    measure: Measure = of_most if split == "official" else of_test
    return Recipe(
        model, {"model": player}, partial(load_binary, small(data), split, images), batch,
        augment=redrawn, clip=1.0, watch=watch, measure=measure, keep=shown,
    )  # fmt: skip


def made(
    data: str = "mnist", hidden: int = 500, images: int = 0, rate: float = 1e-3, horizon: int = 5
) -> Recipe:
    """Train a masked network with one hidden layer; hidden=0: an FVSBN."""
    return recipe(MADE(hidden=hidden), data, images, 64, rate, horizon)


def pixel_cnn(
    data: str = "mnist", gated: bool = True, width: int = 16, layers: int = 4, images: int = 0,
    rate: float = 3e-3, horizon: int = 1,
) -> Recipe:  # fmt: skip
    """Train a PixelCNN: of two gated stacks, or of one, which has a blind spot.

    It draws slowly, so an epoch leaves only ten digits.
    """
    made_of = recipe(PixelCNN(width, layers, gated), data, images, 32, rate, horizon)
    return replace(made_of, keep=ten_shown)


def image_gpt(
    data: str = "mnist", width: int = 64, layers: int = 3, heads: int = 2, block: int = 2,
    window: int = 2, factorised: bool = True, tied: bool = False, labels: bool = False,
    falls: bool = True, split: str = "official", images: int = 0, rate: float = 3e-3,
    horizon: int = 1,
) -> Recipe:  # fmt: skip
    """Train an Image GPT on tokens of block x block pixels.

    labels: give it the class. falls: let the learning rate fall along half a cosine within
    `horizon` epochs, else it stays. The others are as in `ImageGPT` and `load_binary`.
    """
    classes = CLASSES if labels else 0
    model = ImageGPT(width, layers, heads, block, window, factorised, tied, classes)
    return recipe(model, data, images, 16, rate, horizon, split, falls)
