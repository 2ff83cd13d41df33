"""Positions for the nodes of a graph, in units: on a circle, or in layers."""

from collections.abc import Hashable, Sequence
from itertools import combinations, pairwise
from math import cos, pi, sin

import networkx as nx
import numpy as np

from companion.graphs.independence import topological
from companion.graphs.rows import graph_of

Rows = list[list[int]]
SWEEPS = 24


def circle(graph: nx.Graph) -> dict[Hashable, tuple[float, float]]:
    """Put the nodes on a circle, clockwise from the upper left, with two or one on top."""
    graph = graph_of(graph)
    n = len(graph)
    turn = pi / 2 + (pi / n if n % 2 == 0 and n > 2 else 0)
    angles = {node: turn - 2 * pi * k / n for k, node in enumerate(graph)}
    return {node: (round(cos(a), 6), round(sin(a), 6)) for node, a in angles.items()}


def layered(dag: nx.DiGraph) -> dict[Hashable, tuple[float, float]]:
    """Put parents above children: the layers of longest paths, with few crossings.

    Sugiyama's method (1981): long edges are threaded through the layers that they pass, each
    layer is ordered by barycentres, then drawn towards its neighbours. Layers are 1 apart, the
    nodes of a layer at least 1.5. Raises ValueError for a graph with a cycle.
    """
    dag, nodes = graph_of(dag), topological(dag)
    number = {node: i for i, node in enumerate(nodes)}
    rank = ranks(dag, nodes)
    rows: Rows = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for node in nodes:
        rows[rank[node]].append(number[node])
    links: list[tuple[int, int]] = []
    threads = len(nodes)
    for parent, child in dag.edges:
        chain = [number[parent]]
        for row in rows[rank[parent] + 1 : rank[child]]:
            row.append(threads)
            chain.append(threads)
            threads += 1
        links += pairwise([*chain, number[child]])
    x = columns(ordered(rows, links), links, len(nodes))
    return {node: (round(x[number[node]], 3), -float(rank[node])) for node in nodes}


def ranks(dag: nx.DiGraph, nodes: Sequence[Hashable]) -> dict[Hashable, int]:
    """Number the layers by longest paths; a root goes to just above its first child."""
    rank: dict[Hashable, int] = {}
    for node in nodes:
        rank[node] = max((rank[parent] + 1 for parent in dag.pred[node]), default=0)
    for node in nodes:
        if not dag.pred[node] and dag.succ[node]:
            rank[node] = min(rank[child] for child in dag.succ[node]) - 1
    return rank


def ordered(rows: Rows, links: Sequence[tuple[int, int]]) -> Rows:
    """Order each layer by the barycentres of its neighbours; keep what crosses least."""
    near: dict[int, list[int]] = {i: [] for row in rows for i in row}
    for a, b in links:
        near[a].append(b)
        near[b].append(a)
    best, fewest = rows, crossings(rows, links)
    for first in (rows, [row[::-1] for row in rows]):
        now = first
        for sweep in range(SWEEPS):
            now = [list(row) for row in now]
            downwards = range(1, len(now))
            for k in downwards if sweep % 2 == 0 else reversed(range(len(now) - 1)):
                beside = now[k - 1] if sweep % 2 == 0 else now[k + 1]
                place = {i: at for at, i in enumerate(beside)}
                centre = {}
                for at, i in enumerate(now[k]):
                    met = [place[j] for j in near[i] if j in place]
                    centre[i] = sum(met) / len(met) if met else at
                now[k].sort(key=centre.__getitem__)
            if (crossed := crossings(now, links)) < fewest:
                best, fewest = now, crossed
    return best


def crossings(rows: Rows, links: Sequence[tuple[int, int]]) -> int:
    """Count the pairs of links that cross."""
    place = {i: (k, at) for k, row in enumerate(rows) for at, i in enumerate(row)}
    spans = [(*place[a], place[b][1]) for a, b in links]
    return sum(k == m and (a - c) * (b - d) < 0 for (k, a, b), (m, c, d) in combinations(spans, 2))


def columns(rows: Rows, links: Sequence[tuple[int, int]], nodes: int) -> dict[int, float]:
    """Move each layer towards its neighbours and keep its order; threads need less room."""
    from sklearn.isotonic import isotonic_regression  # slow to import

    near: dict[int, list[int]] = {i: [] for row in rows for i in row}
    for a, b in links:
        near[a].append(b)
        near[b].append(a)
    ahead = {}
    for row in rows:
        half = [0.75 if i < nodes else 0.3 for i in row]
        ahead[row[0]] = np.append(0, np.cumsum(np.add(half[1:], half[:-1])))
    x = {i: at - ahead[r[0]][-1] / 2 for r in rows for i, at in zip(r, ahead[r[0]], strict=True)}
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 else rows[::-1]:
            wanted = [np.mean([x[j] for j in near[i]] or [x[i]]) for i in row]
            placed = isotonic_regression(np.array(wanted) - ahead[row[0]]) + ahead[row[0]]
            x.update(zip(row, placed.tolist(), strict=True))
    return x
