"""A product of tables: what a Bayesian and a Markov network have in common."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from math import inf, log
from typing import Any, NamedTuple

import numpy as np

from companion.graphs.elimination import Step, elimination_order, largest_table, plan, run
from companion.graphs.statements import as_set
from companion.graphs.table import Evidence, Table, listed, merged_states, state_index
from companion.maths import nearest

Use = Callable[[], Iterable[int]]  # which tables count, asked once for each kind of query
MOST_CELLS = 2**27  # 1 GiB in float64


class Recipe(NamedTuple):
    """How to answer one kind of query: which tables, where to cut them, the einsums."""

    use: list[int]
    cuts: list[list[Hashable | None]]
    steps: list[Step]
    order: list[Hashable]


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
        self._arrays = [t.values if grad else t.values.numpy() for t in tables]
        self._recipes: dict[Hashable, Recipe] = {}

    def sum(
        self, keep: Sequence[Hashable], evidence: Evidence, use: Use | None = None
    ) -> tuple[Any, float]:
        """Sum over all variables but `keep` and those of the evidence.

        Returns an array or a tensor with one axis for each of `keep`, and the logarithm of its
        scale. `use` says which tables to multiply; all, if it is not given.
        """
        recipe = self._recipe(tuple(keep), evidence, use)
        return run(recipe.steps, self._cut(recipe, evidence))

    def log_sum(self, evidence: Evidence, use: Use | None = None) -> float:
        """Return the logarithm of the sum over all that the evidence leaves open."""
        values, log_scale = self.sum((), evidence, use)
        total = float(values)
        return log(total) + log_scale if total > 0 else -inf

    def marginal(
        self, names: Sequence[Hashable], evidence: Evidence, use: Use | None = None
    ) -> Table:
        """Return the normalised law of `names`; raises `ValueError` for impossible evidence."""
        values, _ = self.sum(names, evidence, use)
        total = values.sum()
        if not total > 0:
            raise ValueError(f"the evidence has probability 0: {listed(evidence)}")
        return Table.trusted(values / total, {name: self.states[name] for name in names})

    def read_query(self, query: object, evidence: Evidence) -> tuple[Hashable, ...]:
        """Read a query: one name, or several in order.

        Raises `ValueError` for a name that is not there, that repeats, or that is observed.
        """
        try:
            if query in self.states and query not in evidence:
                return (query,)
        except TypeError:  # a list cannot be a name
            pass
        found = as_set(query, self.states)
        names = tuple(query) if len(found) > 1 else tuple(found)  # type: ignore[arg-type]
        if len(names) > len(found):
            raise ValueError(f"a variable repeats in {names}")
        for name in names:
            if name in evidence:
                raise ValueError(f"{name!r} is both asked for and observed: {listed(evidence)}")
        return names

    def most_probable(self, evidence: Evidence) -> tuple[dict[Hashable, str], float]:
        """Return the assignment of all other variables with the largest product, and its log.

        The sum of elimination becomes a maximum; going back, each variable takes its best state.
        """
        recipe = self._recipe((), evidence, None)
        pool = [
            (tuple(n for n in self.tables[k].names if n not in evidence), np.asarray(array))
            for k, array in zip(recipe.use, self._cut(recipe, evidence), strict=True)
        ]
        choices, log_scale = [], 0.0
        for name in recipe.order:
            bucket = [part for part in pool if name in part[0]]
            pool = [part for part in pool if name not in part[0]]
            rest = list(dict.fromkeys(n for scope, _ in bucket for n in scope if n != name))
            axis = {n: i for i, n in enumerate([*rest, name])}
            parts = [x for scope, array in bucket for x in (array, [axis[n] for n in scope])]
            best = np.einsum(*parts, list(axis.values()))
            choices.append((name, rest, best.argmax(-1)))
            best = best.max(-1)
            largest = float(best.max())
            if largest > 0:
                log_scale, best = log_scale + log(largest), best / largest
            pool.append((tuple(rest), best))
        total = float(np.prod([float(array) for _, array in pool]))
        if total <= 0:
            raise ValueError(f"the evidence has probability 0: {listed(evidence)}")
        at: dict[Hashable, int] = {}
        for name, rest, best in reversed(choices):
            at[name] = int(best[tuple(at[n] for n in rest)])
        chosen = {name: self.states[name][at[name]] for name in self.states if name in at}
        return chosen, log(total) + log_scale

    def _recipe(self, keep: tuple[Hashable, ...], evidence: Evidence, use: Use | None) -> Recipe:
        key = keep, frozenset(evidence)
        if key in self._recipes:
            return self._recipes[key]
        for name in evidence:
            if name not in self.states:
                raise ValueError(f"no variable {name!r} {nearest(name, self.states)}")
        chosen = list(range(len(self.tables))) if use is None else sorted(use())
        scopes = [self.tables[k].names for k in chosen]
        cuts = [[name if name in evidence else None for name in scope] for scope in scopes]
        free = [tuple(n for n in scope if n not in evidence) for scope in scopes]
        order = elimination_order(free, keep, self._sizes)
        steps = plan(free, keep, order)
        cells = largest_table(steps, [tuple(self._sizes[n] for n in scope) for scope in free])
        if cells > MOST_CELLS:
            raise ValueError(
                f"the query needs a table of {cells:,} cells, above {MOST_CELLS:,}: "
                "observe more, or approximate"
            )
        self._recipes[key] = Recipe(chosen, cuts, steps, order)
        return self._recipes[key]

    def _cut(self, recipe: Recipe, evidence: Evidence) -> list[Any]:
        seen: dict[Hashable | None, Any] = {None: slice(None)}
        for name, state in evidence.items():
            place = self._place[name]
            if state not in place:
                state_index(name, state, self.states[name])  # says which state is nearest
            seen[name] = place[state]
        arrays = self._arrays
        return [
            arrays[k][tuple([seen[name] for name in cut])] if any(cut) else arrays[k]
            for k, cut in zip(recipe.use, recipe.cuts, strict=True)
        ]
