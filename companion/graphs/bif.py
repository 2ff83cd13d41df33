"""Read and write BIF, the exchange format in which most published networks are found.

The grammar is that of the "Interchange Format for Bayesian Networks" (Cozman 1998), as the
Bayesian Network Repository writes it (`( child | parents )`, a row for each state of them) and as
JavaBayes does (no bar: the first name is the child; names in quotes; one `table`).
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Hashable
from itertools import product
from pathlib import Path

import torch

from companion.files import write_atomically
from companion.graphs.bayes_net import BayesNet
from companion.graphs.bif_reader import Reader


def read_bif(path: str | Path) -> BayesNet:
    """Load a network from a .bif file, or .bif.gz.

    Raises `ValueError` with the line for a file that is not BIF, names what does not exist, or
    holds a row that does not sum to 1. Rows that miss 1 by no more than the rounding of their
    written digits explains, such as 0.333 three times, are divided by their sum; others, such as
    0.89 and 0.1, are refused.
    """
    path = Path(path)
    raw = path.read_bytes()
    try:
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"byte {error.object[error.start]:#04x} at {error.start}"
        raise ValueError(
            f"{path.name} is not a BIF text in UTF-8 ({found}): open it with an editor and save "
            "it as UTF-8"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name} is not a BIF text or a whole .gz of one: {error}") from None
    return Reader(text, path.name).network()


def write_bif(net: BayesNet, path: str | Path, name: str = "unknown") -> None:
    """Write a network as BIF; reading it back gives the same tables, to the last bit.

    Raises `ValueError` for what would not come back as it is, before anything is written: a node
    or a state whose name BIF cannot hold or that is no text, and a row that does not sum to 1.
    """
    parts = [f"network {_word(name)} {{\n}}\n"]
    for node, states in net.states.items():
        labels = ", ".join(map(_word, states))
        kind = f"type discrete [ {len(states)} ] {{ {labels} }};"
        parts.append(f"variable {_word(node)} {{\n  {kind}\n}}\n")
    for node, table in net.tables.items():
        *parents, _ = table.names
        scope = f"{_word(node)} | {', '.join(map(_word, parents))}" if parents else _word(node)
        parts.append(f"probability ( {scope} ) {{\n")
        rows = table.values.reshape(-1, len(net.states[node])).tolist()
        for row, key in zip(rows, product(*(net.states[p] for p in parents)), strict=True):
            start = f"({', '.join(map(_word, key))})" if parents else "table"
            parts.append(f"  {start} {', '.join(map(repr, row))};\n")
        parts.append("}\n")
    text = "".join(parts)
    _check_comes_back(net, text)
    with write_atomically(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf8")


def _check_comes_back(net: BayesNet, text: str) -> None:
    """Raise `ValueError` unless the text is read as the network that it was written from."""
    back = Reader(text, "the file").network()
    for node, table in net.tables.items():
        same = back.tables[node].marginal(*table.names)
        if not torch.equal(same.values, table.values.detach()):
            sums = table.values.detach().sum(-1).flatten()
            worst = sums[(sums - 1).abs().argmax()].item()
            raise ValueError(
                f"the table of {node!r} would not come back as it is: a row sums to {worst!r}, "
                "not to 1; divide its rows by their sums first"
            )


def _word(name: Hashable) -> str:
    if not isinstance(name, str):
        kind = type(name).__name__
        raise ValueError(f"BIF holds words: the {kind} {name!r} would come back as {str(name)!r}")
    if not re.fullmatch(r"[^\s{}()\[\];|,\"]+", name) or name.startswith(("//", "/*")):
        raise ValueError(f'BIF cannot hold the name {name!r}: no spaces, none of {{}}()[];|,"')
    return name
