"""Sphinx extension: formulas by KaTeX from this folder, only on pages that have some.

A formula in a line keeps the punctuation beside it: no line begins with a stray comma.
"""

import json
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.ext.mathjax import html_visit_displaymath, html_visit_math
from sphinx.transforms.post_transforms import SphinxPostTransform

OPENING = re.compile(r"[(\[{“‘\"']+$")
CLOSING = re.compile(r"[^\s(\[{“‘]\S{0,15}")


class Glue(SphinxPostTransform):
    """Tie each formula to what stands beside it without a space."""

    default_priority = 700
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Wrap '(', formula and ').' in one span."""
        for formula in list(self.document.findall(nodes.math)):
            self.tie(formula)

    def tie(self, formula: nodes.math) -> None:
        """Wrap one formula with what touches it."""
        parent = formula.parent
        at = parent.index(formula)
        before, after = "", ""
        first = parent[at - 1] if at else None
        last = parent[at + 1] if at + 1 < len(parent) else None
        if isinstance(first, nodes.Text) and (found := OPENING.search(first)):
            before = found[0]
        if isinstance(last, nodes.Text) and (found := CLOSING.match(last)):
            after = found[0]
        if not before + after:
            return
        glued = nodes.inline("", "", nodes.Text(before), formula, nodes.Text(after))
        glued["classes"].append("glued")
        parent[at] = glued  # by places: two texts that are equal are not the same
        if after:
            parent[at + 1] = nodes.Text(str(last)[len(after) :])
        if before:
            parent[at - 1] = nodes.Text(str(first)[: -len(before)])


def macros(app: Sphinx) -> dict[str, str]:
    """Return the book's macros as KaTeX wants them."""
    told = app.config.mathjax3_config["tex"]["macros"]
    return {f"\\{k}": v if isinstance(v, str) else v[0] for k, v in told.items()}


def load(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Add KaTeX to a page that has formulas."""
    if "math notranslate" not in context.get("body", ""):
        return
    app.add_css_file("katex/katex.min.css")
    app.add_js_file("katex/katex.min.js", loading_method="defer")
    known = json.dumps(macros(app))
    app.add_js_file(None, body=f"window.companionMacros = {known};")
    app.add_js_file("formulas.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer of formulas."""
    app.add_html_math_renderer("katex", (html_visit_math, None), (html_visit_displaymath, None))
    app.add_post_transform(Glue)
    app.connect("html-page-context", load, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
