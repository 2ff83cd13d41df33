"""The Colab edition: the page's cells and numbers, in Markdown that every notebook shows."""

import re
from pathlib import Path

import citations
import colab
import formulas
import jupytext
import nbformat
import notebooks
import pytest
from conftest import soup
from nbclient import NotebookClient
from places import Places, Repository, Unknown
from plain import Plain

RAW = re.compile(r":::|^```\{|\{[a-z]+(:[a-z]+)?\}`|^\([\w:-]+\)=|\[\^\w+\]|\{eval", re.MULTILINE)
SCRIPTS = notebooks.scripts()


def name(script: Path) -> str:
    """Return the name that pytest shows for a chapter."""
    return script.relative_to(notebooks.BOOK).with_suffix("").as_posix()


def edition(script: Path) -> nbformat.NotebookNode:
    """Return the committed Colab edition of a chapter."""
    path = colab.FOLDER / script.relative_to(notebooks.BOOK).with_suffix(".ipynb")
    return nbformat.read(path, as_version=4)


def markdown(script: Path) -> str:
    """Return the text of a Colab edition's Markdown cells."""
    cells = edition(script).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def test_editions_are_in_step_with_chapters_and_numbers(book: Path) -> None:
    assert colab.main([str(book), "--check"]) == 0


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_no_directive_shows_raw(script: Path) -> None:
    assert RAW.search(markdown(script)) is None
    assert markdown(script).count("<details>") == markdown(script).count("</details>")


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_code_cells_are_those_of_the_script(script: Path) -> None:
    cells = [c for c in edition(script).cells if c.cell_type == "code"][1:]
    wanted = [c for c in jupytext.read(script).cells if c.cell_type == "code"]
    assert [re.sub(r"^# @title .*\n", "", c.source) for c in cells] == [c.source for c in wanted]
    assert [c.metadata.get("tags") for c in cells] == [c.metadata.get("tags") for c in wanted]
    assert cells[0].metadata["tags"] == ["parameters"]
    assert not any(cell.outputs for cell in cells)


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_colab_gives_what_trains_a_gpu_and_installs_from_the_configured_repository(
    script: Path,
) -> None:
    notebook, repository = edition(script), Repository.read()
    trains = "epochs: int" in notebook.cells[1].source
    assert notebook.metadata.get("accelerator") == ("GPU" if trains else None)
    assert notebook.metadata["colab"].get("gpuType") == ("T4" if trains else None)
    set_up = notebook.cells[0].source
    assert ("cuda" in set_up) == trains
    assert repository.page(f"book/{name(script)}") in set_up
    assert f"companion @ git+{repository.url}@{repository.branch}" in set_up
    assert not re.search(r"pip install[^\n]*torch", set_up)


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_numbers_equal_those_of_the_page(book: Path, script: Path) -> None:
    page = soup(book / f"book/{name(script)}.html")
    titled = [mark.get_text().strip() for mark in page.select("article .caption-number")]
    equations = [mark.get_text().strip("()#") for mark in page.select("article .eqno")]
    text = markdown(script)
    bold = re.findall(r"^\*\*([A-Z][a-z]+\.? \d+(?:\.\d+)*)", text, re.MULTILINE)
    assert bold == [number for number in titled if not number.startswith("Solution")]
    assert re.findall(r"\\tag\{([\d.]+)\}", text) == equations
    sections = [mark.get_text().strip() for mark in page.select("article :is(h1, h2, h3, h4) > *")]
    assert re.findall(r"^#{1,4} (\d[\d.]*) ", text, re.MULTILINE) == [
        number for number in sections if re.fullmatch(r"[\d.]+", number)
    ]


