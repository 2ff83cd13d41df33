"""Sphinx extension: the list of works calls each of them as the text does: authors and year."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pybtex.database import parse_file
from pybtex.plugin import register_plugin
from pybtex.style.formatting.alpha import Style as Alpha
from pybtex.style.labels import BaseLabelStyle
from sphinx.application import Sphinx
from sphinx.config import Config

labels: dict[str, str] = {}  # of all the book's works, so that each has one on every page


def name(entry: Any) -> str:
    """Return authors and year of a work: 'Kingma and Welling, 2014'."""
    people = entry.persons.get("author") or entry.persons.get("editor") or []
    parts = [(*p.rich_prelast_names, *p.rich_last_names) for p in people]
    last = [" ".join(str(part) for part in some) for some in parts]
    who = f"{last[0]} et al." if len(last) > 2 else " and ".join(last)
    who = who or entry.fields.get("organization", entry.key)
    return f"{who}, {entry.fields['year']}" if "year" in entry.fields else who


def read(app: Sphinx, config: Config) -> None:
    """Label the works of the book; a letter tells those of one name and year apart."""
    for file in config.bibtex_bibfiles:
        works = parse_file(str(Path(app.srcdir) / file)).entries
        names = {key: name(works[key]) for key in works}
        many, seen = Counter(names.values()), Counter()
        for key, told in names.items():
            letter = chr(ord("a") + seen[told]) if many[told] > 1 else ""
            seen[told] += 1
            labels[key.lower()] = told + letter


class AuthorYear(BaseLabelStyle):
    """Labels that are authors and year."""

    def format_labels(self, entries: list[Any]) -> Iterator[str]:
        """Yield one label for each entry."""
        for entry in entries:
            yield labels.get(entry.key.lower()) or name(entry)


class Style(Alpha):
    """The alphabetic style with those labels."""

    default_label_style = AuthorYear


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the style known by its name."""
    register_plugin("pybtex.style.formatting", "companion", Style)
    app.connect("config-inited", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
