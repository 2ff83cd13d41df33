"""A page is read without a hitch: formulas whole, code folded, keys that lead, light, on paper."""

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
import pdf
from reading import CODE, CUT, FIRST, LETTERS, ORPHANS
from test_book import SCRIPTS, name
from test_browser import DESK, PHONE, Visit, every_chapter, every_page, visit, window  # noqa: F401

pytestmark = pytest.mark.browser
SHORT = "book/notation"
ROOT = Path(__file__).parents[1]
BADGE = '<details class=\\"companion-verdict\\">'  # as a notebook stores it
SHARED = """all => all.map((one) => [
  one.querySelector("summary").textContent, one.querySelectorAll(".try").length,
])"""
# Badges of one theorem with nothing but folded code between them.
APART = """() => [...document.querySelectorAll("article div.cell")].flatMap((cell) => {
  const next = cell.nextElementSibling;
  if (!next?.matches("div.cell") || next.querySelectorAll("figure, table").length) return [];
  const [one, other] = [cell, next].map((at) => at.querySelector("[data-theorem]")?.textContent);
  const folded = next.querySelector(":scope > .code-fold") && !cell.querySelector("figure, table");
  return one && one === other && folded ? [one] : [];
})"""
ADD = "html => document.querySelector('.bd-article').insertAdjacentHTML('beforeend', html)"


# The tests of one page share its window; the first to press a key must find nothing focused.
@every_chapter
def test_keys_lead_to_the_first_slider(window: Visit) -> None:  # noqa: F811
    shown = window.page
    assert shown.locator(".katex[tabindex], .math[tabindex='0']:not(.scrolls)").count() == 0
    for stop in range(40):
        shown.keyboard.press("Tab")
        told = shown.evaluate("document.activeElement.textContent")
        if "figure that moves" in told:
            shown.keyboard.press("Enter")
        if shown.evaluate("document.activeElement.matches('input, [data-facts] *')"):
            return
        assert stop < 39


@every_page
def test_a_page_is_light_and_no_id_stands_twice(window: Visit) -> None:  # noqa: F811
    files = [Path(url[len("file://") :]) for url in window.asked if url.startswith("file://")]
    assert 0 < sum(file.stat().st_size for file in files if file.is_file()) <= 2_500_000
    ids = window.page.eval_on_selector_all("article [id]", "all => all.map((one) => one.id)")
    assert sorted(ids) == sorted(set(ids))


@every_chapter
def test_code_is_a_small_part_of_a_page(window: Visit) -> None:  # noqa: F811
    shown = window.page
    assert shown.evaluate(CODE) <= 0.15
    bare = "details.code-fold:not(:has(div.highlight))"
    assert shown.locator(bare).count() == 0
    stacked = "div.cell:not(:has(.cell_output)):has(> .code-fold) + div.cell > .code-fold"
    assert shown.locator(stacked).count() == 0


@every_chapter
def test_a_picture_comes_early_and_diagrams_are_legible_on_a_phone(window: Visit) -> None:  # noqa: F811
    shown = window.page
    assert shown.evaluate(FIRST) <= 2.5 * DESK["height"]
    shown.set_viewport_size(PHONE)
    letters = shown.evaluate(LETTERS)  # of a page without a diagram infinite
    shown.set_viewport_size(DESK)
    assert letters >= 9


@every_page
def test_no_formula_is_cut_and_no_line_begins_with_a_comma(window: Visit) -> None:  # noqa: F811
    shown = window.page
    try:
        for width in (1536, 1280, 390):
            shown.set_viewport_size({"width": width, "height": 900})
            shown.wait_for_timeout(300)
            assert shown.evaluate(CUT) == [], width
            assert shown.evaluate(ORPHANS) == [], width
    finally:
        shown.set_viewport_size(DESK)


@every_chapter
def test_a_verdict_is_named_by_its_theorem_and_a_wrong_version_fails(window: Visit) -> None:  # noqa: F811
    shown = window.page
    badges = shown.locator(".companion-verdict")
    assert badges.count() > 0
    links = shown.locator(".companion-verdict > p > a:first-child")  # none in what a press opens
    assert links.count() == badges.count()
    named = shown.locator(".companion-verdict [data-theorem]").all_inner_texts()
    assert len(named) == badges.count() and all(re.match(r"\w+ \d+\.\d+", one) for one in named)
    badges.first.locator("summary").first.press("Enter")
    if (check := badges.first.locator(".check > summary")).count():
        check.first.press("Enter")
    tried = badges.first.locator(".try").first
    assert not tried.locator("p").is_visible()
    tried.locator("summary").press("Enter")
    assert "Fails" in tried.locator("p").inner_text()


@every_chapter
def test_checks_of_one_theorem_that_stand_together_share_a_badge(window: Visit) -> None:  # noqa: F811
    """No check is lost by it: as many can be opened as the notebook holds, with their versions."""
    shown = window.page
    name = shown.url.rpartition("/book/")[2].partition(".html")[0]
    stored = (ROOT / "book" / f"{name}.ipynb").read_text(encoding="utf8")
    single = shown.locator(".companion-verdict:not(:has(.check))").count()
    assert single + shown.locator(".companion-verdict .check").count() == stored.count(BADGE)
    assert shown.evaluate(APART) == []
    for told, tries in shown.eval_on_selector_all(".companion-verdict:has(.check)", SHARED):
        assert int(re.findall(r"; (\d+) wrong versions", told)[0]) == tries


