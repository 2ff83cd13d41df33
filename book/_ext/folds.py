"""Sphinx extension: which code cells of a chapter fold, what the fold is called, and in one piece.

What teaches stays: models, losses, samplers, training. What checks, draws, tabulates or prepares
folds; the tag `show-input` keeps a cell open. Folded cells without an output join the next fold.
Checks of one theorem with nothing between them share a badge and a fold.
"""

import ast
import re
from dataclasses import dataclass, field
from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from badges import badge_in, of_one_theorem, share

NAMES = {
    "check": "How this was checked",
    "figure": "Code of the figure",
    "table": "Code of the table",
    "number": "Code of the numbers",
    "set-up": "Set-up code",
    "code": "More code",
}
LEAK = re.compile(r"\b([a-z][a-z0-9_]*)(?:-[\w.]+)*-[0-9a-f]{8}(?=: \d+ epochs?)")
ONCE = re.compile(r"\b1 epochs\b")
TOOL_NOTE = re.compile(r"[ ]*# (?:fmt|ruff|noqa|type|pyright):? ?[^\n]*(?=\n|$)")
LISTING = 24  # lines of the package's source that stay
LONGEST = 15  # lines that stay on the reading line, unless they define a class


class CodeFold(nodes.Element):
    """Code behind a line that says what is in it."""


def visit_fold(self: Any, node: CodeFold) -> None:
    """Open the fold."""
    self.body.append(f'<details class="code-fold"><summary>{escape(node["name"])}</summary>\n')


def depart_fold(self: Any, node: CodeFold) -> None:
    """Close the fold."""
    self.body.append("</details>\n")


@dataclass
class Cell:
    """A code cell of a page: its node, its source, what it shows."""

    node: nodes.container
    tags: set[str]
    source: str = ""
    tree: ast.Module = field(default_factory=lambda: ast.Module([], []))
    shows: str = ""

    @classmethod
    def read(cls, node: nodes.container) -> "Cell":
        """Read a cell from the page."""
        tags = {name[4:] for name in node["classes"] if name.startswith("tag_")}
        cell = cls(node, tags)
        if code := cell.part("cell_code_source"):
            cell.source = code.astext()
            try:
                cell.tree = ast.parse(cell.source)
            except SyntaxError:  # a line magic
                cell.tree = ast.Module([], [])
        if output := cell.part("cell_code_output"):
            cell.shows = shown(output)
        return cell

    def part(self, name: str) -> nodes.Element | None:
        """Return the cell's source or output."""
        parts = (p for p in self.node.children if isinstance(p, nodes.Element))
        return next((p for p in parts if p.get("nb_element") == name), None)

    def calls(self, *names: str) -> bool:
        """Whether the cell calls one of these functions, as it stands or of an object."""
        called = (n.func for n in ast.walk(self.tree) if isinstance(n, ast.Call))
        found = {f.id if isinstance(f, ast.Name) else getattr(f, "attr", "") for f in called}
        return bool(found & set(names))

    @property
    def prepares(self) -> bool:
        """Whether the cell only imports, sets and names."""
        plain = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Expr)
        return all(isinstance(part, plain) for part in self.tree.body)

    @property
    def defines(self) -> bool:
        """Whether the cell defines a class."""
        return any(isinstance(part, ast.ClassDef) for part in self.tree.body)

    @property
    def teaches(self) -> bool:
        """Whether the cell defines a class, or a function in a few lines."""
        short = len(self.source.splitlines()) <= LONGEST
        return self.defines or (
            short and any(isinstance(part, ast.FunctionDef) for part in self.tree.body)
        )


def shown(output: nodes.Element) -> str:
    """Return what kind of thing an output is: check, figure, table, number, code or nothing."""
    raw = " ".join(node.astext() for node in output.findall(nodes.raw))
    if "companion-verdict" in raw or "Wrong versions rejected" in raw:
        return "check"
    if "<figure" in raw or "<svg" in raw or any(output.findall(nodes.image)):
        return "figure"
    if "<table" in raw or any(output.findall(nodes.table)):
        return "table"
    if any(b.get("language") == "python" for b in output.findall(nodes.literal_block)):
        return "code"
    return "number" if output.astext().strip() else ""


def name_of(cell: Cell, after: Cell | None) -> str:
    """Return under which name a cell folds, or the empty string if it stays open."""
    if not cell.source or "show-input" in cell.tags or inside_solution(cell.node):
        return ""
    tagged = bool(cell.tags & {"hide-input", "hide-cell", "parameters"})
    if cell.calls("check"):
        return "check"
    if cell.shows in ("figure", "table"):
        return cell.shows
    imports = any(isinstance(n, (ast.Import, ast.ImportFrom)) for n in cell.tree.body)
    if cell.prepares and (imports or "parameters" in cell.tags):
        return "set-up"
    if tagged:
        return cell.shows if cell.shows in NAMES else "set-up"
    if cell.shows == "code":
        return ""
    if cell.shows == "number" and cell.calls("Markdown"):  # a sentence with numbers in it
        return "number"
    if cell.calls("train"):
        return ""
    if after and not cell.shows and follows(cell, after) and name_of(after, None):
        return "" if cell.teaches else name_of(after, None)
    if len(cell.source.splitlines()) > LONGEST and not cell.defines:
        return cell.shows if cell.shows in NAMES else "code"
    return ""


