"""Graphs of random variables: directed or not, one of them or a census of many."""

import re
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from itertools import pairwise
from math import ceil
from typing import cast

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Patch, PathPatch, Polygon
from matplotlib.path import Path

from companion.figures.layouts import circle, layered
from companion.figures.shapes import (
    Edge,
    Positions,
    Shape,
    arrow,
    extents,
    fitted,
    frame,
    lines_of,
    routes,
    wrapped,
)
from companion.figures.style import DPI, INK, PALETTE, WIDTH, blank, darker, text_width
from companion.graphs.rows import graph_of
from companion.words import nearest

ACCENT = PALETTE[1]
SHADE = "#CFCFCF"  # the field's sign for a variable that is observed
LINE = "#6E6E6E"
HEAD = 9.0  # CSS pixels: the length of an arrow's head
YES, NO = ("✓", darker(PALETTE[2])), ("✗", darker(PALETTE[1]))
Link = tuple[Hashable, Hashable]


def draw_graph(
    graph: nx.Graph,
    positions: Positions | None = None,
    *,
    names: Mapping[Hashable, str] | None = None,
    observed: Collection[Hashable] = (),
    highlighted: Collection[Hashable | Link] = (),
    dashed: Collection[Link] = (),
    trail: Sequence[Hashable] = (),
    axes: Axes | None = None,
    node_size: float = 36.0,
    alt: str = "",
) -> Figure:
    """Draw a graph, or that of a network; arrows end at the border of a node.

    `positions`: node -> (x, y) in any unit; without it a DAG is layered, any other graph is a
    circle. `names`: node -> label, else the node as text; long ones break between words. Nodes
    in `observed` are shaded. `highlighted` nodes and edges, and those along `trail`, are thick
    and coloured; `dashed` ones dashed. An arrow both ways is a line. `axes`: where to draw, at
    its size; else a figure of its own. Raises ValueError for what the graph does not have.
    """
    graph, called = graph_of(graph), names or {}
    labels = {node: wrapped(called.get(node, str(node))) for node in graph}
    places = default_layout(graph) if positions is None else positions
    strong = [*highlighted, *trail, *pairwise(trail)]
    check_members(graph, places, [*observed, *strong, *dashed, *called])
    points = 10.0 if node_size >= 30 else 9.0
    room = (DPI * WIDTH, None) if axes is None else size_of(axes)
    shapes = fitted(places, extents(labels, points, node_size), *room)
    edges = routes(graph, shapes, HEAD)
    box = frame(shapes.values(), (edge for edge, _ in edges.values()))
    if axes is None:
        axes = sheet(box, alt or in_words(graph, labels, observed)).add_axes((0, 0, 1, 1))
    look_at(axes, box)
    for (a, b), (edge, one_way) in edges.items():
        lit, broken = ((a, b) in group or (b, a) in group for group in (strong, dashed))
        draw_edge(axes, edge, lit, broken, one_way)
    for node, shape in shapes.items():
        draw_node(axes, shape, labels[node], points, node in observed, node in strong)
    return cast(Figure, axes.figure)


def sheet(box: Sequence[float], alt: str) -> Figure:
    """Make an empty figure for a box (left, top, right, bottom); axes are put by hand."""
    figure = blank((box[3] - box[1]) / DPI, (box[2] - box[0]) / DPI)
    figure.set_layout_engine("none")
    figure.set_label(alt)
    return figure


def size_of(axes: Axes) -> tuple[float, float]:
    """Measure axes in CSS pixels."""
    figure = cast(Figure, axes.figure)
    figure.draw_without_rendering()
    box = axes.get_window_extent()
    return box.width * DPI / figure.dpi, box.height * DPI / figure.dpi


def look_at(axes: Axes, box: Sequence[float]) -> None:
    """Show a box (left, top, right, bottom) in the middle of axes, one unit for a pixel."""
    size = np.array(size_of(axes))
    middle = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    zoom = max(1.0, (box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1])
    (left, top), (right, bottom) = middle - zoom * size / 2, middle + zoom * size / 2
    axes.set_axis_off()
    axes.set(xlim=(left, right), ylim=(bottom, top))


def default_layout(graph: nx.Graph) -> Positions:
    """Put a DAG in layers, any other graph on a circle."""
    if isinstance(graph, nx.DiGraph) and nx.is_directed_acyclic_graph(graph):
        return layered(graph)
    return circle(graph)


def is_edge(graph: nx.Graph, item: object) -> bool:
    """Say whether an item is an edge, in either direction, and not a node that is a pair."""
    if item in graph or not isinstance(item, tuple) or len(item) != 2:
        return False
    return graph.has_edge(*item) or graph.has_edge(*item[::-1])


def check_members(graph: nx.Graph, positions: Positions, items: Iterable[object]) -> None:
    """Raise ValueError for what the graph does not have, and for nodes without a position."""
    if not len(graph):
        raise ValueError("a graph needs at least one node to be drawn, got none")
    for node in graph:
        if node not in positions:
            raise ValueError(f"node {node!r} has no position {nearest(node, positions)}")
    for item in items:
        if item not in graph and not is_edge(graph, item):
            kind = "edge" if isinstance(item, tuple) else "node"
            known = graph.edges if kind == "edge" else graph
            raise ValueError(f"the graph has no {kind} {item!r} {nearest(item, known)}")


