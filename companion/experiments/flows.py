"""Chapters `flows/realnvp` and `flows/glow`: normalising flows of points and of images."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from companion.data import Dataset, load, small
from companion.data.dataset import fingerprint
from companion.data.faces import load_faces
from companion.data.forms import as_bytes
from companion.maths import cosine
from companion.measures.faces import WATCHED
from companion.measures.flows import of_all, of_classes, of_few
from companion.models.bijections import BOUND
from companion.models.flows import ImageFlow, halves_flow, multi_scale_flow, plane_flow
from companion.models.glow import Glow
from companion.nets import channels_last
from companion.recipes import Player, Recipe, own_terms
from companion.words import nearest
from companion.worlds.gaussians import eight_gaussians, two_moons

SHOWN = 9  # images that each epoch leaves in the run, always of the same random numbers
POINTS: dict[str, Callable[[int], Dataset]] = {
    "two-moons": two_moons, "eight-gaussians": eight_gaussians
}  # fmt: skip


def shown(model: ImageFlow) -> Tensor:
    """Images of fixed random numbers, as they are kept: uint8 (9, 1, 28, 28)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return as_bytes(model.sample(SHOWN))


def first_images(name: str, n: int) -> Dataset:
    """Load images with the first n training images only; 0: all. ValueError if there are fewer."""
    data = load(small(name))
    if not 0 <= n <= len(data.train[0]):
        raise ValueError(f"images must be at most the {len(data.train[0])} there are, got {n}")
    train = tuple(part[: n or None] for part in data.train)
    return replace(data, train=train, sha256=fingerprint(*train, *data.test))


def point_flow(
    data: str = "two-moons", couplings: int = 8, width: int = 64, bounded: bool = True,
    rate: float = 3e-3, horizon: int = 30,
) -> Recipe:  # fmt: skip
    """Train RealNVP in the plane, on 10,000 points of a law whose density is known.

    bounded: keep log scales below 2 in size. Raises ValueError for unknown data.
    """
    if data not in POINTS:
        raise ValueError(f"no points are called {data!r} {nearest(data, POINTS)}")
    model = plane_flow(couplings, width, bound=BOUND if bounded else math.inf)
    player = Player(
        model, own_terms, partial(torch.optim.Adam, lr=rate),
        cosine(horizon, warmup=0.5, floor=0.01),
    )  # fmt: skip
    return Recipe(model, {"flow": player}, partial(POINTS[data], 10_000), 200, clip=5.0)


def recipe(model: ImageFlow, data: str, images: int, rate: float, horizon: float) -> Recipe:
    """Train a flow of images by its nats: Adam, the rate rising quickly and then falling.

    In float32: a flow that computed in half precision would not come back.
    """
    pace = partial(torch.optim.Adam, lr=rate, betas=(0.9, 0.99))
    player = Player(model, own_terms, pace, cosine(horizon, warmup=0.1, floor=0.01))
    return Recipe(
        model, {"flow": player}, partial(first_images, data, images), 32, form="levels",
        clip=500.0, precision="no", watch=of_few, measure=of_all, keep=shown,
    )  # fmt: skip


def halves_image_flow(
    data: str = "fashion-mnist", couplings: int = 4, width: int = 128, images: int = 0,
    rate: float = 2e-3, horizon: int = 10,
) -> Recipe:  # fmt: skip
    """Train the homework sheet's RealNVP: two equal halves, a permutation after each coupling."""
    return recipe(halves_flow(couplings, width), data, images, rate, horizon)


def realnvp(
    data: str = "fashion-mnist", each: int = 2, width: int = 24, blocks: int = 1,
    images: int = 0, rate: float = 5e-3, horizon: int = 7, learned_noise: bool = False,
) -> Recipe:  # fmt: skip
    """Train a multi-scale RealNVP: checkerboards and channels at two scales, by convolutions.

    learned_noise: variational dequantisation in place of uniform noise.
    """
    model = multi_scale_flow(each, width, blocks, learned_noise=learned_noise)
    return recipe(model, data, images, rate, horizon)


def glow_recipe(model: Glow, rate: float, horizon: float, **how: Any) -> Recipe:
    """Train a Glow as `recipe` trains a flow; how: the data, and what is asked of it."""
    pace = partial(torch.optim.Adam, lr=rate, betas=(0.9, 0.99))
    schedule = cosine(horizon, warmup=0.5, floor=0.01)
    player = Player(channels_last(model), own_terms, pace, schedule)
    return Recipe(
        model, {"flow": player}, batch_size=32, form="levels", clip=500.0, precision="no",
        keep=shown, **how,
    )  # fmt: skip


def glow(
    data: str = "fashion-mnist", steps: tuple[int, ...] = (3, 6),
    widths: tuple[int, ...] = (32, 64), labels: bool = True, images: int = 0, rate: float = 3e-3,
    horizon: int = 6,
) -> Recipe:  # fmt: skip
    """Train Glow on images of ten classes: steps and network widths by scale, the finest first.

    labels: a prior of its own for each class.
    """
    model = Glow((1, 28, 28), steps, widths, 10 if labels else 0)
    source = partial(first_images, data, images)
    measure = of_classes if labels else of_all
    return glow_recipe(model, rate, horizon, data=source, watch=of_few, measure=measure)


def face_glow(
    size: int = 32, steps: tuple[int, ...] = (2, 4, 6), widths: tuple[int, ...] = (32, 64, 96),
    bits: int = 5, faces: str = "procedural", n: int = 20_000, colour: bool = False,
    rate: float = 3e-3, horizon: int = 8,
) -> Recipe:  # fmt: skip
    """Train Glow on faces of `size` pixels a side and so many bits a pixel.

    faces, n, colour: as `load_faces` takes them; the other choices are those of `glow`.
    """
    model = Glow((3 if colour else 1, size, size), steps, widths, bits=bits)
    source = partial(load_faces, faces, size, n, colour=colour)
    watch = partial(of_few, n=WATCHED)
    return glow_recipe(model, rate, horizon, data=source, watch=watch, measure=of_all)
