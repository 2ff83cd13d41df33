"""Junction trees: all marginals at once, by messages between cliques."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import log
from typing import NamedTuple

import networkx as nx
import numpy as np

from companion.graphs.elimination import elimination_order, interaction_graph
from companion.graphs.statements import as_set
from companion.graphs.table import Evidence, Table, listed, merged_states, state_index


class Beliefs(NamedTuple):
    """What a calibrated tree knows: the law of each clique, and the log of the normaliser."""

    cliques: list[Table]
    log_partition: float

    def marginal(self, name: Hashable) -> Table:
        """Return the law of one variable."""
        holding = [law for law in self.cliques if name in law.states]
        return min(holding, key=lambda law: law.values.numel()).marginal(name)


class JunctionTree:
    """A tree of cliques in which those that share a variable hang together.

    The graph of the tables is triangulated by an elimination order, its maximal cliques are
    joined by the spanning tree with the largest separators (Lauritzen and Spiegelhalter 1988;
    Jensen and Jensen 1994). `cliques` are tuples of variables, `tree` joins their places.
    """

    def __init__(self, tables: Sequence[Table]) -> None:
        self.tables, self.states = list(tables), merged_states(tables)
        self.cliques = maximal_scopes([table.names for table in tables], self.states)
        complete = nx.Graph()
        complete.add_nodes_from(range(len(self.cliques)))
        for i, one in enumerate(self.cliques):
            for j, other in enumerate(self.cliques[:i]):
                complete.add_edge(i, j, weight=len(set(one) & set(other)))
        self.tree = nx.maximum_spanning_tree(complete)
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
        pools = self._pools(evidence)
        root = 0
        down = list(nx.bfs_edges(self.tree, root))
        log_partition = 0.0
        received: list[dict[int, np.ndarray]] = [{} for _ in self.cliques]
        for i, j in [(child, parent) for parent, child in reversed(down)] + down:
            message = self._product(i, pools, received, self.separator(i, j), without=j)
            total = float(message.sum())
            if total <= 0:
                raise ValueError(f"the evidence has probability 0: {listed(evidence)}")
            received[j][i] = message / total
            if j not in received[i]:  # on the way to the root
                log_partition += log(total)
        beliefs = []
        for i, clique in enumerate(self.cliques):
            values = self._product(i, pools, received, clique)
            total = float(values.sum())
            if total <= 0:
                raise ValueError(f"the evidence has probability 0: {listed(evidence)}")
            if i == root:
                log_partition += log(total)
            states = {name: self.states[name] for name in clique}
            beliefs.append(Table.trusted(values / total, states))
        return Beliefs(beliefs, log_partition)

    def _pools(self, evidence: Evidence) -> list[list[tuple[tuple[Hashable, ...], np.ndarray]]]:
        """Give each clique its tables, and the observed variables a table that says so."""
        as_set(list(evidence), self.states)
        pools = [
            [(self.tables[k].names, self.tables[k].values.numpy()) for k in home]
            for home in self.homes
        ]
        for name, state in evidence.items():
            seen = np.zeros(len(self.states[name]))
            seen[state_index(name, state, self.states[name])] = 1
            home = next(i for i, clique in enumerate(self.cliques) if name in clique)
            pools[home].append(((name,), seen))
        return pools

    def _product(
        self,
        i: int,
        pools: list[list[tuple[tuple[Hashable, ...], np.ndarray]]],
        received: list[dict[int, np.ndarray]],
        keep: Sequence[Hashable],
        without: int | None = None,
    ) -> np.ndarray:
        """Multiply what clique i has and got, but from `without`; sum to the axes `keep`."""
        axis = {name: k for k, name in enumerate(self.cliques[i])}
        parts = [*pools[i]]
        parts += [(self.separator(j, i), m) for j, m in received[i].items() if j != without]
        missing = set(keep) - {name for scope, _ in parts for name in scope}
        parts += [((name,), np.ones(len(self.states[name]))) for name in missing]
        if not parts:
            return np.ones(())
        operands = [x for scope, array in parts for x in (array, [axis[n] for n in scope])]
        return np.einsum(*operands, [axis[name] for name in keep], optimize=len(parts) > 3)


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
