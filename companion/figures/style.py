"""One look for every figure: sizes, colours and marks; the same model, the same mark."""

import textwrap
from itertools import count
from typing import NamedTuple

import seaborn
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

from companion.words import nearest

WIDTH = 7.0  # inches: the text of a page, about 700 CSS pixels
DPI = 100  # so that one point of a figure is one CSS pixel
INK = "#333333"

# Dark enough for white paper (3 : 1), apart in the common kinds of colour blindness.
COLOURS = {
    "data": "#333333",
    "autoencoder": "#D55E00",
    "vae": "#0072B2",
    "beta-vae": "#009E73",
    "beta-tcvae": "#B07D00",
    "classifier": "#9933FF",
    "autoregressive": "#8A8A2B",
    "flow": "#0E5A4F",
    "gan": "#E0569B",
    "energy": "#A0410D",
    "jem": "#1B9ACB",
    "jem++": "#B4479B",
    "diffusion": "#5B1A8E",
}
# Dash and marker: colour never carries the meaning alone.
LINES = {
    "data": ("-", "x"),
    "autoencoder": ("-", "s"),
    "vae": ("-", "o"),
    "beta-vae": ("-", "^"),
    "beta-tcvae": ("-", "<"),
    "classifier": ("-", "D"),
    "autoregressive": ("-", "v"),
    "flow": ("-", "P"),
    "gan": ("-", "X"),
    "energy": ("-", "*"),
    "jem": ("-", "h"),
    "jem++": ("-", "d"),
    "diffusion": ("-", "p"),
}
# For what is no model of the list, e.g. the classes of a data set; beside models, greys.
# fmt: off
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#B4479B", "#333333",
           "#8A8A2B", "#7A3B00", "#1B9ACB", "#E0569B", "#5B1A8E")
# fmt: on
GREYS = ("#777777", "#555555", "#8C8C8C")
MARKERS = ("o", "s", "^", "D", "x", "v", "P", "*", "<", "p")
DASHES = ("-", "--", ":", "-.")

RC = {
    "figure.dpi": DPI,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": "#E6E6E6",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "font.size": 10,
    "axes.labelsize": 10,
    "axes.titlesize": 10.5,
    "legend.fontsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}


class Mark(NamedTuple):
    """How one series is drawn: colour, dash, marker, and whether the marker is filled."""

    colour: str
    dash: str
    marker: str
    filled: bool = True


def use_style() -> None:
    """Set the book's seaborn theme for every figure drawn from here on."""
    seaborn.set_theme(context="paper", style="ticks", palette=list(PALETTE), rc=RC)


def blank(height: float, width: float = WIDTH) -> Figure:
    """Make an empty figure of `width` x `height` inches that pyplot does not hold on to."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def upright(label: str, height: float) -> str:
    """Break a label that runs up an axis into lines that fit a figure of `height` inches.

    A label with a formula is left as it is: a line must not end within one.
    """
    fits = int(0.72 * height * 72 / (0.55 * RC["axes.labelsize"]))
    return label if "$" in label else textwrap.fill(label, max(fits, 8))


def plain_name(name: str) -> str:
    """Spell a model's name as `COLOURS` does: "β-VAE" -> "beta-vae"."""
    return name.strip().lower().replace("β", "beta").replace(" ", "-").replace("_", "-")


def colour(name: str) -> str:
    """Look up the colour of a model, e.g. "vae" or "β-VAE", as "#rrggbb".

    Raises ValueError for a name that has no colour.
    """
    if plain_name(name) not in COLOURS:
        raise ValueError(f"no colour for {name!r} {nearest(plain_name(name), COLOURS)}")
    return COLOURS[plain_name(name)]


def model_of(label: str) -> str | None:
    """Find the model that a label begins with: "VAE, 32 dimensions" -> "vae"."""
    words = plain_name(label).replace(",", "-")
    fitting = [name for name in COLOURS if f"{words}-".startswith(f"{name}-")]
    return max(fitting, key=len, default=None)


def marks(labels: list[str]) -> dict[str, Mark]:
    """Give each series its mark: by model, else from a cycle.

    A second series of the same model keeps its colour and marker, with another dash and an
    open marker.
    """
    seen: dict[str, int] = {}
    tones = GREYS if any(model_of(label) for label in labels) else PALETTE
    others = (Mark(tones[k % len(tones)], DASHES[k % 4], MARKERS[-1 - k % 10]) for k in count())
    chosen = {}
    for label in labels:
        name = model_of(label)
        if name is None:
            chosen[label] = next(others)
            continue
        turn = seen[name] = seen.get(name, -1) + 1
        dash = DASHES[turn % len(DASHES)]
        chosen[label] = Mark(COLOURS[name], dash, LINES[name][1], filled=turn == 0)
    return chosen


def darker(tone: str, share: float = 0.3) -> str:
    """Mix a colour with black, so that letters in it are easy to read."""
    parts = (round(int(tone[i : i + 2], 16) * (1 - share)) for i in (1, 3, 5))
    return "#" + "".join(f"{part:02X}" for part in parts)


def text_width(text: str, points: float) -> float:
    """Measure the widest line of a text in CSS pixels."""
    lines = (TextPath((0, 0), line, size=points) for line in text.split("\n") if line.strip())
    return max((path.get_extents().x1 for path in lines), default=0.0) * DPI / 72
