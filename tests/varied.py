"""Every chapter that trains, trained: one epoch on few examples, on a fresh kernel.

`make chapters` runs it beside nbmake, which executes the chapters that train nothing.
"""

from pathlib import Path

import nbformat
import pytest

from companion.chapters import chapters, run

GIVEN = {"epochs": "1", "subset": "512"}
TRAIN = [name for name, path in chapters().items() if '"subset: int' in path.read_text("utf8")]


@pytest.mark.parametrize("chapter", TRAIN)
def test_a_chapter_trains(chapter: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "runs"))
    cells = nbformat.read(run(chapter, GIVEN, tmp_path / "out.ipynb"), 4).cells
    code = [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    assert any((tmp_path / "runs").iterdir())  # and not recalled
