"""The loss terms of trainings, epoch by epoch."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from companion.figures.style import DPI, INK, WIDTH, Mark, blank, marks, text_width, upright
from companion.words import nearest

Rows = Sequence[Mapping[str, Any]]


def history_curves(
    runs: Mapping[str, Rows],
    terms: Sequence[str] | Mapping[str, str],
    alt: str = "",
) -> Figure:
    """Draw terms of the histories of runs over epochs, one panel for each term.

    A history is a run's list of rows: {"epoch": 3, "vae/elbo": ..., "test/elbo": ...}. The
    test term is solid with markers, the training term (any other prefix) dashed and thin.
    `terms` are in nats per image, or map a term to the text of its axis, with the unit.
    Raises ValueError for a term that no row of any run holds.
    """
    if not runs or not terms:
        raise ValueError(f"nothing to draw: got {len(runs)} runs and {len(terms)} terms")
    for term in terms:
        check_term(runs, term)
    across = min(3, len(terms))
    down = -(-len(terms) // across)
    figure = blank(2.6 * down + 0.3)
    figure.set_label(alt)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    chosen = marks(list(runs))
    for axes, term in zip(panels, terms, strict=False):
        name = terms[term] if isinstance(terms, Mapping) else f"{term} (nats per image)"
        axes.set(xlabel="epoch", ylabel=upright(name, 2.6))
        axes.xaxis.get_major_locator().set_params(integer=True)  # there is no half an epoch
        for label, rows in runs.items():
            draw_history(axes, rows, term, chosen[label])
    for axes in panels[len(terms) :]:
        axes.set_axis_off()
    handles = [swatch(mark._replace(dash="-"), label) for label, mark in chosen.items()]
    handles += [swatch(Mark(INK, "-", ""), "test"), swatch(Mark(INK, "--", ""), "training")]
    room = sum(text_width(label, 9.5) + 60 for label in (*runs, "test", "training"))
    across = -(-len(handles) // ceil(room / WIDTH / DPI))
    figure.legend(handles=handles, loc="outside upper left", ncols=across, frameon=False)
    return figure


def check_term(runs: Mapping[str, Rows], term: str) -> None:
    """Raise ValueError unless some row of some run holds the term."""
    names = {key.rpartition("/")[2] for rows in runs.values() for row in rows for key in row}
    if term not in names:
        raise ValueError(f"no term {term!r} in these histories {nearest(term, names)}")


def pick(rows: Rows, term: str, test: bool) -> tuple[list[float], list[float]]:
    """Collect epochs and values of a term, measured on test data or in training."""
    epochs, values = [], []
    for row in rows:
        for key, value in row.items():
            owner, _, name = key.rpartition("/")
            if name == term and (owner == "test") == test:
                epochs.append(row["epoch"])
                values.append(value)
    return epochs, values


def draw_history(axes: Axes, rows: Rows, term: str, mark: Mark) -> None:
    """Draw the test term and the training term of one run."""
    axes.plot(*pick(rows, term, test=False), "--", color=mark.colour, lw=1.1)
    epochs, values = pick(rows, term, test=True)
    axes.plot(
        *(epochs, values),
        color=mark.colour,
        marker=mark.marker,
        markevery=max(1, len(epochs) // 8),
        markerfacecolor=mark.colour if mark.filled else "white",
    )


def swatch(mark: Mark, label: str) -> Line2D:
    """Make a legend's entry that looks like the line it explains."""
    face = mark.colour if mark.filled else "white"
    return Line2D(
        [], [], color=mark.colour, ls=mark.dash, marker=mark.marker, mfc=face, label=label
    )
