"""What brings the HTML of a figure to life: its style and script, and the facts they need.

The code lies in `web/`. Every output carries it, because a notebook may show an output in a frame
of its own (Colab does); on a page of the book `book/_ext/companion_book.py` keeps the first copy.
"""

import json
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any


def read(name: str) -> str:
    """Read a file of `web/` without what is there for its own readers: margins and comments."""
    text = (files("companion.figures") / "web" / name).read_text(encoding="utf-8")
    lines = (line.strip() for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("//"))


@cache
def style_of(kind: str) -> str:
    """Write the style of a kind of figure, the same in each of its outputs."""
    return f"<style data-companion>\n{read(f'{kind}.css')}</style>"


@cache
def script_of(kind: str, *rooms: str) -> str:
    """Write the script of a kind of figure after those it uses, the same in each output.

    The braces keep its names to itself: a notebook may run it many times in one document.
    """
    code = "\n".join(read(f"{name}.js") for name in ("figure", *rooms, kind))
    return f"<script data-companion>{{\n{code}}}</script>"


def attribute(facts: dict[str, Any]) -> str:
    """Write the attribute in which the script finds its facts."""
    text = escape(json.dumps(facts, ensure_ascii=False), quote=False).replace("'", "&#39;")
    return f"data-facts='{text}'"
