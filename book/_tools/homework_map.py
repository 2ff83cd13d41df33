"""The map of the homework: its data file, what is wrong with it, and how questions are bound."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

BOOK = Path(__file__).resolve().parents[1]
FACTS = ("university", "course", "term", "homework", "repository", "commit", "file")
QUESTION_FIELDS = {"title", "chapter", "setting", "note", "items"}
ITEM_FIELDS = {"id", "asks", "section", "exercise", "chapter"}
BINDING_FIELDS = {"id", "section", "exercise"}
STATES = ("asked in an exercise", "answered in the text", "not answered yet", "planned")


@dataclass(frozen=True)
class Item:
    """One question of a sheet, the chapter it belongs to, and the labels that answer it."""

    name: str
    asks: str
    chapter: int
    section: str = ""
    exercise: str = ""


@dataclass(frozen=True)
class Question:
    """Some items of a sheet that share a setting; a note says what is odd about them."""

    title: str
    setting: str
    note: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Sheet:
    """One homework sheet: its key, where it was set and read, and its questions."""

    key: str
    facts: dict[str, str]
    questions: tuple[Question, ...]

    @property
    def items(self) -> list[Item]:
        """All items of the sheet, in its order."""
        return [item for question in self.questions for item in question.items]


@dataclass(frozen=True)
class Map:
    """The whole homework map: the paths of the chapters by number, and the sheets."""

    chapters: dict[int, str]
    sheets: tuple[Sheet, ...]

    @property
    def items(self) -> list[Item]:
        """All items of all sheets."""
        return [item for sheet in self.sheets for item in sheet.items]


@dataclass(frozen=True)
class Labels:
    """The labels that the written chapters define, and the numbers of these chapters."""

    sections: frozenset[str]
    exercises: frozenset[str]
    solutions: frozenset[str]
    written: frozenset[int]


def fields(entry: dict[str, Any], known: set[str], needed: set[str], where: str) -> None:
    """Raise ValueError if an entry has a field that is unknown, or lacks one."""
    for name in entry:
        if name not in known:
            allowed = ", ".join(sorted(known))
            raise ValueError(f"{where} has the unknown field {name!r}; allowed are {allowed}")
    for name in sorted(needed - set(entry)):
        raise ValueError(f"{where} lacks the field {name!r}")


def read_question(entry: dict[str, Any], key: str) -> Question:
    """Read one question of a sheet, its items with the chapter that they inherit."""
    where = f"question {entry.get('title')!r} of {key}"
    fields(entry, QUESTION_FIELDS, {"title", "chapter", "items"}, where)
    items = []
    for part in entry["items"]:
        fields(part, ITEM_FIELDS, {"id", "asks"}, f"an item of {where}")
        chapter = part.get("chapter", entry["chapter"])
        labels = part.get("section") or "", part.get("exercise") or ""
        items.append(Item(part["id"], part["asks"].strip(), chapter, *labels))
    texts = entry.get("setting", "").strip(), entry.get("note", "").strip()
    return Question(entry["title"], *texts, tuple(items))


def read(path: Path) -> Map:
    """Read the data file. Raises ValueError that names the entry with a wrong field."""
    data = yaml.safe_load(path.read_text(encoding="utf8"))
    sheets = []
    for key, entry in data["sheets"].items():
        fields(entry, {*FACTS, "questions"}, {*FACTS, "questions"}, f"sheet {key}")
        questions = tuple(read_question(question, key) for question in entry["questions"])
        sheets.append(Sheet(key, {name: entry[name] for name in FACTS}, questions))
    return Map(data["chapters"], tuple(sheets))


def labels_of(homework: Map, book: Path = BOOK) -> Labels:
    """Read the labels of all chapters' percent-scripts that exist."""
    sections, exercises, solutions, written = [], [], [], []
    for number, path in homework.chapters.items():
        script = book / f"{path}.py"
        if not script.exists():
            continue
        text = re.sub(r"^# ?", "", script.read_text(encoding="utf8"), flags=re.MULTILINE)
        exercise = r"\{exercise(?:-start)?\}[^\n]*\n(?::[^\n]*\n)*?:label:[ \t]*(\S+)"
        written.append(number)
        sections += re.findall(r"^\(([\w:.-]+)\)=[ \t]*$", text, re.MULTILINE)
        exercises += re.findall(exercise, text)
        solutions += re.findall(r"\{solution(?:-start)?\}[ \t]+(\S+)", text)
    words = frozenset(sections), frozenset(exercises), frozenset(solutions)
    return Labels(*words, frozenset(written))


def state(item: Item, labels: Labels) -> str:
    """Say how far the book is with one item: one of STATES."""
    if item.exercise or item.section:
        return STATES[0] if item.exercise else STATES[1]
    return STATES[2] if item.chapter in labels.written else STATES[3]


def binding_problems(item: Item, labels: Labels) -> Iterator[str]:
    """Yield what is wrong with the binding of one item."""
    name, written = item.name, item.chapter in labels.written
    if state(item, labels) == STATES[2]:
        yield f"{name} is bound to nothing, but its chapter {item.chapter} is written"
    if (item.section or item.exercise) and not written:
        yield f"{name} is bound, but its chapter {item.chapter} is not written"
    if item.section and item.section not in labels.sections:
        yield f"{name} is bound to the section {item.section!r}, which no chapter has"
    if item.exercise and item.exercise not in labels.exercises:
        yield f"{name} is bound to the exercise {item.exercise!r}, which no chapter has"
    elif item.exercise and item.exercise not in labels.solutions:
        yield f"{name} is bound to the exercise {item.exercise!r}, which has no solution"


def list_problems(homework: Map) -> Iterator[str]:
    """Yield what is wrong with the list: names, chapters, and what would tear a table."""
    names = Counter(item.name for item in homework.items)
    yield from (f"{name} stands {n} times" for name, n in names.items() if n > 1)
    for sheet in homework.sheets:
        for item in sheet.items:
            if not re.fullmatch(rf"{sheet.key}\.\w[\w.]*", item.name):
                yield f"{item.name} stands under {sheet.key}"
            if item.chapter not in homework.chapters:
                yield f"{item.name} belongs to chapter {item.chapter}, which has no path"
            if "|" in item.asks or "\n" in item.asks:
                yield f"{item.name} has a bar or a new line, which ends a cell of its table"


def problems(homework: Map, book: Path = BOOK) -> list[str]:
    """Return every fault of the map, one sentence each."""
    labels = labels_of(homework, book)
    bindings = (line for item in homework.items for line in binding_problems(item, labels))
    return [*list_problems(homework), *bindings]


def merged(text: str, bindings: list[dict[str, str]]) -> str:
    """Bind items in the text of the data file; each binding replaces what the item had.

    Raises ValueError for an id that the text does not have, an unknown field or no label.
    """
    for binding in bindings:
        fields(binding, BINDING_FIELDS, {"id"}, f"the binding of {binding.get('id')}")
        name, labels = binding["id"], {key: binding.get(key) for key in ("section", "exercise")}
        if not any(labels.values()):
            raise ValueError(f"the binding of {name} names neither a section nor an exercise")
        item = re.search(rf"^( *)- id: {re.escape(name)}\n(?:\1  .*\n)*", text, re.MULTILINE)
        if not item:
            raise ValueError(f"no question has the id {name!r}")
        old, indent = item[0], f"{item[1]}  "
        kept = re.sub(rf"^{indent}(?:section|exercise):.*\n", "", old, flags=re.MULTILINE)
        new = "".join(f"{indent}{key}: {label}\n" for key, label in labels.items() if label)
        text = text[: item.start()] + kept + new + text[item.end() :]
    return text
