"""Read and write BIF, the exchange format in which most published networks are found.

The grammar is that of the "Interchange Format for Bayesian Networks" (Cozman 1998) as the Bayesian
Network Repository writes it: `table` for a node without parents, a row for each state of them.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Hashable
from itertools import product
from math import prod
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from companion.files import write_atomically
from companion.graphs.bayes_net import BayesNet
from companion.graphs.elimination import MOST_CELLS
from companion.graphs.table import Table, listed
from companion.words import nearest

SKIPPED = r"\s+|//[^\n]*|/\*.*?\*/"
WORD = r'"[^"\n]*"|[{}()\[\];|,]|[^\s{}()\[\];|,"]+'
TOKEN = re.compile(f"(?:{SKIPPED})|({WORD})|(.)", re.DOTALL)
STRUCTURE = ("", "{", "}", "(", ")", "[", "]", "|", ";", ",")
SLACK = 0.02  # a row that misses 1 by less was rounded, and is divided by its sum


def read_bif(path: str | Path) -> BayesNet:
    """Load a network from a .bif file, or .bif.gz.

    Raises `ValueError` with the line for a file that is not BIF, names what does not exist, or
    holds a row that does not sum to 1. Rows that miss 1 by less than 0.02, as rounded tables do,
    are divided by their sum.
    """
    path = Path(path)
    raw = path.read_bytes()
    try:
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is not a BIF text or a whole .gz of one: {error}") from None
    return Reader(text, path.name).network()


def write_bif(net: BayesNet, path: str | Path, name: str = "unknown") -> None:
    """Write a network as BIF; reading it back gives the same tables, to the last bit.

    Raises `ValueError` for a node or a state whose name BIF cannot hold.
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
    with write_atomically(Path(path)) as temporary:
        temporary.write_text("".join(parts), encoding="utf8")


def _word(name: Hashable) -> str:
    word = str(name)
    if not re.fullmatch(r"[^\s{}()\[\];|,\"]+", word) or word.startswith(("//", "/*")):
        raise ValueError(f'BIF cannot hold the name {word!r}: no spaces, none of {{}}()[];|,"')
    return word


