"""Print the built book, or some of its pages, into one PDF by Chromium.

python book/_tools/pdf.py _build/html _build/book.pdf
python book/_tools/pdf.py _build/html a.pdf --pages book/latent/vae --solutions --code
"""

import argparse
import re
import shutil
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path, PurePosixPath

import yaml
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARTICLE = re.compile(r'<article class="bd-article"[^>]*>(.*)</article>', re.DOTALL)
HEAD = re.compile(r"<head>(.*?)</head>", re.DOTALL)
TITLE = re.compile(r"<h1>(.*?)<a class=\"headerlink\"", re.DOTALL)
LINK = re.compile(r' (href|src|id|for|aria-labelledby)="([^"]*)"')
PAPER = {"width": 690, "height": 1000}  # CSS pixels between the margins of A4
FOOT = (
    '<div style="font:9px sans-serif;width:100%;text-align:center">'
    '<span class="pageNumber"></span></div>'
)
COUNT = re.compile(rb"/Type\s*/Page\b")
STYLE = """<style>
section.chapter { break-before: page; }
.book-contents { list-style: none; padding: 0; }
.book-contents li { display: flex; gap: 1em; }
.book-contents a { flex: 1; }
.book-title { padding-top: 30vh; text-align: center; }
</style>"""


def in_order() -> list[str]:
    """Return the book's pages as its table of contents lists them."""

    def of(entry: dict) -> Iterator[str]:
        yield from filter(None, [entry.get("root"), entry.get("file")])
        for key in ("parts", "chapters", "sections"):
            for part in entry.get(key, []):
                yield from of(part)

    return list(of(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf8"))))


def anchor(page: str, name: str = "") -> str:
    """Return the anchor of a place of a page in the whole book."""
    return f"{page.replace('/', '-')}--{name}" if name else page.replace("/", "-")


def moved(html: str, page: str, pages: list[str]) -> str:
    """Return an article with its addresses as they are from the top of the built book."""

    def turn(found: re.Match[str]) -> str:
        kind, value = found.groups()
        if kind not in ("href", "src"):
            return f' {kind}="{anchor(page, value)}"'
        if re.match(r"\w+:", value):
            return found[0]
        path, _, name = value.partition("#")
        parts: list[str] = list(PurePosixPath(page).parent.parts) if path else []
        for part in PurePosixPath(path).parts:
            parts = parts[:-1] if part == ".." else [*parts, part]
        target = "/".join(parts).removesuffix(".html") if path else page
        if target in pages:
            return f' {kind}="#{anchor(target, name)}"'
        return f' {kind}="{"/".join(parts)}{"#" * bool(name)}{name}"'

    return LINK.sub(turn, html)


def assemble(built: Path, pages: list[str], numbers: dict[str, int]) -> str:
    """Return one page that holds the title, the contents and every article."""
    articles, rows, head = [], [], ""
    for page in pages:
        text = (built / f"{page}.html").read_text(encoding="utf8")
        found, title = ARTICLE.search(text), TITLE.search(text)
        assert found, f"{page} has no article"
        depth = "../" * (len(PurePosixPath(page).parts) - 1)
        if not head or "katex" in text:
            head = HEAD.findall(text)[0].replace(depth + "_static", "_static")
        name = re.sub(r"<(?!/?span)[^>]+>", "", title[1]) if title else escape(page)
        number = f"<span>{numbers[page]}</span>" if page in numbers else ""
        rows.append(f'<li><a href="#{anchor(page)}">{name}</a>{number}</li>')
        body = moved(found[1], page, pages)
        articles.append(f'<section class="chapter" id="{anchor(page)}">{body}</section>')
    book = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))
    front = f'<h1 class="book-title">{escape(book["title"])}</h1><p>{escape(book["author"])}</p>'
    contents = f'<h2>Contents</h2><ol class="book-contents">{"".join(rows)}</ol>'
    opening = f"{front}<section class='chapter'>{contents}</section>" if len(pages) > 1 else ""
    return (
        f'<!DOCTYPE html><html lang="en" data-theme="light" data-content_root="./"><head>{head}'
        f'{STYLE}</head><body><main class="bd-main"><div class="bd-content">'
        f'<article class="bd-article">{opening}{"".join(articles)}</article>'
        "</div></main></body></html>"
    )


def printed(browser: Browser, built: Path, html: str, options: argparse.Namespace) -> bytes:
    """Print one page of HTML that lies beside the built book."""
    path = built / ".print.html"
    path.write_text(html, encoding="utf8")
    shown = browser.new_page(viewport=PAPER, color_scheme="light")
    shown.set_default_timeout(600_000)
    try:
        shown.goto(path.as_uri())
        shown.emulate_media(media="print")
        opened = "details.solution" * options.solutions, "details.code-fold" * options.code
        for kind in filter(None, opened):
            shown.eval_on_selector_all(kind, "all => all.forEach((one) => (one.open = true))")
        if shown.locator(".math.notranslate").count():
            shown.wait_for_function("window.companionFormulas")
            shown.evaluate("() => companionFormulas.then(() => companionFit())")
        return shown.pdf(
            format="A4",
            prefer_css_page_size=True,
            print_background=True,
            outline=True,
            tagged=True,
            display_header_footer=True,
            header_template="<i></i>",
            footer_template=FOOT,
        )
    finally:
        shown.close()
        path.unlink()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("html", type=Path, help="the folder of the built book")
    parser.add_argument("pdf", type=Path, help="the file to write")
    parser.add_argument("--pages", nargs="+", help="only these, as book/latent/vae")
    parser.add_argument("--solutions", action="store_true", help="open the solutions")
    parser.add_argument("--code", action="store_true", help="open the code that pages fold")
    options = parser.parse_args(arguments)
    built, pages = options.html.resolve(), options.pages or in_order()
    path = next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        numbers, at = {}, 3  # after the title and the contents
        for page in pages if len(pages) > 1 else []:
            alone = printed(browser, built, assemble(built, [page], {}), options)
            numbers[page], at = at, at + len(COUNT.findall(alone))
        whole = printed(browser, built, assemble(built, pages, numbers), options)
        browser.close()
    options.pdf.write_bytes(whole)
    print(f"{options.pdf}: {len(COUNT.findall(whole))} pages, {len(whole) / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
