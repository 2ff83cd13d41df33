"""The terms of the glossary, and a link to each where a chapter first uses it."""

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

GLOSSARY = Path(__file__).resolve().parents[1] / "glossary.md"
BLOCK = re.compile(r"^:::\{glossary\}\n(?::\w+:[^\n]*\n)*\n?(.*?)^:::$", re.DOTALL | re.MULTILINE)
# What holds no running text: links, roles, code, formulas.
HIDDEN = re.compile(r"(\{[\w:-]+\})?(`+)[^`]+\2|(?<!\\)\$[^$]+\$|!?\[[^\]]*\]\([^)]*\)|<[^>]+>")
FENCE = re.compile(r"^(:{3,}|`{3,})")
FOLD = re.compile(r"\{(?:exercise|solution)-(start|end)\}")


def entries(path: Path = GLOSSARY) -> list[list[str]]:
    """Return the names of each term of the glossary, as they stand there."""
    block = BLOCK.search(path.read_text(encoding="utf8"))
    if block is None:
        raise ValueError(f"{path} has no glossary")
    parts = re.split(r"\n\n+", block[1].strip())
    return [[line for line in part.splitlines() if not line.startswith(" ")] for part in parts]


def telling(name: str) -> bool:
    """Say whether a name means its term wherever it stands; a short word, as 'factor', may not."""
    return bool(re.search(r"[ \-A-Z]", name)) or len(name) > 10


@dataclass
class Linker:
    """Links the terms of one page where it first uses them."""

    names: list[list[str]]
    linked: set[int] = field(default_factory=set)
    folded: bool = False  # inside an exercise or a solution

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What finds any name, the longest first, also in the plural."""
        known = sorted((name for group in self.names for name in group), key=len)[::-1]
        words = "|".join(re.escape(name).replace(r"\ ", r"[ \-]") for name in known)
        return re.compile(rf"(?<![\w-])({words})(s?)(?![\w-])", re.IGNORECASE)

    @cached_property
    def groups(self) -> dict[str, tuple[int, str]]:
        """The entry of each name, and the name as the glossary writes it."""
        pairs = ((name, place) for place, group in enumerate(self.names) for name in group)
        return {name.lower().replace("-", " "): (place, name) for name, place in pairs}

    def cell(self, source: str) -> str:
        """Return a Markdown cell with its running text linked; boxes and exercises stay."""
        lines, fence, display = [], "", False
        for line in source.splitlines():
            opened = FENCE.match(line.strip())
            if mark := FOLD.search(line):
                self.folded = mark[1] == "start"
            if opened and not fence:
                fence = opened[1]
            elif opened and line.strip() == fence:
                fence = ""
            elif line.count("$$") % 2:
                display = not display
            elif not (fence or display or self.folded or re.match(r"[#|(%$]|\s*$|\*.*\*$", line)):
                line = self.line(line)
            lines.append(line)
        return "\n".join(lines)

    def line(self, line: str) -> str:
        """Return a line of running text with the first uses linked."""
        done, start = "", 0
        for hidden in HIDDEN.finditer(line):
            done += self.pattern.sub(self.link, line[start : hidden.start()]) + hidden[0]
            start = hidden.end()
        return done + self.pattern.sub(self.link, line[start:])

    def link(self, found: re.Match[str]) -> str:
        """Return the role that links a name, or the name itself if its term is linked already."""
        place, name = self.groups[found[1].lower().replace("-", " ")]
        around = found.string[found.start() - 1 : found.start()], found.string[found.end() :][:1]
        meant = telling(name) or around == ("*", "*")  # a chapter stresses what it introduces
        loud = name.upper() == name and found[1] != name  # "sap" is no SAP
        if place in self.linked or loud or not meant:
            return found[0]
        self.linked.add(place)
        return f"{{term}}`{found[0]} <{name}>`"
