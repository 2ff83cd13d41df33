"""Take MyST Markdown apart: fences, directives with their options, displayed formulas."""

import re
from dataclasses import dataclass

from places import Unknown

FENCE = re.compile(
    r"^\s*(?P<fence>:{3,}|`{3,})(?:\{(?P<name>[\w:-]+)\}\s*(?P<title>.*))?(?P<x>.*)$"
)
OPTION = re.compile(r"^:(?P<key>[\w-]+):\s*(?P<value>.*)$")


@dataclass
class Directive:
    """One directive of a cell: its name, the text on its line, its options, its lines."""

    name: str
    title: str
    options: dict[str, str]
    lines: list[str]


def balance(text: str) -> str:
    """Close each fold in its own cell: a solution with code spans several cells."""
    depth, done = 0, ""
    for part in re.split(r"(</?details>)", text):
        if part == "</details>" and depth == 0:
            continue
        depth += {"<details>": 1, "</details>": -1}.get(part, 0)
        done += part
    return done + "\n\n</details>" * depth


def parse(fence: re.Match[str], body: list[str]) -> Directive:
    """Read a directive from its opening line and its body."""
    options = {}
    while body and (match := OPTION.match(body[0].strip())):
        options[match["key"]] = match["value"].strip()
        body = body[1:]
    return Directive(fence["name"], (fence["title"] or "").strip(), options, body)


def take_until(rest: list[str], fence: str) -> list[str]:
    """Take the lines up to the fence that closes the block."""
    body = []
    while rest:
        line = rest.pop(0)
        if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
            return body
        body.append(line)
    raise Unknown(f"a block that opens with {fence} is never closed")


def take_display(rest: list[str], end: str) -> list[str]:
    """Take the lines of a formula, its last line included."""
    body = []
    while rest:
        body.append(rest.pop(0))
        if end in body[-1]:
            return body
    raise Unknown(f"a formula that should end with {end} is never closed")


def split_target(text: str) -> tuple[str, str]:
    """Split `text <target>` into the two; text alone is the target."""
    match = re.match(r"(?P<shown>.+?)\s*<(?P<target>[^>]+)>$", text)
    return (match["shown"], match["target"]) if match else ("", text.strip())


def anchor(label: str) -> str:
    """Return the place that links to a label lead to."""
    return f'<a id="{label}" name="{label}"></a>'
