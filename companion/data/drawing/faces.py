"""Faces drawn by the package: grey pictures with exact attributes, a function of numbers alone."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from companion.data.drawing.face_canvas import (
    BINARY,
    CHIN,
    CONTINUOUS,
    KINDS,
    NAMES,
    TOP,
    Head,
    Light,
    bump,
    chances,
    fill,
    lamp,
    line,
    over,
    pose,
    slopes,
    step,
)
from companion.data.drawing.face_features import (
    brows,
    emboss,
    eyes,
    glasses,
    mouth,
    nostrils,
    wrinkles,
    years,
)
from companion.data.drawing.face_hair import hair, tone, whiskers

__all__ = ["KINDS", "NAMES", "draw", "draw_attributes", "draw_numbered"]
PIXELS = 4 * 128 * 128  # drawn at once: small enough for the processor's cache


def draw(n: int, seed: int = 0, size: int = 128) -> tuple[Tensor, Tensor]:
    """Draw n faces: images uint8 (n, 1, size, size) in 0..255, attributes float32 (n, A).

    Column k is NAMES[k]; KINDS[k] says whether it is "continuous", uniform in [-1, 1], or
    "binary", 0 or 1. All are independent. Face i is a function of (seed, i) alone.
    """
    u = torch.from_numpy(chances(n, seed))
    attributes = attributes_of(u)
    return render(attributes, u[:, len(NAMES) :], size), attributes


def draw_numbered(numbers: Sequence[int], seed: int = 0, size: int = 128) -> tuple[Tensor, Tensor]:
    """Draw only the faces with these numbers in draw(..., seed): images and attributes."""
    u = torch.cat([torch.from_numpy(chances(1, seed, number)) for number in numbers])
    attributes = attributes_of(u)
    return render(attributes, u[:, len(NAMES) :], size), attributes


def attributes_of(u: Tensor) -> Tensor:
    """Turn uniform numbers (n, A + H) in [0, 1) into attributes float32 (n, A)."""
    split = len(CONTINUOUS)
    often = torch.tensor(list(BINARY.values()), dtype=torch.float64)
    return torch.cat([2 * u[:, :split] - 1, u[:, split : len(NAMES)] < often], 1).float()


def draw_attributes(
    attributes: Tensor, seed: int = 0, faces: Sequence[int] | None = None, size: int = 128
) -> Tensor:
    """Draw faces with given attributes (n, A): uint8 (n, 1, size, size).

    What is no attribute (cloth, frames, ...) is that of the faces with numbers `faces` in
    draw(..., seed), by default 0..n - 1: `draw(n, seed)` equals `draw_attributes(a, seed)` for
    its own attributes a, and an edited row shows the same face, edited.
    """
    if attributes.dim() != 2 or attributes.shape[1] != len(NAMES):
        raise ValueError(
            f"attributes must be (n, {len(NAMES)}), a column for each of NAMES, "
            f"got {tuple(attributes.shape)}"
        )
    numbers = range(len(attributes)) if faces is None else faces
    if len(numbers) != len(attributes):
        raise ValueError(f"{len(attributes)} rows need as many faces, got {len(numbers)}")
    rows = [torch.from_numpy(chances(1, seed, number)) for number in numbers]
    return render(attributes, torch.cat(rows)[:, len(NAMES) :], size)


def render(attributes: Tensor, hidden: Tensor, size: int) -> Tensor:
    """Draw piece by piece, one thread per core that torch may use."""
    images = torch.empty(len(attributes), 1, size, size, dtype=torch.uint8)
    many = max(1, PIXELS // size**2)
    pieces = zip(*(t.split(many) for t in (images, attributes, hidden)), strict=True)

    def piece(parts: tuple[Tensor, ...]) -> None:
        picture = portrait(pose(parts[1], parts[2], size))
        parts[0][:, 0] = (picture.clamp_(0, 1) * 255).round_().to(torch.uint8)

    torch.empty(3_000_000, dtype=torch.float64)  # freed at once: glibc then keeps smaller blocks
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(piece, pieces))
    return images


def portrait(head: Head) -> Tensor:
    """Draw faces from the back to the front: (n, S, S)."""
    light = lamp(head)
    locks = hair(head, light)
    skin = 0.30 + 0.52 * ((head["skin_tone"] + 1) / 2)
    picture = backdrop(head)
    picture = over(picture, locks.behind, 0.62 * locks.grey)
    picture = body(head, picture, skin, light)
    picture = ears(head, picture, skin, light)
    picture = face(head, picture, skin, light)
    part = head.crop(-0.22, 0.15)
    picture[:, part.rows] = glasses(part, picture[:, part.rows])
    return over(picture, locks.front, locks.grey)


def backdrop(head: Head) -> Tensor:
    """A wall with a soft spot of light: (n, S, S)."""
    x, y = head["body_x"], head["body_y"]
    grey = head.between("background", 0.22, 0.86)
    spot = bump((x - head.between("blob_x", -0.7, 0.7)) / 0.9) * bump(
        (y - head.between("blob_y", -0.7, 0.3)) / 0.9
    )
    fall = head.between("gradient", -0.10, 0.10) * y
    return grey * (0.86 + 0.22 * spot + fall + 0.06 * head["light"] * x)


def body(head: Head, picture: Tensor, skin: Tensor, light: Light) -> Tensor:
    """Neck, shoulders and a shirt with one of two collars."""
    x, y = head["body_x"], head["body_y"] + 0 * head.x
    neck_wide = 0.205 + 0.15 * (head["wide"] - 0.395) + 0.03 * head["jaw"]
    flare = 0.9 * (y - 0.54).clamp(min=0).square() * 4
    neck = fill(torch.maximum(x.abs() - neck_wide - flare, 0.25 - y))
    roll = (1 - 0.75 * (x / 0.26).square()).clamp(min=0.04).sqrt()
    lit = 0.50 + 0.50 * (x / 0.26 * light[0] + roll * light[2]).clamp(min=0)
    under = 1 - 0.42 * (1 - step(y - 0.10 * x.square(), 0.46, 0.70))
    picture = over(picture, neck, skin * lit * under)
    slope = head.between("shoulders", 0.57, 0.64)
    top = slope + 0.10 * (x / 0.5).square() + 0.12 * ((x.abs() - 0.62).clamp(min=0) / 0.3) ** 2
    deep = head.between("collar", 0.05, 0.24)
    scoop = slope + 0.06 + deep * (1 - (x / (neck_wide + 0.08)).square()).clamp(min=-2)
    vee = slope + 0.02 + 1.3 * deep - 0.9 * x.abs()
    cut = torch.where(head["collar"] > 0.55, vee, scoop)
    shirt = fill(torch.maximum(top - y, cut - y))
    tone_ = head.between("shirt", 0.12, 0.88)
    pattern = (head["stripes"] > 0.72) * 0.14 * (y * 58).sin().mul(3).clamp(-1, 1)
    shadow = (x / 1.0 * light[0]) * 0.35 + 0.92 - 0.10 * bump((top - y) / 0.04)
    hem = 0.22 * line(y - torch.maximum(top, cut) - 0.03, 0.022, head.pixel)
    return over(picture, shirt, (tone_ + pattern) * shadow * (1 - hem) + 0.02)


def ears(head: Head, picture: Tensor, skin: Tensor, light: Light) -> Tensor:
    """Two ears beside the head; a turn hides one."""
    part = head.crop(-0.12, 0.24)
    x, y = part.x, part.y
    big = part.between("ears", 0.9, 1.2)
    out = part["wide"] * 0.985 + 0.012 - 0.10 * part["turn"] * x.sign()
    dx, dy = (x.abs() - out) / (0.058 * big), (y - 0.04 + 0.25 * (x.abs() - out)) / (0.115 * big)
    inner = bump((dx - 0.15) / 0.45, (dy + 0.1) / 0.55)
    facing = 0.66 + 0.30 * x.sign() * light[0]
    grey = skin * (facing + 0.10 - 0.34 * inner)
    shape = fill(dx.square() + dy.square() - 1)
    picture[:, part.rows] = over(picture[:, part.rows], shape, grey)
    return picture


def outline(head: Head) -> Tensor:
    """Half the width of the head squared, less x squared: positive inside (n, S, S)."""
    middle, half = (TOP + CHIN) / 2, (CHIN - TOP) / 2
    jaw = (head["jaw"] + 1) / 2 + 0.25 * years(head)
    t = (head.y - middle) / half
    t = t * (1 - 0.05 * head["beard"] * step(t, 0.3, 1.0))  # a beard stands out
    x = head.x - 0.10 * head["turn"] * t
    t2 = t.square()
    egg = 1 + (0.22 * jaw - 0.36) * t + (0.05 + 0.75 * jaw) * t2
    return head["wide"].square() * (1 - t2) * egg - x.square()


def face(head: Head, picture: Tensor, skin: Tensor, light: Light) -> Tensor:
    """The head's skin, lit from the side, and all that is painted on it."""
    inside = outline(head)
    shape = fill(-inside)
    z = 0.95 * (inside.clamp(min=0) + 0.006).sqrt()
    emboss(head, z)
    across, down = (slope.mul_(1 / head.pixel) for slope in slopes(z))
    lit = light[2] - across * light[0] - down * light[1]
    lit /= across.square_().add_(down.square_()).add_(1).sqrt_()
    shade = 0.40 + 0.72 * lit.clamp(min=0) + 0.06 * lit.clamp(max=0)
    albedo = paint(head, skin)
    painted = albedo * shade
    part = head.crop(-0.20, 0.12)
    painted[:, part.rows] = eyes(part, painted[:, part.rows], shade[:, part.rows])
    part = head.crop(-0.28, -0.06)
    grey = (0.75 * tone(head)).clamp(max=0.55) * (0.6 + 0.4 * shade[:, part.rows])
    grey = torch.minimum(grey, 0.62 * painted[:, part.rows])
    painted[:, part.rows] = over(painted[:, part.rows], 0.92 * brows(part), grey)
    return over(picture, shape, painted)


def paint(head: Head, skin: Tensor) -> Tensor:
    """Lines, nose, whiskers and lips on the skin, before the light falls on it: (n, S, S)."""
    dark = torch.zeros_like(head.x)
    wrinkles(head, dark)
    albedo = over(skin, 0.50 * dark.clamp_(0, 1), 0.35 * skin)
    part = head.crop(0.08, 0.25)
    rows = albedo[:, part.rows]
    rows *= 1 - 0.06 * bump((part.u.abs() - 0.22) / 0.09, (part.y - 0.15) / 0.07)
    albedo[:, part.rows] = over(rows, 0.80 * nostrils(part), 0.22 * skin)
    part = head.crop(0.0, 0.55)
    albedo[:, part.rows] = whiskers(part, albedo[:, part.rows], skin)
    part = head.crop(0.20, 0.46)
    albedo[:, part.rows] = mouth(part, albedo[:, part.rows], skin)
    return albedo
