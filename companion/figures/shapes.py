"""The nodes and edges of a drawn graph as shapes in CSS pixels: geometry only."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from math import hypot
from textwrap import fill
from typing import NamedTuple

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from companion.figures.style import DPI, text_width

Positions = Mapping[Hashable, Sequence[float]]  # node -> (x, y), y upwards
Points = NDArray[np.float64]

FAR = 100.0  # CSS pixels: the nearest two nodes are at most this far apart
ROOM = 4.0  # CSS pixels that a node keeps free around it
BELOW = 34.0  # and the further room that an arrow needs between two layers
WRAP = 12  # characters: longer names break between words
BENDS = (0.0, 0.13, -0.13, 0.26, -0.26, 0.4, -0.4, 0.55, -0.55)


class Shape(NamedTuple):
    """A box with round corners: a node, in CSS pixels, y downwards."""

    x: float
    y: float
    half_width: float
    half_height: float
    corner: float

    def distance(self, points: Points) -> Points:
        """Measure how far points (..., 2) are from the border; below 0 inside."""
        inner = np.array([self.half_width - self.corner, self.half_height - self.corner])
        beyond = np.abs(points - np.array([self.x, self.y])) - inner
        outside = np.hypot(*np.moveaxis(beyond.clip(min=0), -1, 0))
        return outside + beyond.max(-1).clip(max=0) - self.corner


class Edge(NamedTuple):
    """A quadratic Bézier curve (3, 2) and the tip (2,) of the arrow that continues it."""

    curve: Points
    tip: Points


def route(start: Shape, end: Shape, others: Sequence[Shape] = (), head: float = 0.0) -> Edge:
    """Lead an edge from border to border, bent where it would run over other nodes.

    With an arrow head, the tip is on the border of `end` and the curve ends `head` before it.
    """
    a, b = np.array(start[:2]), np.array(end[:2])
    across = np.array([a[1] - b[1], b[0] - a[0]])
    t = np.linspace(0, 1, 401)[:, None]
    tried = []
    for bend in BENDS:
        middle = (a + b) / 2 + bend * across
        points = (1 - t) ** 2 * a + 2 * t * (1 - t) * middle + t**2 * b
        room = min((float(other.distance(points).min()) for other in others), default=99.0)
        tried.append((min(room, 7.0), -abs(bend), middle, points))
        if room >= 7:
            break
    _, _, middle, points = max(tried, key=lambda each: each[:2])
    outside = (start.distance(points) > 1) & (end.distance(points) > 0.5)
    first, last = np.flatnonzero(outside)[[0, -1]] if outside.any() else (0, len(t) - 1)
    along = np.append(0, np.cumsum(np.hypot(*np.diff(points, axis=0).T)))
    base = max(first, int(np.searchsorted(along, along[last] - head)))
    u, v = t[first, 0], t[base, 0]
    inner = (1 - u) * (1 - v) * a + (u + v - 2 * u * v) * middle + u * v * b
    return Edge(np.stack([points[first], inner, points[base]]), points[last])


def routes(
    graph: nx.Graph, shapes: Mapping[Hashable, Shape], head: float
) -> dict[tuple[Hashable, Hashable], tuple[Edge, bool]]:
    """Lead every edge once; say whether it has a direction, or goes both ways."""
    led = {}
    for a, b in {frozenset(edge): edge for edge in graph.edges}.values():
        one_way = graph.is_directed() and not graph.has_edge(b, a)
        others = [shape for node, shape in shapes.items() if node not in (a, b)]
        led[a, b] = route(shapes[a], shapes[b], others, head if one_way else 0.0), one_way
    return led


def frame(shapes: Iterable[Shape], edges: Iterable[Edge]) -> tuple[float, float, float, float]:
    """Return the least box (left, top, right, bottom) that holds all nodes and edges."""
    points = []
    for x, y, wide, tall, _ in shapes:
        points += [(x - wide, y - tall), (x + wide, y + tall)]
    for start, middle, end in (edge.curve for edge in edges):
        points.append(start / 4 + middle / 2 + end / 4)  # where the curve is half-way
    left, top = np.min(points, axis=0).tolist()
    right, bottom = np.max(points, axis=0).tolist()
    return left - ROOM, top - ROOM, right + ROOM, bottom + ROOM


def arrow(edge: Edge, half: float = 4.6) -> Points:
    """Return the three corners of an arrow's head: tip, left, right."""
    ahead = edge.tip - edge.curve[2]
    aside = half * np.array([-ahead[1], ahead[0]]) / max(np.hypot(*ahead), 1e-9)
    return np.stack([edge.tip, edge.curve[2] + aside, edge.curve[2] - aside])


