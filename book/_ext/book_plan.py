"""A chapter's number is that of the plan, so it stays when the chapters before it arrive."""

from collections.abc import Callable
from pathlib import Path

import yaml
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx_external_toc.collectors import TocTreeCollectorWithStyles as Collector

Assign = Callable[[Collector, BuildEnvironment], list[str]]


def plan(book: Path) -> dict[str, int]:
    """Return the number of each chapter, written or planned: {"book/latent/vae": 9}."""
    chapters = yaml.safe_load((book / "homework.yml").read_text(encoding="utf8"))["chapters"]
    if isinstance(chapters, list):
        chapters = {chapter["number"]: chapter["path"] for chapter in chapters}
    return {f"book/{path}": number for number, path in chapters.items()}


def renumber(env: BuildEnvironment, page: str, number: int) -> None:
    """Put a chapter's number before those of its sections, in the contents and in its title."""
    sections = env.toc_secnumbers[page]
    for anchor, places in sections.items():
        sections[anchor] = places and (number, *places[1:])
    for node in (env.titles[page], *env.tocs[page].findall()):
        if places := getattr(node, "attributes", {}).get("secnumber"):
            node["secnumber"] = [number, *places[1:]]


def as_planned(assign: Assign, numbers: dict[str, int]) -> Assign:
    """Return a way to assign section numbers that takes the chapters' from the plan.

    Figures, equations, theorems and exercises are numbered after it, by what it assigns.
    """

    def numbered(collector: Collector, env: BuildEnvironment) -> list[str]:
        before = env.toc_secnumbers
        assign(collector, env)
        for page in env.toc_secnumbers.keys() & numbers.keys():
            renumber(env, page, numbers[page])
        return [page for page, own in env.toc_secnumbers.items() if own != before.get(page)]

    return numbered


def follow_the_plan(app: Sphinx) -> None:
    """Number by the plan, once all extensions have put their own way of numbering in place."""
    numbers = plan(Path(app.srcdir) / "book")
    assign = Collector.assign_section_numbers
    Collector.assign_section_numbers = as_planned(assign, numbers)  # type: ignore


def setup(app: Sphinx) -> None:
    """Register the handler."""
    app.connect("builder-inited", follow_the_plan)
