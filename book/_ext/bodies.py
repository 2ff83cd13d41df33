"""Sphinx extension: what is only known of a whole page: numbers of figures, names of theorems.

Figures and verdicts come as HTML from the notebooks; here they learn where they stand.
"""

import re
from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx_exercise.nodes import solution_node

TITLE = re.compile(
    r'<div class="proof [^"]*" id="([^"]+)">\s*<p class="admonition-title">'
    r'<span class="caption-number">([^<]+)</span>((?:(?!</p>).)*)</p>',
    re.DOTALL,
)
THEOREM = re.compile(
    r'<span data-theorem="([^"]+)">.*?</span>((?:(?!</summary>).)*</summary>\s*<p>)', re.DOTALL
)
FIGURE = re.compile(
    r'<figure class="(companion-[\w-]+)"(.*?)>(.*?)<figcaption([^>]*)>(.*?)</figcaption>',
    re.DOTALL,
)
ROLES = re.compile(r' role="doc-biblioentry"| role="list"(?= class="citation-list)')
REPEATED = re.compile(r' id="(?:proof|exercise|solution|theorem)(?:-content)?"')


def name_theorems(body: str) -> str:
    """Put number and name of a theorem where a verdict has its label, and below a link to it."""
    titles = {label: (number.strip(), name.strip()) for label, number, name in TITLE.findall(body)}

    def named(found: re.Match[str]) -> str:
        if found[1] not in titles:
            return found[0]
        number, name = titles[found[1]]
        told = f'<span data-theorem="{found[1]}">{f"{number} {name}".strip()}</span>'
        return f'{told}{found[2]}<a href="#{found[1]}">{number}</a>. '

    return THEOREM.sub(named, body)


def number_figures(body: str, chapter: str) -> str:
    """Number the figures of a chapter, and let each be linked."""
    count = 0

    def numbered(found: re.Match[str]) -> str:
        nonlocal count
        count += 1
        kind, attributes, inside, style, caption = found.groups()
        number = f"{chapter}.{count}" if chapter else str(count)
        known = re.search(r' id="([^"]+)"', attributes)
        anchor = known[1] if known else f"figure-{number.replace('.', '-')}"
        if not known:
            attributes = f' id="{anchor}"{attributes}'
        link = f'<a class="figure-number" href="#{escape(anchor)}">Figure {number}</a> '
        return (
            f'<figure class="{kind}"{attributes}>{inside}'
            f"<figcaption{style}>{link}{caption}</figcaption>"
        )

    return FIGURE.sub(numbered, body)


def finish(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Finish the body of a page."""
    if "body" not in context:
        return
    secnumbers = app.env.toc_secnumbers.get(page, {})
    chapter = str(secnumbers.get("", ("",))[0])
    body = ROLES.sub("", REPEATED.sub("", context["body"]))  # docutils' list of works is no list
    body = body.replace('class="headerlink"', 'class="headerlink" tabindex="-1"')
    body = name_theorems(body)
    context["body"] = number_figures(body, chapter) if "companion-" in body else body


def visit_solution(self: Any, node: nodes.Element) -> None:
    """Open a solution; its whole title is what opens it."""
    if "dropdown" not in node["classes"]:
        node["plain"] = True
        self.body.append(self.starttag(node, "div", CLASS="admonition"))
        return
    node["classes"].remove("dropdown")
    self.body.append(self.starttag(node, "details", CLASS="admonition"))
    title = node.children[0] if node.children else None
    text = title.astext() if isinstance(title, nodes.title) else "Solution"
    if isinstance(title, nodes.title):
        node.remove(title)
    text = re.sub(r"\s+", " ", text)
    self.body.append(f'<summary class="admonition-title">{self.encode(text)}</summary>\n')


def depart_solution(self: Any, node: nodes.Element) -> None:
    """Close a solution."""
    self.body.append("</div>\n" if node.get("plain") else "</details>\n")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the handlers."""
    app.setup_extension("sphinx_exercise")
    app.add_node(solution_node, override=True, html=(visit_solution, depart_solution))
    app.connect("html-page-context", finish, priority=850)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
