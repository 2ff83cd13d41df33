"""Make the homework page of the book from its data file, or check both.

python book/_tools/homework.py            write book/homework.md
python book/_tools/homework.py --check    exit 1 and say why, if the map or page is wrong
"""

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

BOOK = Path(__file__).resolve().parents[1]
SOURCE_FIELDS = {"university", "course", "term", "homework", "items"}
CHAPTER_FIELDS = {"number", "path", "tags", "items"}
ITEM_FIELDS = {"ids", "item", "section", "exercise"}
INTRODUCTION = """\
<!-- Made by book/_tools/homework.py from book/homework.yml. Edit that file, not this one. -->

# Where each homework item is answered

This book covers the homework of several university courses.
The tables below say where each item is answered.
The wording and the numbering of the items are ours: each homework is broken into its parts,
in the order of the book's chapters.
Some chapters serve several homeworks, and we do not know which of them asks which part.
Such a part stands under each of them, so a table can hold more than its homework asked.
One case is known better: homework 1 of K. N. Toosi University has the five items K1.1 to K1.5;
K1.6 continues K1.4.

An item is **bound** when its chapter is written: it then links to the section that answers it
and to an exercise with its solution.
All other items are planned, and chapter numbers are those of the plan of the whole book.
"""


@dataclass(frozen=True)
class Item:
    """One part of a homework, with the labels of the section and exercise that cover it."""

    ids: tuple[str, ...]
    text: str
    section: str | None
    exercise: str | None


@dataclass(frozen=True)
class Chapter:
    """One chapter of the book's plan; `tags` name the homeworks that it must cover."""

    number: int
    path: str
    tags: tuple[str, ...]
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Map:
    """The whole homework map: the sources by tag, and the chapters in their order."""

    sources: dict[str, dict[str, Any]]
    chapters: tuple[Chapter, ...]


@dataclass(frozen=True)
class Labels:
    """The labels that a chapter's script defines."""

    sections: frozenset[str]
    exercises: frozenset[str]
    solutions: frozenset[str]


def fields(entry: dict[str, Any], known: set[str], optional: set[str], where: str) -> None:
    """Raise ValueError if an entry has a field that is unknown, or lacks one."""
    for name in entry:
        if name not in known:
            allowed = ", ".join(sorted(known))
            raise ValueError(f"{where} has the unknown field {name!r}; allowed are {allowed}")
    for name in sorted(known - optional - set(entry)):
        raise ValueError(f"{where} lacks the field {name!r}")


def read(path: Path) -> Map:
    """Read the data file. Raises ValueError that names the entry with a wrong field."""
    data = yaml.safe_load(path.read_text(encoding="utf8"))
    for tag, source in data["sources"].items():
        fields(source, SOURCE_FIELDS, set(), f"source {tag}")
    chapters = []
    for entry in data["chapters"]:
        where = f"chapter {entry.get('number')}"
        fields(entry, CHAPTER_FIELDS, set(), where)
        items = []
        for part in entry["items"]:
            fields(part, ITEM_FIELDS, {"section", "exercise"}, f"an item of {where}")
            for name in part["ids"]:
                if not re.fullmatch(rf"({'|'.join(data['sources'])})\.\d+", name):
                    allowed = ", ".join(data["sources"])
                    raise ValueError(
                        f"{where} has the id {name!r}; its source is one of {allowed}"
                    )
            labels = part.get("section"), part.get("exercise")
            items.append(Item(tuple(part["ids"]), part["item"].strip(), *labels))
        tags = tuple(entry["tags"])
        chapters.append(Chapter(entry["number"], entry["path"], tags, tuple(items)))
    return Map(data["sources"], tuple(chapters))


def labels_of(chapter: Chapter, book: Path = BOOK) -> Labels | None:
    """Return the labels of a chapter's percent-script, or None if it is not written."""
    script = book / f"{chapter.path}.py"
    if not script.exists():
        return None
    text = re.sub(r"^# ?", "", script.read_text(encoding="utf8"), flags=re.MULTILINE)
    exercise = r"\{exercise(?:-start)?\}[^\n]*\n(?::[^\n]*\n)*?:label:[ \t]*(\S+)"
    return Labels(
        sections=frozenset(re.findall(r"^\(([\w:.-]+)\)=[ \t]*$", text, re.MULTILINE)),
        exercises=frozenset(re.findall(exercise, text)),
        solutions=frozenset(re.findall(r"\{solution(?:-start)?\}[ \t]+(\S+)", text)),
    )


