"""Chapter `energy/jem`: a classifier, and the same network trained on as a joint energy."""

from functools import cache, partial

import torch
from torch import Tensor

from companion.data import Dataset, load
from companion.data.augment import shift
from companion.experiments.energy import garments, shown
from companion.experiments.flows import first_images
from companion.experiments.images import extractor_of, pinned
from companion.maths import cosine
from companion.measures.jem import OfJEM
from companion.models.energy import Walk
from companion.models.jem import ClassGaussians, JointEnergy
from companion.nets import channels_last
from companion.nets.jem import joint_network
from companion.objectives import cross_entropy
from companion.objectives.jem import joint_energy_loss
from companion.recipes import Player, Recipe

NO_LIMIT = 1e9
SHAPE = (1, 28, 28)
PLAIN = Walk(20, 1.0, 0.01, limit=NO_LIMIT)  # Grathwohl et al. 2020, their program's defaults


@cache
def persian_digits() -> Dataset:
    """Persian digits, loaded once: strangers that are digits, too."""
    return load("persian")


def labelled(data: str, images: int) -> tuple[Tensor, Tensor]:
    """The training images that are used, in [-1, 1], and their classes."""
    x, y = first_images(data, images).seen_as("signed").examples("train")
    return x, y


def judged(data: str) -> OfJEM:
    """What is measured of a classifier of these images."""
    strangers = {"garments": garments, "persian digits": persian_digits}
    return OfJEM(extractor_of(data).model, strangers)


def joint_classifier(data: str = "mnist", width: int = 16, horizon: int = 15) -> Recipe:
    """Train the network of `jem` as a plain classifier, of images that are moved a little."""
    model = JointEnergy(channels_last(joint_network(width=width)), SHAPE, PLAIN)
    pace = partial(torch.optim.Adam, lr=2e-3)
    player = Player(model.network, cross_entropy, pace, cosine(horizon, 0.2, 0.01))
    found = judged(data)
    return Recipe(
        model, {"classifier": player}, partial(load, data), augment=shift,
        watch=found.watch, measure=found.measure, saved="network", stands_on=(extractor_of(data),),
    )  # fmt: skip


def jem(
    gaussians: bool = True, proximal: bool = True, weight: float = 0.3, moves: int = 5,
    limit: float = 0.1, memory: int = 2000, images: int = 10_000, rate: float = 3e-4,
    horizon: int = 4,
) -> Recipe:  # fmt: skip
    """Go on training the classifier as a joint energy: JEM++, or without both choices JEM.

    gaussians: chains begin anew in the class Gaussians, not in uniform noise. proximal: `moves`
    bounded moves without noise, of at most `limit` in each pixel; else 20 of JEM's. weight: of
    the generative term, 0: the classifier is trained on as one. images: the first n; 0: all.
    """
    first = pinned(joint_classifier, "mnist")
    width = first.config["choices"]["width"]
    starts = ClassGaussians(partial(labelled, "mnist", images), SHAPE) if gaussians else None
    walk = Walk(moves, 1.0, 0.0, limit=limit) if proximal else PLAIN
    network = channels_last(joint_network(width=width))
    network.load_state_dict(first.model.network.state_dict())
    model = JointEnergy(network, SHAPE, walk, memory if weight else 0, gaussians=starts)
    player = Player(
        model.network, partial(joint_energy_loss, weight=weight),
        partial(torch.optim.Adam, lr=rate), cosine(horizon, 0.1, 0.01),
    )  # fmt: skip
    found = judged("mnist")
    return Recipe(
        model, {"jem": player}, partial(first_images, "mnist", images), 64, "signed",
        watch=found.watch, measure=found.measure, keep=shown, saved="network",
        stands_on=(extractor_of("mnist"), first),
    )  # fmt: skip