class Reader:
    """A BIF text, word by word; every complaint names the line."""

    def __init__(self, text: str, source: str) -> None:
        self.source, self.words = source, []
        line, end = 1, 0
        for match in TOKEN.finditer(text):
            line += text.count("\n", end, match.start())
            end = match.start()
            if match[1] or match[2]:
                word = match.group()
                if word[0] == '"' and word[1:-1] not in STRUCTURE:  # "}" quoted is a name
                    word = word[1:-1]
                self.words.append((word, line))
        self.words.append(("", line + text.count("\n", end)))
        self.at = 0
        self.states: dict[Hashable, tuple[str, ...]] = {}

    def fail(self, why: str) -> NoReturn:
        """Stop, with the line of the word read last."""
        raise ValueError(f"{self.source}, line {self.words[max(self.at - 1, 0)][1]}: {why}")

    def take(self, *expected: str) -> str:
        """Return the next word; it must be one of `expected`, if any are given."""
        word = self.words[self.at][0]
        self.at += 1
        if word == "" or (expected and word not in expected):
            need = " or ".join(map(repr, expected)) or "a word"
            self.fail(f"needs {need} here, not {repr(word) if word else 'the end of the file'}")
        return word

    def list_until(self, *ends: str) -> tuple[list[str], str]:
        """Return words, with commas or not between them, and the one of `ends` after them."""
        words = []
        while (word := self.take()) not in ends:
            if word in "{}()[];|":
                self.fail(f"needs {' or '.join(map(repr, ends))} before {word!r}")
            if word != ",":
                words.append(word)
        return words, word

    def known(self, word: str) -> str:
        """Return the name of a variable that was declared."""
        if word not in self.states:
            self.fail(f"no variable {word!r} {nearest(word, self.states)}")
        return word

    def network(self) -> BayesNet:
        """Read the whole file."""
        tables: dict[Hashable, Table] = {}
        while self.words[self.at][0]:
            block = self.take("network", "variable", "probability")
            if block == "network":
                self.list_until("{")
                while self.take("property", "}") == "property":
                    self.skip()
            elif block == "variable":
                self.variable()
            else:
                node, table = self.probability()
                if node in tables:
                    self.fail(f"a second table for {node!r}")
                tables[node] = table
        for node in self.states:
            if node not in tables:
                self.fail(f"{node!r} has no probability block")
        if not tables:
            self.fail("no network here: neither a variable nor a probability block")
        try:
            return BayesNet(tables)
        except ValueError as error:
            raise ValueError(f"{self.source}: {error}") from None

    def skip(self) -> None:
        """Skip what is not the law, to the semicolon."""
        while self.take() != ";":
            pass

    def variable(self) -> None:
        """Read `variable NAME { type discrete [ n ] { a, b }; }`."""
        name = self.take()
        if name in self.states:
            self.fail(f"the variable {name!r} is declared twice")
        self.take("{")
        while (word := self.take("type", "property", "}")) != "}":
            if word == "property":
                self.skip()
                continue
            for expected in ("discrete", "["):
                self.take(expected)
            size = self.take()
            for expected in ("]", "{"):
                self.take(expected)
            labels, _ = self.list_until("}")
            self.take(";")
            if not labels or size != str(len(labels)) or len(set(labels)) < len(labels):
                found = ", ".join(labels) or "none"
                self.fail(f"{name!r} announces {size} different states, has {found}")
            self.states[name] = tuple(labels)
        if name not in self.states:
            self.fail(f"the variable {name!r} has no type")

    def probability(self) -> tuple[str, Table]:
        """Read `probability ( X | Y, Z ) { (y, z) 0.2, 0.8; ... }`, or with one `table`."""
        self.take("(")
        words, end = self.list_until("|", ")")
        parents = [self.known(word) for word in self.list_until(")")[0]] if end == "|" else []
        if len(words) != 1:
            self.fail(f"one variable belongs before the bar, not {', '.join(words) or 'none'}")
        node = self.known(words[0])
        if len({node, *parents}) <= len(parents):
            self.fail(f"a variable repeats in the block of {node!r}")
        states = {name: self.states[name] for name in [*parents, node]}
        return node, Table(self.body(node, parents), states)

    def body(self, node: str, parents: list[str]) -> Tensor:
        """Read what is between the braces; the last axis is the node's."""
        shape = [len(self.states[name]) for name in [*parents, node]]
        if prod(shape) > MOST_CELLS:
            self.fail(f"the table of {node!r} has {prod(shape):,} cells, above {MOST_CELLS:,}")
        values, rest = torch.full(shape, torch.nan, dtype=torch.float64), None
        self.take("{")
        while (word := self.take("table", "default", "(", "property", "}")) != "}":
            if word == "property":
                self.skip()
            elif word == "table":  # the child varies slowest
                flat = self.numbers(values.numel())
                values = self.rows(flat.reshape(shape[-1], *shape[:-1]).movedim(0, -1), node)
            elif word == "default":
                rest = self.rows(self.numbers(shape[-1]), node)
            else:
                key = self.key(parents)
                if not bool(values[key].isnan().any()):
                    self.fail(f"a second row of {node!r} for the same states of its parents")
                values[key] = self.rows(self.numbers(shape[-1]), node)
        if rest is not None:
            values = values.where(~values.isnan(), rest)
        if bool(values.isnan().any()):
            place = values.isnan().nonzero()[0].tolist()
            row = {p: self.states[p][i] for p, i in zip(parents, place, strict=False)}
            self.fail(f"{node!r} has no row" + (f" for {listed(row)}" if row else ""))
        return values

    def key(self, parents: list[str]) -> tuple[int, ...]:
        """Read the states in front of a row."""
        words, _ = self.list_until(")")
        if len(words) != len(parents):
            self.fail(f"a row needs {len(parents)} states in its brackets, got {len(words)}")
        for parent, word in zip(parents, words, strict=True):
            if word not in self.states[parent]:
                self.fail(f"{parent!r} has no state {word!r} {nearest(word, self.states[parent])}")
        return tuple(self.states[p].index(word) for p, word in zip(parents, words, strict=True))

    def numbers(self, count: int) -> Tensor:
        """Read `count` probabilities and the semicolon."""
        words, _ = self.list_until(";")
        try:
            found = [float(word) for word in words]
        except ValueError:
            self.fail(f"probabilities are numbers, got {', '.join(words)}")
        if len(found) != count or not all(0 <= number <= 1 for number in found):
            self.fail(f"needs {count} numbers in [0, 1], got {', '.join(words) or 'none'}")
        return torch.tensor(found, dtype=torch.float64)

    def rows(self, values: Tensor, node: str) -> Tensor:
        """Divide rows by their sums, which must be 1 up to rounding."""
        sums = values.sum(-1, keepdim=True)
        if bool(((sums - 1).abs() >= SLACK).any()):
            worst = sums.flatten()[(sums.flatten() - 1).abs().argmax()].item()
            self.fail(f"a row of {node!r} sums to {worst:.6g}, not to 1")
        return values if bool(((sums - 1).abs() <= 1e-12).all()) else values / sums