@pytest.mark.parametrize("page", ["book/benchmarks", "book/results", "book/latent/vae"])
def test_a_table_that_goes_on_beyond_the_screen_fades_there(visit: Any, page: str) -> None:  # noqa: F811
    """On pages without a formula, too, and no longer once it is scrolled to its end."""
    shown = visit(viewport={"width": 390, "height": 800}).open(page)
    boxes = ".pst-scrollable-table-container, .cell_output .text_html"
    goes_on = "box => box.scrollWidth > box.clientWidth + 2 && box.querySelector('table') !== null"
    wide = [box for box in shown.locator(boxes).element_handles() if box.evaluate(goes_on)]
    assert wide
    assert all(box.evaluate("box => box.matches('.goes-on')") for box in wide)
    wide[0].evaluate("box => { box.scrollLeft = box.scrollWidth; }")
    shown.wait_for_timeout(200)
    assert not wide[0].evaluate("box => box.matches('.goes-on')")


@pytest.mark.parametrize("page", [SHORT, "book/intro", *(f"book/{name(s)}" for s in SCRIPTS[:3])])
def test_axe_finds_nothing_serious(visit: Any, page: str) -> None:  # noqa: F811
    """In the dark only the contrast is another."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    bounds = {"include": [["article"]], "exclude": [[".katex"]]}  # formulas: their own labels
    shown = visit(color_scheme="light").open(page)
    for theme, asked in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
        shown.emulate_media(color_scheme=theme)
        shown.wait_for_function("t => document.documentElement.dataset.theme === t", arg=theme)
        found = axe.run(shown, context=bounds, options=asked).response
        bad = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
        assert [(v["id"], v["nodes"][0]["html"]) for v in bad] == []


@pytest.mark.parametrize("page", ["book/results", f"book/{name(SCRIPTS[0])}"])
def test_paper_cuts_neither_code_nor_tables(visit: Any, page: str) -> None:  # noqa: F811
    shown = visit(viewport=pdf.PAPER).open(page)
    shown.emulate_media(media="print")
    wide = "all => all.filter((one) => one.scrollWidth > one.clientWidth + 1).length"
    assert shown.eval_on_selector_all("article pre", wide) == 0
    edge = "document.querySelector('article').getBoundingClientRect().right + 1"
    over = f"all => all.filter((one) => one.getBoundingClientRect().right > {edge}).length"
    assert shown.eval_on_selector_all("article table", over) == 0


def test_paper_has_nothing_to_press(visit: Any) -> None:  # noqa: F811
    shown = visit(viewport=pdf.PAPER).open(f"book/{name(SCRIPTS[0])}")
    shown.emulate_media(media="print")
    for gone in (".companion-explorable canvas", ".companion-explorable button", ".copybtn"):
        assert not any(one.is_visible() for one in shown.locator(gone).all())
    kept = ".companion-explorable img:not(details:not([open]) img)"
    assert all(one.is_visible() for one in shown.locator(kept).all())
    assert not any(one.is_visible() for one in shown.locator("details.solution section").all())
    assert shown.locator("article h1 .section-number").first.is_visible()


def test_a_page_becomes_a_pdf_with_an_outline(browser: Any, book: Path, tmp_path: Path) -> None:
    options = pdf.argparse.Namespace(solutions=False, code=False)
    html = pdf.assemble(book, [SHORT, "book/bibliography"], {SHORT: 3})
    assert 'href="#book-bibliography' in html
    made = pdf.printed(browser, book, html, options)
    assert made.startswith(b"%PDF") and len(pdf.COUNT.findall(made)) > 3
    assert b"/Outlines" in made and not (book / ".print.html").exists()


def test_the_checks_see_a_fault(visit: Any) -> None:  # noqa: F811
    shown = visit().open(SHORT)
    base = '<span class="katex"><span class="katex-html"><span class="base"'
    wide = f'{base} style="display:inline-block;width:2000px">x</span></span></span>'
    shown.evaluate(ADD, f'<p><span class="math notranslate">{wide}</span></p>')
    assert shown.evaluate(CUT)
    last = f'{base} style="display:inline-block;width:100%">x</span></span></span>'
    shown.evaluate(ADD, f'<p><span class="math notranslate">{last}</span>, and</p>')
    assert shown.evaluate(ORPHANS)
    far = "<svg width='200' height='99' viewBox='0 0 400 198'><text font-size='16'>x</text></svg>"
    shown.evaluate(ADD, f"<div style='height:5000px'></div>{far}")
    assert shown.evaluate(LETTERS) < 9 and 5000 < shown.evaluate(FIRST) < 10**6
    shown.evaluate(ADD, f'<div class="highlight" style="height:{10**6}px"></div>')
    assert shown.evaluate(CODE) > 0.15
