"""Expand the book's TeX macros: Colab's MathJax does not know them."""

import re

from places import Unknown


def expand_all(formula: str, macros: dict[str, str | list]) -> str:
    """Return a formula with each of MathJax's configured macros replaced by its body."""
    for name, macro in macros.items():
        body, count = macro if isinstance(macro, list) else (macro, 0)
        formula = expand(formula, name, str(body), int(count))
    return formula


def expand(formula: str, name: str, body: str, count: int) -> str:
    r"""Return a formula with the macro \name of `count` arguments replaced by its body."""
    pattern = re.compile(rf"\\{name}(?![A-Za-z])")
    while match := pattern.search(formula):
        end, result = match.end(), body
        for number in range(1, count + 1):
            argument, end = group_at(formula, end)
            result = result.replace(f"#{number}", argument)
        if pattern.search(result):
            raise Unknown(f"the macro \\{name} contains itself")
        formula = formula[: match.start()] + result + formula[end:]
    return formula


def group_at(text: str, start: int) -> tuple[str, int]:
    """Return the {group} or single letter at `start`, without braces, and where it ends."""
    while text[start : start + 1] == " ":
        start += 1
    if text[start : start + 1] != "{":
        return text[start : start + 1], start + 1
    depth = 0
    for place in range(start, len(text)):
        if text[place - 1] != "\\":
            depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start + 1 : place], place + 1
    raise Unknown(f"a brace is never closed in {text!r}")
