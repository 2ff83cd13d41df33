"""The HTML of a graph whose nodes can be observed: drawings, a script, and words."""

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from companion.figures.embedded import attribute, script_of, style_of
from companion.figures.shapes import Edge, Shape, arrow, frame, lines_of
from companion.figures.style import DPI


class Look(NamedTuple):
    """A drawing for a page or for a phone: lengths in CSS pixels, letters in a line of a name."""

    name: str
    width: float
    font: int
    letters: int
    pad: float

    @property
    def points(self) -> float:
        """The size of the letters in points."""
        return self.font * 72 / DPI


WIDE = Look("wide", 690.0, 14, 12, 9.0)
NARROW = Look("narrow", 330.0, 13, 9, 6.0)

TITLES = {
    "start": "Start",
    "observed": "Observed",
    "connected": "Connected with the start",
    "separated": "Separated from the start",
}


def drawing(
    nodes: Sequence[tuple[Shape, str, str]],
    edges: Sequence[tuple[Edge, bool]],
    alt: str,
    look: Look,
) -> str:
    """Write the SVG of nodes (shape, label, state) and edges (edge, whether it is lit)."""
    left, top, right, bottom = frame((node[0] for node in nodes), (edge for edge, _ in edges))
    size = f'width="{right - left:.0f}" height="{bottom - top:.0f}" font-size="{look.font}"'
    view = f"{left:.1f} {top:.1f} {right - left:.1f} {bottom - top:.1f}"
    told = f'role="img" aria-label="{escape(alt)}"'
    parts = [f'<svg class="{look.name}" {size} viewBox="{view}" {told}>']
    for i, (edge, lit) in enumerate(edges):
        (a, b), (c, d), (e, f) = edge.curve
        tip = " ".join(f"{x:.1f} {y:.1f}" for x, y in arrow(edge, 5))
        parts.append(f'<g data-edge="{i}"' + (' data-lit="yes">' if lit else ">"))
        parts.append(f'<path d="M{a:.1f} {b:.1f}Q{c:.1f} {d:.1f} {e:.1f} {f:.1f}"/>')
        parts.append(f'<path class="tip" d="M{tip}Z"/></g>')
    for i, ((x, y, wide, tall, corner), label, state) in enumerate(nodes):
        size = f'width="{2 * wide:.1f}" height="{2 * tall:.1f}" rx="{corner:.1f}"'
        parts.append(f'<g data-node="{i}" data-state="{state}">')
        parts.append(f'<rect x="{x - wide:.1f}" y="{y - tall:.1f}" {size}/>')
        for across, down, line in lines_of(label, x, y, look.points):
            parts.append(f'<text x="{across:.1f}" y="{down:.1f}">{escape(line)}</text>')
        parts.append("</g>")
    return "".join([*parts, "</svg>"])


def summary(facts: dict[str, Any]) -> str:
    """Say the first state as the script does, with a sample of each look before its words."""
    names, start = facts["names"], facts["source"]
    known = {"start": [start], "observed": facts["observed"], "connected": facts["connected"]}
    apart = set(range(len(names))).difference(*known.values())
    lines = []
    for state, nodes in {**known, "separated": sorted(apart)}.items():
        listed = ", ".join(names[i] for i in nodes) or "none"
        text = escape(f"{TITLES[state]}: {listed}")
        lines.append(f'<li data-state="{state}"><span>{text}</span></li>')
    return "".join(lines)


def page(drawings: Sequence[str], facts: dict[str, Any], caption: str, label: str) -> str:
    """Write the HTML of drawings of one graph in its first state."""
    anchor = f' id="{escape(label)}"' if label else ""
    return (
        f'{style_of("separation")}<figure class="companion-separation"{anchor}'
        f' data-lm-suppress-shortcuts="true" {attribute(facts)}>'
        f'{"".join(drawings)}<div aria-live="polite"><p></p><ul>{summary(facts)}</ul></div>'
        f"<figcaption>{caption}</figcaption></figure>{script_of('separation', 'd_separation')}"
    )
