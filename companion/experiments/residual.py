"""Chapter `flows/residual_flows`: residual and continuous flows of points and of digits."""

from functools import partial

import torch
from torch import nn

from companion.experiments.flows import POINTS, first_images, shown
from companion.maths import cosine
from companion.measures.residual import of_bits, of_few
from companion.models.continuous import Continuous, Field
from companion.models.flows import Flow
from companion.models.glow import ActNorm
from companion.models.residual import (
    Roulette,
    residual_image_flow,
    residual_plane_flow,
)
from companion.nets import channels_last
from companion.recipes import Player, Recipe, own_terms
from companion.samplers.solvers import runge_kutta
from companion.words import nearest


def in_the_plane(model: nn.Module, data: str, rate: float, horizon: int) -> Recipe:
    """Train a flow on 10,000 points of a law whose density is known.

    Raises ValueError for unknown data.
    """
    if data not in POINTS:
        raise ValueError(f"no points are called {data!r} {nearest(data, POINTS)}")
    pace = cosine(horizon, warmup=0.5, floor=0.01)
    player = Player(model, own_terms, partial(torch.optim.Adam, lr=rate), pace)
    return Recipe(model, {"flow": player}, partial(POINTS[data], 10_000), 200, clip=5.0)


def residual_points(
    data: str = "eight-gaussians", blocks: int = 12, width: int = 32, bound: float = 0.97,
    sure: int = 2, stop: float = 0.5, rate: float = 1e-2, horizon: int = 15,
) -> Recipe:  # fmt: skip
    """Train a residual flow in the plane.

    bound: of each layer's largest singular value; sure, stop: of the roulette, see `Roulette`;
    stop = 1 trains with a truncated series.
    """
    model = residual_plane_flow(blocks, width, bound, Roulette(sure, stop))
    return in_the_plane(model, data, rate, horizon)


def continuous_points(
    data: str = "eight-gaussians", steps: int = 8, width: int = 64, rate: float = 1e-2,
    horizon: int = 15,
) -> Recipe:  # fmt: skip
    """Train a continuous flow in the plane, by so many steps of Runge and Kutta."""
    body = Continuous(Field(2, width), runge_kutta, steps)
    return in_the_plane(Flow([ActNorm(2), body], 2), data, rate, horizon)


def residual_digits(
    data: str = "mnist", blocks: tuple[int, ...] = (8, 8), width: int = 16, bound: float = 0.98,
    images: int = 10_000, rate: float = 5e-3, horizon: int = 4,
) -> Recipe:  # fmt: skip
    """Train a residual flow of images: blocks of each scale, the finest first."""
    model = channels_last(residual_image_flow(blocks, width, bound))
    player = Player(
        model, own_terms, partial(torch.optim.Adam, lr=rate, betas=(0.9, 0.99)),
        cosine(horizon, warmup=0.1, floor=0.01),
    )  # fmt: skip
    return Recipe(
        model, {"flow": player}, partial(first_images, data, images), 32, form="levels",
        clip=500.0, precision="no", watch=of_few, measure=of_bits, keep=shown,
    )  # fmt: skip