def wrapped(name: str, width: int = WRAP) -> str:
    """Break a name between words, as evenly as its number of lines allows."""
    if "\n" in name or "$" in name or len(name) <= width:
        return name
    breaks = fill(name, width, break_long_words=False).count("\n")
    tried = (fill(name, narrow, break_long_words=False) for narrow in range(1, width + 1))
    return next(lines for lines in tried if lines.count("\n") == breaks)


def extents(
    labels: Mapping[Hashable, str], points: float, size: float, pad: float = 9.0
) -> dict[Hashable, tuple[float, float, float]]:
    """Return half width, half height and corner of each node.

    Circles if every label fits into one, else rounded boxes; a node without a label is a dot.
    """
    across = {node: text_width(label, points) for node, label in labels.items()}
    lines = max(label.count("\n") for label in labels.values()) + 1
    if lines == 1 and max(across.values()) <= 0.7 * size:
        radius = {node: size / 2 if label else 5.0 for node, label in labels.items()}
        return {node: (r, r, r) for node, r in radius.items()}
    halves = {}
    for node, label in labels.items():
        tall = max(size / 2, (label.count("\n") + 1) * pitch(points) / 2 + 5)
        halves[node] = (max(size / 2, across[node] / 2 + pad), tall, min(tall, 13.0))
    return halves


def pitch(points: float) -> float:
    """Return the height of a line of text in CSS pixels."""
    return 1.2 * points * DPI / 72


def lines_of(label: str, x: float, y: float, points: float) -> list[tuple[float, float, str]]:
    """Place the lines of a label around a centre, each on its baseline."""
    lines, step = label.split("\n"), pitch(points)
    top = y - (len(lines) - 1) * step / 2 + 0.29 * step
    return [(x, top + k * step, line) for k, line in enumerate(lines)]


def fitted(
    positions: Positions,
    halves: Mapping[Hashable, tuple[float, float, float]],
    width: float,
    height: float | None = None,
) -> dict[Hashable, Shape]:
    """Turn positions into shapes that fit a width, and a height if one is given, in CSS pixels.

    `halves`: half width, half height and corner of each node. Without a height, rows stretch
    until no node lies on another, and a row too long for the width is staggered.
    """
    nodes = list(halves)
    at = np.array([positions[node] for node in nodes], dtype=float).reshape(-1, 2) * [1, -1]
    half = np.array([halves[node][:2] for node in nodes]) + ROOM
    gaps = [hypot(*(at[i] - at[j])) for i, j in combinations(range(len(at)), 2)]
    scale = min(FAR / max(min(gaps, default=1.0), 1e-6), stretch(at[:, 0], half[:, 0], width))
    if height is None:
        at[:, 0] *= scale
        apart(at, half[:, 0], width)
        at[:, 1] *= max(scale, needed(at, half))
    else:
        at *= min(scale, stretch(at[:, 1], half[:, 1], height))
    pairs = zip(nodes, at.tolist(), strict=True)
    return {node: Shape(x, y, *halves[node]) for node, (x, y) in pairs}


def stretch(at: Points, half: Points, length: float) -> float:
    """Return the largest scale at which nodes on a line, and their halves, fit a length."""
    ahead = at[:, None] - at
    room = length - half[:, None] - half
    return max(float((room[ahead > 1e-6] / ahead[ahead > 1e-6]).min(initial=1e6)), 1e-3)


def apart(at: Points, half: Points, width: float) -> None:
    """Push the nodes of each row apart; lower every second one where the row is too full.

    Where the nodes may not change places, the least moves in squares are an isotonic regression.
    """
    from sklearn.isotonic import isotonic_regression  # slow to import

    rows = at[:, 1].round(6)
    step = min(np.diff(np.unique(rows)), default=1.0) / 2
    left = (at[:, 0] - half).min()
    for row in np.unique(rows):
        members = np.flatnonzero(rows == row)
        members = members[np.argsort(at[members, 0], kind="stable")]
        full = 2 * half[members].sum() > width
        for part in (members[::2], members[1::2]) if full else (members,):
            ahead = np.cumsum(2 * half[part]) - half[part]
            free = left, left + max(width - 2 * half[part].sum(), 0.0)
            at[part, 0] = isotonic_regression(at[part, 0] - ahead).clip(*free) + ahead
        if full:
            at[members[1::2], 1] += step


def needed(at: Points, half: Points) -> float:
    """Return the least vertical scale at which no node comes too near to another."""
    least = 0.0
    for i, j in combinations(range(len(at)), 2):
        across, rise = abs(at[i] - at[j])
        if across < half[i, 0] + half[j, 0] - 1e-6 and rise > 1e-6:
            least = max(least, (half[i, 1] + half[j, 1] + BELOW) / rise)
    return least
