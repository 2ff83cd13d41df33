"""The homework map has every question of the sheets, leads somewhere, and its page is in step."""

import re
from pathlib import Path

import homework
import homework_map
import pytest

BOOK = Path(__file__).parents[1] / "book"
LISTED = (Path(__file__).parent / "homework_ids.txt").read_text(encoding="utf8").split()
SHEETS = {  # questions of each sheet, counted when the sheets were read
    "K1": 22, "K2": 31, "K3": 9, "K4": 13, "K5": 44, "T1": 32, "T2": 30, "D": 36, "S": 62,
}  # fmt: skip
SMALL = """\
chapters: {1: part/one, 2: part/two}

sheets:
  A:
    university: U
    course: C
    term: spring
    homework: homework 1
    repository: o/r
    commit: '7bd30e9'
    file: a.pdf
    questions:
      - title: '1. A coin'
        chapter: 1
        setting: A coin is tossed.
        note: It has two sides.
        items:
          - id: A.1a
            asks: 'First $x$.'
            section: sec-one
            exercise: ex-one
          - id: A.1b
            asks: 'Second.'
            section: sec-two
          - id: A.2
            asks: 'Third.'
            chapter: 2
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


def book_of(folder: Path, data: str = SMALL, script: str = SCRIPT) -> Path:
    """Write a small map and its one written chapter; return the book's folder."""
    (folder / "part").mkdir(exist_ok=True)
    (folder / "part/one.py").write_text(script)
    (folder / "homework.yml").write_text(data)
    return folder


def faults(folder: Path, data: str = SMALL, script: str = SCRIPT) -> list[str]:
    """Return the problems of a small map with one written chapter."""
    book = book_of(folder, data, script)
    return homework_map.problems(homework_map.read(book / "homework.yml"), book)


def test_the_list_of_questions_is_whole() -> None:
    assert {key: sum(one.startswith(f"{key}.") for one in LISTED) for key in SHEETS} == SHEETS
    assert len(LISTED) == len(set(LISTED)) == sum(SHEETS.values()) == 279


def test_the_map_has_exactly_the_questions_of_the_sheets_in_their_order() -> None:
    found = homework_map.read(BOOK / "homework.yml")
    assert [item.name for item in found.items] == LISTED


def test_every_binding_leads_somewhere_and_every_question_of_a_written_chapter_is_bound() -> None:
    assert homework_map.problems(homework_map.read(BOOK / "homework.yml")) == []


def test_every_question_of_a_written_chapter_is_an_exercise_whose_solution_computes() -> None:
    """That code is executed is held for whole notebooks; here, that a solution has some."""
    found, computing = homework_map.read(BOOK / "homework.yml"), set()
    labels = homework_map.labels_of(found)
    for number in labels.written:
        script = (BOOK / f"{found.chapters[number]}.py").read_text(encoding="utf8")
        solution = r"\{solution-start\} (\S+)(.*?)\{solution-end\}"
        for label, text in re.findall(solution, script, re.DOTALL):
            if re.search(r"^# %%(?! \[markdown\])", text, re.MULTILINE):
                computing.add(label)
    asked = {item.name: item.exercise for item in found.items if item.chapter in labels.written}
    assert {name: label for name, label in asked.items() if label not in computing} == {}


def test_the_page_is_in_step_with_the_map() -> None:
    text = homework.page(homework_map.read(BOOK / "homework.yml"))
    assert (BOOK / "homework.md").read_text(encoding="utf8") == text


def test_a_question_takes_one_line_in_short_words() -> None:
    for item in homework_map.read(BOOK / "homework.yml").items:
        assert len(re.sub(r"\$[^$]*\$", "x", item.asks)) < 130, item.name
        assert item.asks.count("$") % 2 == 0 and item.asks.endswith((".", "?")), item.name