def binding_problems(item: Item, chapter: Chapter, labels: Labels | None) -> Iterator[str]:
    """Yield what is wrong with the binding of one item."""
    name, script = item.ids[0], f"book/{chapter.path}.py"
    if labels is None:
        if item.section or item.exercise:
            yield f"{name} is bound, but its chapter {script} does not exist"
        return
    if not item.section:
        yield f"{name} is bound to no section, but its chapter {script} is written"
    elif item.section not in labels.sections:
        yield f"{name} is bound to the section {item.section!r}, which {script} does not have"
    if item.exercise and item.exercise not in labels.exercises:
        yield f"{name} is bound to the exercise {item.exercise!r}, which {script} does not have"
    elif item.exercise and item.exercise not in labels.solutions:
        yield f"{name} is bound to the exercise {item.exercise!r}, which has no solution"


def list_problems(homework: Map) -> Iterator[str]:
    """Yield what is wrong with the list: an item, a tag or a chapter that is missing."""
    numbers = [chapter.number for chapter in homework.chapters]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"the chapters are not numbered 1, 2, 3, ...: {numbers}"
    counts = dict.fromkeys(homework.sources, 0)
    for chapter in homework.chapters:
        covered = set()
        for name in (name for item in chapter.items for name in item.ids):
            tag = name.split(".")[0]
            if tag not in chapter.tags:
                yield f"{name} stands in chapter {chapter.number}, whose tags are {chapter.tags}"
                continue
            covered.add(tag)
            counts[tag] += 1
            if name != f"{tag}.{counts[tag]}":
                yield f"{name} stands where {tag}.{counts[tag]} is due: an item is missing"
                counts[tag] = int(name.split(".")[1])
        for tag in chapter.tags:
            if tag not in covered:
                yield f"chapter {chapter.number} has the tag {tag}, but no item of {tag}"
    for tag, source in homework.sources.items():
        if counts[tag] != source["items"]:
            yield f"{tag} has {counts[tag]} items, and should have {source['items']}"


def problems(homework: Map, book: Path = BOOK) -> list[str]:
    """Return every fault of the map, one sentence each."""
    found = list(list_problems(homework))
    for chapter in homework.chapters:
        labels = labels_of(chapter, book)
        for item in chapter.items:
            found.extend(binding_problems(item, chapter, labels))
    return found


def row(name: str, item: Item, chapter: Chapter, labels: Labels | None) -> str:
    """Return an item's line of the table."""
    where, exercise = f"planned, chapter {chapter.number} `{chapter.path}`", ""
    if item.section and labels and not list(binding_problems(item, chapter, labels)):
        where = f"{{ref}}`{item.section}`"
        exercise = f"{{ref}}`{item.exercise}`" if item.exercise else "in the text"
    return f"| {name} | {item.text} | {where} | {exercise} |"


def page(homework: Map, book: Path = BOOK) -> str:
    """Return the text of the homework page."""
    rows: dict[str, list[str]] = {tag: [] for tag in homework.sources}
    for chapter in homework.chapters:
        labels = labels_of(chapter, book)
        for item in chapter.items:
            for name in item.ids:
                rows[name.split(".")[0]].append(row(name, item, chapter, labels))
    parts = [INTRODUCTION]
    for tag, source in homework.sources.items():
        bound = sum("{ref}" in line for line in rows[tag])
        known = (source[key] for key in ("university", "course") if source[key] != "not named")
        term = "" if source["term"] == "not named" else f", {source['term']}"
        title = ", ".join(known) or "A course"
        parts += [
            f"## {tag}: {title}, {source['homework']}{term}\n",
            f"{len(rows[tag])} items, {bound} of them bound.\n",
            "| item | what it asks | where | exercise |\n| :-- | :-- | :-- | :-- |",
            "\n".join(rows[tag]) + "\n",
        ]
    return "\n".join(parts)


def main(arguments: list[str] | None = None, book: Path = BOOK) -> int:
    """Run the command line on a book's folder; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, only compare")
    options = parser.parse_args(arguments)
    try:
        homework = read(book / "homework.yml")
    except ValueError as error:
        print(f"book/homework.yml: {error}")
        return 1
    target = book / "homework.md"
    found, text = problems(homework, book), page(homework, book)
    if not options.check:
        target.write_text(text, encoding="utf8")
    elif not target.exists() or target.read_text(encoding="utf8") != text:
        found.append("book/homework.md is out of step: run python book/_tools/homework.py")
    print("\n".join(found) or "book/homework.md: in step")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
