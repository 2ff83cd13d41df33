"""Statements of independence: "x is independent of y given z", for sets of variables.

A statement is a tuple (x, y, z) of frozensets. As x and y may change places, `statement` puts
first the one that holds the first variable; then equal statements are equal tuples.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from itertools import product

from companion.words import nearest

Statement = tuple[frozenset[Hashable], frozenset[Hashable], frozenset[Hashable]]


def in_order(names: object, known: Collection[Hashable]) -> tuple[Hashable, ...]:
    """Read one name or several, in order; raises `ValueError` for one not among `known`."""
    try:
        if names in known:
            return (names,)
    except TypeError:  # a list cannot be a name
        pass
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ValueError(f"no variable {names!r} {nearest(names, known)}")
    found = tuple(names)
    for name in found:
        if not isinstance(name, Hashable) or name not in known:
            raise ValueError(f"no variable {name!r} {nearest(name, known)}")
    return found


def as_set(names: object, known: Collection[Hashable]) -> frozenset[Hashable]:
    """Read one name or several; raises `ValueError` for one that is not among `known`."""
    return frozenset(in_order(names, known))


def disjoint(x: object, y: object, given: object, known: Collection[Hashable]) -> Statement:
    """Read three sets; raises `ValueError` if x or y is empty or two of them overlap."""
    sets = as_set(x, known), as_set(y, known), as_set(given, known)
    left, right, seen = sets
    if not left or not right:
        raise ValueError("a statement of independence needs a variable on either side")
    if left & right or seen & left or seen & right:
        shared = (left & right) | (seen & left) | (seen & right)
        raise ValueError(f"{', '.join(map(repr, shared))} must be in one of the three sets only")
    return sets


def statements(names: Sequence[Hashable]) -> Iterator[Statement]:
    """Yield every statement about disjoint sets of `names`, x and y not empty, each once.

    There are (4^n - 2 * 3^n + 2^n) / 2 of them for n names: 9 for 3, 55 for 4, 285 for 5.
    """
    for roles in product(range(4), repeat=len(names)):
        parts = [[], [], [], []]
        for name, role in zip(names, roles, strict=True):
            parts[role].append(name)
        x, y, given, _ = map(frozenset, parts)
        if x and y and roles.index(0) < roles.index(1):
            yield x, y, given
