"""The HTML of a graph whose nodes can be observed: drawings, a script, and words."""

import json
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from companion.figures.explorable_page import identity
from companion.figures.separation_script import SCRIPT
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

# The drawing stands on white, in a light and a dark page; its controls take the page's colours.
# A state is never told by colour alone: fill, dash and width tell it too.
STYLE = """
.separation { margin: 1em 0; max-width: 100%; container-type: inline-size; }
.separation figcaption, .separation p { margin: 0.5em 0 0; padding: 0;
  text-align: left; color: inherit; }
.separation svg { display: block; max-width: 100%; height: auto; margin: 6px auto 0;
  background: #fff; border-radius: 6px; font-family: system-ui, sans-serif; user-select: none;
  overflow: visible; }
.separation .narrow { display: none; }
.separation text { text-anchor: middle; fill: #1a1a1a; }
.separation path { fill: none; stroke: #8c8c8c; stroke-width: 1.5; }
.separation .tip { fill: #8c8c8c; stroke: none; }
.separation [data-lit] path { stroke: #d55e00; stroke-width: 3; }
.separation [data-lit] .tip { fill: #d55e00; stroke: #d55e00; stroke-width: 1; }
.separation [data-shown] path { stroke: #333; stroke-width: 5; }
.separation [data-shown] .tip { fill: #333; stroke: #333; stroke-width: 2; }
.separation [data-shown="blocked"] path { stroke-dasharray: 7 4; stroke-width: 3; }
.separation [data-shown="blocked"] .tip { stroke-dasharray: none; stroke-width: 1; }
.separation rect { fill: #fff; stroke: #333; stroke-width: 1.5; }
.separation [data-state="start"] rect { fill: #0072b2; stroke: #0072b2; }
.separation [data-state="start"] text { fill: #fff; }
.separation [data-state="observed"] rect { fill: #c4c4c4; }
.separation [data-state="connected"] rect { fill: #ffeadb; stroke: #d55e00; stroke-width: 3; }
.separation [data-state="separated"] rect { stroke: #8c8c8c; stroke-dasharray: 4 3; }
.separation [data-state="separated"] text { fill: #555; }
.separation .cross circle { fill: #333; }
.separation .cross text { fill: #fff; font-weight: 700; }
.separation [role="button"] { cursor: pointer; touch-action: manipulation; outline: none; }
.separation [role="button"]:focus-visible { outline: 2px solid #111; outline-offset: 1px; }
.separation ul { list-style: none; margin: 0.5em 0 0.8em; padding: 0; }
.separation li { display: flex; gap: 0.6em; margin: 0.2em 0; }
.separation li::before { content: ""; flex: none; width: 1.5em; height: 1em; margin-top: 0.25em;
  box-sizing: border-box; background: #fff; border: 1.5px solid #333; border-radius: 4px; }
.separation li[data-state="start"]::before { background: #0072b2; border-color: #0072b2; }
.separation li[data-state="observed"]::before { background: #c4c4c4; }
.separation li[data-state="connected"]::before { background: #ffeadb; border: 3px solid #d55e00; }
.separation li[data-state="separated"]::before { border: 1.5px dashed #8c8c8c; }
.separation form { display: flex; flex-wrap: wrap; align-items: center; gap: 0 1em; }
.separation label { display: inline-flex; align-items: center; gap: 0.4em; min-height: 44px;
  margin: 0; cursor: pointer; }
.separation input { width: 18px; height: 18px; margin: 0; accent-color: #0072b2; }
.separation button { min-height: 44px; padding: 0 1em; cursor: pointer; font: inherit;
  color: inherit; background: transparent; border: 1px solid currentColor; border-radius: 6px; }
.separation button:focus-visible, .separation input:focus-visible {
  outline: 2px solid currentColor; outline-offset: 2px; }
@container (max-width: 560px) {
  .separation .narrow { display: block; } .separation .narrow ~ .wide { display: none; }
  .separation form span { flex: 1 1 calc(100% - 8em); order: -2; }
  .separation form button { order: -1; }
  .separation form { gap: 0 0.7em; } .separation label { gap: 0.3em; font-size: 0.9em; } }
.separation [aria-live] p:not(:empty) { min-height: 3.2em; }
"""

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


def page(
    drawings: Sequence[str], facts: dict[str, Any], caption: str, alt: str, label: str
) -> tuple[str, str]:
    """Write the id and the HTML of drawings of one graph in its first state."""
    name = identity("separation", *drawings, facts, caption, alt, label)
    data = json.dumps(facts, ensure_ascii=False).replace("<", "\\u003c")
    script = SCRIPT.replace("ID", name, 1).replace("FACTS", data, 1)
    anchor = f' id="{escape(label)}"' if label else ""
    return name, (
        f'<figure class="companion-separation"{anchor} data-separation="{name}"'
        f' data-lm-suppress-shortcuts="true">'
        f"<style>{STYLE.replace('.separation', '.companion-separation')}</style>"
        f'{"".join(drawings)}<div aria-live="polite"><p></p><ul>{summary(facts)}</ul></div>'
        f"<figcaption>{caption}</figcaption></figure><script>{{{script}}}</script>"
    )
