"""Read the words of a BIF text; every complaint names the line."""

from __future__ import annotations

import re
from collections.abc import Hashable
from decimal import Decimal
from math import fsum, prod
from typing import NoReturn

import torch
from torch import Tensor

from companion.graphs.bayes_net import BayesNet
from companion.graphs.elimination import MOST_CELLS
from companion.graphs.table import Table, listed
from companion.words import nearest

SKIPPED = r"\s+|//[^\n]*|/\*.*?\*/"
WORD = r'"[^"\n]*"|[{}()\[\];|,]|[^\s{}()\[\];|,"]+'
TOKEN = re.compile(f"(?:{SKIPPED})|({WORD})|(.)", re.DOTALL)
STRUCTURE = ("", "{", "}", "(", ")", "[", "]", "|", ";", ",")
DUST = 1e-12  # what rounding in float64 leaves
SINGLE = 1e-6  # what rounding in single precision leaves


class Reader:
    """A BIF text, word by word; every complaint names the line."""

    def __init__(self, text: str, source: str) -> None:
        self.source, self.words = source, []
        text = text.replace("\r\n", "\n").replace("\r", "\n")  # also of an old Macintosh
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
        """Return words, with commas and bars or not between them, and the one of `ends`."""
        words = []
        while (word := self.take()) not in ends:
            if word in "{}()[];":
                self.fail(f"needs {' or '.join(map(repr, ends))} before {word!r}")
            if word not in ",|":
                words.append(word)
        return words, word

    def known(self, word: str) -> str:
        """Return the name of a variable that was declared."""
        if word not in self.states:
            self.fail(f"no variable {word!r} {nearest(word, self.states)}")
        return word

    def network(self) -> BayesNet:
        """Read the whole file; text between the blocks is skipped, as the format has it."""
        tables: dict[Hashable, Table] = {}
        while self.words[self.at][0]:
            block, ahead = self.take(), [word for word, _ in self.words[self.at : self.at + 2]]
            opens = ahead[0] == "(" if block == "probability" else "{" in ahead
            if not opens:
                continue
            if block == "network":
                self.list_until("{")
                while self.take("property", "}") == "property":
                    self.skip()
            elif block == "variable":
                self.variable()
            elif block == "probability":
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
        """Read `probability ( X | Y, Z ) { (y, z) 0.2, 0.8; ... }`, or with one `table`.

        Without a bar the first name is the child, as JavaBayes writes it.
        """
        self.take("(")
        words, end = self.list_until("|", ")")
        if end == ")":
            words, others = words[:1], words[1:]
        else:
            others = self.list_until(")")[0]
        if len(words) != 1:
            where = "before the bar" if end == "|" else "in the brackets"
            self.fail(f"one variable belongs {where}, not {', '.join(words) or 'none'}")
        node, parents = self.known(words[0]), [self.known(word) for word in others]
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
            elif word == "table":
                values = self.rows(self.numbers(values.numel()), shape, node)
            elif word == "default":
                rest = self.rows(self.numbers(shape[-1]), shape[-1:], node)
            else:
                key = self.key(parents)
                if not values[key][0].isnan():
                    self.fail(f"a second row of {node!r} for the same states of its parents")
                values[key] = self.rows(self.numbers(shape[-1]), shape[-1:], node)
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

    def numbers(self, count: int) -> tuple[list[float], list[str]]:
        """Read `count` probabilities and the semicolon; with how they were written."""
        words, _ = self.list_until(";")
        try:
            found = [float(word) for word in words]
        except ValueError:
            self.fail(f"probabilities are numbers, got {', '.join(words)}")
        if len(found) != count or not all(-DUST <= number <= 1 + DUST for number in found):
            self.fail(f"needs {count} numbers in [0, 1], got {', '.join(words) or 'none'}")
        return [min(max(number, 0.0), 1.0) for number in found], words

    def rows(self, numbers: tuple[list[float], list[str]], shape: list[int], node: str) -> Tensor:
        """Shape numbers to rows (..., states), divided by their sums: 1 up to rounding.

        In one `table` the child varies slowest.
        """
        found, words = numbers
        count, rows = len(found) // shape[-1], []
        for k in range(count):
            row = found[k::count]
            total = fsum(row)
            if abs(total - 1) > DUST:
                if abs(total - 1) >= explained(words[k::count]):
                    written = ", ".join(words[k::count][:6]) + ", ..." * (len(row) > 6)
                    self.fail(
                        f"a row of {node!r} sums to {total:.6g}, not to 1, and rounding does not "
                        f"explain it: {written}"
                    )
                row = [number / total for number in row]
            rows.append(row)
        return torch.tensor(rows, dtype=torch.float64).reshape(shape)


def explained(words: list[str]) -> float:
    """Bound how far from 1 a row may be that was rounded to the digits written.

    Each number is off by at most half a unit of its last digit. A number written without an
    exponent may have lost zeros at its end, so it counts as precise as the longest of the row;
    or all have as many significant digits as the longest.
    """
    numbers = [Decimal(word) for word in words]
    last = [int(number.as_tuple().exponent) for number in numbers]
    digits = [len(number.as_tuple().digits) for number in numbers]
    plain = [e for e, word in zip(last, words, strict=True) if "e" not in word.lower()]
    fixed = sum(
        0.5 * 10.0 ** (e if "e" in word.lower() else min(plain))
        for e, word in zip(last, words, strict=True)
    )
    most = max(digits)
    significant = sum(0.5 * 10.0 ** (n.adjusted() - most + 1) for n in numbers if n)
    return max(fixed, significant, SINGLE) * (1 - 1e-9)