def test_a_sound_map_has_no_fault(tmp_path: Path) -> None:
    assert faults(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("section: sec-one", "section: sec-won", "the section 'sec-won', which no chapter has"),
        ("exercise: ex-one", "exercise: ex-won", "the exercise 'ex-won', which no chapter has"),
        ("            section: sec-two\n", "", "A.1b is bound to nothing, but its chapter 1 is"),
        ("chapter: 2", "section: sec-one\n            chapter: 2", "its chapter 2 is not written"),
        ("chapter: 2", "chapter: 3", "A.2 belongs to chapter 3, which has no path"),
        ("id: A.2", "id: A.1b", "A.1b stands 2 times"),
        ("id: A.2", "id: B.2", "B.2 stands under A"),
        ("Third.", "Th|rd.", "A.2 has a bar"),
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
        ("section: sec-two", "secton: sec-two", "unknown field 'secton'; allowed are asks"),
        ("            asks: 'Second.'\n", "", "lacks the field 'asks'"),
        ("        chapter: 1\n", "", "lacks the field 'chapter'"),
        ("    university: U\n", "", "sheet A lacks the field 'university'"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in SMALL
    with pytest.raises(ValueError, match=message):
        faults(tmp_path, SMALL.replace(old, new))


def test_the_page_links_what_is_bound_and_says_where_the_rest_will_be(tmp_path: Path) -> None:
    book = book_of(tmp_path, SMALL.replace("            section: sec-two\n", ""))
    text = homework.page(homework_map.read(book / "homework.yml"), book)
    assert "## A: U, C, spring, homework 1\n" in text
    assert "3 questions: 1 asked in an exercise, 1 not answered yet, 1 planned." in text
    assert "### A, 1. A coin\n\nA coin is tossed.\n\n*Note.* It has two sides.\n" in text
    assert "| A.1a | First $x$. | {ref}`ex-one` | {ref}`sec-one` |" in text
    assert "| A.1b | Second. | not yet: chapter 1, `part/one` |  |" in text
    assert "| A.2 | Third. | planned: chapter 2, `part/two` |  |" in text
    book = book_of(tmp_path)
    text = homework.page(homework_map.read(book / "homework.yml"), book)
    assert "| A.1b | Second. | in the text | {ref}`sec-two` |" in text


BINDING = [{"id": "A.1b", "section": "sec-one", "exercise": "ex-one"}]


def test_merging_binds_what_is_named_and_nothing_else_and_may_be_repeated() -> None:
    once = homework_map.merged(SMALL, BINDING)
    assert once.splitlines() == [
        *SMALL.replace("section: sec-two", "section: sec-one").splitlines()[:-3],
        "            exercise: ex-one",
        *SMALL.splitlines()[-3:],
    ]
    assert homework_map.merged(once, BINDING) == once
    again = homework_map.merged(once, [{"id": "A.1b", "section": "sec-two"}])
    assert again == SMALL


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ({"id": "A.1"}, "A.1 names neither a section nor an exercise"),
        ({"id": "A.1", "section": "sec-one"}, "no question has the id 'A.1'"),
        ({"section": "sec-one"}, "lacks the field 'id'"),
        ({"id": "A.2", "excercise": "ex-one"}, "unknown field 'excercise'"),
    ],
)
def test_a_wrong_binding_is_named(binding: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        homework_map.merged(SMALL, [binding])


def test_the_command_merges_files_and_refuses_a_page_that_was_edited(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book, bindings = book_of(tmp_path), tmp_path / "bindings.yml"
    bindings.write_text("- {id: A.1b, exercise: ex-one}\n")
    assert homework.main(["--merge", str(bindings)], book) == 0
    assert homework.main(["--check"], book) == 0
    assert "| A.1b | Second. | {ref}`ex-one` |  |" in (book / "homework.md").read_text()
    bindings.write_text("- {id: A.9, exercise: ex-one}\n")
    assert homework.main(["--merge", str(bindings)], book) == 1
    assert "no question has the id 'A.9'" in capsys.readouterr().out
    page = book / "homework.md"
    page.write_text(page.read_text().replace("First", "Frist"))
    assert homework.main(["--check"], book) == 1
    assert "out of step" in capsys.readouterr().out
