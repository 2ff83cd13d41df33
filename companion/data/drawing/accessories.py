"""Shoes and bags of the Fashion-MNIST stand-in: shoes in side view, toes to the left."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from companion.data.drawing.canvas import (
    COLUMNS,
    ROWS,
    Dice,
    band,
    cloth,
    jittered,
    profile,
    spline,
    strokes,
)


class Shoe(NamedTuple):
    """Where a shoe stands: s runs from 0 at the toe to 1 at the heel."""

    s: Tensor  # (n, 1, 28)
    inside: Tensor  # coverage of the columns between toe and heel, (n, 1, 28)
    height: Tensor  # pixels above the ground, (n, 28, 1)
    lift: Tensor  # how far the foot is above the ground, by column, (n, 1, 28)
    left: Tensor  # the toe's column, (n, 1, 1)
    right: Tensor  # the heel's column, (n, 1, 1)


def shoe(dice: Dice, ground: tuple[float, float], heel: Tensor) -> Shoe:
    """Place a shoe on the ground; a heel of so many pixels lifts its back."""
    left, right = dice.between(-0.3, 1.6), dice.between(25.6, 27.4)
    s = (COLUMNS - left) / (right - left)
    rise = ((s - 0.3) / 0.5).clamp(0, 1)
    lift = heel * rise**2 * (3 - 2 * rise)
    return Shoe(s, band(COLUMNS, left, right), dice.between(*ground) - ROWS, lift, left, right)


def upper(dice: Dice, place: Shoe, knots: Sequence[float], tops: Sequence[float]) -> Tensor:
    """The closed part of a shoe below its top line."""
    top = profile(place.s, knots, jittered(dice, tops, 0.6)) * dice.between(0.88, 1.12)
    return band(place.height, place.lift, top + place.lift) * place.inside


def heel_block(place: Shoe, begin: Tensor) -> Tensor:
    """What carries the heel: everything below the foot behind s = begin."""
    behind = ((place.s - begin) * 26 + 0.5).clamp(0, 1)
    return band(place.height, 0.0, place.lift) * behind * place.inside * (place.lift > 0.5)


def sneaker(dice: Dice) -> Tensor:
    """Low, with a sole of its own grey, laces and often a stripe."""
    place = shoe(dice, (18.5, 21), torch.zeros(1, 1, 1, dtype=torch.float64))
    knots = (0, 0.08, 0.3, 0.5, 0.62, 0.75, 0.92, 1)
    shape = upper(dice, place, knots, (2.2, 4.0, 5.2, 7.8, 8.8, 6.8, 8.2, 7.2))
    fabric = cloth(dice, COLUMNS - 14, stripes=0.03, checks=0.03, prints=0.2)
    sole = band(place.height, 0.0, dice.between(1.6, 3.0)) * place.inside
    slant = COLUMNS - 0.7 * place.height - dice.between(9, 15)
    stripe = band(slant, 0.0, dice.between(0.8, 2.2)) * dice.chance(0.5)
    laces = (torch.sin(COLUMNS * 2.4) > 0.2) * band(place.s * 26, 8.5, 14.5) * (place.height > 5)
    picture = fabric * (1 - dice.between(0.1, 0.6) * laces)
    picture = picture * (1 - stripe) + dice.between(0.05, 1.0) * stripe
    return torch.maximum(shape, sole) * (picture * (1 - sole) + dice.between(0.2, 1.0) * sole)


def ankle_boot(dice: Dice) -> Tensor:
    """A shaft above the ankle; flat, with a block or with a thin heel."""
    heel = dice.chance(0.55) * dice.between(1.5, 6.5)
    place = shoe(dice, (25, 27), heel)
    low = dice.between(14.0, 19.5, 1)
    tops = jittered(dice, (4.0, 5.7, 6.9, 8.8, 14.8, 17.0, 17.0), 0.6)
    tops[:, 4:] *= low / 17
    knots = (0, 0.08, 0.3, 0.44, 0.54, 0.6, 1)
    top = profile(place.s, knots, tops) * (1 - heel / 30)
    narrow = profile(place.s, (0, 0.5, 1), jittered(dice, (0.0, 0.0, 0.6), 0.3))
    shape = band(place.height, place.lift, top + place.lift - narrow) * place.inside
    block = heel_block(place, dice.between(0.72, 0.9))
    fabric = cloth(dice, COLUMNS - 14, stripes=0.02, checks=0.02, prints=0.15)
    sole = band(place.height - place.lift, 0.0, dice.between(0.8, 2.2)) * place.inside
    slit = band(place.s * 26, 17.0, 20.0) * band(place.height - place.lift, 8.0, 14.0)
    fabric = fabric * (1 - dice.chance(0.35) * dice.between(0.2, 0.7) * slit)
    fabric = fabric * (1 - sole) + dice.between(0.15, 0.95) * sole
    return torch.maximum(shape, block) * fabric


def strap(dice: Dice, place: Shoe, corners: Sequence[tuple[float, float]]) -> Tensor:
    """A strap over the foot: a smooth stroke through (s, pixels above the sole), 0 <= s <= 1."""
    points = torch.tensor(corners, dtype=torch.float64)
    loose = points + dice.between(-1, 1, *points.shape) * torch.tensor([0.04, 0.9]).double()
    s, up = (spline(len(corners), 30) @ loose).unbind(-1)  # (n, 30) each
    rise = ((s - 0.3) / 0.5).clamp(0, 1)
    base = place.lift.amax(-1) * rise**2 * (3 - 2 * rise) + 0.5
    x = place.left[:, 0] + s * (place.right - place.left)[:, 0]
    return strokes(torch.stack([x, place.height[:, 0] - base - up], -1), dice.between(0.9, 2.0))


def sandal(dice: Dice) -> Tensor:
    """A thin sole, straps with air between them, flat or on a heel."""
    heel = dice.chance(0.5) * dice.between(2.0, 11.0)
    place = shoe(dice, (19, 21.5), heel)
    place = place._replace(height=place.height + heel * 0.45)
    sole = band(place.height - place.lift, 0.0, dice.between(1.0, 2.6)) * place.inside
    wedge = heel_block(place, torch.where(dice.chance(0.3) > 0, 0.35, dice.between(0.84, 0.93)))
    toe = strap(dice, place, [(0.08, 0), (0.17, 3), (0.3, 4), (0.42, 0)])
    instep = strap(dice, place, [(0.3, 0), (0.42, 5), (0.6, 7.5), (0.9, 8)]) * dice.chance(0.6)
    across = strap(dice, place, [(0.24, 4), (0.45, 5), (0.62, 3), (0.72, 0)]) * dice.chance(0.6)
    back = strap(dice, place, [(0.95, 0), (0.96, 6), (0.75, 8), (0.45, 4)]) * dice.chance(0.7)
    straps = torch.stack([toe, instep, across, back]).amax(0)
    fabric = cloth(dice, COLUMNS - 14, stripes=0.02, checks=0.02, prints=0.2)
    base = torch.maximum(sole, wedge) * dice.between(0.35, 1.0)
    return torch.maximum(straps * fabric, base * (0.85 + 0.15 * fabric))


def bag(dice: Dice) -> Tensor:
    """A body with round corners; a long handle, a short one or none; a flap and a clasp."""
    kind = dice.between(0, 1)
    tall = dice.between(10, 16)
    foot = 13.5 + tall / 2 + torch.where(kind < 0.7, dice.between(3.0, 5.0), dice.between(-1, 1))
    foot = foot.clamp(max=26.5)
    t = (ROWS - foot + tall) / tall
    half = profile(t, (0, 0.12, 0.85, 1), jittered(dice, (9.6, 10.8, 12.0, 10.8), 1.2))
    u = (COLUMNS - 13.5 - dice.between(-0.5, 0.5)).abs()
    shape = band(u, -1.0, half) * band(ROWS, foot - tall, foot)
    fabric = cloth(dice, u, stripes=0.06, checks=0.08, prints=0.3)
    flap = band(t * 16, dice.between(5, 9), dice.between(9.2, 9.8)) * dice.chance(0.5)
    clasp = band(u, -1.0, dice.between(0.6, 1.8)) * band(t * 16, 6.5, 10)
    fabric = fabric * (1 - 0.4 * flap)
    fabric = fabric * (1 - clasp) + clasp * dice.between(0.1, 1.0)
    turn = torch.linspace(0, math.pi, 60, dtype=torch.float64).view(1, 60)
    reach = dice.between(3.5, 8.5, 1)
    high = torch.minimum(dice.between(4.0, 13.0, 1), (foot - tall).view(-1, 1))
    x = 13.5 + reach * torch.cos(turn)
    y = (foot - tall).view(-1, 1) + 1 - high * torch.sin(turn)
    handle = strokes(torch.stack([x, y], -1), dice.between(0.7, 1.6)) * (kind < 0.7)
    return torch.maximum(shape * fabric, handle * dice.between(0.4, 1.0) * (1 - shape))
