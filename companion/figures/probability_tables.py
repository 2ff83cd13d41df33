"""Probability tables on the page: a row for the states of the parents, a column for a state."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from html import escape
from itertools import product

import torch

from companion.figures.tables import TextTable
from companion.graphs.table import Table
from companion.words import nearest

EXACT = 1e-12  # what rounding in float64 leaves of a number that was written in a few digits
BOX = "max-width:100%;overflow-x:auto;margin:1em 0"
CELL = "padding:0.3em 0.8em;font-variant-numeric:tabular-nums"
RULE = ";border-left:1px solid currentColor"


@dataclass(frozen=True)
class ProbabilityTable:
    """A table as text and as HTML with headers for rows and columns; scrolls in its own box."""

    caption: str
    parents: tuple[str, ...]
    node: str
    states: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]  # the parents' states, the numbers

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": repr(self)}

    def __repr__(self) -> str:
        header = (*self.parents, *(f"{self.node} = {state}" for state in self.states))
        body = tuple((*given, *numbers) for given, numbers in self.rows)
        numeric = (False,) * len(self.parents) + (True,) * len(self.states)
        return f"{self.caption}\n{TextTable(header, body, numeric)}".lstrip()

    def html(self) -> str:
        """Write the table as HTML that needs nothing beside itself."""
        wide, rule = len(self.states), RULE if self.parents else ""
        corners = head(self.parents, "col", ' rowspan="2"')
        top = corners + head([self.node], "colgroup", f' colspan="{wide}"', "center" + rule)
        lines = [f"<tr>{top}</tr>", f"<tr>{head(self.states, 'col', '', 'right', rule)}</tr>"]
        body = [
            f"<tr>{head(names, 'row')}{cells(numbers, rule)}</tr>" for names, numbers in self.rows
        ]
        named = f"<caption>{self.caption}</caption>" if self.caption else ""
        given = f" given {', '.join(self.parents)}" if self.parents else ""
        label = escape(f"Table of {self.node}{given}")
        return (
            f'<div class="probability-table" role="region" tabindex="0" aria-label="{label}"'
            f' style="{BOX}"><table class="table" style="width:auto;margin:0">{named}'
            f"<thead>{''.join(lines)}</thead><tbody>{''.join(body)}</tbody></table></div>"
        )


def head(
    texts: Iterable[str], scope: str, span: str = "", align: str = "left", first: str = ""
) -> str:
    """Write header cells; `first` is the further style of the first one."""
    style = f"{CELL};text-align:{align}"
    return "".join(
        f'<th scope="{scope}"{span} style="{style}{"" if k else first}">{escape(text)}</th>'
        for k, text in enumerate(texts)
    )


def cells(texts: Iterable[str], first: str) -> str:
    """Write the cells of one row; `first` is the further style of the first one."""
    style = f"{CELL};text-align:right"
    return "".join(
        f'<td style="{style}{"" if k else first}">{text}</td>' for k, text in enumerate(texts)
    )


def probability_table(
    table: Table, caption: str | None = None, digits: int = 3, node: Hashable | None = None
) -> ProbabilityTable:
    """Lay a conditional table, a law or a factor out: a row for each state of the parents.

    Columns are the states of `node`, by default the table's last variable; the others are its
    parents. Numbers have `digits` decimals, fewer if none needs as many, and more where
    rounding would make a number 0 or 1 that is not. `caption` may hold simple HTML; by default
    it says which law it is, by what sums to 1. Raises ValueError for a variable that is not
    there.
    """
    if not table.names or digits < 0:
        raise ValueError(f"need a variable and digits of at least 0: {table.names}, {digits}")
    last = table.names[-1] if node is None else node
    if last not in table.names:
        raise ValueError(f"the table has no variable {last!r} {nearest(last, table.names)}")
    parents = [name for name in table.names if name != last]
    turned = table.marginal(*parents, last)
    values = turned.values.detach().reshape(-1, len(turned.states[last]))
    places = decimals(values.flatten().tolist(), digits)
    given = product(*(turned.states[name] for name in parents))
    rows = zip(given, values.tolist(), strict=True)
    return ProbabilityTable(
        named(turned, parents, last) if caption is None else caption,
        tuple(map(str, parents)),
        str(last),
        turned.states[last],
        tuple((labels, tuple(written(value, places) for value in row)) for labels, row in rows),
    )


def named(table: Table, parents: list[Hashable], node: Hashable) -> str:
    """Say which law a table is: conditional, joint, or a factor that sums to something else."""
    values = table.values.detach()
    names = [escape(str(name)) for name in parents]
    child = escape(str(node))
    one = torch.ones((), dtype=values.dtype)
    if names and torch.allclose(values.sum(-1), one, atol=1e-6):
        return f"p({child} | {', '.join(names)})"
    law = "p" if torch.allclose(values.sum(), one, atol=1e-6) else "φ"
    return f"{law}({', '.join([*names, child])})"


def decimals(values: Iterable[float], most: int) -> int:
    """Return how many decimals the values need, at most `most`."""
    kept = list(values)
    return next(d for d in range(most + 1) if d == most or all(exact(v, d) for v in kept))


def exact(value: float, places: int) -> bool:
    """Say whether a value has no more decimals."""
    return abs(value - round(value, places)) < EXACT


def written(value: float, places: int) -> str:
    """Write a number; one that is near 0 or 1 gets the decimals that tell it apart."""
    if value == 0 or (value > 0.5 and exact(value, 0)):
        return f"{value:.{places}f}"
    while round(value, places) in (0.0, 1.0):
        places += 1
    return f"{value:.{places}f}" if places <= 6 or value > 0.5 else f"{value:.0e}"
