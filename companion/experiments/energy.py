"""Chapter `energy/energy`: energy-based models of grey images and of points."""

from functools import cache, partial

import torch
from torch import Tensor

from companion.data import Dataset, load
from companion.data.forms import as_bytes, unsigned
from companion.experiments.flows import first_images
from companion.experiments.images import extractor_of
from companion.maths import cosine
from companion.measures.energy import EDGE, OfEnergy, OfPoints
from companion.models.energy import EnergyModel, Walk
from companion.nets import channels_last
from companion.nets.energy import image_energy, point_network
from companion.objectives.energy import contrastive_loss
from companion.recipes import Player, Recipe
from companion.samplers.energy import from_noise
from companion.worlds.gaussians import eight_gaussians, eight_gaussians_density

SHOWN = 20  # walks from the same noises, and as many of the oldest slots of the memory
CLASSES = 10
JITTER = 0.01  # of the data: else energies learn that real pixels are exactly black
WIDE = 0.4  # deviation of the eight Gaussians: wider ones, for fewer steps


@cache
def garments() -> Dataset:
    """Fashion-MNIST, loaded once: the outliers whose energies are watched."""
    return load("fashion-mnist")


def shown(model: EnergyModel) -> Tensor:
    """Short walks, then what the memory has kept longest: uint8 (20 or 40, 1, 28, 28)."""
    found = [from_noise(model, SHOWN)]
    if model.memory is not None:
        found.append(model.memory.read(model.memory.age.topk(SHOWN).indices).cpu())
    return as_bytes(unsigned(torch.cat(found)))


def energy_model(
    data: str = "mnist", labels: bool = False, steps: int = 15, step: float = 10.0,
    noise: float = 0.005, noise_end: float = 0.0, limit: float = 0.03, memory: int = 1000,
    weight: float = 0.1, width: int = 8, images: int = 0, rate: float = 2e-3, horizon: int = 4,
) -> Recipe:  # fmt: skip
    """Train an energy of images by contrastive divergence, of nine residual blocks.

    labels: an energy E(x, y) of ten classes. steps, step, noise, noise_end, limit: of the chains,
    see `Walk`. memory: slots of the replay buffer; 0: chains start from noise. weight: of the
    squared energies. images: use the first n; 0: all.
    """
    walk = Walk(steps, step, noise, noise_end, limit)
    classes = CLASSES if labels else 0
    network = channels_last(image_energy(classes or 1, width=width))
    model = EnergyModel(network, (1, 28, 28), walk, memory, classes=classes)
    player = Player(
        model.network, partial(contrastive_loss, weight=weight, jitter=JITTER),
        partial(torch.optim.Adam, lr=rate, betas=(0.0, 0.999)), cosine(horizon, 0.1, 0.05),
    )  # fmt: skip
    judge = extractor_of(data)
    found = OfEnergy(judge.model, garments)
    return Recipe(
        model, {"energy": player}, partial(first_images, data, images), 128, "signed",
        clip=1.0,
        watch=found.watch, measure=found.measure, keep=shown, saved="network",
        stands_on=(judge,),
    )  # fmt: skip


def point_energy(
    steps: int = 20, step: float = 0.02, limit: float = 1000.0, memory: int = 5000,
    weight: float = 0.0, rate: float = 3e-3, horizon: int = 10,
) -> Recipe:  # fmt: skip
    """Train an energy of points in the plane, of eight Gaussians of deviation 0.4.

    Its chains are Langevin's at temperature 1.
    """
    walk = Walk(steps, step, (2 * step) ** 0.5, 0.0, limit, -EDGE, EDGE)
    model = EnergyModel(point_network(), (2,), walk, memory, images=False)
    player = Player(
        model.network, partial(contrastive_loss, weight=weight),
        partial(torch.optim.Adam, lr=rate, betas=(0.0, 0.999)), cosine(horizon, 0.1, 0.01),
    )  # fmt: skip
    return Recipe(
        model, {"energy": player}, partial(eight_gaussians, 10_000, std=WIDE), 200, clip=10.0,
        watch=OfPoints(eight_gaussians_density(std=WIDE)), saved="network",
    )  # fmt: skip
