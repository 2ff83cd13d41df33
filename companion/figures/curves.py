"""Curves with their errors, each named where it ends."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from companion.figures.style import Mark, blank, darker, marks, upright

Series = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
APART = 15.0  # CSS pixels between two labels


def curves(
    series: Mapping[str, tuple[Any, ...]],
    xlabel: str,
    ylabel: str,
    *,
    scales: tuple[str, str] = ("linear", "linear"),
    height: float = 3.4,
    alt: str = "",
) -> Figure:
    """Draw (x, y) or (x, y, error) by label, with a band of ± error and the label at the end.

    A label that begins with a model's name ("VAE, test") gets that model's colour and marker.
    `xlabel` and `ylabel` name the unit. `scales` are matplotlib's, e.g. ("log", "linear").
    Raises ValueError for series that are empty or of unequal length.
    """
    lines = {label: as_series(label, values) for label, values in series.items()}
    if not lines:
        raise ValueError("curves needs at least one series, got none")
    figure = blank(height)
    figure.set_label(alt)
    axes = figure.subplots()
    axes.set(xlabel=xlabel, ylabel=upright(ylabel, height), xscale=scales[0], yscale=scales[1])
    chosen = marks(list(lines))
    for label, line in lines.items():
        draw(axes, line, chosen[label], label)
    name_ends(figure, axes, lines, chosen)
    return figure


def as_series(label: str, values: Sequence[Any]) -> Series:
    """Check one series and give it errors; zeros where it has none."""
    if len(values) not in (2, 3):
        raise ValueError(f"{label!r} needs (x, y) or (x, y, error), got {len(values)} parts")
    parts = [np.asarray(part, dtype=np.float64).reshape(-1) for part in values]
    sizes = [part.size for part in parts]
    if 0 in sizes or len(set(sizes)) > 1:
        raise ValueError(f"x, y and error of {label!r} need one length above 0, got {sizes}")
    return parts[0], parts[1], parts[2] if len(parts) == 3 else np.zeros_like(parts[1])


def draw(axes: Axes, line: Series, mark: Mark, label: str) -> None:
    """Draw one series, with at most a dozen markers, and a band where it has errors."""
    x, y, error = line
    face = mark.colour if mark.filled else "white"
    axes.plot(
        x,
        y,
        linestyle=mark.dash,
        color=mark.colour,
        marker=mark.marker,
        markerfacecolor=face,
        markevery=max(1, len(x) // 12),
        label=label,
    )
    if error.any():
        axes.fill_between(x, y - error, y + error, color=mark.colour, alpha=0.18, lw=0)


def name_ends(
    figure: Figure, axes: Axes, lines: Mapping[str, Series], chosen: Mapping[str, Mark]
) -> None:
    """Write each label, behind a piece of its line, to the right of its last point."""
    figure.draw_without_rendering()
    box = axes.get_window_extent()
    ends = {}
    for label, (x, y, _) in lines.items():
        point = axes.transData.transform(np.stack([x, y], 1))
        seen = np.isfinite(point).all(1)
        ends[label] = point[seen][-1, 1] if seen.any() else box.y0
    places = spread(list(ends.values()), APART, box.y0, box.y1)
    for (label, mark), place in zip(chosen.items(), places, strict=True):
        at = (place - box.y0) / box.height
        face = mark.colour if mark.filled else "white"
        (piece,) = axes.plot((1.015, 1.035, 1.055), (at, at, at), transform=axes.transAxes)
        piece.set(color=mark.colour, linestyle=mark.dash, clip_on=False)
        piece.set(marker=mark.marker, markevery=[1], markerfacecolor=face)
        end = axes.text(1.065, at, label, transform=axes.transAxes, va="center", fontsize=9.5)
        end.set_color(darker(mark.colour))


def spread(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Push heights apart, first up, then down from the top, to at least `gap` if it fits."""
    order = np.argsort(heights, kind="stable")
    gap = min(gap, (high - low) / max(1, len(order) - 1))
    placed = np.clip(np.asarray(heights, dtype=float)[order], low, high)
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + gap)
    placed[-1:] = placed[-1:].clip(max=high)
    for i in range(len(placed) - 2, -1, -1):
        placed[i] = min(placed[i], placed[i + 1] - gap)
    result = np.empty_like(placed)
    result[order] = placed
    return result.tolist()
