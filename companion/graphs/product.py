"""A product of tables: what a Bayesian and a Markov network have in common."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from math import inf, log
from typing import Any, NamedTuple

import torch

from companion.graphs.elimination import (
    Scope,
    Step,
    check_cells,
    elimination_order,
    largest_table,
    plan,
    run,
    scaled,
)
from companion.graphs.statements import in_order
from companion.graphs.table import Evidence, Table, impossible, listed, merged_states, state_index

Use = Callable[[], Iterable[int]]  # which tables count, asked once for each kind of query
OPEN = object()


class Contraction(NamedTuple):
    """How to answer one kind of query: which tables, where to cut them, the einsums."""

    use: list[int]
    cuts: Sequence[Sequence[Hashable] | None]  # for each axis an observed variable or `OPEN`
    steps: list[Step]
    order: list[Hashable]
    log_scale: float


class Product:
    """A function prod_k tables[k] of discrete variables; sums over it are exact.

    Sums go by variable elimination; its plan is kept for the next query of the same kind. If a
    table needs a gradient, so do the results. Raises `ValueError` where two tables disagree on
    the states of a variable.
    """

    def __init__(self, tables: Sequence[Table]) -> None:
        if not tables:
            raise ValueError("a product needs at least one table, got none")
        self.tables = list(tables)
        self.states = merged_states(self.tables)
        self._place = {n: {s: i for i, s in enumerate(ss)} for n, ss in self.states.items()}
        self._sizes = {name: len(states) for name, states in self.states.items()}
        grad = any(table.values.requires_grad for table in tables)
        parts = [scaled(t.values if grad else t.values.numpy()) for t in tables]
        self._arrays, self._log_scales = [p[0] for p in parts], [p[1] for p in parts]
        self._contractions: dict[Hashable, Contraction] = {}

    def sum(
        self, keep: Sequence[Hashable], evidence: Evidence, use: Use | None = None
    ) -> tuple[Any, float]:
        """Sum over all variables but `keep` and those of the evidence.

        Returns an array or a tensor with one axis for each of `keep`, and the logarithm of its
        scale. `use` says which tables to multiply; all, if it is not given.
        """
        contraction = self._contraction(tuple(keep), evidence, use)
        values, log_scale = run(contraction.steps, self._cut(contraction, evidence))
        return values, log_scale + contraction.log_scale

    def log_sum(self, evidence: Evidence, use: Use | None = None) -> float:
        """Return the logarithm of the sum over all that the evidence leaves open."""
        values, log_scale = self.sum((), evidence, use)
        total = values.item()
        return log(total) + log_scale if total > 0 else -inf

    def marginal(
        self, names: Sequence[Hashable], evidence: Evidence, use: Use | None = None
    ) -> Table:
        """Return the normalised law of `names`; raises `ValueError` for impossible evidence."""
        values, _ = self.sum(names, evidence, use)
        total = values.sum()
        if not total > 0:
            raise impossible(evidence)
        return Table.trusted(values / total, {name: self.states[name] for name in names})

    def read_query(self, query: object, evidence: Evidence) -> tuple[Hashable, ...]:
        """Read a query: one name, or several in order.

        Raises `ValueError` for no name at all, and for a name that is not there, that repeats,
        or that is observed.
        """
        names = in_order(query, self.states)
        if not names:
            raise ValueError("a query needs at least one variable, got none")
        if len(set(names)) < len(names):
            raise ValueError(f"a variable repeats in {names}")
        for name in names:
            if name in evidence:
                raise ValueError(f"{name!r} is both asked for and observed: {listed(evidence)}")
        return names

    def most_probable(self, evidence: Evidence) -> tuple[dict[Hashable, str], float]:
        """Return the assignment of all other variables with the largest product, and its log.

        The sum of elimination becomes a maximum; going back, each variable takes its best state.
        """
        contraction = self._contraction((), evidence, None)
        log_scale = contraction.log_scale
        arrays = [torch.as_tensor(a).detach().numpy() for a in self._cut(contraction, evidence)]
        free = [
            tuple(n for n in self.tables[k].names if n not in evidence) for k in contraction.use
        ]
        pool = list(zip(free, arrays, strict=True))

        def multiplied(bucket: list[tuple[Scope, Any]], out: Scope) -> Any:
            nonlocal log_scale
            scopes, arrays = zip(*bucket, strict=True)
            values, own = run(plan(scopes, out, ()), arrays)
            log_scale += own
            return values

        choices = []
        for name in contraction.order:
            bucket = [part for part in pool if name in part[0]]
            pool = [part for part in pool if name not in part[0]]
            rest = tuple({n: 0 for scope, _ in bucket for n in scope if n != name})
            values = multiplied(bucket, (*rest, name))
            choices.append((name, rest, values.argmax(-1)))
            pool.append((rest, values.max(-1)))
        total = multiplied(pool, ()).item()
        if total <= 0:
            raise impossible(evidence)
        at: dict[Hashable, int] = {}
        for name, rest, best in reversed(choices):
            at[name] = int(best[tuple(at[n] for n in rest)])
        chosen = {name: self.states[name][at[name]] for name in self.states if name in at}
        return chosen, log(total) + log_scale

    def _contraction(
        self, keep: tuple[Hashable, ...], evidence: Evidence, use: Use | None
    ) -> Contraction:
        key = keep, frozenset(evidence)
        if key in self._contractions:
            return self._contractions[key]
        in_order(list(evidence), self.states)
        chosen = list(range(len(self.tables))) if use is None else sorted(use())
        scopes = [self.tables[k].names for k in chosen]
        cuts = [
            [name if name in evidence else OPEN for name in scope]
            if any(name in evidence for name in scope)
            else None
            for scope in scopes
        ]
        free = [tuple(n for n in scope if n not in evidence) for scope in scopes]
        order = elimination_order(free, keep, self._sizes)
        steps = plan(free, keep, order)
        cells = largest_table(steps, [tuple(self._sizes[n] for n in scope) for scope in free])
        check_cells(cells, "the query")
        log_scale = sum(self._log_scales[k] for k in chosen)
        self._contractions[key] = Contraction(chosen, cuts, steps, order, log_scale)
        return self._contractions[key]

    def _cut(self, contraction: Contraction, evidence: Evidence) -> list[Any]:
        if not hasattr(evidence, "items"):
            raise ValueError(f"evidence gives a state to each variable it names, got {evidence}")
        seen: dict[Hashable, Any] = {OPEN: slice(None)}
        for name, state in evidence.items():
            at = self._place[name].get(state) if isinstance(state, str) else None
            seen[name] = state_index(name, state, self.states[name]) if at is None else at
        arrays = self._arrays
        return [
            arrays[k][tuple([seen[name] for name in cut])] if cut else arrays[k]
            for k, cut in zip(contraction.use, contraction.cuts, strict=True)
        ]
