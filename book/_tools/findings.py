"""Make the page on what libraries really do from the heads of the scripts in findings/.

python book/_tools/findings.py            write book/findings.md
python book/_tools/findings.py --check    exit 1 and say why, if a head or the page is wrong
"""

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import homework_map

ROOT = Path(__file__).resolve().parents[2]
KEYS = ("title", "chapter", "package", "guess", "behaviour", "hurts", "safe", "seen")
PIN = re.compile(r"[\w.-]+==[\w.]+")
INTRODUCTION = """\
<!-- Made by book/_tools/findings.py from the scripts in findings/. Edit them, not this page. -->

# What libraries really do

Good libraries sometimes do what a careful user would not have bet.
They do it on valid input, and mostly in silence.
This page lists what we met on the way through this book, and how to stay safe.
A line **You would bet** was written down before we looked.
Each entry is a script that installs the pinned versions, shows the behaviour without our package,
and fails when the library has changed; `make findings` runs them all.

| chapter | what to know there |
| :-- | :-- |
"""


class FindingError(ValueError):
    """A script whose head lacks a key, has one too much, or names what does not exist."""


@dataclass(frozen=True)
class Finding:
    """One behaviour of a library: the head of its script; texts are lists of sentences."""

    name: str
    title: str
    chapters: tuple[str, ...]
    packages: tuple[str, ...]
    texts: dict[str, str]


def head_of(script: Path) -> dict[str, str]:
    """Return the head's texts by key. A line that begins with two spaces continues a text."""
    found: dict[str, str] = {}
    key = ""
    for line in script.read_text(encoding="utf8").splitlines()[1:]:
        if not line.startswith("#"):
            break
        start = re.fullmatch(r"# (\w+): (.+)", line)
        if start and start[1] not in found:
            key = start[1]
            found[key] = start[2]
        elif key and line.startswith("#   "):
            found[key] += "\n" + line[4:].strip()
        else:
            raise FindingError(f"{script.name}: the head has the wrong line {line!r}")
    if tuple(found) != KEYS:
        raise FindingError(f"{script.name}: the head has {list(found)}, not {list(KEYS)}")
    return found


def read(script: Path, chapters: tuple[str, ...]) -> Finding:
    """Read one script; `chapters` are the book's, in order. Raises FindingError."""
    head = head_of(script)
    named = head["chapter"].split(", ")
    for chapter in named:
        if chapter not in chapters:
            raise FindingError(f"{script.name}: the book has and plans no chapter {chapter!r}")
    packages = tuple(head["package"].split(", "))
    for package in packages:
        if not PIN.fullmatch(package):
            raise FindingError(f"{script.name}: {package!r} is no package pinned with ==")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", head["seen"]):
        raise FindingError(f"{script.name}: {head['seen']!r} is no date like 2026-01-31")
    ordered = tuple(sorted(named, key=chapters.index))
    return Finding(script.stem, head["title"], ordered, packages, head)


def plan_of(root: Path = ROOT) -> tuple[str, ...]:
    """Return the paths of the book's chapters, written or planned, in order."""
    return tuple(homework_map.read(root / "book/homework.yml").chapters.values())


def scripts(root: Path = ROOT) -> list[Path]:
    """Return the scripts of the folder, without the one that runs them."""
    return [path for path in sorted((root / "findings").glob("*.sh")) if path.stem != "run"]


def section(finding: Finding) -> str:
    """Return a finding's part of the page."""
    versions = ", ".join(package.replace("==", " ") for package in finding.packages)
    texts = finding.texts
    return "\n\n".join(
        (
            f"(finding-{finding.name})=\n## {finding.title}",
            f"**You would bet:** {texts['guess']}",
            f"**What happens:** {texts['behaviour']}",
            f"**Who gets hurt:** {texts['hurts']}",
            f"**How to stay safe:** {texts['safe']}",
            f"Seen on {texts['seen']} with {versions}: `findings/{finding.name}.sh`.",
        )
    )


def page(root: Path = ROOT) -> str:
    """Return the text of the page. Raises FindingError for a wrong head."""
    plan = plan_of(root)
    found = [read(script, plan) for script in scripts(root)]
    found.sort(key=lambda finding: (plan.index(finding.chapters[0]), finding.name))
    rows = []
    for chapter in plan:
        links = [f"{{ref}}`finding-{f.name}`" for f in found if chapter in f.chapters]
        written = (root / f"book/{chapter}.py").exists()
        where = f"{{doc}}`{chapter}`" if written else f"`{chapter}` (planned)"
        if links:
            rows.append(f"| {where} | {'; '.join(links)} |")
    table = INTRODUCTION + "\n".join(rows)
    return "\n\n".join([table, *(section(finding) for finding in found)]) + "\n"


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, only compare")
    options = parser.parse_args(arguments)
    target = root / "book/findings.md"
    try:
        text = page(root)
    except FindingError as error:
        print(error)
        return 1
    if not options.check:
        target.write_text(text, encoding="utf8")
    elif not target.exists() or target.read_text(encoding="utf8") != text:
        print("book/findings.md is out of step: run python book/_tools/findings.py")
        return 1
    print("book/findings.md: in step")
    return 0


if __name__ == "__main__":
    sys.exit(main())
