"""The homework map leads somewhere, misses nothing, and its page is in step with it."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BOOK = Path(__file__).parents[1] / "book"
# The plan of the whole book: which chapters each source homework must be found in.
PLAN = {
    "T1": [2, 3, 4, 8, 9, 10, 11],
    "T2": [15, 17, 18, 20, 21, 22],
    "D": [2, 3, 4, 7, 8, 10, 13, 14, 28, 29, 30, 31],
    "K1": [1, 2],
    "K2": [5],
    "K3": [4, 6],
    "K4": [16, 19],
    "K5": [13, 21, 22, 23, 24],
    "S": [8, 9, 12, 20, 25, 26, 27],
}
SMALL = """\
sources:
  A: {university: U, course: C, term: spring, homework: homework 1, items: 3}
  B: {university: V, course: not named, term: not named, homework: homework 2, items: 1}
chapters:
  - number: 1
    path: part/one
    tags: [A, B]
    items:
      - {ids: [A.1, B.1], item: First., section: sec-one, exercise: ex-one}
      - {ids: [A.2], item: Second., section: sec-two}
  - number: 2
    path: part/two
    tags: [A]
    items:
      - {ids: [A.3], item: Third.}
"""
SCRIPT = """\
# %% [markdown]
# (sec-one)=
# ## The first result
#
# (sec-two)=
# ## The second result
# ```{exercise-start} How far?
# :class: tip
# :label: ex-one
# ```
# ```{exercise-end}
# ```
# ```{solution-start} ex-one
# :class: dropdown
# ```
# ```{solution-end}
# ```
"""


def load(name: str) -> ModuleType:
    """Import a tool of the book from its file."""
    spec = importlib.util.spec_from_file_location(f"book_{name}", BOOK / f"_tools/{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


homework = load("homework")


def faults(tmp_path: Path, data: str = SMALL, script: str = SCRIPT) -> list[str]:
    """Return the problems of a small map with one written chapter."""
    (tmp_path / "part").mkdir()
    (tmp_path / "part/one.py").write_text(script)
    (tmp_path / "homework.yml").write_text(data)
    return homework.problems(homework.read(tmp_path / "homework.yml"), tmp_path)


def test_every_binding_of_the_book_leads_somewhere_and_no_item_is_missing() -> None:
    assert homework.problems(homework.read(BOOK / "homework.yml")) == []


def test_each_source_homework_is_found_in_every_chapter_that_must_cover_it() -> None:
    found = homework.read(BOOK / "homework.yml")
    assert set(found.sources) == set(PLAN)
    for tag, numbers in PLAN.items():
        assert [c.number for c in found.chapters if tag in c.tags] == numbers


def test_the_page_is_in_step_with_the_map() -> None:
    text = homework.page(homework.read(BOOK / "homework.yml"))
    assert (BOOK / "homework.md").read_text(encoding="utf8") == text


def test_a_sound_map_has_no_fault(tmp_path: Path) -> None:
    assert faults(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("section: sec-one", "section: sec-won", "the section 'sec-won', which"),
        ("exercise: ex-one", "exercise: ex-won", "the exercise 'ex-won', which"),
        (", section: sec-two", "", "A.2 is bound to no section"),
        ("item: Third.", "item: Third., section: sec-one", "part/two.py does not exist"),
        ("      - {ids: [A.2], item: Second., section: sec-two}\n", "", "where A.2 is due"),
        ("      - {ids: [A.3], item: Third.}", "      []", "tag A, but no item of A"),
        ("      - {ids: [A.3], item: Third.}", "      []", "A has 2 items, and should have 3"),
        ("ids: [A.1, B.1]", "ids: [A.1]", "tag B, but no item of B"),
        ("ids: [A.3]", "ids: [B.2]", "B.2 stands in chapter 2"),
        ("number: 2", "number: 3", "not numbered 1, 2, 3"),
    ],
)
def test_a_broken_map_is_refused(tmp_path: Path, old: str, new: str, fault: str) -> None:
    assert old in SMALL
    assert any(fault in line for line in faults(tmp_path, SMALL.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "fault"),
    [
        ("# (sec-two)=", "the section 'sec-two', which"),
        ("# :label: ex-one", "the exercise 'ex-one', which"),
        ("# ```{solution-start} ex-one", "which has no solution"),
    ],
)
def test_a_label_that_leaves_the_chapter_is_missed(tmp_path: Path, old: str, fault: str) -> None:
    assert old in SCRIPT
    assert any(fault in line for line in faults(tmp_path, SMALL, SCRIPT.replace(old, "#")))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("section: sec-two", "secton: sec-two", "unknown field 'secton'; allowed are exercise"),
        ("item: Second., ", "", "lacks the field 'item'"),
        ("ids: [A.2]", "ids: [E.2]", "the id 'E.2'; its source is one of A, B"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        faults(tmp_path, SMALL.replace(old, new))


def test_the_page_links_bound_items_and_names_the_chapter_of_planned_ones(tmp_path: Path) -> None:
    assert faults(tmp_path) == []
    text = homework.page(homework.read(tmp_path / "homework.yml"), tmp_path)
    assert "| A.1 | First. | {ref}`sec-one` | {ref}`ex-one` |" in text
    assert "| A.2 | Second. | {ref}`sec-two` | in the text |" in text
    assert "| A.3 | Third. | planned, chapter 2 `part/two` |  |" in text
    assert "3 items, 2 of them bound." in text
    assert "## B: V, homework 2\n" in text


def test_the_check_refuses_a_page_that_was_edited(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert faults(tmp_path) == []
    assert homework.main([], tmp_path) == 0
    assert homework.main(["--check"], tmp_path) == 0
    page = tmp_path / "homework.md"
    page.write_text(page.read_text().replace("First.", "Frist."))
    assert homework.main(["--check"], tmp_path) == 1
    assert "out of step" in capsys.readouterr().out
