"""The book's sources are in step, and its built pages are whole."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import book_home
import book_plan
import jupytext
import nbformat
import notebooks
import pytest
import yaml
from conftest import soup
from nbformat import NotebookNode
from places import Repository

ROOT = Path(__file__).parents[1]
SCRIPTS = notebooks.scripts()
STATEMENT = re.compile(r"\{prf:(theorem|proposition|lemma|corollary)\}.*\n(?:# )?(:label: (\S+))?")
CHECKED = re.compile(r"\bcheck\(\s*[\"']([^\"']+)[\"']")
EXERCISE = re.compile(r"\{exercise(?:-start)?\}.*\n:label: (\S+)")
SOLUTION = re.compile(r"\{solution(?:-start)?\} (\S+)")
MACHINE = re.compile(r"(?<![\w.:/+=])/(home|root|Users|tmp|work|opt|private|mnt|srv|var)/\w+")
PLAN = book_plan.plan(notebooks.BOOK)
SMALL = """\
# ---
# jupyter:
#   jupytext: {formats: "ipynb,py:percent", text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% tags=["parameters"]
epochs: int = 0

# %%
"""  # noqa: E501


def name(script: Path) -> str:
    """Return the name that pytest shows for a chapter."""
    return script.relative_to(notebooks.BOOK).with_suffix("").as_posix()


def text_of(script: Path, kind: str) -> str:
    """Return the text of all Markdown or all code cells of a script."""
    cells = jupytext.read(script).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == kind)


def pages_of(toc: dict) -> Iterator[str]:
    """Yield the pages that a table of contents names."""
    if "root" in toc:
        yield toc["root"]
    if "file" in toc:
        yield toc["file"]
    for key in ("parts", "chapters", "sections"):
        for entry in toc.get(key, []):
            yield from pages_of(entry)


def pages() -> list[str]:
    """Return the pages of the book."""
    return list(pages_of(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf8"))))


def test_there_are_chapters_and_all_are_in_the_table_of_contents() -> None:
    assert SCRIPTS
    assert {f"book/{name(script)}" for script in SCRIPTS} <= set(pages())


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_notebook_is_its_script_executed(script: Path) -> None:
    assert notebooks.problem_of(script) == ""


def test_all_notebooks_together_stay_light() -> None:
    sizes = [script.with_suffix(".ipynb").stat().st_size for script in SCRIPTS]
    assert sum(sizes) < 20_000_000 * len(SCRIPTS) / 35  # its share of the whole book's budget


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_every_theorem_is_checked_and_every_check_has_a_theorem(script: Path) -> None:
    stated = [match[3] for match in STATEMENT.finditer(text_of(script, "markdown"))]
    assert None not in stated, "a theorem has no label"
    assert len(stated) == len(set(stated))
    assert set(stated) == set(CHECKED.findall(text_of(script, "code")))


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_every_exercise_has_a_solution(script: Path) -> None:
    text = text_of(script, "markdown")
    assert EXERCISE.findall(text)
    assert sorted(EXERCISE.findall(text)) == sorted(SOLUTION.findall(text))
    assert text.count("{exercise") == len(EXERCISE.findall(text)) + text.count("{exercise-end}")


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_every_exercise_says_what_kind_it_is(script: Path) -> None:
    text = text_of(script, "markdown")
    kind = r"(?:Recall|Derive|Code|Measure|Open)\b[\w ]*\."
    told = re.findall(rf"\{{exercise-start\}} .*\n:label: \S+\n```\n\({kind}\) ", text)
    assert len(told) == len(EXERCISE.findall(text))


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_first_code_cell_states_typed_parameters(script: Path) -> None:
    first = next(c for c in jupytext.read(script).cells if c.cell_type == "code")
    assert first.metadata.get("tags") == ["parameters"]
    lines = [line for line in first.source.splitlines() if not line.startswith("#")]
    assert all(re.match(r"\w+: (int|float|str|bool|list\[?\w*\]?) = ", line) for line in lines)


def visible(notebook: NotebookNode) -> str:
    """Return the texts of a notebook; pictures are left out."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for kind in [kind for kind in output.get("data", {}) if kind.startswith("image/")]:
                del output["data"][kind]
    return re.sub(r"data:[\w/+;-]+,[^\"']*", "", json.dumps(notebook))


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_no_path_of_the_makers_machine_is_committed(script: Path) -> None:
    for path in (script.with_suffix(".ipynb"), script):
        text = visible(jupytext.read(path))
        assert MACHINE.search(text) is None


def test_every_page_of_the_contents_is_built_and_no_other(book: Path) -> None:
    built = {p.relative_to(book).with_suffix("").as_posix() for p in book.glob("book/**/*.html")}
    assert built == set(pages())


