"""Chapters link a term of the glossary where they first use it."""

import json
import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.append(str(Path(__file__).resolve().parents[1] / "_tools"))
import terms


def link_terms(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the links into a chapter's notebook as it is read; its file stays as it is."""
    if page.count("/") < 2 or not source[0].startswith("{"):
        return
    app.env.note_dependency(str(terms.GLOSSARY))
    notebook, linker = json.loads(source[0]), terms.Linker(terms.entries())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = linker.cell("".join(cell["source"]))
    source[0] = json.dumps(notebook)


def setup(app: Sphinx) -> None:
    """Register the handler."""
    app.connect("source-read", link_terms)
