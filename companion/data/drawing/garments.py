"""The six upright classes of the Fashion-MNIST stand-in: outlines as half-widths by height."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from companion.data.drawing.canvas import COLUMNS, ROWS, Dice, band, cloth, jittered, profile


class Figure(NamedTuple):
    """A symmetric figure that stands on the canvas."""

    u: Tensor  # distance from the axis in pixels, (n, 28, 28)
    t: Tensor  # height: 0 at the top of the figure, 1 at its foot, (n, 28, 1)
    inside: Tensor  # coverage of the rows between them, (n, 28, 1)
    wide: Tensor  # stretch of all widths, (n, 1, 1)


def stand(dice: Dice, top: tuple[float, float], foot: tuple[float, float]) -> Figure:
    """Place an upright figure: where it begins and ends, its axis, lean and width."""
    above, below = dice.between(*top), dice.between(*foot)
    axis = 13.5 + dice.between(-0.6, 0.6) + dice.between(-0.03, 0.03) * (ROWS - 14)
    t = (ROWS - above) / (below - above)
    return Figure((COLUMNS - axis).abs(), t, band(ROWS, above, below), dice.between(0.86, 1.06))


def widths(dice: Dice, figure: Figure, knots: Sequence[float], values: Sequence[float]) -> Tensor:
    """Half-widths in pixels by height, a little different in every image: (n, 28, 1)."""
    return figure.wide * profile(figure.t, knots, jittered(dice, values, 0.5))


def neckline(dice: Dice, figure: Figure, depth: tuple[float, float]) -> Tensor:
    """What an opening for the neck leaves: 0 inside a half-ellipse at the top, else 1."""
    half, deep = dice.between(2.2, 3.6), dice.between(*depth)
    return ((figure.u / half) ** 2 + (figure.t / deep) ** 2 - 0.6).clamp(0, 1)


def sleeves(dice: Dice, figure: Figure, until: Tensor, out: float = 12.4) -> Tensor:
    """Two long sleeves that hang beside the body down to height `until`."""
    outer = widths(dice, figure, (0, 0.08, 0.3, 0.6, 1), (4.5, 8.2, out - 1.6, out - 0.4, out))
    inner = outer - dice.between(2.6, 3.6) - (0.35 - figure.t).clamp(min=0) * 20
    ends = ((until - figure.t) * 24 + 0.5).clamp(0, 1)
    return band(figure.u, inner, outer) * ends * figure.inside


def body(dice: Dice, figure: Figure, hem: float, waist: float = 7.0) -> Tensor:
    """The part without sleeves, from shoulders over the waist to the hem."""
    half = widths(dice, figure, (0, 0.07, 0.3, 0.55, 1), (3.8, 6.8, 7.2, waist, hem))
    return band(figure.u, -1.0, half) * figure.inside


def over(below: Tensor, shape: Tensor, grey: Tensor) -> Tensor:
    """Lay a shape of one grey over what is drawn so far."""
    return below * (1 - shape) + grey * shape


def t_shirt(dice: Dice) -> Tensor:
    """Short sleeves or none, an open neck, sometimes a print on the chest."""
    figure = stand(dice, (0.5, 2.5), (25, 27.4))
    cut = (0, 0.06, 0.14, 0.3, 0.38, 0.43, 1)
    short = widths(dice, figure, cut, (4.0, 7.4, 9.8, 12.6, 8.4, 7.2, 7.4))
    bare = widths(dice, figure, cut, (4.2, 5.0, 5.2, 6.2, 7.0, 7.0, 7.4))
    half = torch.where(dice.chance(0.8) > 0, short, bare)
    shape = band(figure.u, -1.0, half) * figure.inside * neckline(dice, figure, (0.08, 0.22))
    fabric = cloth(dice, figure.u, stripes=0.15, checks=0.05, prints=0.25)
    seam = band(figure.u, 7.0, 7.3) * (figure.t < 0.36)
    chest = band(figure.t * 24, 6.5, dice.between(9.5, 14)) * band(figure.u, -1.0, 4.0)
    fabric = fabric * (1 - dice.between(0, 0.35) * seam)
    return shape * over(fabric, chest * dice.chance(0.3), dice.between(0.1, 0.9))


def trouser(dice: Dice) -> Tensor:
    """Two legs below a waistband."""
    figure = stand(dice, (-0.5, 1.0), (26.2, 27.8))
    narrow = dice.between(0, 1.6)
    outer = widths(dice, figure, (0, 0.15, 0.35, 1), (4.4, 5.2, 5.7, 6.3)) - narrow * figure.t
    crotch = dice.between(0.28, 0.42)
    gap = dice.between(1.0, 3.4) - 0.5 * narrow
    inner = (figure.t - crotch).clamp(min=0) * gap / (1 - crotch) + 0.4
    shape = band(figure.u, torch.where(figure.t < crotch, -1.0, inner), outer) * figure.inside
    fabric = cloth(dice, figure.u, stripes=0.03, checks=0.04, prints=0.12)
    crease = band(figure.u, outer / 2 + 0.6, outer / 2 + 1.2) * (figure.t > 0.3)
    fly = band(figure.u, -1.0, 0.1) * (figure.t < crotch)
    shade = 1 - dice.between(0, 0.4) * fly - dice.between(0.1, 0.5) * (figure.t < 0.07)
    return shape * fabric * shade * (1 + dice.between(-0.15, 0.25) * crease)


def pullover(dice: Dice) -> Tensor:
    """Long sleeves, a closed neck, ribbed hem and cuffs, often a broad band across."""
    figure = stand(dice, (1.0, 3.0), (24.5, 27.2))
    neck = neckline(dice, figure, (0.05, 0.11))
    torso = body(dice, figure, hem=7.6) * neck
    arms = sleeves(dice, figure, dice.between(0.86, 0.99))
    fabric = cloth(dice, figure.u, stripes=0.25, checks=0.02, prints=0.15)
    high = dice.between(0.2, 0.5)
    bar = band(figure.t * 24, high * 24, (high + dice.between(0.08, 0.3)) * 24) * dice.chance(0.35)
    fabric = over(fabric, bar, dice.between(0.1, 1.0))
    rib = (figure.t > 0.92) * dice.between(0.1, 0.35)
    edge = 1 - 0.5 * band(figure.u, 7.3, 7.5) * (figure.t > 0.12)
    return torch.maximum(torso * fabric * (1 - rib) * edge, arms * fabric * (1 - rib))


def dress(dice: Dice) -> Tensor:
    """A narrow waist and a skirt; straps, short sleeves or long thin ones."""
    figure = stand(dice, (-0.5, 1.5), (26, 27.8))
    waist, flare = dice.between(2.9, 4.2), dice.between(0, 4.2)
    half = widths(dice, figure, (0, 0.06, 0.2, 0.36, 1), (3.0, 4.4, 4.6, 3.6, 4.2))
    half = torch.minimum(half, waist + 6 * (figure.t - 0.36).abs())
    half = half + flare * (figure.t - 0.36).clamp(min=0) / 0.64
    skirt = band(figure.u, -1.0, half) * figure.inside * neckline(dice, figure, (0.08, 0.25))
    cap = band(figure.u, 2.0, 4.2 + 9 * figure.t) * (figure.t < 0.24) * figure.inside
    arms = sleeves(dice, figure, dice.between(0.45, 0.7), out=8.5)
    kind = dice.between(0, 1)
    shape = torch.maximum(skirt, cap * ((kind > 0.4) & (kind < 0.75)))
    shape = torch.maximum(shape, arms * (kind > 0.75) * 0.9)
    fabric = cloth(dice, figure.u, stripes=0.1, checks=0.05, prints=0.25)
    belt = band(figure.t * 26, 9.0, 10.2) * dice.chance(0.35)
    return shape * over(fabric, belt, dice.between(0.1, 1.0))


def coat(dice: Dice) -> Tensor:
    """Long and open down the front, with a collar or a hood."""
    figure = stand(dice, (-0.3, 1.2), (26.2, 27.8))
    torso = body(dice, figure, hem=8.4, waist=7.4)
    arms = sleeves(dice, figure, dice.between(0.78, 0.92), out=12.9)
    fabric = cloth(dice, figure.u, stripes=0.03, checks=0.06, prints=0.15)
    opening = band(figure.u, -1.0, dice.between(0.1, 0.9))
    lapel = band(figure.u, 3.4 - 9 * figure.t, 4.4 - 9 * figure.t) * (figure.t < 0.4)
    hood = band(figure.u, -1.0, 2.6) * (figure.t < 0.13)
    pocket = band(figure.u, 3.0, 6.0) * band(figure.t * 26, 16, 17) * dice.chance(0.6)
    lines = dice.between(0.5, 0.95) * opening + 0.4 * lapel + 0.3 * pocket + 0.5 * hood
    edge = 1 - 0.6 * band(figure.u, 7.4, 7.7) * (figure.t > 0.15)
    return torch.maximum(torso * fabric * (1 - lines).clamp(min=0) * edge, arms * fabric * 0.95)


def shirt(dice: Dice) -> Tensor:
    """A pointed collar, a row of buttons, checks or prints; sleeves long or short."""
    figure = stand(dice, (0.5, 2.0), (25.5, 27.6))
    torso = body(dice, figure, hem=6.9, waist=6.4)
    long_sleeves = dice.between(0.8, 0.97)
    until = torch.where(dice.chance(0.6) > 0, long_sleeves, dice.between(0.3, 0.42))
    arms = sleeves(dice, figure, until, out=11.8)
    fabric = cloth(dice, figure.u, stripes=0.1, checks=0.4, prints=0.35)
    vee = (1 - (figure.u / 2.4 + figure.t / dice.between(0.1, 0.2))).clamp(0, 1) * 2
    collar = band(figure.u, 3.0 - 12 * figure.t, 5.0 - 12 * figure.t) * (figure.t < 0.18)
    placket = band(figure.u, 0.8, 1.1) * (figure.t > 0.1)
    button = band(figure.u, -1.0, 0.2) * (torch.sin(figure.t * 26 * 1.6) > 0.3) * (figure.t > 0.1)
    lines = dice.between(0.15, 0.4) * placket + dice.between(0.2, 0.7) * button + vee.clamp(max=1)
    fabric = over(fabric, collar, (fabric + 0.25).clamp(max=1))
    return torch.maximum(torso * fabric * (1 - lines).clamp(min=0), arms * fabric * 0.9)
