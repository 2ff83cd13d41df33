"""Badges of one theorem that stand together share one: it tells how often it was checked."""

import re
from html import escape

from docutils import nodes

VERDICT = re.compile(
    r'^(?P<style>.*?)<details class="companion-verdict"><summary><b>✓</b> '
    r'<span data-theorem="(?P<label>[^"]+)">(?P<words>.*?)</span>(?P<told>.*?)</summary>'
    r"(?P<rest>.*)</details>\s*$",
    re.DOTALL,
)
ABOUT = re.compile(r"^(?: \((?P<about>.*?)\))? verified: (?P<found>.*)$", re.DOTALL)
CAUGHT = re.compile(r"; (\d+) wrong versions caught")
TIMES = ("no", "one", "two", "three", "four", "five", "six")


def badge_in(output: nodes.Element | None) -> nodes.raw | None:
    """Return the badge that is all an output shows; None if it shows anything else."""
    raw = [*output.findall(nodes.raw)] if output else []
    return raw[0] if len(raw) == 1 and VERDICT.match(raw[0].astext()) else None


def of_one_theorem(one: nodes.raw, other: nodes.raw) -> bool:
    """Whether two badges speak of the same theorem."""
    found = [VERDICT.match(badge.astext()) for badge in (one, other)]
    return len({m["label"] for m in found if m}) == 1


def share(earlier: nodes.raw, later: nodes.raw) -> None:
    """Let the later badge tell of both."""
    parts = [one for badge in (earlier, later) for one in badge.get("parts", [badge.astext()])]
    later["parts"] = parts
    later.children = [nodes.Text(shared(parts))]
    later.children[0].parent = later


def shared(badges: list[str]) -> str:
    """Make one badge of some that speak of one theorem; it opens to all of them."""
    found = [m for badge in badges if (m := VERDICT.match(badge))]
    told = [m for one in found if (m := ABOUT.match(one["told"]))]
    assert len(told) == len(badges), badges
    inner = "".join(
        f'<details class="check"><summary><b>✓</b> '
        f"{said['about'] + ': ' if said['about'] else ''}{said['found']}</summary>"
        f"{one['rest']}</details>"
        for one, said in zip(found, told, strict=True)
    )
    caught = sum(int(n) for said in told for n in CAUGHT.findall(said["found"])[:1])
    times = TIMES[len(told)] if len(told) < len(TIMES) else str(len(told))
    names = [said["about"] for said in told if said["about"]]
    of = f" ({', '.join(names)})" if len(names) == len(told) else ""
    first = found[0]
    return (
        f'{first["style"]}<details class="companion-verdict"><summary><b>✓</b> '
        f'<span data-theorem="{escape(first["label"])}">{first["words"]}</span> '
        f"verified by {times} checks{of}; {caught} wrong versions caught</summary>"
        f"<p>Each check opens.</p>{inner}</details>"
    )
