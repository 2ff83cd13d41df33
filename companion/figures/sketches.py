"""Drawn diagrams of an idea: nodes, arrows and words as SVG that takes the colours of the page."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from math import hypot

from companion.figures.captions import Captioned, check_words
from companion.words import nearest

ACCENT = "color-mix(in srgb, #e8710a 75%, currentColor)"
LOOK = "display:block;margin:0 auto;max-width:100%;height:auto;color:inherit"
TIP = 6.0  # length of an arrow's head
FONT = "font-family:inherit;font-size:{}px;fill:currentColor;text-anchor:middle"


@dataclass(frozen=True)
class Spot:
    """Where a node is, and half of its width and height."""

    x: float
    y: float
    wide: float
    tall: float
    round: bool

    def border(self, x: float, y: float) -> tuple[float, float]:
        """Find where the line from the middle towards (x, y) leaves the node."""
        dx, dy = x - self.x, y - self.y
        if self.round:
            scale = self.wide / hypot(dx, dy)
        else:
            scale = min(self.wide / abs(dx or 1e-9), self.tall / abs(dy or 1e-9))
        return self.x + dx * scale, self.y + dy * scale


class Sketch:
    """A diagram `width` by `height` pixels; at most 360 wide, it is as large on a phone.

    Lines and words are `currentColor`, so that it is right in a light and in a dark theme.

    >>> sketch = Sketch(120, 40)
    >>> _ = sketch.node("a", 20, 20).node("b", 100, 20, shaded=True).link("a", "b")
    >>> sketch.show("An arrow: <i>a</i> comes before <i>b</i>.", alt="a → b", label="fig-ab")
    Figure: An arrow: <i>a</i> comes before <i>b</i>.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.spots: dict[Hashable, Spot] = {}
        self.parts: list[str] = []

    def node(
        self,
        name: Hashable,
        x: float,
        y: float,
        label: str | None = None,
        *,
        size: tuple[float, float] | None = None,
        shaded: bool = False,
        lit: bool = False,
    ) -> Sketch:
        """Draw a circle, or a box if it has a `size`; `shaded`: observed, `lit`: accented."""
        wide, tall = (14.0, 14.0) if size is None else (size[0] / 2, size[1] / 2)
        self.spots[name] = Spot(x, y, wide, tall, size is None)
        fill = "currentColor" if shaded else "none"
        look = f'fill="{fill}" fill-opacity=".22" {stroke(lit)}'
        if size is None:
            self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{wide:g}" {look}/>')
        else:
            box = f'x="{x - wide:g}" y="{y - tall:g}" width="{2 * wide:g}" height="{2 * tall:g}"'
            self.parts.append(f'<rect {box} rx="5" {look}/>')
        return self.words(x, y + 4.5, str(name) if label is None else label)

    def link(
        self,
        a: Hashable,
        b: Hashable,
        *,
        head: bool = True,
        dashed: bool = False,
        lit: bool = False,
        bend: float = 0.0,
    ) -> Sketch:
        """Join two nodes, with an arrow's head at `b` or without; `bend`: pixels to the left.

        Raises ValueError for a node that is not drawn yet.
        """
        for name in (a, b):
            if name not in self.spots:
                raise ValueError(f"no node {name!r} {nearest(name, self.spots)}")
        one, two = self.spots[a], self.spots[b]
        middle = (one.x + two.x) / 2, (one.y + two.y) / 2
        long = hypot(two.x - one.x, two.y - one.y)
        turn = middle[0] + bend * (two.y - one.y) / long, middle[1] - bend * (two.x - one.x) / long
        towards = turn if bend else (two.x, two.y)
        start, end = one.border(*towards), two.border(*(turn if bend else (one.x, one.y)))
        return self.line(start, end, head=head, dashed=dashed, lit=lit, over=turn)

    def line(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        *,
        head: bool = False,
        dashed: bool = False,
        lit: bool = False,
        over: tuple[float, float] | None = None,
    ) -> Sketch:
        """Draw a line, bent towards the point `over`, with a head at its end or without."""
        over = over or ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        dx, dy = end[0] - over[0], end[1] - over[1]
        ux, uy = dx / (hypot(dx, dy) or 1), dy / (hypot(dx, dy) or 1)
        foot = (end[0] - TIP * ux, end[1] - TIP * uy) if head else end
        curve = "M{:.1f} {:.1f}Q{:.1f} {:.1f} {:.1f} {:.1f}".format(*start, *over, *foot)
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self.parts.append(f'<path d="{curve}" fill="none" {stroke(lit)}{dash}/>')
        if head:
            x, y = foot
            side = 0.55 * TIP
            left, right = (x - side * uy, y + side * ux), (x + side * uy, y - side * ux)
            points = " ".join(f"{p:.1f},{q:.1f}" for p, q in (end, left, right))
            tone = ACCENT if lit else "currentColor"
            self.parts.append(f'<polygon points="{points}" style="fill:{tone}"/>')
        return self

    def words(self, x: float, y: float, text: str, *, small: bool = False) -> Sketch:
        """Write a line of text with its middle at x, its base line at y."""
        style = FONT.format(11 if small else 13)
        self.parts.append(f'<text x="{x:g}" y="{y:g}" style="{style}">{escape(text)}</text>')
        return self

    def _ipython_display_(self) -> None:
        """Show nothing: a diagram that is not finished is no output of a cell."""

    def show(self, caption: str, alt: str, label: str = "") -> Captioned:
        """Finish the diagram for the page; `caption` may hold simple HTML, `label`: "fig-..."."""
        check_words(caption, alt, label)
        parts = "".join(self.parts)
        name = "t" + sha256(parts.encode()).hexdigest()[:8]
        size = f'viewBox="0 0 {self.width} {self.height}" width="{self.width}"'
        picture = (
            f'<svg {size} role="img" aria-labelledby="{name}" style="{LOOK}">'
            f'<title id="{name}">{escape(alt)}</title>{parts}</svg>'
        )
        return Captioned(picture, caption, label)


def stroke(lit: bool) -> str:
    """Style a line."""
    tone, width = (ACCENT, 2.4) if lit else ("currentColor", 1.3)
    return f'style="stroke:{tone};stroke-width:{width}"'
