"""Markov networks: a law as a product of factors over the cliques of an undirected graph."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations
from math import inf, prod
from typing import Any

import networkx as nx
import torch
from torch import Tensor

from companion.graphs.bayes_net import MOST_JOINT, BayesNet
from companion.graphs.elimination import interaction_graph
from companion.graphs.junction_tree import JunctionTree
from companion.graphs.product import Product
from companion.graphs.rows import Chance, check_data, places, source_of, tables_of
from companion.graphs.statements import as_set, in_order
from companion.graphs.table import Evidence, Table, impossible, state_index
from companion.graphs.undirected import check_nodes, lines_of


class MarkovNet:
    """The law p(x) = (1 / Z) prod_c phi_c(x_c) of discrete variables.

    `factors`: tables of nonnegative numbers, which need not sum to anything; or a network,
    whose tables they are. `graph` joins what a factor names together; a graph of your own must
    do so too, and may join more. Raises `ValueError` for a factor over nodes that the graph
    does not join, and for factors that disagree on the states of a variable.

    >>> agree = [[2.0, 1.0], [1.0, 2.0]]
    >>> net = MarkovNet([Table(agree, "ab"), Table(agree, "bc"), Table(agree, "ca")])
    >>> net
    MarkovNet of 3 nodes, 3 factors, 3 edges
    >>> round(net.marginal("c", {"a": "1"})["1"], 3)
    0.714
    >>> net.gibbs(10, chains=4, evidence={"a": "1"}, generator=0).shape
    torch.Size([10, 4, 3])
    """

    def __init__(
        self, factors: Sequence[Table] | BayesNet | MarkovNet, graph: nx.Graph | None = None
    ) -> None:
        self.factors = tables_of(factors)
        self._product = Product(self.factors)
        self.states = self._product.states
        needed = interaction_graph([factor.names for factor in self.factors])
        self.graph = needed if graph is None else graph
        as_set(list(self.graph.nodes), self.states)
        as_set(list(self.states), self.graph)
        for a, b in needed.edges:
            if not self.graph.has_edge(a, b):
                raise ValueError(f"a factor names {a!r} and {b!r}, which the graph does not join")
        self.nodes = list(self.states)

    def __repr__(self) -> str:
        sizes = f"{len(self.nodes)} nodes, {len(self.factors)} factors"
        return f"MarkovNet of {sizes}, {self.graph.number_of_edges()} edges"

    @classmethod
    def from_bayes(cls, net: BayesNet) -> MarkovNet:
        """Read a Bayesian network's tables as factors over its moral graph; then Z is 1."""
        return cls(net)

    def log_partition(self, evidence: Evidence | None = None) -> float:
        """Return log Z, or the log of the sum over what the evidence leaves open; exact."""
        return self._product.log_sum(evidence or {})

    def marginal(self, query: object, evidence: Evidence | None = None) -> Table:
        """Return p(query | evidence), exactly, by variable elimination.

        Raises `ValueError` as `BayesNet.posterior` does.
        """
        evidence = evidence or {}
        return self._product.marginal(self._product.read_query(query, evidence), evidence)

    def most_probable(self, evidence: Evidence | None = None) -> tuple[dict[Hashable, str], float]:
        """Return the most probable state of all other nodes, and log p of it with the evidence."""
        states, log_value = self._product.most_probable(evidence or {})
        return states, log_value - self.log_partition()

    def joint(self) -> Table:
        """Return the whole law, axes in the order of `nodes`; up to 2^24 cells."""
        cells = prod(len(states) for states in self.states.values())
        if cells > MOST_JOINT:
            raise ValueError(f"the joint law has {cells:,} cells, above {MOST_JOINT:,}")
        return self.marginal(self.nodes)

    def log_prob(self, x: Any) -> Tensor:
        """Return log p(x) in nats, (N,); x as in `BayesNet.log_prob`."""
        x = places(x, self.states)
        place = {node: i for i, node in enumerate(self.nodes)}
        log_product = torch.zeros(len(x), dtype=torch.float64)
        for factor in self.factors:
            log_product += factor.values[tuple(x[:, place[n]] for n in factor.names)].log()
        log_z = self.log_partition()
        if log_z == -inf:
            raise impossible({})
        return log_product - log_z

    def junction_tree(self) -> JunctionTree:
        """Build a junction tree, which answers for all nodes at once."""
        return JunctionTree(self.factors)

    def conditional(self, node: Hashable, x: Tensor) -> Tensor:
        """Return p(node | all others) for rows x (N, nodes) -> (N, states of the node).

        Only factors that name the node count: its neighbours are its Markov blanket. Raises
        `ValueError` where the others have probability 0.
        """
        (node,) = in_order([node], self.states)
        place = {name: i for i, name in enumerate(self.nodes)}
        weights = torch.ones(len(x), len(self.states[node]), dtype=torch.float64)
        for factor in self.factors:
            if node in factor.states:
                axis = factor.axis(node)
                others = tuple(x[:, place[n]] for n in factor.names if n != node)
                weights = weights * factor.values.movedim(axis, -1)[others]
        total = weights.sum(-1, keepdim=True)
        if bool((total <= 0).any()):
            raise ValueError(f"no state of {node!r} is possible given the others")
        return weights / total

    def gibbs(
        self,
        sweeps: int,
        chains: int = 1,
        start: Tensor | None = None,
        generator: Chance = None,
        evidence: Evidence | None = None,
    ) -> Tensor:
        """Draw each node in turn given all others (Geman and Geman 1984).

        Returns the states after each sweep, (sweeps, chains, nodes) int64. `start`: (chains,
        nodes), and so many chains there are; uniform draws if not given. `generator`: a
        torch.Generator, or a seed. Nodes of the `evidence` keep their observed states: the law
        that is kept is that of the others given them. Raises `ValueError` for a start that
        contradicts the evidence, or of probability 0 that no single change can leave.
        """
        if sweeps < 0 or chains < 1:
            raise ValueError(f"needs sweeps >= 0 and chains >= 1, got {sweeps} and {chains}")
        sizes = {node: len(states) for node, states in self.states.items()}
        generator, seen = source_of(generator), self._seen(evidence or {})
        if start is None:
            columns = [torch.randint(k, (chains,), generator=generator) for k in sizes.values()]
            start = torch.stack(columns, -1)
            for i, state in seen.items():
                start[:, i] = state
        check_data(start, sizes)
        for i, state in seen.items():
            if bool((start[:, i] != state).any()):
                raise ValueError(f"the start of {self.nodes[i]!r} contradicts the evidence")
        x, states = start.clone(), []
        for _ in range(sweeps):
            for i, node in enumerate(self.nodes):
                if i not in seen:
                    rows = self.conditional(node, x)
                    x[:, i] = torch.multinomial(rows, 1, generator=generator).squeeze(-1)
            states.append(x.clone())
        return torch.stack(states) if states else x.new_empty((0, *x.shape))

    def _seen(self, evidence: Evidence) -> dict[int, int]:
        """Turn evidence into places: of the node, of its state."""
        names = in_order(list(evidence), self.states)
        return {self.nodes.index(n): state_index(n, evidence[n], self.states[n]) for n in names}


