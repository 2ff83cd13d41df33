"""Citations and reference lists in plain Markdown, from the book's one bibliography."""

import re
from functools import cache

from pybtex.backends.markdown import Backend
from pybtex.database import BibliographyData, Entry, parse_file
from pybtex.style.formatting.plain import Style

from places import ROOT, Unknown


@cache
def bibliography() -> BibliographyData:
    """Return the entries of `book/references.bib`."""
    return parse_file(str(ROOT / "book/references.bib"))


def entry(key: str) -> Entry:
    """Return one entry, or raise Unknown."""
    if key not in bibliography().entries:
        raise Unknown(f"book/references.bib has no entry {key!r}")
    return bibliography().entries[key]


def authors(key: str) -> str:
    """Return the authors as the book's citations name them."""
    people = entry(key).persons.get("author") or entry(key).persons.get("editor", [])
    names = [re.sub(r"[{}]", "", " ".join(person.last_names)) for person in people]
    return f"{names[0]} *et al.*" if len(names) > 2 else " and ".join(names)


def linked(key: str, text: str) -> str:
    """Return text that leads to the cited work."""
    address = entry(key).fields.get("url", "")
    return f"[{text}]({address})" if address else text


def inline(keys: list[str], in_text: bool) -> str:
    """Return a citation: Kingma and Welling (2014), or (Kingma and Welling, 2014)."""
    if in_text:
        parts = [f"{authors(key)} ({linked(key, entry(key).fields['year'])})" for key in keys]
        return ", ".join(parts)
    parts = [linked(key, f"{authors(key)}, {entry(key).fields['year']}") for key in keys]
    return "(" + "; ".join(parts) + ")"


def listing(keys: list[str]) -> str:
    """Return the list of the works cited on a page, by author."""
    ordered = sorted(keys, key=lambda key: (authors(key), entry(key).fields["year"]))
    works = Style().format_bibliography(bibliography(), ordered)
    lines = (" ".join(work.text.render(Backend("utf8")).split()) for work in works)
    return "\n".join("- " + re.sub(r"\\([.():-])", r"\1", line) for line in lines)
