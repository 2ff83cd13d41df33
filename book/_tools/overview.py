"""The results in one screen: each compared number on a scale of its own, better to the right."""

from html import escape
from typing import Any

from records import Result

WIDTH, HEIGHT, EDGE = 240, 26, 12  # of a row's picture, pixels
INK = 'stroke="currentColor" stroke-width="1.5"'


def ends_of(ours: Result, entry: dict[str, Any]) -> tuple[float, float]:
    """The smallest and largest number that a row shows."""
    shown = [ours.value - 2 * ours.error, ours.value + 2 * ours.error]
    if entry["published"]:
        shown += [entry["published"]["low"], entry["published"]["high"]]
    if "target" in entry:
        shown.append(entry["target"])
    low, high = min(shown), max(shown)
    return (low, high) if high > low else (low - 1, high + 1)


def picture(ours: Result, entry: dict[str, Any], told: str) -> str:
    """Draw one row as SVG: band: published; dot: ours, ± two errors; dashed: our target."""
    low, high = ends_of(ours, entry)
    if entry["better"] == "lower":
        low, high = high, low

    def at(value: float) -> float:
        return EDGE + (value - low) / (high - low) * (WIDTH - 2 * EDGE)

    middle, parts = HEIGHT / 2, []
    parts.append(f'<path d="M0 {middle:g}H{WIDTH}" stroke="currentColor" opacity=".25"/>')
    if entry["published"]:
        ends = sorted(at(entry["published"][end]) for end in ("low", "high"))
        wide = max(4.0, ends[1] - ends[0])
        parts.append(
            f'<rect x="{sum(ends) / 2 - wide / 2:.1f}" y="4" width="{wide:.1f}" '
            f'height="{HEIGHT - 8}" fill="currentColor" opacity=".3"/>'
        )
    if "target" in entry:
        x = at(entry["target"])
        parts.append(f'<path d="M{x:.1f} 2V{HEIGHT - 2}" {INK} stroke-dasharray="3 2"/>')
    left, right = sorted(at(ours.value + side * 2 * ours.error) for side in (-1, 1))
    parts.append(f'<path d="M{left:.1f} {middle:g}H{right:.1f}" class="ours-line"/>')
    parts.append(f'<circle cx="{at(ours.value):.1f}" cy="{middle:g}" r="5" class="ours"/>')
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" '
        f'aria-label="{escape(told)}">{"".join(parts)}</svg>'
    )


def table(rows: list[tuple[str, str, Result, dict[str, Any], str, str]]) -> str:
    """Lay rows out: chapter, what was measured, our number, its entry, published, verdict."""
    lines, before = [], ""
    for chapter, what, ours, entry, beside, said in rows:
        if chapter != before:
            lines.append(f'<tr><th colspan="3" scope="rowgroup">{escape(chapter)}</th></tr>')
        told = f"ours {ours}, published {beside}; better is to the right"
        lines.append(
            f"<tr><td>{escape(what)}<br><b>{escape(str(ours))}</b></td>"
            f"<td>{picture(ours, entry, told)}</td>"
            f"<td>{escape(beside)}<br>{escape(said)}</td></tr>"
        )
        before = chapter
    head = "<tr><th>what, and <b>ours</b></th><th>better →</th><th>published, verdict</th></tr>"
    return (
        f'<table class="companion-overview"><thead>{head}</thead>'
        f"<tbody>{''.join(lines)}</tbody></table>\n"
    )
