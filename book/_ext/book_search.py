"""What the search page needs: terms in both spellings, and the passages that it quotes."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.search.en import SearchEnglish

import book_plan

GLOSSARY = "book/glossary"
SCRIPT = "companion-search.js"
# American spellings of what may end or stand in a word; as $1, JavaScript takes them as they are.
SPELLINGS = [
    ("is(e[drs]?|ing|ations?|able)$", "iz$1"),
    ("lling$", "ling"),
    ("lled$", "led"),
    ("our", "or"),
    ("tre$", "ter"),
    ("^grey$", "gray"),
]
RELATIONS = {"mid": "|", "le": "≤", "ge": "≥", "to": "→", "sim": "~", "approx": "≈", "perp": "⊥"}
SIGNS = {"propto": "∝", "in": "∈", "infty": "∞", "sum": "∑", "prod": "∏", "int": "∫"}
SIGNS |= {"nabla": "∇", "cdot": "·", "times": "×", "sqrt": "√", "pm": "±"}
SIGNS |= {name: f" {sign} " for name, sign in RELATIONS.items()}
SIGNS |= {name: f"{name} " for name in ("log", "exp", "max", "min", "cos", "sin", "tanh", "KL")}


def american(word: str) -> str:
    """Return a word in one spelling, so that the other finds it; short words stay."""
    for pattern, spelling in SPELLINGS if len(word) > 3 else []:
        word = re.sub(pattern, spelling.replace("$1", r"\1"), word)
    return word


class BothSpellings(SearchEnglish):
    """English whose words are found in American and in British spelling."""

    js_stemmer_code = f"""{SearchEnglish.js_stemmer_code}
var Stemmer = ((Porter) => function () {{
  const porter = new Porter();
  const spellings = {json.dumps(SPELLINGS)}.map(([from, to]) => [new RegExp(from, "g"), to]);
  this.stemWord = (word) => porter.stemWord(word.length > 3
    ? spellings.reduce((one, [from, to]) => one.replace(from, to), word) : word);
}})(Stemmer);
"""

    def stem(self, word: str) -> str:
        """Return the stem of the American spelling."""
        return super().stem(american(word))


def readable(formula: str) -> str:
    """Return a formula's source as a line of plain signs."""

    def sign(found: re.Match[str]) -> str:
        name = found[1]
        greek = f"GREEK {'CAPITAL' if name[0].isupper() else 'SMALL'} LETTER {name.upper()}"
        try:
            return unicodedata.lookup(greek.replace("VAREPSILON", "EPSILON"))
        except KeyError:
            return SIGNS.get(name, "")

    text = re.sub(r"\\([A-Za-z]+) ?", sign, re.sub(r"\\[,;! ]", " ", formula))
    return re.sub(r"[{}\\]", "", text.replace(r"\|", "||")).strip()


def plain(node: nodes.Node) -> str:
    """Return the text of a node on one line, its formulas in plain signs."""
    parts = (
        readable(text) if isinstance(text.parent, nodes.math) else str(text)
        for text in node.findall(nodes.Text)
    )
    return " ".join("".join(parts).split())


def place(paragraph: nodes.Node) -> tuple[str, str] | None:
    """Return the anchor and the heading of what a paragraph stands in; both empty at the top."""
    at = paragraph.parent
    while at and not isinstance(at, nodes.section):
        if isinstance(at, nodes.definition_list_item) and at[0]["ids"]:
            return at[0]["ids"][0], plain(at[0])
        at = at.parent
    if not at or not isinstance(at.parent, nodes.section):
        return at and ("", "")
    labels = [name for name in at["ids"] if name.startswith("sec-")]
    return (labels or at["ids"])[0], plain(at[0])


def passages(document: nodes.document) -> Iterator[tuple[str, str, str]]:
    """Yield a page's paragraphs: the anchor and the heading of the section, and the text."""
    for paragraph in document.findall(nodes.paragraph):
        found, text = place(paragraph), plain(paragraph)
        if found and text:
            is_term = found[0].startswith("term-")
            yield *found, f"{found[1]}: {text}" if is_term else text


def names(env: BuildEnvironment) -> Iterator[tuple[list[str], list[tuple[str, str, str]]]]:
    """Yield the names of each term of the glossary, and the places that explain it."""
    labels = env.domains["std"].labels  # type: ignore[attr-defined]
    for item in env.get_doctree(GLOSSARY).findall(nodes.definition_list_item):
        if not isinstance(item.parent.parent, addnodes.glossary):
            continue
        places = []
        for reference in item.findall(addnodes.pending_xref):
            page, anchor, heading = labels[reference["reftarget"]]
            whole = heading == env.titles[page].astext()
            places.append((page, "", "") if whole else (page, anchor, heading))
        yield [plain(term) for term in item.findall(nodes.term)], places


def call(function: str, *values: object) -> str:
    """Return a script that hands values to a function."""
    return f"{function}({', '.join(json.dumps(value, ensure_ascii=False) for value in values)});\n"


def write_terms(app: Sphinx, env: BuildEnvironment) -> Iterable[str]:
    """Write the search page's script, with the terms and the list of the chapters."""
    chapters = list(book_plan.plan(Path(app.srcdir) / "book"))
    script = Path(__file__).with_name("search.js").read_text(encoding="utf8")
    target = Path(app.outdir) / "_static" / SCRIPT
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(script + call("companionSearch", list(names(env)), chapters), "utf8")
    return []


def write_passages(app: Sphinx, document: nodes.document, page: str) -> None:
    """Write the passages of a page as a script, which is also found without a server."""
    target = Path(app.outdir) / f"_static/passages/{page}.js"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(call("companionPassages", page, list(passages(document))), "utf8")


def add_script(app: Sphinx, page: str, *rest: object) -> None:
    """Give the search page its script, after Sphinx's own and before the first query."""
    if page == "search":
        app.add_js_file(SCRIPT, loading_method="defer")


def setup(app: Sphinx) -> None:
    """Register the language and the handlers."""
    app.add_search_language(BothSpellings)
    app.connect("env-updated", write_terms)
    app.connect("doctree-resolved", write_passages)
    app.connect("html-page-context", add_script)