@pytest.mark.parametrize("page", pages())
def test_built_page_shows_no_error(book: Path, page: str) -> None:
    parsed = soup(book / f"{page}.html")
    shown = parsed.get_text()
    assert "Traceback (most recent call last)" not in shown
    assert not parsed.select(".output.traceback, .system-message, .problematic")
    assert not re.search(r"<[\w.]+ (object )?at 0x[0-9a-f]+>", shown)  # what print makes of it
    assert not re.search(r"\{(prf:)?\w+\}`|:::\{|^\([\w:-]+\)=", shown, re.MULTILINE)


@pytest.mark.parametrize(
    "chapter",
    [
        "likelihood/digit_networks",
        "latent/vae",
        "flows/realnvp",
        "adversarial/gan",
        "energy/energy",
        "diffusion/ddpm",
    ],
)
def test_the_first_page_of_a_family_shows_a_training_in_plain_pytorch(
    book: Path, chapter: str
) -> None:
    cells = soup(book / f"book/{chapter}.html").select("div.cell_input:not(details *)")
    assert any("backward()" in cell.get_text() for cell in cells)


@pytest.mark.parametrize("page", pages())
def test_links_between_pages_lead_somewhere(book: Path, page: str) -> None:
    path = book / f"{page}.html"
    links = [str(a["href"]).partition("#")[0] for a in soup(path).select("a[href]")]
    inner = {unquote(link) for link in links if link and not re.match(r"\w+:", link)}
    assert inner
    assert [link for link in inner if not (path.parent / link).exists()] == []


NUMBERED = "h1 .section-number, h2 .section-number, h3 .section-number, .caption-number, .eqno"


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_every_number_of_a_page_begins_with_its_chapters_number_in_the_plan(
    book: Path, script: Path
) -> None:
    page, number = soup(book / f"book/{name(script)}.html"), str(PLAN[f"book/{name(script)}"])
    marks = [mark.get_text() for mark in page.select(NUMBERED)]
    assert marks and any("Theorem" in mark for mark in marks)
    assert [mark for mark in marks if re.findall(r"\d+", mark)[0] != number] == []


def test_contents_list_each_chapter_by_topic_with_its_number_in_the_plan(book: Path) -> None:
    links = soup(book / "book/results.html").select("nav.bd-links a[href]")
    listed = {str(link["href"]).removesuffix(".html"): link.get_text() for link in links}
    for script in SCRIPTS:
        topic = re.findall(r"^# (.+)\n\n\*.+\?\*$", text_of(script, "markdown"), re.MULTILINE)
        assert [listed[name(script)]] == [f"{PLAN[f'book/{name(script)}']}. {topic[0]}"]


def test_map_of_the_book_leads_to_every_written_part(book: Path) -> None:
    first = soup(book / "book/intro.html")
    linked = {str(link["href"]).split("/")[0] for link in first.select(".book-map a")}
    assert linked == {name(script).split("/")[0] for script in SCRIPTS}
    assert first.select(".book-map")[0].get("role") != "img"  # it would hide its links


def test_first_page_has_a_card_for_each_chapter(book: Path) -> None:
    cards = soup(book / "book/intro.html").select(".chapter-card")
    chapters = sorted((PLAN[f"book/{name(script)}"], name(script)) for script in SCRIPTS)
    for card, (number, chapter) in zip(cards, chapters, strict=True):
        links = {str(link["href"]): link.get_text() for link in card.select("a")}
        assert links[f"{chapter}.html"].startswith(f"{number}. ")
        colab = f"/blob/{Repository.read().branch}/book/_colab/{chapter}.ipynb"
        assert [text for link, text in links.items() if link.endswith(colab)] == ["Colab"]
        assert re.search(r"\?\s+Needs: .+\.\s+\d\d minutes", card.get_text())
        assert (book / "book" / str(card.select("img")[0]["src"])).exists()


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_a_chapter_says_under_its_question_how_long_it_is(book: Path, script: Path) -> None:
    told = soup(book / f"book/{name(script)}.html").select("h1 + p + p.extent")
    text = " ".join(line.get_text() for line in told)
    chapter = book_home.Chapter.read(script.with_suffix(".ipynb"))
    exercises = len(EXERCISE.findall(text_of(script, "markdown")))
    assert text == f"{chapter.minutes} minutes of reading · {exercises} exercises · Colab"
    edition = f"/blob/{Repository.read().branch}/book/_colab/{name(script)}.ipynb"
    assert [str(link["href"]).endswith(edition) for link in told[0].select("a")] == [True]


