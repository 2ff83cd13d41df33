"""Make the homework page of the book from its data file, bind questions, or check both.

python book/_tools/homework.py                write book/homework.md
python book/_tools/homework.py --merge FILE   first bind what FILE lists: {id, section, exercise}
python book/_tools/homework.py --check        exit 1 and say why, if the map or page is wrong
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import yaml

from homework_map import (
    BOOK,
    STATES,
    Item,
    Labels,
    Map,
    Sheet,
    labels_of,
    merged,
    problems,
    read,
    state,
)

INTRODUCTION = """\
<!-- Made by book/_tools/homework.py from book/homework.yml. Edit that file, not this one. -->

# Where each homework question is answered

This book covers nine homework sheets of three university courses.
The tables have {counts}.
Every question stands below, sheet by sheet, in the sheet's own order, in our words.
With a sheet in hand, find its number: the row links to the exercise that asks the question,
where its solution is folded, and to the section with what it needs.

A name is the sheet's key, a point, and the number on the sheet.
The two notebooks of S number nothing: there V and M count the steps.
A name that ends in R is on no sheet, only in a solution's read-me or the course's syllabus.
A note under a title says where a premise fails or the print misleads; the solutions say more.
Where a question is planned, the number of its chapter is that of the plan of the whole book.
"""


def row(item: Item, homework: Map, labels: Labels) -> str:
    """Return an item's line of the table."""
    section = f"{{ref}}`{item.section}`" if item.section in labels.sections else ""
    answer = f"{{ref}}`{item.exercise}`" if item.exercise in labels.solutions else "in the text"
    if not section and answer == "in the text":
        known = f"chapter {item.chapter}, `{homework.chapters[item.chapter]}`"
        answer = f"{'not yet' if item.chapter in labels.written else 'planned'}: {known}"
    return f"| {item.name} | {item.asks} | {answer} | {section} |"


def counted(items: list[Item], labels: Labels) -> str:
    """Say how many questions there are, and in which states."""
    states = Counter(state(item, labels) for item in items)
    parts = ", ".join(f"{states[one]} {one}" for one in STATES if states[one])
    return f"{len(items)} questions: {parts}"


def head(sheet: Sheet, labels: Labels) -> str:
    """Return the title of a sheet, where it was read and how far the book is with it."""
    facts = sheet.facts
    title = ", ".join(facts[name] for name in ("university", "course", "term", "homework"))
    link = f"[{facts['repository']}](https://github.com/{facts['repository']})"
    where = f"`{facts['file']}` in the public repository {link}, commit `{facts['commit']}`"
    return f"## {sheet.key}: {title}\n\n{counted(sheet.items, labels)}.\nRead from {where}.\n"


def page(homework: Map, book: Path = BOOK) -> str:
    """Return the text of the homework page."""
    labels = labels_of(homework, book)
    parts = [INTRODUCTION.format(counts=counted(homework.items, labels))]
    for sheet in homework.sheets:
        parts.append(head(sheet, labels))
        for question in sheet.questions:
            parts.append(f"### {sheet.key}, {question.title}\n")
            parts += [f"{question.setting}\n"] if question.setting else []
            parts += [f"*Note.* {question.note}\n"] if question.note else []
            parts.append("| name | question | answer | section |\n| :-- | :-- | :-- | :-- |")
            parts += [row(item, homework, labels) for item in question.items] + [""]
    return "\n".join(parts)


def main(arguments: list[str] | None = None, book: Path = BOOK) -> int:
    """Run the command line on a book's folder; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, only compare")
    parser.add_argument("--merge", nargs="+", default=[], type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    source, target = book / "homework.yml", book / "homework.md"
    try:
        for path in options.merge:
            bindings = yaml.safe_load(path.read_text(encoding="utf8")) or []
            changed = merged(source.read_text(encoding="utf8"), bindings)
            source.write_text(changed, encoding="utf8")
        homework = read(source)
    except (OSError, ValueError, yaml.YAMLError) as error:
        print(f"{path if options.merge else 'book/homework.yml'}: {error}")
        return 1
    found, text = problems(homework, book), page(homework, book)
    if not options.check:
        target.write_text(text, encoding="utf8")
    elif not target.exists() or target.read_text(encoding="utf8") != text:
        found.append("book/homework.md is out of step: run python book/_tools/homework.py")
    print(
        *found,
        f"book/homework.yml: {counted(homework.items, labels_of(homework, book))}",
        sep="\n",
    )
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
