"""Make the notebooks of the book from its scripts, or check that they are in step.

python book/_tools/notebooks.py            execute the chapters whose code changed
python book/_tools/notebooks.py --all      execute every chapter
python book/_tools/notebooks.py --check    exit 1 and say why, if one is out of step
"""

import argparse
import hashlib
import json
import os
import re
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
# What a live figure or a badge carries to stand alone; a page needs each copy once.
CARRIED = re.compile(r"<(style|script) data-companion>.*?</\1>", re.DOTALL)
LIMIT = 600_000  # bytes: a page that a phone still opens
LANGUAGE = {
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "pygments_lexer": "ipython3",
}
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def scripts(book: Path = BOOK) -> list[Path]:
    """Return the chapters' percent-scripts; folders that begin with _ or . hold none."""
    found = (path for path in book.glob("*/**/*.py"))
    return sorted(
        path
        for path in found
        if not any(part.startswith(("_", ".")) for part in path.relative_to(book).parts)
    )


def fingerprint(script: Path) -> str:
    """Return the sha256 of a script's text, whatever the line ends of the checkout."""
    return hashlib.sha256(script.read_text(encoding="utf8").encode()).hexdigest()


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook so that a reader finds the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".ipynb")
    os.close(handle)
    try:
        Path(name).write_text(nbformat.writes(notebook) + "\n", encoding="utf8")
        Path(name).chmod(0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def name_cells(notebook: NotebookNode) -> None:
    """Give each cell an id that depends on its place and its text only."""
    for place, cell in enumerate(notebook.cells):
        text = f"{place}:{cell.cell_type}:{cell.source}"
        cell.id = hashlib.sha256(text.encode()).hexdigest()[:12]


def without_machine(value: Any) -> Any:
    """Return a cell output's value with the paths of this machine cut out of its texts."""
    if isinstance(value, dict):
        return {key: without_machine(part) for key, part in value.items()}
    if isinstance(value, list):
        return [without_machine(part) for part in value]
    if not isinstance(value, str):
        return value
    for path, name in ((str(ROOT) + os.sep, ""), (str(Path.home()) + os.sep, "~/")):
        value = value.replace(path, name)
    return value


def drop_copies(html: Any, seen: set[str]) -> Any:
    """Leave out each carried style or script that stood in the notebook before."""

    def once(found: re.Match[str]) -> str:
        text = "" if found[0] in seen else found[0]
        seen.add(found[0])
        return text

    return CARRIED.sub(once, "".join(html)) if isinstance(html, str | list) else html


def clean_outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Return the outputs a static page can show: no stderr, no live widgets, no paths."""
    kept = []
    for output in outputs:
        if output.get("name") == "stderr":
            continue
        if "data" in output:
            data = {k: v for k, v in output["data"].items() if "jupyter.widget" not in k}
            if not data or (set(data) == {"text/plain"} and len(output["data"]) > 1):
                continue
            images = {k: v for k, v in data.items() if k.startswith("image/p")}
            output["data"] = NotebookNode(without_machine(data) | images)
        elif "text" in output:
            output["text"] = without_machine(output["text"])
        kept.append(output)
    return kept


def normalise(notebook: NotebookNode, script: Path) -> NotebookNode:
    """Keep what the page needs: two executions of one script differ in outputs only."""
    seen: set[str] = set()
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        cell.metadata.pop("tags", None)
        if tags:
            cell.metadata["tags"] = tags
        if cell.cell_type == "code":
            cell.outputs = clean_outputs(cell.outputs)
            for output in cell.outputs:
                if html := output.get("data", {}).get("text/html"):
                    output["data"]["text/html"] = drop_copies(html, seen)
    notebook.metadata = NotebookNode(
        companion={"script_sha256": fingerprint(script)},
        jupytext={"formats": "ipynb,py:percent"},
        kernelspec=KERNEL,
        language_info=LANGUAGE,
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    name_cells(notebook)
    return notebook


def heavy(notebook: NotebookNode) -> str:
    """Return why a notebook is too heavy, with its heaviest outputs, or the empty string."""
    size = len(nbformat.writes(notebook).encode())
    if size <= LIMIT:
        return ""
    weights = sorted(
        (len(json.dumps(cell.get("outputs", []))), place)
        for place, cell in enumerate(notebook.cells)
    )[::-1]
    first = ", ".join(f"cell {place}: {weight // 1000} kB" for weight, place in weights[:4])
    return f"weighs {size // 1000} kB, allowed are {LIMIT // 1000} kB; heaviest: {first}"


def execute(script: Path) -> str:
    """Execute one script on a fresh kernel into its notebook; return what went wrong."""
    import papermill

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.ipynb", Path(folder) / "target.ipynb"
        nbformat.write(jupytext.read(script), source)
        try:
            papermill.execute_notebook(
                source, target, cwd=script.parent, kernel_name="python3", progress_bar=False
            )
        except papermill.PapermillExecutionError as error:
            return str(error)
        notebook = normalise(nbformat.read(target, as_version=4), script)
    problem = heavy(notebook)
    if not problem:
        write(notebook, script.with_suffix(".ipynb"))
    return problem


def renew(script: Path) -> bool:
    """Take a script's new prose and tags over, where the code that was executed is unchanged.

    Returns False, and changes nothing, if any of its code changed.
    """
    path = script.with_suffix(".ipynb")
    new = jupytext.read(script)
    old = nbformat.read(path, as_version=4) if path.exists() else new
    cells, executed = (
        [cell for cell in each.cells if cell.cell_type == "code"] for each in (new, old)
    )
    if [c.source.strip() for c in cells] != [c.source.strip() for c in executed] or any(
        cell.execution_count != place for place, cell in enumerate(executed, 1)
    ):
        return False
    for cell, done in zip(cells, executed, strict=True):
        cell.outputs, cell.execution_count = done.outputs, done.execution_count
    notebook = normalise(new, script)
    if renewed := not heavy(notebook):
        write(notebook, path)
    return renewed


def texts(notebook: NotebookNode) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return what the script decides of each cell: its kind, its text, its tags."""
    return [
        (cell.cell_type, cell.source.strip(), tuple(cell.metadata.get("tags", [])))
        for cell in notebook.cells
    ]


def problem_of(script: Path) -> str:
    """Return why a script and its notebook are out of step, or the empty string."""
    path = script.with_suffix(".ipynb")
    if not path.exists():
        return "has no notebook yet"
    notebook = nbformat.read(path, as_version=4)
    wanted, found = texts(jupytext.read(script)), texts(notebook)
    for place, (left, right) in enumerate(zip(wanted, found, strict=False)):
        if left != right:
            return f"cell {place} differs between the script and the notebook"
    if len(wanted) != len(found):
        return f"the script has {len(wanted)} cells, the notebook {len(found)}"
    if notebook.metadata.get("companion", {}).get("script_sha256") != fingerprint(script):
        return "the script changed after the notebook was executed"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        return "was not executed from the first cell to the last on a fresh kernel"
    if any(output.output_type == "error" for cell in code for output in cell.outputs):
        return "shows an error"
    return heavy(notebook)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--all", action="store_true", help="execute unchanged chapters too")
    parser.add_argument("--check", action="store_true", help="execute nothing, only compare")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="chapters at once")
    options = parser.parse_args(arguments)
    chapters = scripts()
    if options.check:
        problems = [problem_of(script) for script in chapters]
    else:
        chapters = [s for s in chapters if options.all or (problem_of(s) and not renew(s))]
        with ProcessPoolExecutor(options.jobs) as pool:
            problems = list(pool.map(execute, chapters))
    for script, problem in zip(chapters, problems, strict=True):
        print(f"{script.relative_to(ROOT)}: {problem or 'in step'}")
    return int(any(problems))


if __name__ == "__main__":
    sys.exit(main())
