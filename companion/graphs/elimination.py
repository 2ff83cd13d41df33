"""Sums over products of tables: variable elimination, one einsum for each variable.

sum_x f(x, y) g(y) = g(y) sum_x f(x, y): a variable is summed out of the product of those tables
alone that name it (Zhang and Poole 1994; Dechter 1999). The order decides the cost.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from math import log, prod
from string import ascii_letters
from typing import Any, NamedTuple

import networkx as nx
import numpy as np
import torch
from torch import Tensor

Scope = tuple[Hashable, ...]
MOST_CELLS = 2**27  # 1 GiB in float64
MOST_FACTORS = 8  # of one product: numpy allows 31, and FAR ** MOST_FACTORS is finite
FAR = 1e30  # values further than this from 1 are rescaled


class Step(NamedTuple):
    """One einsum: multiply these tables of the pool, sum, add the result to the pool."""

    tables: list[int]
    formula: str
    rescale: bool = False


def interaction_graph(scopes: Iterable[Scope]) -> nx.Graph:
    """Join every two variables that some table names together."""
    graph = nx.Graph()
    for scope in scopes:
        graph.add_nodes_from(scope)
        graph.add_edges_from(combinations(scope, 2))
    return graph


def elimination_order(
    scopes: Iterable[Scope], keep: Iterable[Hashable], sizes: Mapping[Hashable, int]
) -> list[Hashable]:
    """Choose a good order greedily: next is the variable whose fill-in edges weigh least.

    An edge that has to be added weighs the product of the sizes of its ends (Kjaerulff 1990);
    among equals the smallest new table goes first. The best order of all is NP-hard to find.
    """
    near = {v: set(n) for v, n in interaction_graph(scopes).adjacency()}
    left = [v for v in near if v not in set(keep)]

    def price(v: Hashable) -> tuple[int, int]:
        fill = sum(sizes[a] * sizes[b] for a, b in combinations(near[v], 2) if b not in near[a])
        return fill, prod(sizes[n] for n in near[v])

    prices = {v: price(v) for v in left}
    order = []
    while prices:
        v = min(prices, key=prices.__getitem__)
        order.append(v)
        del prices[v]
        friends = near.pop(v)
        touched = set(friends)
        for a in friends:
            near[a].discard(v)
        for a, b in combinations(friends, 2):
            if b not in near[a]:
                touched |= near[a] & near[b]
                near[a].add(b)
                near[b].add(a)
        for a in touched & prices.keys():
            prices[a] = price(a)
    return order


def plan(
    scopes: Sequence[Scope], keep: Sequence[Hashable], order: Sequence[Hashable]
) -> list[Step]:
    """Write an elimination down as einsums; the last one gives the axes `keep`, in that order."""
    steps: list[Step] = []
    pool = dict(enumerate(scopes))

    def multiply(chosen: list[int], without: Hashable, out: Sequence[Hashable] | None) -> None:
        while len(chosen) > MOST_FACTORS:
            multiply(chosen[:MOST_FACTORS], None, None)
            chosen = [*chosen[MOST_FACTORS:], len(scopes) + len(steps) - 1]
        letter = letters(name for k in chosen for name in pool[k])
        left = [name for name in letter if name != without] if out is None else out
        words = ["".join(letter[name] for name in scope) for scope in map(pool.pop, chosen)]
        steps.append(Step(chosen, f"{','.join(words)}->{''.join(letter[n] for n in left)}"))
        pool[len(scopes) + len(steps) - 1] = tuple(left)

    for v in order:
        multiply([k for k, scope in pool.items() if v in scope], v, None)
    multiply(list(pool), None, keep)
    return with_rescaling(steps, len(scopes))


def letters(names: Iterable[Hashable]) -> dict[Hashable, str]:
    """Give each variable of a product a letter of its own; there are 52."""
    distinct = list(dict.fromkeys(names))
    if len(distinct) > len(ascii_letters):
        raise ValueError(
            f"a table over {len(distinct)} variables is needed, above {len(ascii_letters)}: "
            "observe more, or approximate"
        )
    return dict(zip(distinct, ascii_letters, strict=False))


def with_rescaling(steps: list[Step], tables: int) -> list[Step]:
    """Mark the steps whose results must be rescaled, lest a product of many tables underflows."""
    factors = [1] * tables  # of how many tables each in the pool is a product that is not rescaled
    for step in steps:
        largest = sorted(step.tables, key=factors.__getitem__)
        while sum(factors[k] for k in step.tables) > MOST_FACTORS:
            k = largest.pop()
            factors[k] = 1
            steps[k - tables] = steps[k - tables]._replace(rescale=True)
        factors.append(sum(factors[k] for k in step.tables))
    return [*steps[:-1], steps[-1]._replace(rescale=True)]


def largest_table(steps: Sequence[Step], shapes: Sequence[tuple[int, ...]]) -> int:
    """Count the cells of the largest product that a plan forms: its memory, most of its time."""
    shapes = list(shapes)
    cells = []
    for step in steps:
        words, out = step.formula.split("->")
        size: dict[str, int] = {}
        for k, word in zip(step.tables, words.split(","), strict=False):
            size |= zip(word, shapes[k], strict=True)
        cells.append(prod(size.values()))
        shapes.append(tuple(size[letter] for letter in out))
    return max(cells)


def check_cells(cells: int, whose: str) -> None:
    """Raise `ValueError` for a table that is too large to form."""
    if cells > MOST_CELLS:
        raise ValueError(
            f"{whose} needs a table of {cells:,} cells, above {MOST_CELLS:,}: "
            "observe more, or approximate"
        )


def scaled(array: Any) -> tuple[Any, float]:
    """Divide by the largest entry if that is far from 1; returns the logarithm of it, too."""
    largest = array.max().item()
    if 0 < largest < 1 / FAR or largest > FAR:
        return array / largest, log(largest)
    return array, 0.0


def run(steps: Sequence[Step], tables: Sequence[Any]) -> tuple[Any, float]:
    """Do the einsums, on arrays or tensors: the result is (values, logarithm of their scale).

    Very small or large results are rescaled, so that a thousand factors do not underflow.
    """
    if not tables:
        return np.ones(()), 0.0
    pool = list(tables)
    einsum = torch.einsum if isinstance(pool[0], Tensor) else np.einsum
    log_scale = 0.0
    for chosen, formula, rescale in steps:
        result = einsum(formula, *[pool[k] for k in chosen])
        if rescale:
            result, own = scaled(result)
            log_scale += own
        pool.append(result)
    return pool[-1], log_scale
