"""What a directed graph says about independence: d-separation, its trails, equivalence.

Graphs are `networkx` graphs, or networks, which have one; a node may be anything hashable. Where
several nodes are meant, any iterable of them does.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from itertools import combinations
from typing import TYPE_CHECKING, Any

import networkx as nx

from companion.graphs.rows import graph_of
from companion.graphs.statements import Statement, disjoint, in_order, statements

if TYPE_CHECKING:
    from companion.graphs.bayes_net import BayesNet

Nodes = Hashable | Iterable[Hashable]


def arrows_of(net: Any) -> nx.DiGraph:
    """Return a directed graph, or that of a Bayesian network; raises `ValueError` for others."""
    dag = graph_of(net)
    if not isinstance(dag, nx.DiGraph):
        raise ValueError(f"needs a networkx.DiGraph or a BayesNet, got {type(dag).__name__}")
    return dag


def topological(dag: nx.DiGraph | BayesNet) -> list[Hashable]:
    """Order the nodes, parents first; raises `ValueError` that names a cycle if there is one."""
    graph = arrows_of(dag)
    try:
        return list(nx.topological_sort(graph))
    except nx.NetworkXUnfeasible:
        cycle = [edge[0] for edge in nx.find_cycle(graph)]
        around = " → ".join(map(str, [*cycle, cycle[0]]))
        raise ValueError(f"the graph has a cycle: {around}") from None


class Reachability:
    """The Bayes ball: where active trails lead, on an acyclic graph that is read only once.

    A query looks at each edge at most four times (Shachter 1998; Koller and Friedman 2009,
    algorithm 3.1). Raises `ValueError` for a graph with a cycle.

    >>> ball = Reachability(nx.DiGraph([("rain", "wet"), ("hose", "wet")]))
    >>> ball.separated("rain", "hose"), ball.separated("rain", "hose", given=["wet"])
    (True, False)
    >>> ball.trail("rain", "hose", given=["wet"])
    ['rain', 'wet', 'hose']
    """

    def __init__(self, dag: nx.DiGraph | BayesNet) -> None:
        dag = arrows_of(dag)
        self.nodes = topological(dag)
        self.place = {node: i for i, node in enumerate(self.nodes)}
        self.parents = [[self.place[p] for p in dag.pred[node]] for node in self.nodes]
        self.children = [[self.place[c] for c in dag.succ[node]] for node in self.nodes]

    def separated(self, x: Nodes, y: Nodes, given: Nodes = ()) -> bool:
        """Say whether `given` blocks every trail between `x` and `y`.

        Raises `ValueError` for a node that is not there, or is in two of the sets.
        """
        return self._roll(*self._places(x, y, given), None) is None

    def trail(self, x: Nodes, y: Nodes, given: Nodes = ()) -> list[Hashable] | None:
        """Return a shortest active trail from `x` to `y`, as its nodes; None if all are blocked.

        Raises `ValueError` as `separated` does.
        """
        came: dict[int, int] = {}
        here = self._roll(*self._places(x, y, given), came)
        if here is None:
            return None
        walk = [here]
        while walk[-1] in came:
            walk.append(came[walk[-1]])
        return [self.nodes[max(i, ~i)] for i in reversed(walk)]

    def _places(self, x: Nodes, y: Nodes, given: Nodes) -> tuple[list[int], list[int], list[int]]:
        place = self.place
        try:  # the usual question: two nodes and a collection
            if isinstance(given, list | tuple | set | frozenset):
                first, last, seen = place[x], place[y], [place[node] for node in given]
                if first != last and first not in seen and last not in seen:
                    return [first], [last], seen
        except (KeyError, TypeError):
            pass
        sets = disjoint(x, y, given, place)
        starts, ends, seen = ([place[node] for node in names] for names in sets)
        return starts, ends, seen

    def _roll(
        self, todo: list[int], ends: list[int], seen: list[int], came: dict[int, int] | None
    ) -> int | None:
        """Roll until the ball meets one of `ends`: i is node i met from below, ~i from above."""
        parents, children = self.parents, self.children
        size = len(parents)
        stops, blocked, opens = bytearray(size), bytearray(size), bytearray(size)
        for i in ends:
            stops[i] = 1
        above = seen[:]
        for i in above:  # a collider is open if it or a descendant of it is observed
            if not opens[i]:
                opens[i] = 1
                above += parents[i]
        for i in seen:
            blocked[i] = 1
        rose, fell = blocked[:], bytearray(size)  # from below, an observed node stops the ball
        for i in todo:
            rose[i] = 1
        for here in todo:  # it grows while it is read: breadth first
            i = here if here >= 0 else ~here
            if stops[i]:
                return here
            if not blocked[i]:
                for child in children[i]:
                    if not fell[child]:
                        fell[child] = 1
                        todo.append(~child)
                        if came is not None:
                            came[~child] = here
            if here >= 0 or opens[i]:
                for parent in parents[i]:
                    if not rose[parent]:
                        rose[parent] = 1
                        todo.append(parent)
                        if came is not None:
                            came[parent] = here
        return None


def d_separated(dag: nx.DiGraph | BayesNet, x: Nodes, y: Nodes, given: Nodes = ()) -> bool:
    """Say whether `given` d-separates `x` from `y` (Pearl 1988).

    For many queries on one graph make one `Reachability(dag)`. Raises `ValueError` for a cycle,
    a node that is not there, or one that is in two of the sets.
    """
    return Reachability(dag).separated(x, y, given)


def active_trail(
    dag: nx.DiGraph | BayesNet, x: Nodes, y: Nodes, given: Nodes = ()
) -> list[Hashable] | None:
    """Return a shortest trail that shows why `x` and `y` are not d-separated, or None."""
    return Reachability(dag).trail(x, y, given)


def d_separations(dag: nx.DiGraph | BayesNet) -> frozenset[Statement]:
    """Return all statements that d-separation gives; their number grows as 4 ** nodes."""
    ball = Reachability(dag)
    return frozenset(s for s in statements(ball.nodes) if ball.separated(*s))


def markov_blanket(dag: nx.DiGraph | BayesNet, node: Hashable) -> set[Hashable]:
    """Return parents, children and the children's other parents: given them, nothing else counts.

    Raises `ValueError` for a node that is not there.
    """
    dag = arrows_of(dag)
    (node,) = in_order([node], dag)
    spouses = {parent for child in dag.succ[node] for parent in dag.pred[child]}
    return (set(dag.pred[node]) | set(dag.succ[node]) | spouses) - {node}


def skeleton(dag: nx.DiGraph | BayesNet) -> nx.Graph:
    """Forget the directions."""
    own, graph = graph_of(dag), nx.Graph()
    graph.add_nodes_from(own.nodes)
    graph.add_edges_from(own.edges)
    return graph


def moral(dag: nx.DiGraph | BayesNet) -> nx.Graph:
    """Marry the parents of each node, then forget the directions."""
    dag = arrows_of(dag)
    graph = skeleton(dag)
    for node in dag.nodes:
        graph.add_edges_from(combinations(dag.pred[node], 2))
    return graph


def v_structures(dag: nx.DiGraph | BayesNet) -> set[tuple[frozenset[Hashable], Hashable]]:
    """Return ({a, b}, c) for every a → c ← b whose a and b are not joined by an edge."""
    dag = arrows_of(dag)
    return {
        (frozenset((a, b)), child)
        for child in dag.nodes
        for a, b in combinations(dag.pred[child], 2)
        if not dag.has_edge(a, b) and not dag.has_edge(b, a)
    }


def markov_equivalent(first: nx.DiGraph | BayesNet, second: nx.DiGraph | BayesNet) -> bool:
    """Say whether the same laws factorise over both (Verma and Pearl 1990).

    They do if and only if nodes, skeletons and v-structures agree.
    """
    first, second = arrows_of(first), arrows_of(second)
    for dag in (first, second):
        topological(dag)
    same_edges = {frozenset(e) for e in first.edges} == {frozenset(e) for e in second.edges}
    same_nodes = set(first.nodes) == set(second.nodes)
    return same_nodes and same_edges and v_structures(first) == v_structures(second)
