"""What the built pages call each labelled thing: "Theorem 1.1", "(1.2)", a heading's text."""

from dataclasses import dataclass
from pathlib import Path

import yaml
from bs4 import BeautifulSoup, Tag
from docutils.nodes import make_id

ROOT = Path(__file__).resolve().parents[2]


class Unknown(ValueError):
    """A label, role or directive that has no translation into plain Markdown."""


@dataclass(frozen=True)
class Place:
    """A labelled thing: the text that refers to it, its title, its page and its anchor."""

    text: str
    title: str
    page: str
    anchor: str


@dataclass(frozen=True)
class Repository:
    """Where the book lives, as `_config.yml` says."""

    url: str
    branch: str
    macros: dict[str, str | list]

    @classmethod
    def read(cls, config: Path = ROOT / "_config.yml") -> "Repository":
        """Read the one place that names the repository."""
        book = yaml.safe_load(config.read_text(encoding="utf8"))
        mathjax = book["sphinx"]["config"]["mathjax3_config"]
        repository = book["repository"]
        return cls(repository["url"], repository["branch"], mathjax["tex"]["macros"])

    @property
    def owner_and_name(self) -> tuple[str, str]:
        """Return the last two parts of the address."""
        owner, name = self.url.rstrip("/").split("/")[-2:]
        return owner, name

    def page(self, page: str, anchor: str = "") -> str:
        """Return the address of a page of the hosted book."""
        owner, name = self.owner_and_name
        return f"https://{owner}.github.io/{name}/{page}.html" + (f"#{anchor}" if anchor else "")

    def raw(self, path: str) -> str:
        """Return the address of a file's bytes."""
        owner, name = self.owner_and_name
        return f"https://raw.githubusercontent.com/{owner}/{name}/{self.branch}/{path}"


class Places:
    """All labelled things of a built book, by label."""

    def __init__(self, html: Path) -> None:
        self.by_anchor: dict[str, Place] = {}
        self.pages: dict[str, str] = {}
        self.terms: dict[str, Place] = {}
        self.numbers: dict[str, list[str]] = {}  # of each page's headings, in order
        if not (html / "book").is_dir():
            raise FileNotFoundError(f"no built book in {html}: run `make book` first")
        for path in sorted((html / "book").rglob("*.html")):
            page = path.relative_to(html).with_suffix("").as_posix()
            soup = BeautifulSoup(path.read_text(encoding="utf8"), "html.parser")
            article = soup.find("article") or soup
            self._read_numbers(article, page)
            self._read_headings(article, page)
            for name in article.select("dl.glossary dt[id]"):
                text = name.get_text().strip().strip("#")
                self.terms[text.lower()] = Place(text, text, page, str(name["id"]))

    def _read_numbers(self, article: Tag, page: str) -> None:
        for mark in article.select(".caption-number, .eqno"):
            owner = mark.find_parent(id=True)
            if owner is None:
                continue
            anchor = str(owner["id"])
            text = mark.get_text().replace("#", "").strip()
            title = mark.parent.get_text() if mark.parent else ""
            title = title.replace(mark.get_text(), "").strip().strip("#").strip()
            self.by_anchor[anchor] = Place(text, title, page, anchor)

    def _read_headings(self, article: Tag, page: str) -> None:
        for heading in article.select("h1, h2, h3, h4"):
            number = heading.select_one(".section-number")
            self.numbers.setdefault(page, []).append(number.get_text().strip() if number else "")
            for part in heading.select(".section-number, .headerlink"):
                part.decompose()
            text = heading.get_text().strip()
            if heading.name == "h1":
                self.pages.setdefault(page, text)
            section = heading.find_parent("section", id=True)
            if section is None:
                continue
            marks = [section, *section.find_all("span", id=True, recursive=False)]
            for anchor in (str(mark["id"]) for mark in marks):
                self.by_anchor.setdefault(anchor, Place(text, text, page, anchor))

    def __getitem__(self, label: str) -> Place:
        """Return the thing with this label, or raise Unknown."""
        for anchor in (f"equation-{make_id(label)}", label, make_id(label)):
            if anchor in self.by_anchor:
                return self.by_anchor[anchor]
        raise Unknown(f"no page of the book has the label {label!r}")
