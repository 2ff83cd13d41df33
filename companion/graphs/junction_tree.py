"""Junction trees: all marginals at once, by messages between cliques."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import combinations, pairwise
from math import log, prod
from typing import TYPE_CHECKING, NamedTuple

import networkx as nx
import numpy as np

from companion.graphs.elimination import (
    Scope,
    check_cells,
    elimination_order,
    interaction_graph,
    plan,
    run,
    scaled,
)
from companion.graphs.rows import tables_of
from companion.graphs.statements import in_order
from companion.graphs.table import Evidence, Table, impossible, merged_states, state_index

if TYPE_CHECKING:
    from companion.graphs.bayes_net import BayesNet
    from companion.graphs.markov_net import MarkovNet

Part = tuple[Scope, np.ndarray]


class Beliefs(NamedTuple):
    """What a calibrated tree knows: the law of each clique, and the log of the normaliser."""

    cliques: list[Table]
    log_partition: float

    def marginal(self, query: object) -> Table:
        """Return the law of one variable, or of several that stand in one clique.

        Raises `ValueError` for a name that is not there, and for names that no clique holds
        together.
        """
        names = in_order(query, dict.fromkeys(n for law in self.cliques for n in law.states))
        holding = [law for law in self.cliques if set(names) <= set(law.states)]
        if not holding:
            together = ", ".join(map(str, names))
            raise ValueError(f"no clique holds {together} together: ask the network's own sum")
        return min(holding, key=lambda law: law.values.numel()).marginal(*names)


class JunctionTree:
    """A tree of cliques in which those that share a variable hang together.

    The graph of the tables is triangulated by an elimination order, its maximal cliques are
    joined by the spanning tree with the largest separators (Lauritzen and Spiegelhalter 1988;
    Jensen and Jensen 1994). `cliques` are tuples of variables, `tree` joins their places.
    Numbers only: gradients stop here. `tables` may be a network. Raises `ValueError` for tables
    without any variable, and for a clique of more than 2^27 cells.

    >>> agree = [[2.0, 1.0], [1.0, 2.0]]
    >>> tree = JunctionTree([Table(agree, "ab"), Table(agree, "bc")])
    >>> tree.cliques, tree.separator(0, 1)
    ([('a', 'b'), ('b', 'c')], ('b',))
    >>> round(tree.calibrate({"a": "1"}).marginal("c")["1"], 3)
    0.556
    """

    def __init__(self, tables: Sequence[Table] | BayesNet | MarkovNet) -> None:
        tables = tables_of(tables)
        self.tables, self.states = tables, merged_states(tables)
        if not self.states:
            raise ValueError("a junction tree needs at least one variable, got none")
        self.cliques = maximal_scopes([table.names for table in tables], self.states)
        for clique in self.cliques:
            check_cells(prod(len(self.states[name]) for name in clique), "the junction tree")
        self.tree = spanning_tree(self.cliques)
        self.homes: list[list[int]] = [[] for _ in self.cliques]
        for k, table in enumerate(tables):
            fitting = [i for i, c in enumerate(self.cliques) if set(table.names) <= set(c)]
            self.homes[min(fitting, key=lambda i: len(self.cliques[i]))].append(k)

    def separator(self, i: int, j: int) -> tuple[Hashable, ...]:
        """Return the variables that two cliques share."""
        return tuple(name for name in self.cliques[i] if name in self.cliques[j])

    def calibrate(self, evidence: Evidence | None = None) -> Beliefs:
        """Send a message each way over each edge; every clique then holds its exact law.

        The message from clique i to j is the sum, over what j does not know, of i's tables
        times the messages i got from elsewhere (Shafer and Shenoy 1990). Raises `ValueError`
        for a name or a state that is not there, and evidence of probability 0.
        """
        evidence = evidence or {}
        pools, log_partition = self._pools(evidence)
        root = 0
        down = list(nx.bfs_edges(self.tree, root))
        received: list[dict[int, np.ndarray]] = [{} for _ in self.cliques]
        for i, j in [(child, parent) for parent, child in reversed(down)] + down:
            parts = pools[i] + [
                (self.separator(k, i), m) for k, m in received[i].items() if k != j
            ]
            received[j][i], log_total = self._law(parts, self.separator(i, j), evidence)
            if j not in received[i]:  # on the way to the root
                log_partition += log_total
        beliefs = []
        for i, clique in enumerate(self.cliques):
            parts = pools[i] + [(self.separator(k, i), m) for k, m in received[i].items()]
            values, log_total = self._law(parts, clique, evidence)
            if i == root:
                log_partition += log_total
            beliefs.append(Table.trusted(values, {name: self.states[name] for name in clique}))
        return Beliefs(beliefs, log_partition)

    def _pools(self, evidence: Evidence) -> tuple[list[list[Part]], float]:
        """Give each clique its tables, and the observed variables a table that says so."""
        in_order(list(evidence), self.states)
        pools: list[list[Part]] = []
        log_scale = 0.0
        for home in self.homes:
            pools.append([])
            for k in home:
                array, own = scaled(self.tables[k].values.detach().numpy())
                pools[-1].append((self.tables[k].names, array))
                log_scale += own
        for name, state in evidence.items():
            seen = np.zeros(len(self.states[name]))
            seen[state_index(name, state, self.states[name])] = 1
            home = next(i for i, clique in enumerate(self.cliques) if name in clique)
            pools[home].append(((name,), seen))
        return pools, log_scale

    def _law(self, parts: list[Part], keep: Scope, evidence: Evidence) -> tuple[np.ndarray, float]:
        """Multiply, sum to the axes `keep`, normalise; with the logarithm of the sum."""
        named = {name for scope, _ in parts for name in scope}
        missing = [name for name in keep if name not in named]
        parts = parts + [((name,), np.ones(len(self.states[name]))) for name in missing]
        steps = plan([scope for scope, _ in parts], keep, ())
        values, log_scale = run(steps, [array for _, array in parts])
        total = values.sum().item()
        if total <= 0:
            raise impossible(evidence)
        return values / total, log(total) + log_scale


def maximal_scopes(
    scopes: Sequence[tuple[Hashable, ...]], states: dict[Hashable, tuple[str, ...]]
) -> list[tuple[Hashable, ...]]:
    """Triangulate by an elimination order and return the maximal cliques."""
    graph = interaction_graph(scopes)
    cliques: list[frozenset[Hashable]] = []
    for name in elimination_order(scopes, (), {n: len(s) for n, s in states.items()}):
        clique = frozenset((name, *graph.adj[name]))
        graph.add_edges_from((a, b) for a in graph.adj[name] for b in graph.adj[name] if a != b)
        graph.remove_node(name)
        if not any(clique <= other for other in cliques):
            cliques.append(clique)
    return [tuple(name for name in states if name in clique) for clique in cliques]


def spanning_tree(cliques: Sequence[Scope]) -> nx.Graph:
    """Join cliques that share variables so that they share as many as can be, then the parts."""
    holding: dict[Hashable, list[int]] = {}
    for i, clique in enumerate(cliques):
        for name in clique:
            holding.setdefault(name, []).append(i)
    graph = nx.Graph()
    graph.add_nodes_from(range(len(cliques)))
    for i, j in {pair for places in holding.values() for pair in combinations(places, 2)}:
        graph.add_edge(i, j, weight=len(set(cliques[i]) & set(cliques[j])))
    tree = nx.maximum_spanning_tree(graph)
    tree.add_edges_from(pairwise([min(part) for part in nx.connected_components(tree)]))
    return tree
