"""What a check found: how bad each version was, told as text or as a card in the page."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import NamedTuple

ACCENT = "color-mix(in srgb, {} 60%, currentColor)"  # darker on a white page, lighter on a dark
CARD = (
    "border:1px solid rgba(128,128,128,.5);border-radius:6px;margin:.5em 0;padding:.6em .9em;"
    "color:currentColor;overflow-wrap:anywhere;line-height:1.5"
)
_passed: dict[str, list[Verdict]] = {}


class ClaimFailed(AssertionError):
    """A statement that does not hold, or a check of it that could not have failed."""


class Miss(NamedTuple):
    """The worst error of one version, what is allowed there, and the index where it is."""

    error: float
    allowed: float
    at: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.error:.3g} (allowed {self.allowed:.2g})"


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

    def _parts(self) -> tuple[str, str, str, list[str]]:
        count = f"{self.instances:,} instance" + "s" * (self.instances != 1)
        how = " · ".join(filter(None, (self.kind, count, self.details)))
        wrong = [f"{name}: {self.measure} {miss}" for name, miss in self.rejected.items()]
        worst = f"worst error: {self.measure} {self.worst}"
        return f"{self.label} holds: {self.claim}", how, worst, wrong

    def __str__(self) -> str:
        head, how, worst, wrong = self._parts()
        return "\n    ✗ ".join(
            [f"✓ {head}\n  {how}\n  {worst}\n  wrong versions rejected:", *wrong]
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, how, worst, wrong = self._parts()
        green, red = ACCENT.format("#15803d"), ACCENT.format("#dc2626")
        items = (f'<li><b style="color:{red}">✗</b> {escape(line)}</li>' for line in wrong)
        return (
            f'<div style="{CARD}"><div><b style="color:{green}">✓</b> <b>{escape(head)}</b></div>'
            f"<div>{escape(how)}</div><div>{escape(worst)}</div>"
            "<div>Wrong versions rejected:</div>"
            f'<ul style="list-style:none;margin:0;padding-left:1em">{"".join(items)}</ul></div>'
        )


def record(verdict: Verdict) -> Verdict:
    """Keep `verdict` for `verdicts` and return it."""
    _passed.setdefault(verdict.label, []).append(verdict)
    return verdict


def verdicts() -> dict[str, list[Verdict]]:
    """Return what passed in this process: label -> its verdicts, oldest first."""
    return {label: list(passed) for label, passed in _passed.items()}
