"""Bayesian networks: a table for each node given its parents; every answer is exact."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from functools import partial
from math import prod
from numbers import Integral
from typing import Any

import networkx as nx
import torch
from torch import Tensor

from companion.graphs.independence import Reachability, topological
from companion.graphs.product import Product
from companion.graphs.rows import Chance, graph_of, places, source_of
from companion.graphs.statements import as_set, in_order
from companion.graphs.table import Evidence, States, Table, listed, state_index

ROUNDING = 1e-5  # published tables are rounded: a row may miss 1 by this much
MOST_JOINT = 2**24  # cells of a joint law


class BayesNet:
    """The law p(x) = prod_v p(x_v | x_parents(v)) of discrete variables (Pearl 1988).

    `tables`: node -> `Table` over the node and its parents, axes in any order; each row, one
    for every state of the parents, sums to 1. The tables say what the graph `dag` is. `nodes`
    lists them parents first. Raises `ValueError` for a cycle, a row that does not sum to 1, a
    parent without a table, and states on which two tables disagree.

    >>> rain = Table([0.8, 0.2], {"rain": ["no", "yes"]})
    >>> wet = Table([[0.9, 0.1], [0.2, 0.8]], {"rain": ["no", "yes"], "grass": ["dry", "wet"]})
    >>> net = BayesNet({"rain": rain, "grass": wet})
    >>> net
    BayesNet of 2 nodes, 1 edges, 3 parameters
    >>> round(net.posterior("rain", {"grass": "wet"})["yes"], 3)
    0.667
    >>> BayesNet.fit(net.dag, net.states, net.labels(net.sample(100, generator=0)))
    BayesNet of 2 nodes, 1 edges, 3 parameters
    """

    def __init__(self, tables: Mapping[Hashable, Table]) -> None:
        if not isinstance(tables, Mapping) or not tables:
            found = type(tables).__name__ if tables else "none"
            raise ValueError(f"needs tables, node -> Table, for at least one node, got {found}")
        self.dag = nx.DiGraph()
        self.dag.add_nodes_from(tables)
        for node, table in tables.items():
            if not isinstance(table, Table):
                raise ValueError(f"{node!r} needs a Table, got {type(table).__name__}")
            if node not in table.states:
                raise ValueError(f"the table of {node!r} has no axis for it, only {table.names}")
            for parent in table.names:
                if parent not in tables:
                    raise ValueError(f"{node!r} has the parent {parent!r}, which has no table")
                if parent != node:
                    self.dag.add_edge(parent, node)
        self.nodes = topological(self.dag)
        self.tables = {n: tables[n].marginal(*self.dag.pred[n], n) for n in self.nodes}
        self._product = Product(list(self.tables.values()))
        self.states = {node: self._product.states[node] for node in self.nodes}
        for node in self.nodes:
            self._check_rows(node)
        self.ball = Reachability(self.dag)
        self._place = {node: i for i, node in enumerate(self.nodes)}

    def __repr__(self) -> str:
        edges = self.dag.number_of_edges()
        return f"BayesNet of {len(self.nodes)} nodes, {edges} edges, {self.parameters} parameters"

    def _check_rows(self, node: Hashable) -> None:
        table = self.tables[node]
        sums = table.values.detach().sum(-1)
        wrong = (sums - 1).abs() > ROUNDING
        if wrong.any():
            place = tuple(wrong.nonzero()[0].tolist()) if wrong.ndim else ()
            row = {p: table.states[p][i] for p, i in zip(self.dag.pred[node], place, strict=True)}
            where = f" | {listed(row)}" if row else ""
            raise ValueError(f"p({node}{where}) sums to {sums[place].item():.6g}, not to 1")

    @property
    def parameters(self) -> int:
        """Free parameters: (states - 1) for each row of each table."""
        return sum(
            (len(self.states[node]) - 1) * prod(len(self.states[p]) for p in self.dag.pred[node])
            for node in self.nodes
        )

    def joint(self) -> Table:
        """Return the whole law, axes in the order of `nodes`; up to 2^24 cells."""
        cells = prod(len(states) for states in self.states.values())
        if cells > MOST_JOINT:
            raise ValueError(f"the joint law has {cells:,} cells, above {MOST_JOINT:,}")
        return self.posterior(self.nodes)

    def posterior(self, query: object, evidence: Evidence | None = None) -> Table:
        """Return p(query | evidence), exactly, by variable elimination.

        `query`: a node, or several, whose axes come in that order. Only ancestors of query and
        evidence count: any other node sums to 1. Raises `ValueError` for a node or a state that
        is not there, a query that is observed, and evidence of probability 0.
        """
        evidence = evidence or {}
        names = self._product.read_query(query, evidence)
        ancestral = partial(self._ancestral, [*names, *evidence])
        return self._product.marginal(names, evidence, ancestral)

    def evidence_log_prob(self, evidence: Evidence) -> float:
        """Return log p(evidence) in nats; -inf where it is impossible."""
        return self._product.log_sum(evidence, partial(self._ancestral, list(evidence)))

    def most_probable(self, evidence: Evidence | None = None) -> tuple[dict[Hashable, str], float]:
        """Return the most probable state of all other nodes, and log p of it with the evidence."""
        return self._product.most_probable(evidence or {})

    def log_prob(self, x: Any) -> Tensor:
        """Return log p(x) in nats, (N,).

        x: (N, nodes) int64, the places of the states, columns in the order of `nodes`; or data
        with names, as in `fit`.
        """
        x = places(x, self.states)
        log_prob = torch.zeros(len(x), dtype=torch.float64)
        for _node, table in self.tables.items():
            columns = [x[:, self._place[name]] for name in table.names]
            log_prob = log_prob + table.values[tuple(columns)].log()
        return log_prob

    def sample(self, n: int, generator: Chance = None) -> Tensor:
        """Draw n rows, each node after its parents; (n, nodes) int64, the places of the states.

        `generator`: a torch.Generator, or a seed. `labels` names the states.
        """
        if not isinstance(n, Integral) or n < 0:
            raise ValueError(f"needs a whole number of draws, 0 or above, got {n}")
        generator, x = source_of(generator), torch.zeros(n, len(self.nodes), dtype=torch.int64)
        for i, (node, table) in enumerate(self.tables.items()):
            rows = table.values[tuple(x[:, self._place[p]] for p in self.dag.pred[node])]
            threshold = torch.rand(n, 1, generator=generator, dtype=torch.float64)
            x[:, i] = (rows.expand(n, -1).cumsum(-1)[:, :-1] <= threshold).sum(-1)
        return x

    def intervene(self, actions: Evidence) -> BayesNet:
        """Set some nodes by hand: do(node = state) cuts the arrows into them (Pearl 1995).

        Raises `ValueError` for a node or a state that is not there.
        """
        tables = dict(self.tables)
        for node, state in actions.items():
            (node,) = in_order([node], self.states)
            set_to = torch.zeros(len(self.states[node]))
            set_to[state_index(node, state, self.states[node])] = 1
            tables[node] = Table(set_to, {node: self.states[node]})
        return BayesNet(tables)

    def labels(self, x: Tensor) -> list[dict[Hashable, str]]:
        """Name the states of rows (N, nodes) of places; `places` takes the names back."""
        x = places(x, self.states)
        names = self.states.items()
        return [{n: s[i] for (n, s), i in zip(names, row, strict=True)} for row in x.tolist()]

    def places(self, data: Any) -> Tensor:
        """Read data with names, as in `fit`, as rows (N, nodes) of places."""
        return places(data, self.states)

    @classmethod
    def fit(cls, dag: nx.DiGraph, states: States, x: Any, prior: float = 1.0) -> BayesNet:
        """Estimate the tables from data: posterior mean under a Dirichlet prior on each row.

        `x`: a data frame, a dictionary of columns, an array with named fields or a list of
        dictionaries; or a tensor (N, nodes) int64 of places, whose columns have no names: then
        `states` must be in the order of the network's `nodes`, parents first. `prior`:
        pseudo-counts of each cell; 0 gives maximum likelihood, 1 is Laplace's rule. Raises
        `ValueError` for columns in another order, a negative prior, and with prior 0 for a row
        without data.
        """
        if not prior >= 0:
            raise ValueError(f"needs a prior of at least 0 pseudo-counts, got {prior}")
        dag, named = graph_of(dag), not isinstance(x, Tensor)
        as_set(topological(dag), states)
        if named:  # what has names may have more
            states = {node: labels for node, labels in states.items() if node in dag}
        as_set(list(states), dag)
        x = places(x, states)
        sizes = {node: len(labels) for node, labels in states.items()}
        place, tables = {node: i for i, node in enumerate(sizes)}, {}
        for node in sizes:
            names = [*dag.pred[node], node]
            counts = torch.full([sizes[n] for n in names], float(prior), dtype=torch.float64)
            at = tuple(x[:, place[n]] for n in names)
            counts.index_put_(at, torch.ones(len(x), dtype=torch.float64), accumulate=True)
            if bool((counts.sum(-1) == 0).any()):
                raise ValueError(f"no data for a row of p({node} | ...): give a prior above 0")
            shares = counts / counts.sum(-1, keepdim=True)
            tables[node] = Table(shares, {n: states[n] for n in names})
        net = cls(tables)
        if not named and net.nodes != list(states):
            orders = [", ".join(map(str, some)) for some in (states, net.nodes)]
            raise ValueError(
                f"columns without names must be in the order of the network: {orders[1]}; the "
                f"states are in the order {orders[0]}: give a data frame or a dictionary"
            )
        return net

    @classmethod
    def random(
        cls,
        dag: nx.DiGraph,
        sizes: int | Mapping[Hashable, int] = 2,
        generator: Chance = None,
    ) -> BayesNet:
        """Draw every row of every table uniformly from the simplex; `sizes`: states of a node.

        Raises `ValueError` for a cycle, and a node whose number of states is not told or below 1.
        """
        of = sizes if isinstance(sizes, Mapping) else dict.fromkeys(dag.nodes, sizes)
        in_order(list(dag.nodes), of)
        generator, tables = source_of(generator), {}
        for node in topological(dag):
            if not isinstance(of[node], Integral) or of[node] < 1:
                raise ValueError(f"{node!r} needs a whole number of states, got {of[node]}")
            names = [*dag.pred[node], node]
            uniform = torch.rand([of[n] for n in names], generator=generator, dtype=torch.float64)
            draws = -torch.log1p(-uniform)  # exponential draws, normalised, are uniform there
            tables[node] = Table(draws / draws.sum(-1, keepdim=True), names)
        return cls(tables)

    def _ancestral(self, names: Iterable[Hashable]) -> list[int]:
        """Find the places of the tables that count for `names`: theirs and their ancestors'."""
        above, todo = set(), list(names)
        while todo:
            node = todo.pop()
            if node not in above:
                above.add(node)
                todo += self.dag.pred[node]
        return [self._place[node] for node in above]
