"""Graphs, networks and queries drawn at random, and laws written out state by state."""

import random
from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Any

import networkx as nx
import torch

from companion.graphs import BayesNet, Table

Row = dict[Any, str]


def random_dag(nodes: int, rng: random.Random, share: float | None = None) -> nx.DiGraph:
    """Draw a graph whose edges agree with a random order of the nodes 0, 1, ..."""
    order, share = rng.sample(range(nodes), nodes), rng.random() if share is None else share
    dag = nx.DiGraph()
    dag.add_nodes_from(range(nodes))
    pairs = [(order[i], order[j]) for j in range(nodes) for i in range(j)]
    dag.add_edges_from(pair for pair in pairs if rng.random() < share)
    return dag


def random_graph(nodes: int, rng: random.Random) -> nx.Graph:
    """Draw a graph without arrows on the nodes 0, 1, ..."""
    return random_dag(nodes, rng).to_undirected()


def random_sets(nodes: list[Any], rng: random.Random) -> tuple[set, set, set]:
    """Draw x, y and what is given: disjoint, the first two not empty."""
    a, b, *rest = rng.sample(nodes, len(nodes))
    sets = {a}, {b}, set()
    crowd = rng.choice((3, 4, 8))
    for node in rest:
        if (k := rng.randrange(crowd)) < 3:
            sets[k].add(node)
    return sets


def random_net(nodes: int, rng: random.Random, most: int = 4, least: int = 1) -> BayesNet:
    """Draw a network of the nodes v0, v1, ... with `least` to `most` states each."""
    dag = nx.relabel_nodes(random_dag(nodes, rng), "v{}".format)
    sizes = {node: rng.randint(least, most) for node in dag}
    return BayesNet.random(dag, sizes, torch.Generator().manual_seed(rng.randrange(2**31)))


def random_evidence(net: BayesNet, rng: random.Random, most: int = 3) -> Row:
    """Observe up to `most` nodes of a network, but not all of them."""
    seen = rng.sample(net.nodes, rng.randint(0, min(most, len(net.nodes) - 1)))
    return {node: rng.choice(net.states[node]) for node in seen}


def rows(states: dict[Any, tuple[str, ...]]) -> Iterator[Row]:
    """Go through all states of all variables."""
    for labels in product(*states.values()):
        yield dict(zip(states, labels, strict=True))


def weights(tables: list[Table], states: dict[Any, tuple[str, ...]]) -> list[tuple[Row, float]]:
    """Multiply tables for every state of all variables: the definition, and no cleverness."""
    return [
        (row, prod(table[{name: row[name] for name in table.names}] for table in tables))
        for row in rows(states)
    ]


def total(weighed: list[tuple[Row, float]], event: Row) -> float:
    """Sum the weight of all states that agree with `event`."""
    return sum(w for row, w in weighed if event.items() <= row.items())
