"""The page of benchmarks: each program writes its own part and leaves the others as they are."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "book" / "benchmarks.md"


def put(text: str, title: str = "") -> None:
    """Replace the section that begins with `title`, "## ...", or add it; "": the page's head."""
    head, *sections = re.split(r"(?m)^(?=## )", PAGE.read_text(encoding="utf8"))
    if not title:
        head = text
    elif title in (names := [part.splitlines()[0] for part in sections]):
        sections[names.index(title)] = text
    else:
        sections.append(text)
    parts = [part.rstrip("\n") + "\n" for part in (head, *sections)]
    PAGE.write_text("\n".join(parts), encoding="utf8")
