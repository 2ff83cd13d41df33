"""The house of `companion`: imports point down, files are short, no unsafe loading."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "companion"
PLAN = (PACKAGE / "README.md").read_text().split("```text\n")[1].split("```")[0]
FLOORS = ["__main__", "figures chapters", *(line.split("  ")[0] for line in PLAN.splitlines())][
    ::-1
]
FLOOR_OF = {name: level for level, names in enumerate(FLOORS) for name in names.split()}
FILES = sorted(PACKAGE.rglob("*.py"))
VAGUE = {"utils", "helpers", "base", "common", "config", "misc", "tools"}
EXECUTING = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def room(path: Path) -> str:
    """Return the module or package directly under `companion` that holds a file."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the full name of each import, and how many dots a relative one has."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module or ''}.{alias.name}", node.level) for alias in node.names)


def upward(source: str, home: str) -> list[str]:
    """Return the imports in a file of room `home` that do not point down, or are relative."""
    wrong = []
    for name, dots in imported(ast.parse(source)):
        parts = [*name.split("."), ""]
        if dots:
            wrong.append("." * dots + name)
        elif parts[0] == "companion" and parts[1] not in ("", home):
            level = FLOOR_OF.get(parts[1], -1)
            wrong += [name] if level >= FLOOR_OF[home] else []
    return wrong


def unsafe(source: str) -> list[str]:
    """Return what a file does that could execute code from data."""
    tree, found = ast.parse(source), []
    found += [name for name, _ in imported(tree) if name.split(".")[0] in EXECUTING]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        call, keywords = ast.unparse(node.func), {word.arg for word in node.keywords}
        unfiltered = call.endswith(("extractall", ".extract")) and "filter" not in keywords
        if call in ("torch.load", "eval", "exec", "yaml.load") or unfiltered:
            found.append(call)
        if "allow_pickle" in keywords and "allow_pickle=False" not in ast.unparse(node):
            found.append(f"{call}(allow_pickle)")
    return found


def long_functions(source: str) -> list[str]:
    """Return the functions of more than 40 lines."""
    return [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > 40
    ]


def named(path: Path) -> str:
    """Return the path that pytest shows for a file."""
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", FILES, ids=named)
def test_file_keeps_to_the_floor_plan(path: Path) -> None:
    source = path.read_text(encoding="utf8")
    if path.parent != PACKAGE or path.stem != "__init__":
        assert room(path) in FLOOR_OF, f"{room(path)} has no place in companion/README.md"
        assert not upward(source, room(path))
    assert not unsafe(source)
    assert not long_functions(source)
    assert len(source.splitlines()) <= 250
    assert path.stem not in VAGUE


@pytest.mark.parametrize(
    ("find", "source"),
    [
        (lambda text: upward(text, "maths"), "from companion.models.vae import VAE"),
        (lambda text: upward(text, "train"), "import companion.figures"),
        (lambda text: upward(text, "runs"), "from companion import experiments"),
        (lambda text: upward(text, "models"), "from companion.worlds import mixture"),  # beside
        (lambda text: upward(text, "runs"), "from . import maths"),
        (unsafe, "import torch\ntorch.load('x')"),
        (unsafe, "from pickle import loads"),
        (unsafe, "eval('1')"),
        (unsafe, "archive.extractall('there')"),
        (unsafe, "numpy.load('x', allow_pickle=True)"),
        (long_functions, "def f():\n" + "    pass\n" * 40),
    ],
)
def test_the_plan_is_seen_to_be_broken(find: Callable[[str], list[str]], source: str) -> None:
    assert find(source)
