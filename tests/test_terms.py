"""Chapters link the terms of the glossary where they first use them."""

from pathlib import Path

import jupytext
import notebooks
import pytest
import terms
from conftest import soup
from test_book import SCRIPTS, name

NAMES = [["mode collapse"], ["evidence lower bound", "ELBO"], ["factor"], ["moralisation"]]


def linked(*cells: str) -> list[str]:
    """Return the cells of a page with the first uses of NAMES linked."""
    linker = terms.Linker(NAMES)
    return [linker.cell(cell) for cell in cells]


def test_the_first_use_is_linked_and_no_other() -> None:
    first, second = linked("By mode collapse.", "Mode collapse again: the ELBOs.")
    assert first == "By {term}`mode collapse <mode collapse>`."
    assert second == "Mode collapse again: the {term}`ELBOs <ELBO>`."


@pytest.mark.parametrize(
    "source",
    [
        "# Mode collapse",
        "`mode collapse` and $mode collapse$",
        "[mode collapse](x.md) {ref}`mode collapse <x>`",
        "$$\nmode collapse\n$$",
        ":::{prf:theorem} Mode collapse\nmode collapse\n:::",
        "| mode collapse |",
        "```{exercise-start} A\n:label: a\n```\nmode collapse\n```{exercise-end}\n```",
        "remode collapse, mode collapsed",
        "a factor of two",
        "the elbo of an arm",
    ],
)
def test_what_is_no_running_text_stays(source: str) -> None:
    assert linked(source) == [source]


def test_a_short_word_is_a_term_only_where_it_is_stressed() -> None:
    assert linked("A *factor* of two.") == ["A *{term}`factor <factor>`* of two."]


def test_an_exercise_that_spans_cells_stays_and_what_follows_is_linked() -> None:
    opened = "```{exercise-start} A\n:label: a\n```\n"
    cells = [f"{opened}mode collapse", "```{exercise-end}\n```\nmode collapse"]
    assert linked(*cells)[0] == cells[0] and "{term}" in linked(*cells)[1]


def test_the_glossary_names_each_term_once_and_says_where_it_is_explained(book: Path) -> None:
    page = soup(book / "book/glossary.html")
    names = [name.lower() for group in terms.entries() for name in group]
    assert len(terms.entries()) >= 80 and len(names) == len(set(names))
    for text in page.select("dl.glossary dd"):
        assert text.select("a[href*='.html']"), text.get_text()


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_a_chapter_links_terms_and_its_colab_edition_the_same(book: Path, script: Path) -> None:
    shown = soup(book / f"book/{name(script)}.html").select("article a:has(> .std-term)")
    linker = terms.Linker(terms.entries())
    cells = [c.source for c in jupytext.read(script).cells if c.cell_type == "markdown"]
    wanted = sum(linker.cell(source).count("{term}`") for source in cells)
    assert len(shown) == wanted > 0
    edition = notebooks.BOOK / "_colab" / script.relative_to(notebooks.BOOK).with_suffix(".ipynb")
    assert edition.read_text(encoding="utf8").count("/glossary.html#term-") == wanted
