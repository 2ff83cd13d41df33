"""Show a function or a class of the package on the page that explains it."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Source:
    """Source code that shows itself as a highlighted block."""

    code: str

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.code}\n```"

    def __repr__(self) -> str:
        return self.code


def show_source(*things: Callable[..., Any] | type) -> Source:
    """Show the code of functions or classes as it is in the package, without docstrings."""
    return Source("\n\n".join(without_docstrings(inspect.getsource(thing)) for thing in things))


def without_docstrings(code: str) -> str:
    """Drop the docstrings of a piece of code; the page around it says what they say."""
    lines = textwrap.dedent(code).rstrip().splitlines()
    for node in ast.walk(ast.parse("\n".join(lines))):
        is_block = isinstance(node, ast.FunctionDef | ast.ClassDef)
        if is_block and ast.get_docstring(node) is not None and len(node.body) > 1:
            text = node.body[0]
            for i in range(text.lineno - 1, text.end_lineno or text.lineno):
                lines[i] = "\0"
    kept = [line for line in lines if line != "\0"]
    return "\n".join(line for i, line in enumerate(kept) if line or (i and kept[i - 1]))
