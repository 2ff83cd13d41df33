"""Sphinx extension: of the theme's two thousand icons a book gets the few that it shows."""

import re
from pathlib import Path

from sphinx.application import Sphinx

USED = re.compile(r"\bfa-([a-z0-9-]+)")
ICON = re.compile(
    r'"?([a-z0-9-]+)"?:(\[\d+,\d+,\[[^\]]*\],"[0-9a-f]+",(?:"[^"]*"|\[[^\]]*\])\]),?'
)


def used_in(folder: Path) -> set[str]:
    """Return the names of the icons that pages and the theme's own scripts ask for."""
    scripts = (folder / "_static/scripts").glob("*-theme.js")
    files = [*folder.rglob("*.html"), *scripts]
    return {name for path in files for name in USED.findall(path.read_text(encoding="utf8"))}


def keep(script: str, names: set[str]) -> str:
    """Leave out of the icons' script the drawings that nobody asks for."""

    def kept(found: re.Match[str]) -> str:
        also = re.findall(r'"([a-z0-9-]+)"', found[2])  # other names of the drawing
        return found[0] if names & {found[1], *also} else ""

    return ICON.sub(kept, script)


RULE = re.compile(r"\.fa-[a-z0-9-]+:before\{[^}]*\}")  # for the icons' fonts, which no page loads


def subset(app: Sphinx, error: Exception | None) -> None:
    """Shrink the theme's script of icons in the built book."""
    script = Path(app.outdir) / "_static/scripts/fontawesome.js"
    if error is None and script.exists():
        text = keep(script.read_text(encoding="utf8"), used_in(Path(app.outdir)))
        script.write_text(text, encoding="utf8")
        style = Path(app.outdir) / "_static/styles/pydata-sphinx-theme.css"
        style.write_text(RULE.sub("", style.read_text(encoding="utf8")), encoding="utf8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the handler."""
    app.connect("build-finished", subset, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
