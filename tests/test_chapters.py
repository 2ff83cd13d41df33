"""Executing a chapter with other parameters: what is refused, and what is written."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from companion import chapters
from companion.files import RunError

PARAMETERS = """\
epochs: int = 0
rate: float = 0.1
name: str = "a"
widths: list[int] = [1]
quick: bool = False"""
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


@pytest.fixture
def chapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a book of one small chapter the book at hand; return the chapter's name."""
    path = tmp_path / "book/part/small.ipynb"
    path.parent.mkdir(parents=True)
    first = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    cells = [first, new_code_cell("print(epochs * 2, 1 / (1 + epochs))")]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), path)
    monkeypatch.setattr(chapters, "__file__", str(tmp_path / "companion/chapters.py"))
    monkeypatch.chdir(tmp_path)
    return "part/small"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"epochs": "2.5"}, "epochs must be int, got '2.5'"),
        ({"rate": "x"}, "rate must be float, got 'x'"),
        ({"widths": "[1.5]"}, r"widths must be list\[int\], got '\[1.5\]'"),
        ({"quick": "no"}, "quick must be true or false, got 'no'"),
    ],
)
def test_text_of_another_type_is_refused(chapter: str, given: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        chapters.run(chapter, given)


def test_text_is_read_as_its_annotated_type(chapter: str) -> None:
    given = {"epochs": "2", "rate": "1e-3", "name": "2", "widths": "[1, 2]", "quick": "true"}
    read = chapters.checked(chapters.chapters()[chapter], given)
    assert read == {"epochs": 2, "rate": 0.001, "name": "2", "widths": [1, 2], "quick": True}


def test_unknown_chapter_and_parameter_are_refused_with_the_known_ones(chapter: str) -> None:
    with pytest.raises(ValueError, match="did you mean 'part/small'"):
        chapters.run("part/smal", {})
    with pytest.raises(ValueError, match=r"did you mean 'epochs'.*rate: float"):
        chapters.run(chapter, {"epoch": "2"})


def test_chapter_runs_with_its_parameters_into_the_working_folder(chapter: str) -> None:
    path = chapters.run(chapter, {"epochs": "3"})
    assert path == Path("small-run.ipynb")
    assert nbformat.read(path, 4).cells[-1].outputs[0].text == "6 0.25\n"


def test_a_failing_cell_leaves_the_old_output_in_place(chapter: str, tmp_path: Path) -> None:
    output = tmp_path / "out.ipynb"
    output.write_text("old")
    with pytest.raises(RunError, match="part/small failed: ZeroDivisionError"):
        chapters.run(chapter, {"epochs": "-1"}, output)
    assert output.read_text() == "old"


def test_outside_of_a_checkout_one_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chapters, "__file__", str(tmp_path / "companion/chapters.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="inside a checkout of the book"):
        chapters.chapters()
