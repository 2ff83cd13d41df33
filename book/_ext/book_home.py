"""The first page shows a card for each chapter; every page says what it is where it is linked."""

import html
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import book_plan
import book_search

WORDS_A_MINUTE = 150
EXERCISES = re.compile(r"^## Exercises$.*?^(?=## )", re.DOTALL | re.MULTILINE)
EXERCISE = re.compile(r"\{exercise(?:-start)?\}")
QUESTION = re.compile(r"</h1>\s*<p><em>.*?</em></p>", re.DOTALL)
DISPLAY = re.compile(r"^ *\$\$.*?\$\$", re.DOTALL | re.MULTILINE)
LINE_OF_MARKUP = re.compile(r"^ *(:{3,}|`{3,}|:\w+:|\([\w:.-]+\)=|#+ |\|).*$", re.MULTILINE)


@dataclass(frozen=True)
class Chapter:
    """What a card says of a chapter, read from its notebook."""

    topic: str
    question: str
    needs: str
    minutes: int
    exercises: int

    @classmethod
    def read(cls, notebook: Path) -> "Chapter":
        """Read a chapter's notebook. Raises ValueError if it lacks its question or its needs."""
        cells = json.loads(notebook.read_text(encoding="utf8"))["cells"]
        prose = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        head = re.search(r"^# (.+)\n\n\*(.+)\*$", prose, re.MULTILINE)
        needs = re.search(r"^You need: (.+)\.$", prose, re.MULTILINE)
        if head is None or needs is None:
            raise ValueError(f"{notebook} lacks its question below the title, or 'You need: ...'")
        exercises = len(EXERCISE.findall(prose))
        return cls(head[1], head[2], needs[1], minutes(prose), exercises)


def minutes(prose: str) -> int:
    """Return how long a chapter's running text takes to read, in steps of five minutes.

    Exercises, tables and code are left out; a displayed formula counts as ten words.
    """
    text, displays = DISPLAY.subn("", EXERCISES.sub("", prose))
    words = len(re.sub(r"\$[^$\n]+\$", "x", LINE_OF_MARKUP.sub("", text)).split()) + 10 * displays
    return 5 * math.ceil(words / WORDS_A_MINUTE / 5)


class Cards(SphinxDirective):
    """The cards of one part: `{chapters} latent`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the grid of cards."""
        root, part = Path(self.env.srcdir), self.arguments[0]
        lines = ["::::::{grid} 1 2 2 2", ":gutter: 3", ""]
        for page, number in book_plan.plan(root / "book").items():
            notebook = root / f"{page}.ipynb"
            if page.startswith(f"book/{part}/") and notebook.exists():
                self.env.note_dependency(str(notebook))
                lines += self.card(page, number, Chapter.read(notebook))
        return self.parse_text_to_nodes("\n".join([*lines, "::::::"]))

    def card(self, page: str, number: int, chapter: Chapter) -> list[str]:
        """Return the lines of a chapter's card."""
        name = page.removeprefix("book/")
        picture = f"_static/cards/{Path(page).name}.webp"
        is_cut = (Path(self.env.srcdir) / "book" / picture).exists()  # a test asks for it
        return [
            ":::::{grid-item-card}",
            ":class-card: chapter-card",
            *([f":img-top: {picture}"] if is_cut else []),
            "",
            f"{{doc}}`{number}. {chapter.topic} <{name}>`",
            "",
            chapter.question,
            "",
            f"Needs: {chapter.needs}.",
            "+++",
            f"{chapter.minutes} minutes · [Colab]({colab(self.config, page)})",
            ":::::",
            "",
        ]


def colab(config: Any, page: str) -> str:
    """Return the address of a chapter's Colab edition."""
    theme = config.html_theme_options
    owner_and_name = "/".join(theme["repository_url"].rstrip("/").split("/")[-2:])
    start = f"https://colab.research.google.com/github/{owner_and_name}"
    edition = page.replace("book/", "book/_colab/", 1)
    return f"{start}/blob/{theme['repository_branch']}/{edition}.ipynb"


def describe(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Add the description and the preview that a link to the page shows."""
    if doctree is None:
        return
    owner, name = app.config.html_theme_options["repository_url"].rstrip("/").split("/")[-2:]
    address = f"https://{owner}.github.io/{name}"
    texts = (text for _, _, text in book_search.passages(doctree) if len(text) > 20)
    text = " ".join([next(texts, ""), next(texts, "")])
    text = text if len(text) < 200 else text[: text.rfind(" ", 0, 197)] + "…"
    card = f"_static/cards/{Path(page).name}.webp"
    has_card = (Path(app.srcdir) / "book" / card).exists()
    said = {
        "description": text,
        "og:type": "article",
        "og:site_name": app.config.html_title or app.config.project,
        "og:title": re.sub(r"<[^>]+>", "", context.get("title", "")),
        "og:description": text,
        "og:url": f"{address}/{page}.html",
        "og:image": f"{address}/{card if has_card else '_static/preview.jpg'}",
        "twitter:card": "summary_large_image",
    }
    tags = "".join(
        f'<meta {"property" if ":" in key else "name"}="{key}" content="{html.escape(value)}" />\n'
        for key, value in said.items()
    )
    # The theme has its own tag for the viewport, once more in each of its layers.
    others = re.sub(r'<meta name="viewport"[^>]*>\s*', "", context.get("metatags", ""))
    context["metatags"] = others + tags
    if page == app.config.root_doc:
        open_at(Path(app.outdir), f"{page}.html", tags)


def tell(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Say under a chapter's question how long it is, and where it runs."""
    notebook = Path(app.srcdir) / f"{page}.ipynb"
    if doctree is None or not notebook.exists():
        return
    chapter = Chapter.read(notebook)
    told = f"{chapter.minutes} minutes of reading · {chapter.exercises} exercises"
    line = f'<p class="extent">{told} · <a href="{colab(app.config, page)}">Colab</a></p>'
    context["body"] = QUESTION.sub(lambda found: found[0] + line, context["body"], count=1)


def open_at(folder: Path, address: str, tags: str) -> None:
    """Let the book's bare address lead to its first page, and show what that is."""
    lead = f'<meta http-equiv="Refresh" content="0; url={address}" />\n'
    head = f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8" />\n{tags}{lead}'
    link = f'<body><a href="{address}">To the book</a></body>'
    (folder / "index.html").write_text(f"{head}</head>\n{link}\n</html>\n", "utf8")


def setup(app: Sphinx) -> None:
    """Register the directive and the handler."""
    app.add_directive("chapters", Cards)
    app.connect("html-page-context", describe)
    app.connect("html-page-context", tell)
