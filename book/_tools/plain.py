"""Translate a chapter's MyST Markdown into the plain Markdown that every notebook shows."""

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import blocks
import citations
import formulas
from blocks import Directive
from places import ROOT, Place, Places, Repository, Unknown

ROLE = re.compile(r"\{(?P<name>[a-z][\w:]*)\}`(?P<text>[^`]+)`")
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]\[]*)\]\((?P<target>[^)\s]+)\)")
ENVIRONMENT = re.compile(r"^\\begin\{(\w+\*?)\}")
MATH = re.compile(r"(?<!\\)\$[^$]+\$")
HEADING = re.compile(r"^(?P<level>#{1,4}) (?P<text>.+)")
LABEL = re.compile(r"^\((?P<label>[^)\s]+)\)=\s*$")
BOXES = ["note", "tip", "hint", "important", "warning", "caution", "danger", "seealso"]
CODE = re.compile(r"(?<!\})(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")


@dataclass
class Plain:
    """A translator for one page: knows the book's numbers and the page's glued values."""

    page: str  # "book/latent/vae"
    places: Places
    repository: Repository
    glued: dict[str, str]
    cited: list[str] = field(default_factory=list)
    headings: int = 0  # met so far

    def cell(self, source: str) -> str:
        """Return a Markdown cell without any directive, role or label."""
        text = self._blocks(source.splitlines())
        text = blocks.balance(text)
        return re.sub(r"\n{3,}", "\n\n", text).strip()

    def _blocks(self, lines: list[str]) -> str:
        done: list[str] = []
        rest = list(lines)
        while rest:
            line = rest.pop(0)
            fence = blocks.FENCE.match(line)
            if fence and fence["fence"]:
                body = blocks.take_until(rest, fence["fence"])
                if fence["name"]:
                    done += ["", self._directive(blocks.parse(fence, body)), ""]
                else:
                    done += [line, *body, fence["fence"]]
            elif line.strip() == "$$" or (line.startswith("$$") and line.count("$$") == 1):
                done.append(self._display([line, *blocks.take_display(rest, "$$")]))
            elif match := ENVIRONMENT.match(line):
                body = blocks.take_display(rest, f"\\end{{{match[1]}}}")
                done.append(self._formula("\n".join([line, *body]), ""))
            else:
                done.append(self._line(line))
        return "\n".join(done)

    def _line(self, line: str) -> str:
        if line.startswith(("% ", "+++")):
            return ""
        if match := LABEL.match(line):
            return blocks.anchor(match["label"]) + "\n"
        if match := HEADING.match(line):
            return f"{match['level']} {self._number()}{self.inline(match['text'])}"
        if line.startswith("$$"):
            return self._display([line])
        return self.inline(line)

    def _number(self) -> str:
        numbers, self.headings = self.places.numbers[self.page], self.headings + 1
        return (numbers[self.headings - 1] + " ").lstrip()

    def _display(self, lines: list[str]) -> str:
        text = "\n".join(lines)
        formula, _, label = text.strip().removeprefix("$$").rpartition("$$")
        match = re.match(r"\s*\(([^)]+)\)", label)
        return self._formula(formula, match[1] if match else "")

    def _formula(self, formula: str, label: str) -> str:
        tag = f" \\tag{{{self.places[label].text.strip('()')}}}" if label else ""
        head = blocks.anchor(f"equation-{label}") + "\n\n" if label else ""
        return f"{head}$$\n{formulas.expand_all(formula.strip(), self.repository.macros)}{tag}\n$$"

    def inline(self, text: str) -> str:
        """Return text with its roles, links, footnotes and macros made plain."""
        hidden: list[str] = []

        def hide(match: re.Match[str]) -> str:
            is_math = match[0].startswith("$")
            macros = self.repository.macros if is_math else {}
            hidden.append(formulas.expand_all(match[0], macros))
            return f"\0{len(hidden) - 1}\0"

        text = ROLE.sub(lambda match: self._role(match["name"], match["text"]), text)
        text = MATH.sub(hide, CODE.sub(hide, text))
        text = LINK.sub(lambda match: self._link(match["text"], match["target"]), text)
        text = re.sub(r"^\[\^(\w+)\]:", r"<sup>\1</sup>", text)
        text = re.sub(r"\[\^(\w+)\]", r"<sup>\1</sup>", text)
        return re.sub(r"\0(\d+)\0", lambda match: hidden[int(match[1])], text)

    def _role(self, name: str, text: str) -> str:
        if name in ("cite", "cite:p", "cite:t"):
            keys = [key.strip() for key in text.split(",")]
            self.cited += [key for key in keys if key not in self.cited]
            return citations.inline(keys, in_text=name == "cite:t")
        if name.startswith("glue"):
            return self._glue(text)
        if name == "math":
            return f"${text}$"
        shown, target = blocks.split_target(text)
        if name == "doc":
            page = posixpath.normpath(posixpath.join(posixpath.dirname(self.page), target))
            return f"[{shown or self._title(page)}]({self.repository.page(page)})"
        if name == "term" and target.lower() in self.places.terms:
            return self._refer(self.places.terms[target.lower()], shown)
        if name in ("ref", "prf:ref", "eq", "numref"):
            return self._refer(self.places[target], shown)
        raise Unknown(f"no plain form of the role {{{name}}} is known")

    def _title(self, page: str) -> str:
        if page not in self.places.pages:
            raise Unknown(f"the book has no page {page!r}")
        return self.places.pages[page]

    def _glue(self, text: str) -> str:
        key, _, form = text.partition(":")
        if key not in self.glued:
            raise Unknown(f"the notebook glues no value named {key!r}")
        value = self.glued[key].strip("'\"")
        return format(float(value), form) if form else value

    def _refer(self, place: Place, shown: str) -> str:
        here = place.page == self.page
        link = f"#{place.anchor}" if here else self.repository.page(place.page, place.anchor)
        if "%s" in shown:
            shown = shown.replace("%s", place.text.split()[-1])
        return f"[{shown or place.text}]({link})"

    def _link(self, text: str, target: str) -> str:
        if re.match(r"[a-z]+:", target):
            return f"[{text}]({target})"
        path, _, anchor = target.partition("#")
        if not path:
            return self._refer(self.places[anchor], text)
        page = posixpath.normpath(posixpath.join(posixpath.dirname(self.page), path))
        return f"[{text}]({self.repository.page(posixpath.splitext(page)[0], anchor)})"

    def _directive(self, given: Directive) -> str:
        name = given.name
        if name.startswith("prf:"):
            return self._theorem(given)
        if name in ("admonition", "margin", "dropdown", "tab-item", *BOXES):
            return self._box(given)
        forms: dict[str, Callable[[Directive], str]] = {
            "math": lambda d: self._formula("\n".join(d.lines), d.options.get("label", "")),
            "exercise": self._exercise,
            "exercise-start": self._exercise,
            "solution": self._solution,
            "solution-start": self._solution,
            "exercise-end": lambda d: "",
            "solution-end": lambda d: "</details>",
            "bibliography": lambda d: citations.listing(self.cited),
            "figure": self._figure,
            "literalinclude": self._include,
            "code-block": lambda d: "\n".join([f"```{d.title}", *d.lines, "```"]),
        }
        if name not in forms:
            raise Unknown(f"no plain form of the directive {{{name}}} is known")
        return forms[name](given)

    def _theorem(self, given: Directive) -> str:
        body = self._blocks(given.lines).strip()
        if given.name == "prf:proof":
            return f"*Proof.* {body} $\\square$"
        label = given.options.get("label", "")
        number = self.places[label].text
        title = f" ({self.inline(given.title)})" if given.title else ""
        return f"{blocks.anchor(label)}\n\n**{number}{title}.** {body}"

    def _box(self, given: Directive) -> str:
        title = self.inline(given.title) if given.title else given.name.capitalize()
        body = self._blocks(given.lines).strip()
        return "\n".join(f"> {line}".rstrip() for line in f"**{title}**\n\n{body}".split("\n"))

    def _exercise(self, given: Directive) -> str:
        label = given.options["label"]
        title = f" ({self.inline(given.title)})" if given.title else ""
        body = self._blocks(given.lines)
        return f"{blocks.anchor(label)}\n\n**{self.places[label].text}{title}**\n\n{body}"

    def _solution(self, given: Directive) -> str:
        exercise = self.places[given.title.strip()].text
        head = f"<details>\n<summary>Solution to {exercise}</summary>"
        if given.name == "solution-start":
            return head  # `cell` closes it at the end of the cell
        return f"{head}\n\n{self._blocks(given.lines)}\n\n</details>"

    def _figure(self, given: Directive) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(self.page), given.title))
        image = f"![{given.options.get('alt', '')}]({self.repository.raw(path)})"
        return f"{image}\n\n{self.caption(given.options.get('name', ''), given.lines)}"

    def caption(self, label: str, lines: list[str]) -> str:
        """Return a figure's caption, with its number if it has a label."""
        number = f"**{self.places[label].text}.** " if label else ""
        return (
            (blocks.anchor(label) + "\n\n" if label else "") + number + self._blocks(lines).strip()
        )

    def _include(self, given: Directive) -> str:
        path = ROOT / posixpath.dirname(self.page) / given.title
        lines = Path(path).read_text(encoding="utf8").splitlines()
        first, _, last = given.options.get("lines", f"1-{len(lines)}").partition("-")
        return "\n".join(["```python", *lines[int(first) - 1 : int(last or first)], "```"])