@pytest.mark.slow
def test_an_edition_executes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One in full; all begin alike, and the others' code is held to the scripts'."""
    script = notebooks.BOOK / "graphs/probability.py"
    notebook = edition(script)
    firsts = {edition(other).cells[0].source for other in SCRIPTS}
    same = {re.sub(r"book/[\w/]+", "", first) for first in firsts}
    assert len({first.partition("\nimport torch")[0] for first in same}) == 1 and len(same) == 2
    client = NotebookClient(notebook, timeout=600, kernel_name="python3")
    client.execute(cwd=str(tmp_path))
    assert sum(len(cell.get("outputs", ())) for cell in notebook.cells) > 20
    exec(colab.LOOK, {})  # what the editions that train do besides
    assert "GPU: " in capsys.readouterr().out


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Plain:
    """Return a translator for a page of a tiny book."""
    html = tmp_path_factory.mktemp("html")
    (html / "book/part").mkdir(parents=True)
    (html / "book/part/one.html").write_text(
        '<article><section id="one"><h1><span class="section-number">1. </span>One</h1>'
        '<div id="thm-a"><p><span class="caption-number">Theorem 1.1 </span> (A)</p></div>'
        '<div id="ex-a"><p><span class="caption-number">Exercise 1.1 </span></p></div>'
        '<div id="equation-eq-a"><span class="eqno">(1.1)<a>#</a></span></div></section></article>'
    )
    (html / "book/notation.html").write_text("<article><section id='n'><h1>N</h1></section>")
    repository = Repository("https://github.com/o/n", "main", {"E": r"\mathbb{E}"})
    return Plain("book/part/one", Places(html), repository, {"best": "3.14159"})


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        (":::{prf:theorem} A\n:label: thm-a\nTrue.\n:::", "**Theorem 1.1 (A).** True."),
        ("see {prf:ref}`thm-a`", "see [Theorem 1.1](#thm-a)"),
        ("see {prf:ref}`here <thm-a>`", "see [here](#thm-a)"),
        ("by {eq}`eq-a`", "by [(1.1)](#equation-eq-a)"),
        ("$$\n\\E x\n$$ (eq-a)", "$$\n\\mathbb{E} x \\tag{1.1}\n$$"),
        ("$$x$$ (eq-a)", "$$\nx \\tag{1.1}\n$$"),
        ("```{math}\n:label: eq-a\nx\n```", "$$\nx \\tag{1.1}\n$$"),
        ("it is {glue:text}`best:.2f` nats", "it is 3.14 nats"),
        ("`{code}` and $\\E[x](y)$", "`{code}` and $\\mathbb{E}[x](y)$"),
        ("[n](../notation.md)", "[n](https://o.github.io/n/book/notation.html)"),
        (":::{note}\nx\n:::", "> **Note**\n>\n> x"),
        ("::::{prf:proof}\n:::{tip}\nx\n:::\n::::", "*Proof.* > **Tip**"),
        ("```{solution} ex-a\nx\n```", "<summary>Solution to Exercise 1.1</summary>\n\nx\n\n</d"),
        ("```python\n:::{x}\n```", "```python\n:::{x}\n```"),
        (
            "{cite:t}`kingma2014auto`",
            "Kingma and Welling ([2014](https://arxiv.org/abs/1312.6114))",
        ),
    ],
)
def test_markdown_becomes_plain(plain: Plain, source: str, wanted: str) -> None:
    assert wanted in plain.cell(source)


def test_a_gated_solution_is_folded_cell_by_cell(plain: Plain) -> None:
    opened = plain.cell("```{solution-start} ex-a\n:class: dropdown\n```\ntext")
    assert opened.startswith("<details>") and opened.endswith("text\n\n</details>")
    assert plain.cell("```{solution-end}\n```\nafter") == "after"
    both = plain.cell("```{solution-end}\n```\n```{solution-start} ex-a\n```\ntext")
    assert both.startswith("<details>") and both.count("</details>") == 1


@pytest.mark.parametrize(
    "source",
    [
        "{eq}`eq-b`",
        "{term}`x`",
        ":::{mermaid}\nx\n:::",
        "{cite}`nobody`",
        "{glue:text}`no`",
        "$$\nx",
    ],
)
def test_what_has_no_plain_form_is_refused(plain: Plain, source: str) -> None:
    with pytest.raises(Unknown):
        plain.cell(source)


def test_macros_take_nested_arguments() -> None:
    macros: dict[str, str | list] = {"KL": [r"K(#1\|#2)", 2], "R": r"\mathbb{R}"}
    formula = r"\KL{q_{z}}{p} \Rightarrow \R"
    assert formulas.expand_all(formula, macros) == r"K(q_{z}\|p) \Rightarrow \mathbb{R}"


def test_three_authors_are_shortened() -> None:
    assert citations.authors("rezende2014stochastic") == "Rezende *et al.*"
