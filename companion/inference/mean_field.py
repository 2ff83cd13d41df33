"""Mean-field inference: coordinate ascent on the bound, and its form for any product of tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from companion.graphs.rows import Chance, source_of, tables_of
from companion.graphs.table import Evidence, Name, States, Table, merged_states
from companion.words import nearest

if TYPE_CHECKING:
    from companion.graphs import BayesNet, MarkovNet

ROUNDING = 1e-9  # a fall of the bound that is smaller, relative to its size, is rounding
NOTHING_LEFT = (
    "no state of {} is possible under all that the other factors allow: join it in a block with "
    "what decides it, or the evidence has probability 0"
)


class Ascent(Protocol):
    """What `coordinate_ascent` climbs: a law q made of factors, and its bound."""

    def step(self) -> None:
        """Update each factor once, given the others."""
        ...

    def elbo(self) -> float:
        """Compute the evidence lower bound of the present factors, exactly, in nats."""
        ...


def coordinate_ascent(model: Ascent, sweeps: int = 1000, tolerance: float = 1e-9) -> list[float]:
    """Sweep until the bound rises by at most `tolerance` nats, or `sweeps` times.

    Returns the bound before the first sweep and after each. Raises `ArithmeticError` if the
    bound ever falls by more than rounding: then an update is wrong.
    """
    if sweeps < 1 or not tolerance >= 0:
        given = f"sweeps={sweeps} and tolerance={tolerance}"
        raise ValueError(f"need at least 1 sweep and a tolerance of at least 0, got {given}")
    bounds = [model.elbo()]
    for sweep in range(1, sweeps + 1):
        model.step()
        bounds.append(model.elbo())
        before, after = bounds[-2:]
        if not isfinite(after) or before - after > ROUNDING * max(1.0, abs(before)):
            fall = f"the bound went from {before:.12g} to {after:.12g} nats in sweep {sweep}"
            raise ArithmeticError(f"{fall}: coordinate ascent never falls, so an update is wrong")
        if after - before <= tolerance:
            break
    return bounds


class MeanField:
    """q(z) = q_1(z_1) q_2(z_2) ... near p(z | evidence), p proportional to a product of tables.

    `tables`: a network, or its tables: those of a Bayesian network (then the bound is one on
    log p(evidence)), or the factors of a Markov network (then it is one on log Z). Each
    unobserved variable has a factor of its own, except that the variables of one of the `blocks`
    share one. The factors begin uniform, or random if a `generator` or a seed is given.
    `factors` are the tables q_j, and `owner` maps a variable to the j of its factor.

    Raises `ValueError` for names that the tables do not have or blocks that overlap.

    >>> from companion.graphs import medical_diagnosis
    >>> net, patient = medical_diagnosis(), {"cough": "yes", "shadow": "yes"}
    >>> q = MeanField(net, patient, blocks=[["pneumonia", "bronchitis"]])
    >>> bound = coordinate_ascent(q)[-1]
    >>> bound < net.evidence_log_prob(patient)
    True
    """

    def __init__(
        self,
        tables: Iterable[Table] | BayesNet | MarkovNet,
        evidence: Evidence | None = None,
        blocks: Iterable[Sequence[Name]] = (),
        generator: Chance = None,
    ) -> None:
        tables, seen = tables_of(tables), dict(evidence or {})
        generator = source_of(generator)
        known = [name for table in tables for name in table.names]
        for name in seen:
            if name not in known:
                raise ValueError(f"no variable {name!r} {nearest(name, set(known))}")
        self.tables = [
            table.restrict({n: s for n, s in seen.items() if n in table.states})
            for table in tables
        ]
        states = merged_states(self.tables)
        groups = partition(list(states), blocks)
        self.factors = [
            start({name: states[name] for name in group}, generator) for group in groups
        ]
        self.owner = {name: j for j, group in enumerate(groups) for name in group}

    def marginal(self, *names: Name) -> Table:
        """Return q's law of some variables, axes in the order asked for."""
        for name in names:
            if name not in self.owner:
                raise ValueError(f"no free variable {name!r} {nearest(name, self.owner)}")
        table = Table(1.0, {})
        for j in dict.fromkeys(self.owner[name] for name in names):
            factor = self.factors[j]
            table = table * factor.marginal(*(n for n in factor.names if n in names))
        return table.marginal(*names)

    def mean_log(self, table: Table, kept: Sequence[Name] = ()) -> Tensor:
        """Average log `table` under q, over all of its variables but `kept`.

        One axis for each of `kept`, of length 1 where the table does not depend on it. An entry
        0 of the table counts as minus infinity where q reaches it, and not at all elsewhere.
        """
        first = [name for name in kept if name in table.states]
        rest = [name for name in table.names if name not in kept]
        weight = self.marginal(*rest).values
        axes = [table.axis(name) for name in (*first, *rest)]
        mean_logs = torch.xlogy(weight, table.values.permute(axes))
        sizes = {name: len(labels) for name, labels in table.states.items()}
        shape = [sizes.get(name, 1) for name in kept]
        return mean_logs.reshape(*shape, -1).sum(-1)

    def update(self, j: int) -> None:
        """Make factor j the best one given the others: q_j = exp E_{-j} log p, normalised.

        Raises `ValueError` if the other factors leave no state of it possible.
        """
        old = self.factors[j]
        log_q = torch.zeros_like(old.values)
        for table in self.tables:
            if not old.states.keys().isdisjoint(table.states):
                log_q = log_q + self.mean_log(table, old.names)
        total = log_q.logsumexp(tuple(range(log_q.ndim)))
        if not total.isfinite():
            raise ValueError(NOTHING_LEFT.format(", ".join(map(str, old.names))))
        self.factors[j] = Table((log_q - total).exp(), old.states)

    def step(self) -> None:
        """Update each factor once, in turn."""
        for j in range(len(self.factors)):
            self.update(j)

    def elbo(self) -> float:
        """Compute E_q log p - E_q log q in nats: a sum of one local mean for each table."""
        energy = sum(self.mean_log(table).item() for table in self.tables)
        return energy + sum(torch.special.entr(q.values).sum().item() for q in self.factors)


def partition(names: Sequence[Name], blocks: Iterable[Sequence[Name]]) -> list[tuple[Name, ...]]:
    """Return the blocks, then each name that is in none of them by itself."""
    groups = [tuple(block) for block in blocks]
    joined = [name for group in groups for name in group]
    for name in joined:
        if name not in names:
            raise ValueError(f"a block has no free variable {name!r} {nearest(name, names)}")
    if len(set(joined)) < len(joined):
        raise ValueError(f"blocks must not share a variable, got {groups}")
    return groups + [(name,) for name in names if name not in joined]


def start(states: States, generator: torch.Generator | None) -> Table:
    """Make a uniform factor, or one drawn uniformly from all laws if there is a generator."""
    shape = [len(labels) for labels in states.values()]
    if generator is None:
        return Table(torch.ones(shape), states).normalised()
    return Table(-torch.rand(shape, generator=generator).double().log(), states).normalised()