def maximal_cliques(graph: nx.Graph | MarkovNet) -> list[tuple[Hashable, ...]]:
    """List the maximal cliques, each and all in the order of the graph's nodes."""
    graph = lines_of(graph)
    place = {node: i for i, node in enumerate(graph.nodes)}
    cliques = [sorted(clique, key=place.__getitem__) for clique in nx.find_cliques(graph)]
    return [tuple(c) for c in sorted(cliques, key=lambda c: [place[node] for node in c])]


def canonical_potentials(
    law: Table, reference: Evidence | None = None
) -> dict[tuple[Hashable, ...], Table]:
    """Split a positive law into potentials, one for each set of variables: log p = sum of logs.

    log phi_S(x_S) = sum over T in S of (-1)^|S - T| log p(x_T, the others at `reference`), the
    Moebius inversion in the proof of Hammersley and Clifford (Besag 1974). `reference` is the
    first state of each variable if not given. Raises `ValueError` for a law with a cell of 0.
    """
    if not bool((law.values > 0).all()):
        raise ValueError("only a positive law has canonical potentials: a cell is 0")
    rest = reference or {name: states[0] for name, states in law.states.items()}
    if set(in_order(list(rest), law.states)) != set(law.names):
        raise ValueError(f"the reference needs a state for each of {law.names}, got {rest}")
    potentials = {}
    for size in range(len(law.names) + 1):
        for chosen in combinations(law.names, size):
            log_phi = torch.zeros([len(law.states[n]) for n in chosen], dtype=torch.float64)
            for part in subsets(chosen):
                fixed = {name: rest[name] for name in law.names if name not in part}
                log_p = law.restrict(fixed).values.log()
                spread = [slice(None) if name in part else None for name in chosen]
                log_phi = log_phi + (-1) ** (size - len(part)) * log_p[tuple(spread)]
            potentials[chosen] = Table(log_phi.exp(), {n: law.states[n] for n in chosen})
    return potentials


def clique_factors(law: Table, graph: nx.Graph) -> list[Table]:
    """Write a positive law as factors over the maximal cliques of a graph.

    Their product is the law up to a constant if and only if it has the Markov properties of
    the graph (Hammersley and Clifford 1971). Each canonical potential of a clique goes to the
    first maximal clique that holds it; raises `ValueError` for a law with a cell of 0.
    """
    check_nodes(graph, law)
    factors = []
    left = canonical_potentials(law)
    for clique in maximal_cliques(graph):
        scope = {name: law.states[name] for name in clique}
        factor = Table(torch.ones([len(s) for s in scope.values()]), scope)
        for chosen in [c for c in left if c and set(c) <= set(clique)]:
            factor = factor * left.pop(chosen)
        factors.append(factor)
    return factors


def subsets(names: Sequence[Hashable]) -> Iterable[tuple[Hashable, ...]]:
    """List all subsets, small ones first."""
    return [part for size in range(len(names) + 1) for part in combinations(names, size)]
