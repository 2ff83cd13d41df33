"""A table over named discrete variables: a joint law, a conditional law or any factor."""

from __future__ import annotations

import reprlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor

from companion.graphs.statements import in_order
from companion.words import nearest

Name = Hashable
States = Mapping[Name, Sequence[str]]
Evidence = Mapping[Name, str]  # variable -> observed state


class Table:
    """A nonnegative function of discrete variables, one axis for each, with labelled states.

    `values`: any shape that `states` implies, float64. `states`: variable -> labels of its
    states, in the order of the axes; or the variables alone, whose states are "0", "1", ...
    ("ab" names two axes of one letter each; a word alone names the only axis.) Tables multiply
    by name, whatever the order of their axes. Raises `ValueError` for a shape that does not fit,
    labels that repeat, and values that are negative or not finite.

    >>> rain = Table([0.8, 0.2], {"rain": ["no", "yes"]})
    >>> wet = Table([[0.9, 0.1], [0.2, 0.8]], {"rain": ["no", "yes"], "grass": ["dry", "wet"]})
    >>> (rain * wet).given({"grass": "wet"})
    rain
    no  0.333333
    yes  0.666667
    """

    def __init__(self, values: object, states: States | Iterable[Name]) -> None:
        try:
            self.values = torch.as_tensor(values, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(
                f"values must be an array of numbers, got {reprlib.repr(values)}"
            ) from None
        if not isinstance(states, Mapping):
            shape = self.values.shape
            word = isinstance(states, str) and len(shape) == 1
            names = [states] if word else list(states)
            if len(set(names)) != len(names) or len(names) != len(shape):
                raise ValueError(f"variables {names} do not name the axes of shape {tuple(shape)}")
            states = {n: [str(i) for i in range(k)] for n, k in zip(names, shape, strict=True)}
        self.states: dict[Name, tuple[str, ...]] = {n: tuple(s) for n, s in states.items()}
        needed = tuple(len(labels) for labels in self.states.values())
        if self.values.shape != needed:
            found = tuple(self.values.shape)
            raise ValueError(
                f"values of shape {found} do not fit {self.names}: they need {needed}"
            )
        for name, labels in self.states.items():
            if not labels:
                raise ValueError(f"{name!r} needs at least one state, got none")
            if len(set(labels)) != len(labels):
                raise ValueError(f"the states of {name!r} repeat: {', '.join(map(str, labels))}")
        with torch.no_grad():
            if not bool(((self.values >= 0) & self.values.isfinite()).all()):
                raise ValueError(f"a table over {self.names} needs finite values of at least 0")

    @classmethod
    def trusted(cls, values: Any, states: dict[Name, tuple[str, ...]]) -> Table:
        """Make a table of values that are known to be good, without looking at them again."""
        table = object.__new__(cls)
        table.values = values if isinstance(values, Tensor) else torch.from_numpy(values)
        table.states = states
        return table

    @property
    def names(self) -> tuple[Name, ...]:
        """The variables, in the order of the axes."""
        return tuple(self.states)

    def __repr__(self) -> str:
        lines = [" ".join(map(str, self.names))]
        for labels, value in zip(
            product(*self.states.values()), self.values.reshape(-1), strict=True
        ):
            lines.append(f"{' '.join(map(str, labels))}  {value.item():.6g}")
        return "\n".join(lines)

    def axis(self, name: Name) -> int:
        """Return the axis of a variable; raises `ValueError` for one that is not here."""
        if not isinstance(name, Hashable) or name not in self.states:
            raise ValueError(f"no variable {name!r} {nearest(name, self.names)}")
        return self.names.index(name)

    def index(self, name: Name, state: str) -> int:
        """Return the place of a state on its axis; raises `ValueError` for one not there."""
        self.axis(name)
        return state_index(name, state, self.states[name])

    def __getitem__(self, asked: str | tuple[str, ...] | Evidence) -> float:
        """Return one value: `table["yes"]`, `table["yes", "low"]` or `table[{"flu": "yes"}]`."""
        row = asked if isinstance(asked, tuple | Mapping) else (asked,)
        if len(row) != len(self.states):
            raise ValueError(f"one value needs a state for each of {self.names}, got {asked}")
        labels = row if isinstance(row, Mapping) else dict(zip(self.names, row, strict=True))
        return self.restrict(labels).values.item()

    def restrict(self, evidence: Evidence) -> Table:
        """Fix some variables at a state: their axes go, nothing is normalised."""
        place: list[int | slice] = [slice(None)] * len(self.states)
        for name, state in evidence.items():
            place[self.axis(name)] = self.index(name, state)
        rest = {n: s for n, s in self.states.items() if n not in evidence}
        return Table.trusted(self.values[tuple(place)], rest)

    def marginal(self, *names: Name) -> Table:
        """Sum all other variables out; the axes come in the order asked for."""
        axes = [self.axis(name) for name in names]
        if len(set(axes)) != len(axes):
            raise ValueError(f"a variable repeats in {names}")
        kept = torch.einsum(self.values, list(range(self.values.ndim)), axes)
        return Table.trusted(kept, {name: self.states[name] for name in names})

    def normalised(self) -> Table:
        """Divide by the sum; raises `ValueError` if that is 0."""
        total = self.values.sum()
        if total <= 0:
            raise ValueError(f"a table over {self.names} that sums to 0 cannot be normalised")
        return Table.trusted(self.values / total, self.states)

    def given(self, evidence: Evidence) -> Table:
        """Return the law of the other variables given the evidence: restrict, then normalise.

        Raises `ValueError` for evidence of probability 0.
        """
        rest = self.restrict(evidence)
        if rest.values.sum() <= 0:
            raise impossible(evidence)
        return rest.normalised()

    def conditional(
        self, names: Name | Sequence[Name], given: Name | Sequence[Name] = ()
    ) -> Table:
        """Return p(names | given), axes `given` first; rows of probability 0 become uniform."""
        names, given = in_order(names, self.states), in_order(given, self.states)
        both = self.marginal(*given, *names)
        width = tuple(range(len(given), len(given) + len(names)))
        mass = both.values.sum(dim=width, keepdim=True) if width else both.values
        cells = prod(len(self.states[name]) for name in names)
        uniform = torch.full_like(both.values, 1 / cells)
        rows = torch.where(mass > 0, both.values / mass.clamp_min(1e-300), uniform)
        return Table(rows, both.states)

    def prob(self, event: Evidence) -> float:
        """Sum over all cells in which the variables of `event` have these states."""
        return self.marginal(*event).restrict(event).values.item()

    def __mul__(self, other: Table) -> Table:
        """Multiply by name: the axes of `self`, then those that only `other` has."""
        states = merged_states([self, other])
        place = {name: i for i, name in enumerate(states)}
        left, right = ([place[name] for name in table.names] for table in (self, other))
        values = torch.einsum(self.values, left, other.values, right, list(place.values()))
        return Table.trusted(values, states)


def merged_states(tables: Iterable[Table]) -> dict[Name, tuple[str, ...]]:
    """Collect the variables of several tables; raises `ValueError` where states differ."""
    states: dict[Name, tuple[str, ...]] = {}
    for table in tables:
        for name, labels in table.states.items():
            if states.setdefault(name, labels) != labels:
                both = " and ".join(", ".join(map(str, s)) for s in (states[name], labels))
                raise ValueError(f"two tables disagree on the states of {name!r}: {both}")
    return states


def state_index(name: Name, state: str, labels: Sequence[str]) -> int:
    """Return the place of a state's label; raises `ValueError` with the nearest one."""
    if state not in labels:
        kinds = {type(label).__name__ for label in labels} - {type(state).__name__}
        same = str(state) in map(str, labels)  # the word of a state that is none
        why = f"; its states are {', '.join(sorted(kinds))}" if same and kinds else ""
        raise ValueError(f"{name!r} has no state {state!r}{why} {nearest(state, labels)}")
    return list(labels).index(state)


def listed(evidence: Mapping[Any, str]) -> str:
    """Write evidence as a reader would."""
    return ", ".join(f"{name} = {state}" for name, state in evidence.items())


def impossible(evidence: Evidence) -> ValueError:
    """Make the error for evidence, or for a product of tables, that has no mass at all."""
    if not evidence:
        return ValueError("the product of the tables is 0 everywhere: it cannot be a law")
    return ValueError(f"the evidence has probability 0: {listed(evidence)}")
