"""Tables of results: a number, its error, its neighbour in print."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from companion.estimate import with_error
from companion.words import nearest

NOTHING = "–"


def cell(entry: Any, factor: float = 1.0) -> str:
    """Write one entry: text as it is, numbers rounded, an estimate with its error."""
    if entry is None:
        return NOTHING
    if isinstance(entry, Mapping):  # an estimate, as a run's record keeps it
        return with_error(factor * entry["value"], factor * entry["error"])
    if hasattr(entry, "value") and hasattr(entry, "error"):
        return with_error(factor * entry.value, factor * entry.error)
    if isinstance(entry, bool | str):
        return str(entry)
    if isinstance(entry, int) and factor == 1:
        return f"{entry:,}"
    return with_error(factor * float(entry), 0.0)


@dataclass(frozen=True)
class TextTable:
    """Rows of text under a header; shows itself as Markdown, and as text in a terminal."""

    header: tuple[str, ...]
    body: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]

    def _repr_markdown_(self) -> str:
        rule = [" --: " if number else " :-- " for number in self.numeric]
        rows = [[" " + text.replace("|", "\\|") + " " for text in row] for row in self.rows()]
        lines = [rows[0], rule, *rows[1:]]
        return "\n".join(f"|{'|'.join(line)}|" for line in lines)

    def rows(self) -> list[tuple[str, ...]]:
        """Give the header, then the body."""
        return [self.header, *self.body]

    def __repr__(self) -> str:
        widths = [max(map(len, column)) for column in zip(*self.rows(), strict=True)]
        lines = []
        for row in self.rows():
            parts = zip(row, widths, self.numeric, strict=True)
            lines.append("  ".join(t.rjust(w) if n else t.ljust(w) for t, w, n in parts).rstrip())
        return "\n".join(lines)


def results_table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str] | None = None,
    percent: Collection[str] = (),
) -> TextTable:
    """Lay results out as a table, e.g. model, ours, published, source.

    An entry is text, a number, None, or an estimate with `value` and `error` (one standard
    error). Columns named in `percent` hold shares in [0, 1] and are written times 100: say
    "%" in their names. Raises ValueError for a column that no row has.
    """
    if not rows:
        raise ValueError("a table needs at least one row, got none")
    known = list(dict.fromkeys(key for row in rows for key in row))
    names = list(known if columns is None else columns)
    for name in (*names, *percent):
        if name not in known:
            raise ValueError(f"no row has the column {name!r} {nearest(name, known)}")
    body = [
        tuple(cell(row.get(name), 100.0 if name in percent else 1.0) for name in names)
        for row in rows
    ]
    numeric = tuple(all(not isinstance(row.get(n), str) for row in rows) for n in names)
    return TextTable(tuple(names), tuple(body), numeric)
