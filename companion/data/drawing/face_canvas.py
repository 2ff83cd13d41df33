"""What the faces are drawn with: attributes, chance, a head's frame, soft fills and lines.

A unit is half the side of a picture; x points right, y down, and the picture is the square
[-1, 1] x [-1, 1]. All of it is in float64, so that the last bit never decides how a pixel is
rounded: the same numbers give the same bytes whatever the machine and the number of threads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

EYES, MOUTH = -0.04, 0.31  # heights in the head's frame
TOP, CHIN = -0.60, 0.51
SMALL, LARGE = 1.16, 1.27  # the scale of a head on its picture
PIVOT = 0.42  # the height about which a head tilts

SCALES = """
yaw tilt face_width jaw skin_tone hair_tone hair_length parting eye_size eye_openness eye_spacing
gaze brow_thickness brow_angle nose_length nose_width mouth_width mouth_open smile age light
background
"""
HIDDEN = """
shift_x shift_y scale volume phase1 phase2 phase3 phase4 frame_shape frame_width frame_tone lens
collar shirt stripes iris arch lips ears shoulders gradient blob_x blob_y lashes
"""
BINARY = {  # and how often they are 1
    "glasses": 0.4,
    "beard": 0.3,
    "moustache": 0.3,
    "bald": 0.15,
    "fringe": 0.35,
    "curly": 0.35,
}
CONTINUOUS = tuple(SCALES.split())  # uniform in [-1, 1]
NAMES = (*CONTINUOUS, *BINARY)
KINDS = ("continuous",) * len(CONTINUOUS) + ("binary",) * len(BINARY)
NUISANCES = tuple(HIDDEN.split())  # what varies beside the attributes, uniform in [0, 1]

Light = tuple[Tensor, Tensor, Tensor]


def chances(n: int, seed: int, first: int = 0) -> np.ndarray:
    """Uniform numbers in [0, 1) for the faces first, ..., first + n - 1: (n, A + H).

    Philox (Salmon et al. 2011) makes row i a function of (seed, i) alone.
    """
    many = len(NAMES) + len(NUISANCES)
    rows = [np.random.Philox(key=[seed, first + i]).random_raw(many) for i in range(n)]
    return (np.array(rows, dtype=np.uint64).reshape(n, many) >> np.uint64(11)) * 2.0**-53


@dataclass(frozen=True)
class Head:
    """Faces side by side: their numbers, each (n, 1, 1), and each pixel's place in their frames.

    `x, y` are fixed to the head, (n, rows, S); `u` is the place along the face's front that a
    pixel shows: the head is round, so that a turned face is seen narrower on its far side.
    """

    number: dict[str, Tensor]
    pixel: float  # the side of a pixel, in units
    x: Tensor
    y: Tensor
    u: Tensor
    rows: slice  # of the picture

    def __getitem__(self, name: str) -> Tensor:
        return self.number[name]

    def between(self, name: str, low: float, high: float) -> Tensor:
        """Scale a hidden number from [0, 1], or an attribute from [-1, 1], to [low, high]."""
        value = self.number[name]
        return low + (high - low) * ((value + 1) / 2 if name in CONTINUOUS else value)

    def crop(self, low: float, high: float) -> "Head":
        """Keep the rows of the picture that may show heights low..high of any head."""
        size = self.x.shape[1]
        low = min(low * SMALL, low * LARGE) - 0.12  # for the tilt and the shift
        high = max(high * SMALL, high * LARGE) + 0.15
        first, last = (round((edge + 1) / 2 * size) for edge in (low, high))
        rows = slice(max(first, 0), min(last, size))
        x, y, u = self.x[:, rows], self.y[:, rows], self.u[:, rows]
        return replace(self, x=x, y=y, u=u, rows=rows)


def pose(attributes: Tensor, hidden: Tensor, size: int) -> Head:
    """Place the heads of attributes (n, A) and hidden numbers (n, H) on a picture."""
    columns = torch.cat([attributes, hidden], 1).double().T[:, :, None, None]
    number = dict(zip((*NAMES, *NUISANCES), columns, strict=True))
    axis = (torch.arange(size, dtype=torch.float64) + 0.5) * 2 / size - 1
    frame = Head(number, 2 / size, axis, axis, axis, slice(0, size))
    scale = frame.between("scale", SMALL, LARGE)
    x = (axis.view(1, 1, -1) - frame.between("shift_x", -0.04, 0.04)) / scale
    y = (axis.view(1, -1, 1) - frame.between("shift_y", -0.015, 0.04)) / scale
    number["body_x"], number["body_y"] = x, y
    number["wide"] = frame.between("face_width", 0.355, 0.435)
    number["turn"] = 0.33 * number["yaw"]
    angle = 0.14 * number["tilt"]
    x, y = (
        angle.cos() * x + angle.sin() * (y - PIVOT),
        angle.cos() * (y - PIVOT) - angle.sin() * x + PIVOT,
    )
    round_ = 1.15 * number["wide"]
    depth = (round_**2 - x**2).clamp(min=0.02).sqrt()
    u = x * number["turn"].cos() - depth * number["turn"].sin()
    return replace(frame, x=x, y=y, u=u)


def lamp(head: Head) -> Light:
    """The direction the light comes from: from the side, from above and from the front."""
    side = 0.85 * head["light"]
    length = (side.square() + 0.42**2 + 0.80**2).sqrt()
    return side / length, -0.42 / length, 0.80 / length


def slopes(f: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along columns and rows, per pixel; at the border their neighbours'."""
    across, down = torch.empty_like(f), torch.empty_like(f)
    torch.sub(f[:, :, 2:], f[:, :, :-2], out=across[:, :, 1:-1])
    torch.sub(f[:, 2:], f[:, :-2], out=down[:, 1:-1])
    across[:, :, 0], across[:, :, -1] = across[:, :, 1], across[:, :, -2]
    down[:, 0], down[:, -1] = down[:, 1], down[:, -2]
    return across.mul_(0.5), down.mul_(0.5)


def fill(f: Tensor, soft: Tensor | float = 1.0) -> Tensor:
    """Cover the pixels where f < 0, with edges `soft` pixels wide whatever the slope of f."""
    across, down = slopes(f)
    steep = across.square_().add_(down.square_()).add_(1e-12).sqrt_()
    return (0.5 - f / steep.mul_(soft)).clamp_(0, 1)


def line(d: Tensor, width: Tensor | float, pixel: float) -> Tensor:
    """Cover the pixels at a distance |d| below half a width, as a box filter sees them."""
    d, half = d / pixel, width / (2 * pixel)
    return (d + half + 0.5).clamp_(0, 1) - (d - half + 0.5).clamp_(0, 1)


def bump(*distances: Tensor) -> Tensor:
    """exp(-(the sum of the squares of distances, each in widths))."""
    total = distances[0].square()
    for distance in distances[1:]:
        total = total + distance.square()
    return total.neg_().exp_()


def step(x: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """Rise smoothly from 0 at `low` to 1 at `high`."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def over(below: Tensor, shape: Tensor, grey: Tensor | float) -> Tensor:
    """Lay a shape of one grey, or many, over what is drawn so far."""
    return below + shape * (grey - below)


def waves(q: Tensor, frequencies: Sequence[float], phases: Sequence[Tensor]) -> Tensor:
    """The mean of sines in q; what strands of hair and cloth look like."""
    pairs = zip(frequencies, phases, strict=True)
    total = sum((q * k + 6.3 * p).sin_() for k, p in pairs)
    return torch.as_tensor(total) / len(frequencies)