def in_words(
    graph: nx.Graph, labels: Mapping[Hashable, str], observed: Collection[Hashable]
) -> str:
    """Say which graph it is, for those who cannot see it."""
    words = {
        node: re.sub(r"[$_{}\\]", "", label.replace("\n", " ")) or str(node)
        for node, label in labels.items()
    }
    sign = " → " if graph.is_directed() else " – "
    edges = ", ".join(words[a] + sign + words[b] for a, b in graph.edges) or "no edges"
    seen = f"; observed: {', '.join(words[node] for node in observed)}" if observed else ""
    kind = "Directed" if graph.is_directed() else "Undirected"
    return f"{kind} graph on {len(graph)} nodes: {edges}{seen}."


def draw_edge(axes: Axes, edge: Edge, strong: bool, broken: bool, headed: bool) -> None:
    """Draw one edge: a curve and, if it has a direction, a triangle."""
    tone, layer = (ACCENT, 2) if strong else (LINE, 1)
    line = PathPatch(Path(edge.curve.tolist(), [Path.MOVETO, Path.CURVE3, Path.CURVE3]))
    line.set(fill=False, edgecolor=tone, linewidth=2.8 if strong else 1.3, zorder=layer)
    line.set(linestyle=(0, (3, 2)) if broken else "-", capstyle="butt")
    axes.add_patch(line)
    if headed:
        axes.add_patch(Polygon(arrow(edge).tolist(), color=tone, linewidth=0, zorder=layer))


def draw_node(
    axes: Axes, shape: Shape, label: str, points: float, observed: bool, strong: bool
) -> None:
    """Draw one node and its label."""
    x, y, wide, tall, corner = shape
    if wide == tall == corner:
        box: Patch = Circle((x, y), wide)
    else:
        look = f"round,pad=0,rounding_size={corner}"
        box = FancyBboxPatch((x - wide, y - tall), 2 * wide, 2 * tall, boxstyle=look)
    plain = SHADE if observed else "white"
    box.set(facecolor=plain if label else LINE, edgecolor=ACCENT if strong else INK, zorder=3)
    box.set(linewidth=2.8 if strong else 1.2)
    axes.add_patch(box)
    for left, base, line in lines_of(label, x, y, points):
        text = axes.text(left, base, line, ha="center", va="baseline", fontsize=points)
        text.set(color="#1A1A1A", zorder=4)


def graph_grid(
    graphs: Sequence[nx.Graph],
    titles: Sequence[str] = (),
    columns: int = 4,
    *,
    layout: Callable[[nx.Graph], Positions] = circle,
    names: Mapping[Hashable, str] | None = None,
    marks: Sequence[bool | None] = (),
    node_size: float = 26.0,
    alt: str = "",
) -> Figure:
    """Draw many small graphs in rows: a census.

    `layout` gives the positions of each graph, by default a circle. `titles` stand above the
    graphs; `marks` put ✓ (True), ✗ (False) or nothing (None) before them. `names` as in
    `draw_graph`, the same for all; a name "" draws a dot. Raises ValueError if the numbers of
    graphs, titles and marks differ.
    """
    if not graphs or columns < 1:
        raise ValueError(f"need a graph and a column at least, got {len(graphs)} and {columns}")
    for kind, given in (("titles", titles), ("marks", marks)):
        if given and len(given) != len(graphs):
            raise ValueError(f"need one of {kind} for each of {len(graphs)}, got {len(given)}")
    heads = list(titles) or [""] * len(graphs)
    signs = list(marks) or [None] * len(graphs)
    lines = max(head.count("\n") for head in heads) + 1
    above = 18.0 * lines + 5 if titles or marks else 0.0
    wide = DPI * WIDTH / columns
    side = min(wide - 20, 124.0)
    tall = above + side + 14
    height = tall * ceil(len(graphs) / columns)
    figure = sheet((0, 0, DPI * WIDTH, height), alt)
    for k, (graph, head, sign) in enumerate(zip(graphs, heads, signs, strict=True)):
        low = height - tall * (k // columns) - above - side
        box = np.array([wide * (k % columns), low, wide, side]) / [*2 * [DPI * WIDTH, height]]
        axes = figure.add_axes(tuple(box))
        known = {node: name for node, name in (names or {}).items() if node in graph}
        draw_graph(graph, layout(graph), names=known, axes=axes, node_size=node_size)
        title(axes, head, sign)
    return figure


def title(axes: Axes, head: str, sign: bool | None) -> None:
    """Write the title of a small graph and its mark above it."""
    glyph, tone = ("", INK) if sign is None else (YES if sign else NO)
    x, top = sum(axes.get_xlim()) / 2, axes.get_ylim()[1] - 3
    lead = text_width(head, 9.5) / 2 + 9 if head else 0
    axes.text(x, top, head, ha="center", va="bottom", fontsize=9.5)
    mark = axes.text(x - lead, top, glyph, ha="center", va="bottom", fontsize=12, color=tone)
    mark.set(fontfamily="DejaVu Sans", fontweight="bold")