def test_minutes_count_the_running_text_only() -> None:
    told = "word " * 1000
    assert book_home.minutes(told) == 10 and book_home.minutes(told * 2) == 15
    for more in ("| cell |\n" * 900, "## Exercises\n" + told + "\n## Next", "# head\n" * 900):
        assert book_home.minutes(f"{told}\n{more}") == 10
    assert book_home.minutes("word " * 700 + "\n$$\nx\n$$\n" * 10) == 10  # 700 words are 5


@pytest.mark.parametrize("page", pages())
def test_a_link_to_a_page_shows_what_it_is(book: Path, page: str) -> None:
    tags = soup(book / f"{page}.html").select("head meta[content]")
    said = {str(tag.get("property", tag.get("name"))): str(tag["content"]) for tag in tags}
    assert 30 < len(said["description"]) <= 200 and said["og:description"] == said["description"]
    address = Repository.read().page(page)
    assert said["og:url"] == address
    assert (book / said["og:image"].removeprefix(address.removesuffix(f"{page}.html"))).exists()


def test_pictures_that_are_not_made_by_a_chapter_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in (ROOT / "book/_static").rglob("*.*")}
    assert [name for name, size in sizes.items() if size > 100_000] == []


def test_first_page_opens_the_book(book: Path) -> None:
    text = (book / "index.html").read_text(encoding="utf8")
    assert 'content="0; url=book/intro.html"' in text and 'property="og:image"' in text


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Return a small chapter's script, executed."""
    script = tmp_path / "small.py"
    script.write_text(SMALL + f"import sys\nprint('seen', {str(notebooks.ROOT / 'x')!r})\n")
    assert notebooks.execute(script) == ""
    return script


def test_execution_is_seen_and_names_no_machine(small: Path) -> None:
    assert notebooks.problem_of(small) == ""
    assert nbformat.read(small.with_suffix(".ipynb"), 4).cells[1].outputs[0].text == "seen x\n"


def test_two_executions_write_the_same_bytes(small: Path) -> None:
    first = small.with_suffix(".ipynb").read_bytes()
    notebooks.execute(small)
    assert small.with_suffix(".ipynb").read_bytes() == first


def test_new_prose_and_tags_keep_the_outputs_of_unchanged_code(small: Path) -> None:
    path, text = small.with_suffix(".ipynb"), small.read_text()
    small.write_text(text + "\n# %% [markdown]\n# New prose.\n")
    assert "3 cells" in notebooks.problem_of(small) and notebooks.renew(small)
    assert notebooks.problem_of(small) == ""
    renewed = path.read_bytes()
    assert notebooks.execute(small) == "" and path.read_bytes() == renewed
    small.write_text(text + "print('more')\n")  # code must run before a page may show it
    assert not notebooks.renew(small) and path.read_bytes() == renewed


def test_a_failing_chapter_keeps_its_notebook(small: Path) -> None:
    before = small.with_suffix(".ipynb").read_bytes()
    small.write_text(SMALL + "1 / 0\n")
    assert "ZeroDivisionError" in notebooks.execute(small)
    assert small.with_suffix(".ipynb").read_bytes() == before
    assert "differs" in notebooks.problem_of(small)


def test_progress_bars_and_warnings_stay_off_the_page(small: Path) -> None:
    small.write_text(SMALL + "import sys\nprint('noise', file=sys.stderr)\n'signal'\n")
    assert notebooks.execute(small) == ""
    outputs = nbformat.read(small.with_suffix(".ipynb"), 4).cells[1].outputs
    assert [output.output_type for output in outputs] == ["execute_result"]


def test_a_heavy_page_is_refused_with_its_heaviest_cell(small: Path) -> None:
    small.write_text(SMALL + "print('x' * 700_000)\n")
    assert re.search(r"allowed are 600 kB; heaviest: cell 1: 7\d\d kB", notebooks.execute(small))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda book: book.cells[1].update(execution_count=7), "not executed"),
        (lambda book: book.cells[1].update(source="print('other')"), "cell 1 differs"),
        (lambda book: book.cells[0].metadata.update(tags=[]), "cell 0 differs"),
        (lambda book: book.cells.pop(), "2 cells, the notebook 1"),
        (lambda book: book.metadata.pop("companion"), "script changed"),
    ],
)
def test_a_notebook_out_of_step_is_seen(small: Path, damage, reason: str) -> None:
    path = small.with_suffix(".ipynb")
    notebook = nbformat.read(path, 4)
    damage(notebook)
    nbformat.write(notebook, path)
    assert reason in notebooks.problem_of(small)


def test_a_script_without_notebook_is_seen(small: Path) -> None:
    shutil.move(small.with_suffix(".ipynb"), small.with_suffix(".old"))
    assert notebooks.problem_of(small) == "has no notebook yet"
