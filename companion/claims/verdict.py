"""What a check found, told as one line that opens: what was tried, and how wrong versions fail."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from typing import NamedTuple

NAMES = {"thm": "Theorem", "prop": "Proposition", "lem": "Lemma", "cor": "Corollary"}
# What a kind of check says of its instances: n of them, and a name for them if none was given.
SCOPES = {
    "random instances": ("{n} random {of}", "instances"),
    "grid": ("{n} {of}", "points of a grid"),
    "exhaustive": ("all {n} {of}", "cases"),
    "symbolic": ("{n} {of} by algebra", "cases"),
    "quadrature": ("{n} {of} by quadrature", "instances"),
    "autograd": ("{n} {of} by automatic differentiation", "instances"),
    "statistical": ("{n} {of}", "random draws"),
    "order of convergence": ("{n} {of}", "step sizes"),
}
NOTES = {
    "grid": "The values are chosen, not random. ",
    "exhaustive": "These are all there are of their kind. ",
    "quadrature": "Integrals are sums over a fine grid. ",
}
_passed: dict[str, list[Verdict]] = {}


class ClaimFailed(AssertionError):
    """A statement that does not hold, or a check of it that could not have failed."""


class Miss(NamedTuple):
    """The worst error of one version, what is allowed there, and the index where it is."""

    error: float
    allowed: float
    at: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{number(self.error)} (allowed {number(self.allowed)})"

    @property
    def beyond(self) -> float:
        """The error in decimal powers of what is allowed, in [-6, 12]."""
        if not (self.error > 0 < self.allowed):
            return -6.0 if self.error <= self.allowed else 12.0
        return min(max(math.log10(self.error / self.allowed), -6.0), 12.0)


def number(x: float) -> str:
    """Write a number with the digits that matter: 4,608, 0.31, -1.01, 9e-16."""
    if not math.isfinite(x):
        return "infinite"
    if x == round(x) and abs(x) < 1e6:
        return f"{round(x):,}"
    if 1e-3 <= abs(x) < 1e6:
        digits = max(0, 2 - math.floor(math.log10(abs(x)) + 1e-9))
        return f"{x:,.{digits}f}".rstrip("0").rstrip(".") if digits else f"{x:,.0f}"
    mantissa, power = f"{x:.0e}".split("e")
    return f"{mantissa}e{int(power)}"


@cache
def style() -> str:
    """Return the style of all badges; a page of the book keeps one copy of it."""
    text = (files("companion.claims") / "verdict.css").read_text(encoding="utf-8")
    lines = "\n".join(line.strip() for line in text.splitlines() if line.strip())
    return f"<style data-companion>\n{lines}\n</style>"


def typeset(text: str) -> str:
    """Write a sentence as HTML, its powers of ten as such."""
    power = r"(\d)e(-?)0*(\d+)"
    return re.sub(power, lambda m: f"{m[1]}·10<sup>{'−' * bool(m[2])}{m[3]}</sup>", escape(text))


@dataclass(frozen=True, repr=False)
class Verdict:
    """What was checked, how, on how many instances, the worst error, and what was rejected."""

    label: str
    claim: str
    kind: str
    instances: int
    details: str
    measure: str
    worst: Miss
    rejected: dict[str, Miss]
    about: str = ""
    of: str = ""

    @property
    def theorem(self) -> str:
        """The label in words; a page of the book puts number and name in its place."""
        kind, _, name = self.label.partition("-")
        if kind not in NAMES or not name:
            return self.label
        return f"{NAMES[kind]} “{re.sub('[-_.:]+', ' ', name)}”"

    @property
    def scope(self) -> str:
        """How many of what, e.g. '100 random Gaussians'."""
        pattern, name = SCOPES[self.kind]
        if "random" in self.of:  # it says itself what is random
            pattern = pattern.replace("random ", "")
        return pattern.format(n=f"{self.instances:,}", of=self.of or name)

    @property
    def result(self) -> str:
        """How well it held, in a few words."""
        error, allowed = self.worst[:2]
        if self.measure == "false for":
            return "true in each"
        if self.measure == "|z| up to":
            return f"off by {number(error)} standard errors at most ({number(allowed)} allowed)"
        if self.measure == "order off by":
            return f"{self.details.partition(',')[0]} for {self.claim}".replace("-", "−")
        if self.measure == "violated by":
            return "never exceeded" if error == 0 else f"exceeded by {number(error)} at most"
        return f"largest error {number(error)}" if error else "no error"

    def fails(self, miss: Miss) -> str:
        """Say how a wrong version fails."""
        error, allowed = number(miss.error), number(miss.allowed)
        if self.measure == "false for":
            return f"false for {error} of {self.instances:,}"
        if self.measure == "|z| up to":
            if not math.isfinite(miss.error):
                return "wrong beyond any doubt: its draws never vary"
            return f"off by {error} standard errors, where {allowed} are allowed"
        if self.measure == "order off by":
            return f"the order is off by {error}, where {allowed} is allowed"
        verb = "violated by" if self.measure == "violated by" else "off by"
        return f"{verb} {error}" + (f", where {allowed} is allowed" if miss.allowed else "")

    def _parts(self) -> tuple[str, str, str]:
        caught = f"{len(self.rejected)} wrong versions caught"
        head = f" ({self.about})" * bool(self.about) + " verified: "
        allowed = ""
        if self.measure in ("off by", "violated by") and self.worst.allowed:
            allowed = f"Allowed is {number(self.worst.allowed)}. "
        claim = self.claim.replace("-", "−") if self.measure == "order off by" else self.claim
        details = f"{self.details}. " if self.details else ""
        how = f"Checked: {claim}. {NOTES.get(self.kind, '')}{allowed}{details}".strip()
        return head, f"{self.scope}, {self.result}; {caught}", how

    def __str__(self) -> str:
        head, line, how = self._parts()
        wrong = (f"    ✗ {name}: {self.fails(miss)}" for name, miss in self.rejected.items())
        return "\n".join([f"✓ {self.theorem}{head}{line}", f"  {how}", *wrong])

    __repr__ = __str__

    def _bar(self, miss: Miss) -> str:
        """Draw the errors of the statement and of a wrong version beside what is allowed."""
        if self.measure == "false for":
            low, high, mark = 0.0, float(self.instances), None
            ends = (0.0, miss.error)
        else:
            high = max(wrong.beyond for wrong in self.rejected.values()) + 1
            ends = (self.worst.beyond, miss.beyond)
            low, mark = min(ends[0] - 1, -1.0), 0.0
        place = [100 * (x - low) / (high - low) for x in (*ends, mark or 0.0)]
        limit = f'<b style="left:{place[2]:.0f}%"></b>' if mark is not None else ""
        rows = zip(("right", "fails"), ("the theorem", "this version"), place, strict=False)
        bars = "".join(
            f'<span>{name}</span><i class="{kind}"><u style="width:{at:.1f}%"></u>{limit}</i>'
            for kind, name, at in rows
        )
        words = "errors, on a scale of powers of ten; the line is what is allowed"
        legend = "share of the cases where it is false" if mark is None else words
        return f'<div class="bars" aria-hidden="true">{bars}<em>{legend}</em></div>'

    def _repr_html_(self) -> str:
        head, line, how = self._parts()
        tries = "".join(
            f'<details class="try"><summary>{escape(name)}</summary>'
            f"<p><b>✗</b> Fails: {typeset(self.fails(miss))}.</p>{self._bar(miss)}</details>"
            for name, miss in self.rejected.items()
        )
        return (
            f'{style()}<details class="companion-verdict"><summary><b>✓</b> '
            f'<span data-theorem="{escape(self.label)}">{escape(self.theorem)}</span>'
            f"{escape(head)}{typeset(line)}</summary><p>{typeset(how)}</p>"
            f"<p>Try a wrong version, and see the check reject it:</p>{tries}</details>"
        )


def record(verdict: Verdict) -> Verdict:
    """Keep `verdict` for `verdicts` and return it."""
    _passed.setdefault(verdict.label, []).append(verdict)
    return verdict


def verdicts() -> dict[str, list[Verdict]]:
    """Return what passed in this process: label -> its verdicts, oldest first."""
    return {label: list(passed) for label, passed in _passed.items()}
