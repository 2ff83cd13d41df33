"""What an undirected graph says about independence, and when a graph says it all: maps.

A graph is an independence map (I-map) of a law if all that it states holds there, and a perfect
map if in addition nothing else holds (Koller and Friedman 2009, definitions 3.3 and 3.10).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import combinations, product
from typing import TYPE_CHECKING

import networkx as nx

from companion.graphs.independence import Nodes, d_separations
from companion.graphs.information import independencies, independent
from companion.graphs.rows import graph_of
from companion.graphs.statements import Statement, as_set, disjoint, statements
from companion.graphs.table import Table

if TYPE_CHECKING:
    from companion.graphs.bayes_net import BayesNet
    from companion.graphs.markov_net import MarkovNet

    Graph = nx.Graph | nx.DiGraph | BayesNet | MarkovNet

MOST_NODES = 5


def separated(graph: nx.Graph | MarkovNet, x: Nodes, y: Nodes, given: Nodes = ()) -> bool:
    """Say whether every path from `x` to `y` meets `given`.

    Raises `ValueError` for a directed graph, and for a node that is not there, or is in two of
    the sets.
    """
    graph = lines_of(graph)
    starts, ends, seen = disjoint(x, y, given, graph)
    reached, todo = set(seen), list(starts)
    while todo:
        node = todo.pop()
        if node in ends:
            return False
        if node not in reached:
            reached.add(node)
            todo += graph.adj[node]
    return True


def lines_of(net: nx.Graph | MarkovNet) -> nx.Graph:
    """Return an undirected graph, or that of a Markov network; `ValueError` for arrows."""
    graph = graph_of(net)
    if not isinstance(graph, nx.Graph) or graph.is_directed():
        kind = type(graph).__name__
        raise ValueError(f"needs an undirected networkx.Graph or a MarkovNet, got {kind}")
    return graph


def separations(graph: nx.Graph | MarkovNet) -> frozenset[Statement]:
    """Return the global Markov property: all statements that separation gives."""
    graph = lines_of(graph)
    return frozenset(s for s in statements(list(graph.nodes)) if separated(graph, *s))


def local_statements(graph: nx.Graph | MarkovNet) -> frozenset[Statement]:
    """Return the local Markov property: given its neighbours, a node knows nothing of the rest."""
    graph = lines_of(graph)
    nodes = list(graph.nodes)
    found = set()
    for node in nodes:
        near = frozenset(graph.adj[node])
        rest = frozenset(nodes) - near - {node}
        if rest:
            found.add(ordered(frozenset((node,)), rest, near, nodes))
    return frozenset(found)


def pairwise_statements(graph: nx.Graph | MarkovNet) -> frozenset[Statement]:
    """Return the pairwise Markov property: no edge, no dependence given all the others."""
    graph = lines_of(graph)
    nodes = list(graph.nodes)
    return frozenset(
        (frozenset((a,)), frozenset((b,)), frozenset(nodes) - {a, b})
        for a, b in combinations(nodes, 2)
        if not graph.has_edge(a, b)
    )


def ordered(
    x: frozenset[Hashable], y: frozenset[Hashable], given: frozenset[Hashable], nodes: list
) -> Statement:
    """Put first the side that holds the first of `nodes`, as `statements` does."""
    first = next(node for node in nodes if node in x or node in y)
    return (x, y, given) if first in x else (y, x, given)


def stated(graph: Graph) -> frozenset[Statement]:
    """Return all that a graph states: by d-separation if it is directed, else by separation."""
    own = graph_of(graph)
    return d_separations(own) if isinstance(own, nx.DiGraph) else separations(own)


def is_i_map(graph: Graph, law: Table, atol: float = 1e-9) -> bool:
    """Say whether all that `graph` states holds in `law`, by trying every statement.

    Raises `ValueError` if the nodes are not the variables of the law.
    """
    check_nodes(graph, law)
    return all(independent(law, *statement, atol=atol) for statement in stated(graph))


def is_perfect_map(graph: Graph, law: Table, atol: float = 1e-9) -> bool:
    """Say whether `graph` states exactly what holds in `law`, by trying every statement.

    Raises `ValueError` if the nodes are not the variables of the law.
    """
    check_nodes(graph, law)
    return unsided(stated(graph)) == unsided(independencies(law, atol))


def unsided(found: Iterable[Statement]) -> frozenset[tuple[frozenset, frozenset]]:
    """Forget which side of each statement came first, so that sets of them can be compared."""
    return frozenset((frozenset((x, y)), given) for x, y, given in found)


def check_nodes(graph: Graph, law: Table) -> None:
    """Raise `ValueError` unless a graph has the variables of a law as its nodes."""
    nodes = list(graph_of(graph).nodes)
    as_set(nodes, law.states)
    as_set(list(law.names), nodes)


def minimal_i_map(law: Table, atol: float = 1e-9) -> nx.Graph:
    """Join the pairs that depend on each other given all the others.

    For a positive law this is the only undirected I-map from which no edge can go (Pearl and
    Paz 1987). Raises `ValueError` for a law that is not positive.
    """
    if not bool((law.values > 0).all()):
        raise ValueError("only a positive law has one minimal undirected I-map: a cell is 0")
    graph = nx.Graph()
    graph.add_nodes_from(law.names)
    for a, b in combinations(law.names, 2):
        rest = [name for name in law.names if name not in (a, b)]
        if not independent(law, a, b, rest, atol):
            graph.add_edge(a, b)
    return graph


def all_graphs(nodes: Sequence[Hashable]) -> Iterator[nx.Graph]:
    """Yield every undirected graph on `nodes`: 8 on 3, 64 on 4, 1,024 on 5."""
    check_count(nodes)
    pairs = list(combinations(nodes, 2))
    for chosen in product((False, True), repeat=len(pairs)):
        graph = nx.Graph()
        graph.add_nodes_from(nodes)
        graph.add_edges_from(pair for pair, there in zip(pairs, chosen, strict=True) if there)
        yield graph


def all_dags(nodes: Sequence[Hashable]) -> Iterator[nx.DiGraph]:
    """Yield every directed acyclic graph on `nodes`: 25 on 3, 543 on 4, 29,281 on 5."""
    check_count(nodes)
    pairs = list(combinations(nodes, 2))
    for ways in product((0, 1, 2), repeat=len(pairs)):
        dag = nx.DiGraph()
        dag.add_nodes_from(nodes)
        for (a, b), way in zip(pairs, ways, strict=True):
            if way:
                dag.add_edge(*((a, b) if way == 1 else (b, a)))
        if nx.is_directed_acyclic_graph(dag):
            yield dag


def check_count(nodes: Sequence[Hashable]) -> None:
    """Raise `ValueError` for more nodes than can be enumerated."""
    if len(nodes) > MOST_NODES:
        raise ValueError(f"all graphs can be had for up to {MOST_NODES} nodes, not {len(nodes)}")
