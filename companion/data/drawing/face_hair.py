"""Hair: on the head, beside the face, behind the neck, on chin and lip."""

from typing import NamedTuple

import torch
from torch import Tensor

from companion.data.drawing.face_canvas import (
    MOUTH,
    TOP,
    Head,
    Light,
    bump,
    fill,
    line,
    over,
    step,
    waves,
)
from companion.data.drawing.face_features import nose_tip, years


class Hair(NamedTuple):
    """The hair of a head: what it covers before and behind the face, and its grey."""

    front: Tensor
    behind: Tensor
    grey: Tensor


def tone(head: Head) -> Tensor:
    """The grey of hair, whitened by age: (n, 1, 1)."""
    own = 0.07 + 0.48 * ((head["hair_tone"] + 1) / 2) ** 1.3
    return own + (0.80 - own) * 0.85 * step(years(head), 0.35, 1.0)


def reach(head: Head) -> Tensor:
    """How far down the hair hangs: from above the ears to below the shoulders."""
    length = (head["hair_length"] + 1) / 2
    long = -0.06 + 0.95 * length**1.35
    return torch.where(head["bald"] > 0.5, 0.08, long)


def curls(head: Head) -> Tensor:
    """A field of round locks in -1..1: (n, rows, S)."""
    x, y = head.x * 25, head.y * 25
    p = [6.3 * head[f"phase{k}"] for k in (1, 2, 3, 4)]
    warped = x + 1.3 * (0.55 * y + p[0]).sin_() + p[1]
    return warped.sin_() * (y + 1.3 * (0.6 * x + p[2]).sin_() + p[3]).sin_()


def strands(head: Head) -> Tensor:
    """Fine lines that run from the parting down both sides, in -1..1."""
    part = 0.16 * head["parting"]
    fan = (head.x - part) / (0.30 + (head.y - TOP).clamp(min=0)).sqrt()
    phases = [head[f"phase{k}"] for k in (1, 2, 3)]
    return waves(fan, (31.0, 53.0, 87.0), phases)


def hair(head: Head, light: Light) -> Hair:
    """Shape and shade the hair of all heads; `light` is a direction."""
    x, y, u, wide = head.x + 0.10 * head["turn"], head.y, head.u, head["wide"]
    bald, curly, fringe = head["bald"], head["curly"], head["fringe"]
    ends, old = reach(head), years(head)
    locks, lines = curls(head), strands(head)
    volume = (head.between("volume", 0.045, 0.085) + 0.05 * curly) * (1 - 0.8 * bald)
    taper = 0.15 + 0.85 * step(ends - y, 0.0, 0.28)
    around = wide + volume * taper
    crown, middle = TOP - 0.8 * volume, -0.10
    t = ((middle - y) / (middle - crown)).clamp(min=0)
    span = around.square() * (1 - t.square())
    outer = (x.square() - span) / (2 * wide) + curly * 0.020 * locks
    cropped = 1 - step(ends, 0.0, 0.25)
    sides = (1 - cropped) * 0.30 * x.square() - cropped * 0.8 * (u.abs() - 0.37)
    tips = y - ends + sides + 0.008 * lines * (1 - curly) + 0.03 * curly * locks
    outer = torch.maximum(outer, tips)
    behind = fill(outer) * (1 - bald)
    # the window that the hair leaves to the face
    brow_side = 0.86 * wide + bald * (0.02 + 0.34 * (0.04 - y).clamp(min=0))
    high = -0.385 - 0.03 * old + fringe * (0.185 + 0.03 * old)
    ragged = (0.018 * lines + 0.01) * fringe + 0.025 * curly * locks
    notch = (1 - fringe) * 0.055 * bump((u - 0.16 * head["parting"]) / 0.09)
    rise = 0.14 - high + notch + bald * 2
    drop = ((0.14 - y).clamp(min=0) / rise).square()
    drop = drop * (1 + fringe * (drop - 1))  # a fringe is cut straighter
    window = (u / brow_side).square() + drop
    window = (1 - window) * 0.2 + ragged
    top_off = (-0.24 - y + 0.1 * (u.abs() - 0.3)) * bald - 9 * (1 - bald)
    front = fill(torch.maximum(torch.maximum(outer, window), top_off), 1 + 2 * bald)
    grain = curly * (0.16 * locks + 0.30 * locks.abs().sqrt_() - 0.20) + (1 - curly) * 0.20 * lines
    place = (x / around, (y - middle) / 0.6, t)
    return Hair(front, behind, sheen(head, place, grain, lines, light))


def sheen(
    head: Head, place: tuple[Tensor, Tensor, Tensor], grain: Tensor, lines: Tensor, light: Light
) -> Tensor:
    """Light a dome of hair, with locks or strands and a band of gloss; `place` is on the dome."""
    across, down, high = place
    dome = (1 - 0.8 * (across.square() + high.square())).clamp(min=0.05).sqrt()
    lit = across * light[0] + down.clamp(-1, 0.3) * light[1] + dome * light[2]
    gloss = bump((high - 0.62 + 0.25 * across.square()) / 0.13) * (1 - 0.6 * head["curly"])
    bright = 0.52 + 0.55 * lit.clamp(min=0) + grain + 0.35 * gloss * (0.6 + 0.8 * lines)
    return tone(head) * bright + 0.05 * gloss


def whiskers(head: Head, albedo: Tensor, skin: Tensor) -> Tensor:
    """Grow beard and moustache where there are any, always darker than the skin."""
    u, y, side = head.u, head.y, head.u.abs()
    grain = 0.5 + 0.5 * waves(u + 0.35 * y, (95.0, 141.0), [head["phase1"], head["phase2"]])
    dark = skin * (0.20 + 0.38 * tone(head)) * (0.78 + 0.44 * grain)
    cheek = 0.20 + 0.10 * step(side, 0.30, 0.16) - 0.20 * step(side, 0.27, 0.36)
    lips = 1 - (u / 0.17).square() - ((y - MOUTH - 0.005) / 0.080).square()
    beard = step(y - cheek + 0.02 * grain, 0.0, 0.05) * (1 - step(lips, -0.12, 0.18))
    soul = bump(u / 0.05, (y - MOUTH - 0.095) / 0.04)
    albedo = over(albedo, head["beard"] * torch.maximum(beard, 0.8 * soul) * 0.94, dark)
    low = MOUTH - 0.030 - 0.034 * head["smile"] * ((u / 0.14).square() - 0.42)
    philtrum = 0.5 * (low + nose_tip(head) + 0.05)
    s = side / 0.165
    tuft = line(y - philtrum - 0.055 * s.square(), 0.070 * (1 - s.square()).clamp(min=0), 0.012)
    return over(albedo, head["moustache"] * tuft * (s < 1) * 0.94, 0.9 * dark)
