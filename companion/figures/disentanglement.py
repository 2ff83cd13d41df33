"""What a code holds of known factors: rate and distortion, parts of the rate, maps, scores."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from companion.figures.latents import plain
from companion.figures.style import INK, PALETTE, blank, darker, marks
from companion.words import nearest

HATCHES = ("", "///", "...", "xxx")
EQUAL_SUMS = "#BBBBBB"


def numbers(label: str, values: Any, dimensions: int) -> NDArray[np.float64]:
    """Turn a tensor or a list into finite numbers; raise ValueError if it cannot be."""
    array = np.asarray(plain(values), dtype=np.float64)
    if array.ndim != dimensions or not array.size or not np.isfinite(array).all():
        raise ValueError(f"{label!r} needs finite numbers in {dimensions} axes: {array.shape}")
    return array


def rate_distortion_plane(points: Mapping[str, tuple[Any, Any]], alt: str = "") -> Figure:
    """Scatter runs by rate and distortion, in nats per image: label -> (rates, distortions).

    A run is a point; grey lines join places of equal sum, that is, of equal bound. The
    distortion's axis is logarithmic. Raises ValueError for points that are no numbers.
    """
    if not points:
        raise ValueError("the plane needs at least one point, got none")
    chosen = marks(list(points))
    figure = blank(3.8)
    figure.set_label(alt)
    axes = figure.subplots()
    axes.set(xlabel="rate (nats per image)", ylabel="distortion (nats per image)", yscale="log")
    for label, (rates, distortions) in points.items():
        mark = chosen[label]
        face = mark.colour if mark.filled else "white"
        x, y = numbers(label, rates, 1), numbers(label, distortions, 1)
        axes.scatter(x, y, s=34, c=face, edgecolors=mark.colour, marker=mark.marker, label=label)
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    left = max(left, -0.04 * right)
    rates = np.linspace(left, right, 60)
    for total in np.geomspace(max(low, 1.0), high + right, 9):
        sums = np.where(total - rates > low, total - rates, np.nan)
        axes.plot(rates, sums, color=EQUAL_SUMS, lw=0.7, zorder=0)
    axes.set(xlim=(left, right), ylim=(low, high))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


def stacked_parts(
    parts: Mapping[str, Any], names: Sequence[str], ylabel: str, alt: str = ""
) -> Figure:
    """Draw parts of a whole as stacked bars: label -> (S, P), one bar for each of S runs.

    `names` are those of the P parts, lowest first. Raises ValueError where they do not fit.
    """
    bars = {label: numbers(label, values, 2) for label, values in parts.items()}
    if not bars or any(values.shape[1] != len(names) for values in bars.values()):
        shapes = {label: values.shape for label, values in bars.items()}
        raise ValueError(f"need bars of {len(names)} parts each, got {shapes}")
    figure = blank(3.4)
    figure.set_label(alt)
    axes = figure.subplots()
    start, middles = 0.0, []
    for values in bars.values():
        at = start + np.arange(len(values))
        bottom = np.zeros(len(values))
        for part, height in enumerate(values.T):
            axes.bar(
                at, height, 0.86, bottom, color=PALETTE[part], hatch=HATCHES[part % 4],
                edgecolor="white", lw=0,
            )  # fmt: skip
            bottom += height
        middles.append(at.mean())
        start = at[-1] + 2.0
    axes.set_xticks(middles, list(bars))
    axes.tick_params(axis="x", length=0)
    axes.set(ylabel=ylabel)
    axes.axhline(0, color=INK, lw=0.8)
    handles = [
        Patch(facecolor=PALETTE[k], hatch=HATCHES[k % 4], edgecolor="white", label=name, lw=0)
        for k, name in enumerate(names)
    ]
    figure.legend(handles=handles[::-1], loc="outside upper left", ncols=len(names), frameon=False)
    return figure


def factor_maps(
    codes: Mapping[str, Any],
    factors: Mapping[str, Any],
    cyclic: Collection[str] = (),
    alt: str = "",
) -> Figure:
    """Scatter planes of codes, one row a label (N, 2), one column a factor (N,) as the colour.

    A factor in `cyclic` gets colours that close in a circle. Raises ValueError for shapes that
    do not fit, and a cyclic factor that is not there.
    """
    planes = {label: numbers(label, z, 2) for label, z in codes.items()}
    values = {name: numbers(name, v, 1) for name, v in factors.items()}
    sizes = {z.shape for z in planes.values()} | {(len(v), 2) for v in values.values()}
    if len(sizes) != 1:
        raise ValueError(f"need codes (N, 2) and factors (N,) of one N, got {sorted(sizes)}")
    for name in cyclic:
        if name not in values:
            raise ValueError(f"no factor {name!r} {nearest(name, values)}")
    figure = blank(1.3 * len(planes) + 0.3)
    figure.set_label(alt)
    grid = figure.subplots(len(planes), len(values), squeeze=False)
    for row, (label, z) in zip(grid, planes.items(), strict=True):
        for axes, (name, v) in zip(row, values.items(), strict=True):
            colours = "twilight_shifted" if name in cyclic else "viridis"
            axes.scatter(*z.T, c=v, cmap=colours, s=9, lw=0)
            axes.set(xticks=[], yticks=[], aspect="equal", box_aspect=1)
            axes.set_adjustable("datalim")
        row[0].set_ylabel(label)
    for axes, name in zip(grid[0], values, strict=True):
        axes.set_title(name)
    return figure


def information_map(
    information: Any, dimensions: Sequence[str], factors: Sequence[str], alt: str = ""
) -> Figure:
    """Draw shares of information (K, F), each in [0, 1], as a map with its numbers.

    Raises ValueError unless there is a name for each row and each column.
    """
    shares = numbers("information", information, 2)
    if shares.shape != (len(dimensions), len(factors)):
        told = f"{len(dimensions)} dimensions and {len(factors)} factors"
        raise ValueError(f"information is {shares.shape}, but there are names of {told}")
    figure = blank(0.29 * len(dimensions) + 0.7, 6.4)
    figure.set_label(alt)
    axes = figure.subplots()
    seaborn.heatmap(
        shares, vmin=0, vmax=1, cmap="Blues", annot=True, fmt=".2f", annot_kws={"size": 8.5},
        cbar=False, xticklabels=list(factors), yticklabels=list(dimensions), ax=axes,
    )  # fmt: skip
    axes.tick_params(length=0, labeltop=True, labelbottom=False, labelrotation=0)
    return figure


def strips(
    values: Mapping[str, Any],
    xlabel: str,
    lines: Mapping[str, float] | None = None,
    alt: str = "",
) -> Figure:
    """Draw the scores of repeated runs, one strip a label, with a bar at the median.

    `lines` are numbers to compare with, by what to call them. Raises ValueError for a strip
    that is empty or holds what is no number.
    """
    if not values:
        raise ValueError("strips needs at least one label, got none")
    chosen = marks(list(values))
    figure = blank(0.48 * len(values) + 0.9)
    figure.set_label(alt)
    axes = figure.subplots()
    for row, (label, scores) in enumerate(values.items()):
        draw_strip(axes, row, numbers(label, scores, 1), chosen[label])
    axes.set(xlabel=xlabel, ylim=(len(values) - 0.5, -0.5))
    axes.set_yticks(range(len(values)), list(values))
    for number, (name, at) in enumerate((lines or {}).items()):
        axes.axvline(at, color=INK, ls=(":", "--", "-.")[number % 3], lw=1.1)
        axes.annotate(
            name, (at, 1), (2, 2), xycoords=("data", "axes fraction"),
            textcoords="offset points", fontsize=8.5, color=INK,
        )  # fmt: skip
    return figure


def draw_strip(axes: Axes, row: int, scores: NDArray[np.float64], mark: Any) -> None:
    """Draw one strip: a mark for each run, spread up and down so that none hides another."""
    face = mark.colour if mark.filled else "white"
    offset = 0.22 * np.linspace(-1, 1, len(scores)) if len(scores) > 1 else np.zeros(1)
    axes.scatter(
        scores, row + offset, s=34, c=face, edgecolors=mark.colour, marker=mark.marker, zorder=3
    )
    middle = np.median(scores)
    axes.plot((middle, middle), (row - 0.36, row + 0.36), color=darker(mark.colour), lw=2.4)
