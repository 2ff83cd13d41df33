"""Execute a chapter of the book with other parameters: `python -m companion run`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from companion.files import RunError, check_writable, write_atomically
from companion.words import nearest, read_word


def chapters() -> dict[str, Path]:
    """Find the executed notebooks of the book, by name: "latent/vae" -> its path.

    Raises RunError outside of a checkout of the book.
    """
    for root in (Path(__file__).parents[1], Path.cwd()):
        book = root / "book"
        found = {
            path.relative_to(book).with_suffix("").as_posix(): path
            for path in sorted(book.glob("*/**/*.ipynb"))
            if not any(part.startswith(("_", ".")) for part in path.relative_to(book).parts)
        }
        if found:
            return found
    raise RunError(f"no book in {Path.cwd()}: run a chapter inside a checkout of the book")


TYPES = {
    "int": int, "float": float, "bool": bool, "str": str, "list": list,
    "list[int]": list[int], "list[float]": list[float], "list[str]": list[str],
}  # fmt: skip


def checked(notebook: Path, given: Mapping[str, str]) -> dict[str, Any]:
    """Read the given parameters as the types that the chapter's `parameters` cell states.

    Raises ValueError for a name that the chapter does not have, or a value of another type.
    """
    import papermill

    known = papermill.inspect_notebook(str(notebook))
    types = {name: entry["inferred_type_name"] for name, entry in known.items()}
    for name in given:
        if name not in types:
            signature = ", ".join(f"{key}: {kind}" for key, kind in types.items())
            raise ValueError(f"no parameter {name!r} {nearest(name, types)}; types: {signature}")
    return {
        name: read_word(name, text, TYPES.get(types[name], Any)) for name, text in given.items()
    }


def run(chapter: str, parameters: Mapping[str, str], output: Path | None = None) -> Path:
    """Execute a chapter with these parameters into a new notebook; return its path.

    chapter: "latent/vae"; parameters: name -> text, as typed; output: the notebook to write,
    by default `vae-run.ipynb` in the working folder. It is written whole or not at all.
    Raises ValueError for an unknown chapter, parameter or type; RunError if the notebook cannot
    be written, before anything runs, or if a cell fails.
    """
    try:
        import papermill
        from papermill.exceptions import PapermillExecutionError
    except ImportError as error:
        sentence = "running a chapter needs papermill: pip install 'companion[book]'"
        raise RunError(sentence) from error
    known = chapters()
    if chapter not in known:
        raise ValueError(f"no chapter {chapter!r} {nearest(chapter, known)}")
    source = known[chapter]
    target = output or Path(f"{source.stem}-run.ipynb")
    values = checked(source, parameters)
    if target.is_dir():
        raise RunError(f"cannot write {target}: it is a folder; name a notebook in it")
    check_writable(target.parent)
    with TemporaryDirectory() as folder:
        executed = Path(folder) / "executed.ipynb"
        try:
            papermill.execute_notebook(
                str(source),
                str(executed),
                parameters=values,
                cwd=str(source.parent),
                kernel_name="python3",
                stderr_file=sys.stderr,
            )
        except PapermillExecutionError as error:
            cell = f"cell {error.exec_count} of {chapter}"
            raise RunError(f"{cell} failed: {error.ename}: {error.evalue}") from error
        with write_atomically(target) as draft:
            draft.write_bytes(executed.read_bytes())
    return target
