"""Write the Colab edition of each chapter: the same cells in plain Markdown, no outputs.

    python book/_tools/colab.py _build/html            write book/_colab/
    python book/_tools/colab.py _build/html --check    exit 1 and say which edition is old

Numbers of theorems, equations and exercises are read from the built book.
"""

import argparse
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import terms
from notebooks import BOOK, KERNEL, LANGUAGE, ROOT, name_cells, scripts, write
from places import Places, Repository, Unknown
from plain import Plain

FOLDER = BOOK / "_colab"
RECORD = "application/papermill.record/"
SET_UP = """\
# Set-up: installs the book's package where it is missing; Colab's torch stays as it is.
# The page, with its figures and results: {page}
import importlib.util

if importlib.util.find_spec("companion") is None:
    %pip install -q "companion @ git+{url}@{branch}"\
"""
LOOK = """
import torch

gpu = torch.cuda.is_available()
print("GPU:", torch.cuda.get_device_name() if gpu else "none. Runtime > Change runtime type > T4")\
"""


def glued(notebook: NotebookNode) -> dict[str, str]:
    """Return the values that a notebook glues, as text, by their names."""
    values = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            data = output.get("data", {})
            for kind in ("text/markdown", "text/plain"):
                if name and (text := data.get(RECORD + kind, data.get(kind))):
                    values.setdefault(name, text)
    return values


def code_cell(cell: NotebookNode, solution: str) -> NotebookNode:
    """Return a code cell without outputs; what the page folds stays folded."""
    tags = cell.metadata.get("tags", [])
    metadata: dict = {"tags": tags} if tags else {}
    folded = solution or {"hide-input", "hide-cell", "remove-input"} & set(tags)
    if folded:
        metadata |= {"cellView": "form", "jupyter": {"source_hidden": True}}
    source = f"# @title {solution}\n{cell.source}" if solution else cell.source
    return new_code_cell(source, metadata=metadata)


def caption_cell(cell: NotebookNode, plain: Plain) -> list[NotebookNode]:
    """Return the caption that the page shows under a code cell's figure, if it has one."""
    figure = cell.metadata.get("mystnb", {}).get("figure", {})
    if not figure.get("caption"):
        return []
    return [new_markdown_cell(plain.caption(figure.get("name", ""), [figure["caption"]]))]


def solution_at(source: str, before: str, places: Places) -> str:
    """Return the title of the solution that is open after a Markdown cell."""
    title = before
    for line in source.splitlines():
        if "{solution-start}" in line:
            title = f"Solution to {places[line.split('}')[1].strip()].text}"
        elif "{solution-end}" in line:
            title = ""
    return title


def edition(notebook: NotebookNode, page: str, places: Places) -> NotebookNode:
    """Return the Colab edition of an executed notebook."""
    repository = Repository.read()
    plain = Plain(page, places, repository, glued(notebook))
    address = repository.page(page)
    set_up = SET_UP.format(url=repository.url, branch=repository.branch, page=address)
    is_trained = any("\nepochs: int" in f"\n{cell.source}" for cell in notebook.cells)
    linker = terms.Linker(terms.entries())
    head, body, solution = [new_code_cell(set_up + LOOK * is_trained)], [], ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            solution = solution_at(cell.source, solution, places)
            if text := plain.cell(linker.cell(cell.source)):
                body.append(new_markdown_cell(text))
        elif "parameters" in cell.metadata.get("tags", []):
            head.append(code_cell(cell, ""))
        else:
            body += [code_cell(cell, solution), *caption_cell(cell, plain)]
    made = new_notebook(cells=[*head, *body])
    graphics = {"gpuType": "T4"} if is_trained else {}  # which Colab lends for a limited time
    made.metadata = NotebookNode(
        **({"accelerator": "GPU"} if is_trained else {}),
        colab={**graphics, "provenance": []},
        kernelspec=KERNEL,
        language_info=LANGUAGE,
    )
    name_cells(made)
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("html", type=Path, help="the folder of the built book")
    parser.add_argument("--check", action="store_true", help="write nothing, only compare")
    options = parser.parse_args(arguments)
    places, old = Places(options.html), 0
    for script in scripts():
        path = FOLDER / script.relative_to(BOOK).with_suffix(".ipynb")
        page = script.relative_to(ROOT).with_suffix("").as_posix()
        executed = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
        try:
            made = edition(executed, page, places)
        except Unknown as error:
            print(f"{script.relative_to(ROOT)}: {error}")
            return 1
        known = path.read_text(encoding="utf8") if path.exists() else ""
        if nbformat.writes(made) + "\n" != known:
            old += 1
            print(f"{path.relative_to(ROOT)}: {'is old' if options.check else 'written'}")
            if not options.check:
                write(made, path)
    return int(options.check and old > 0)


if __name__ == "__main__":
    sys.exit(main())
