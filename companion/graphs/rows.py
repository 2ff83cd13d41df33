"""Data as networks read them: names or places of states in, rows of places out; chance; graphs."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import networkx as nx
import torch
from torch import Tensor

from companion.graphs.table import States, Table
from companion.words import nearest

Chance = torch.Generator | int | None  # a generator, a seed for a new one, or torch's own


def source_of(generator: Chance) -> torch.Generator | None:
    """Return a generator: the one given, a new one from a seed, or None for torch's own."""
    if isinstance(generator, Integral) and not isinstance(generator, bool):
        return torch.Generator().manual_seed(int(generator))
    if generator is None or isinstance(generator, torch.Generator):
        return generator
    raise ValueError(f"needs a torch.Generator, a seed or None, got {generator!r}")


def graph_of(net: Any) -> Any:
    """Return the graph of a network, or the graph itself."""
    for name in ("dag", "graph"):
        own = getattr(net, name, None)  # a networkx graph has a dictionary of this name
        if isinstance(own, nx.Graph):
            return own
    return net


def tables_of(net: Any) -> list[Table]:
    """List the tables of a Bayesian network, the factors of a Markov network, or tables given.

    Raises `ValueError` for anything else.
    """
    if isinstance(getattr(net, "tables", None), Mapping):
        net = net.tables.values()
    found = list(getattr(net, "factors", net))
    for table in found:
        if not isinstance(table, Table):
            raise ValueError(f"needs a network or a list of Tables, got {type(table).__name__}")
    return found


def places(data: Any, states: States) -> Tensor:
    """Read rows of states as a tensor (N, nodes) int64, columns in the order of `states`.

    `data`: a data frame, a dictionary of columns, an array with named fields, or a list of
    dictionaries, one for each row; what has names may have more columns, in any order. A column
    holds states, or whole numbers that are their places where no state is called so. A tensor
    (N, nodes) int64 holds places and has no names: its columns must be in the order of `states`.
    Raises `ValueError` for a column that is not there, and for states that are not known.
    """
    if isinstance(data, Tensor) or not len(known_columns(data)):
        check_data(data, {node: len(labels) for node, labels in states.items()})
        return data
    if isinstance(data, Sequence):
        data = {node: [row.get(node) for row in data] for node in known_columns(data)}
    columns = []
    for node, labels in states.items():
        if node not in known_columns(data):
            raise ValueError(f"no column {node!r} {nearest(node, known_columns(data))}")
        columns.append(column(node, data[node], labels))
    if len({len(values) for values in columns}) > 1:
        sizes = ", ".join(f"{n}: {len(c)}" for n, c in zip(states, columns, strict=True))
        raise ValueError(f"the columns must be equally long, got {sizes}")
    return torch.stack(columns, -1)


def known_columns(data: Any) -> list[Hashable]:
    """List the names that data have: of a frame, a dictionary, fields or a list of rows."""
    if isinstance(data, Mapping):
        return list(data)
    if isinstance(data, Sequence) and len(data) and all(isinstance(r, Mapping) for r in data):
        return list(data[0])
    fields = getattr(getattr(data, "dtype", None), "names", None)
    names = fields if fields is not None else getattr(data, "columns", None)
    return [] if names is None else list(names)


def column(node: Hashable, values: Iterable[Any], labels: Sequence[str]) -> Tensor:
    """Read the states of one node, (N,); raises `ValueError` for one that is not known."""
    tolist = getattr(values, "tolist", None)
    values = tolist() if tolist else list(values)
    place: dict[Any, int] = {str(label): i for i, label in enumerate(labels)}
    place |= {label: i for i, label in enumerate(labels)}
    numbers = not any(value in place or str(value) in place for value in set(values))
    found = []
    for value in values:
        whole = numbers and isinstance(value, Integral) and not isinstance(value, bool)
        at = int(value) if whole else place.get(value, place.get(str(value)))
        if at is None or not 0 <= at < len(labels):
            raise ValueError(f"{node!r} has no state {value!r} {nearest(value, labels)}")
        found.append(at)
    return torch.tensor(found, dtype=torch.int64)


def check_data(x: Any, sizes: Mapping[Hashable, int]) -> None:
    """Raise `ValueError` unless x is (N, nodes) int64 and each column within its states."""
    if not isinstance(x, Tensor):
        raise ValueError(
            f"data must be a tensor (N, {len(sizes)}) int64, or columns with the names of the "
            f"nodes, got {type(x).__name__}"
        )
    if x.ndim != 2 or x.shape[1] != len(sizes) or x.dtype != torch.int64:
        need = f"(N, {len(sizes)}) int64"
        raise ValueError(f"data must be {need}, got {tuple(x.shape)} {x.dtype}")
    for values, (node, size) in zip(x.T, sizes.items(), strict=True):
        if len(values) and not 0 <= int(values.min()) <= int(values.max()) < size:
            extremes = f"{int(values.min())} to {int(values.max())}"
            raise ValueError(f"states of {node!r} are 0 to {size - 1}, got {extremes}")
