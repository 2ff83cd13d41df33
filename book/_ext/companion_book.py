"""Sphinx extension: a chapter's buttons lead to its sources; figures share one script a page.

The modules beside it number the chapters, find, and lay out the first page.
"""

import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from sphinx.application import Sphinx

import book_home
import book_plan
import book_search
import book_terms

# Each live figure carries its style and script, for it may stand alone in a notebook.
SHARED = re.compile(r"<(style|script) data-companion>.*?</\1>", re.DOTALL)

# Pages that a tool makes: what a reader edits in their place.
MADE_FROM = {
    "book/benchmarks": "tests/bench/run.py",
    "book/homework": "book/homework.yml",
    "book/results": "book/published_numbers.json",
}


def colab_edition(page: str) -> str:
    """Return the path of a page's Colab edition: book/latent/vae -> book/_colab/latent/vae."""
    path = PurePosixPath(page)
    return str(PurePosixPath("book/_colab", *path.parts[1:]))


def redirect_buttons(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Send Colab and download to the Colab edition, and edit to the percent-script."""
    notebook = colab_edition(page) + ".ipynb"
    is_chapter = context.get("page_source_suffix") == ".ipynb"
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if button.get("label") == "source-edit-button" and page in MADE_FROM:
                button["url"] = button["url"].replace(f"{page}.md", MADE_FROM[page])
            elif not is_chapter:
                continue
            elif button.get("text") == "Colab":
                button["url"] = button["url"].replace(f"{page}.ipynb", notebook)
            elif button.get("label") == "download-source-button":
                button["url"] = f"{context['pathto']('_sources', 1)}/{notebook}"
            elif button.get("label") == "source-edit-button":
                button["url"] = button["url"].replace(f"{page}.ipynb", f"{page}.py")


def drop_thebe(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Leave out the scripts of a live kernel that Jupyter Book adds, twice, to every page."""
    context["script_files"] = [
        script
        for script in context.get("script_files", [])
        if "thebe" not in f"{script.filename} {script.attributes.get('body', '')}".lower()
    ]


def first_copies(html: str) -> str:
    """Leave out each style and script of a figure that stood in the page before."""
    seen: set[str] = set()

    def once(found: re.Match[str]) -> str:
        text = "" if found[0] in seen else found[0]
        seen.add(found[0])
        return text

    return SHARED.sub(once, html)


def share_scripts(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Send the code of a kind of figure once in a page: its script wakes all of them."""
    if "body" in context:
        context["body"] = first_copies(context["body"])


def copy_editions(app: Sphinx, error: Exception | None) -> None:
    """Put the Colab editions beside the page sources, where the download button looks."""
    source = Path(app.srcdir) / "book/_colab"
    if error is None and source.is_dir():
        target = Path(app.outdir) / "_sources/book/_colab"
        shutil.copytree(source, target, dirs_exist_ok=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the handlers, after those of the theme."""
    app.connect("html-page-context", redirect_buttons, priority=900)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("html-page-context", share_scripts, priority=900)
    app.connect("build-finished", copy_editions)
    book_home.setup(app)
    book_plan.setup(app)
    book_search.setup(app)
    book_terms.setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