def follows(cell: Cell, after: Cell) -> bool:
    """Whether nothing stands between two cells."""
    parent = cell.node.parent
    return after.node.parent is parent and parent.index(after.node) == parent.index(cell.node) + 1


def inside_solution(node: nodes.Node) -> bool:
    """Whether a cell belongs to a solution: its reader asked for it."""
    while node := node.parent:
        if "solution" in node.get("classes", []):
            return True
    return False


class Folds(SphinxPostTransform):
    """Fold the cells of a page."""

    default_priority = 190  # before MyST-NB wraps what it hides, after it chose the outputs
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Choose, name and join the folds."""
        soften(self.document)
        cells = [
            Cell.read(node)
            for node in self.document.findall(nodes.container)
            if node.get("nb_element") == "cell_code"
        ]
        names = [name_of(c, n) for c, n in zip(cells, [*cells[1:], None], strict=False)]
        share_badges(cells, names)
        waiting: list[tuple[Cell, str]] = []
        last: tuple[Cell, CodeFold] | None = None
        for cell, name in zip(cells, names, strict=True):
            fold_listings(cell)
            cell.node.attributes.pop("hide_mode", None)
            if not name or cell.part("cell_code_source") is None:
                last = settle(waiting, last)
                waiting = []
                last = None
                continue
            if waiting and section(waiting[-1][0].node) is not section(cell.node):
                last = settle(waiting, last)
                waiting = []
            waiting.append((cell, name))
            if cell.part("cell_code_output"):
                last = (cell, join(waiting, name))
                waiting = []
        settle(waiting, last)


def share_badges(cells: list[Cell], names: list[str]) -> None:
    """Hand the badge of a check on to the next one of its theorem, if nothing stands between."""
    held: Cell | None = None  # whose badge may be handed on
    last: Cell | None = None
    for cell, name in zip(cells, names, strict=True):
        output = cell.part("cell_code_output")
        badge = badge_in(output) if name == "check" else None
        if held and not (last and follows(last, cell) and (badge or (name and not output))):
            held = None
        if badge and held:
            before = held.part("cell_code_output")
            earlier = badge_in(before)
            if before is not None and earlier and of_one_theorem(earlier, badge):
                share(earlier, badge)
                held.node.remove(before)
        held, last = (cell if badge else held), cell


def fold_listings(cell: Cell) -> None:
    """Fold long listings of the package's source; a diagram and prose tell what they do."""
    output = cell.part("cell_code_output")
    if output is None or cell.shows != "code" or "show-input" in cell.tags:
        return
    code = cell.part("cell_code_source")
    if code is not None and len(cell.tree.body) == 1:
        cell.node.remove(code)  # the call that shows it
    for block in list(output.findall(nodes.literal_block)):
        lines = len(block.astext().splitlines())
        if lines > LISTING:
            fold = CodeFold("", name=f"Source code of the package, {lines} lines")
            block.parent.replace(block, fold)
            fold += block


def section(node: nodes.Node) -> nodes.Node:
    """Return the section, solution or box that a cell stands in."""
    at = node.parent
    while at.parent is not None and not isinstance(at, nodes.section):
        at = at.parent
    return at


def join(waiting: list[tuple[Cell, str]], name: str) -> CodeFold:
    """Put the code of the waiting cells into one fold at the last of them."""
    fold = CodeFold("", name=NAMES[name])
    *before, (cell, _) = waiting
    code = cell.part("cell_code_source")
    assert code is not None
    cell.node.replace(code, fold)
    for earlier, _ in before:
        part = earlier.part("cell_code_source")
        earlier.node.parent.remove(earlier.node)
        fold += part
    fold += code
    return fold


def settle(
    waiting: list[tuple[Cell, str]], last: tuple[Cell, CodeFold] | None
) -> tuple[Cell, CodeFold] | None:
    """Give folded cells without an output to the fold before, or to one of their own."""
    if not waiting:
        return last
    if last and section(last[0].node) is section(waiting[0][0].node):
        for cell, _ in waiting:
            part = cell.part("cell_code_source")
            cell.node.parent.remove(cell.node)
            last[1].append(part)
        return last
    named = {name for _, name in waiting} - {"set-up"}
    return waiting[-1][0], join(waiting, named.pop() if len(named) == 1 else "set-up")


def soften(document: nodes.document) -> None:
    """Take out what only the book's makers need: hashes in names of runs, notes to tools."""
    for block in list(document.findall(nodes.literal_block)):
        text = block.astext()
        clean = ONCE.sub("1 epoch", LEAK.sub(r"\1", TOOL_NOTE.sub("", text)))
        if clean != text:
            block.children = [nodes.Text(clean)]
            block.children[0].parent = block
            block.rawsource = clean


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform and its node."""
    app.add_node(CodeFold, html=(visit_fold, depart_fold))
    app.add_post_transform(Folds)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
