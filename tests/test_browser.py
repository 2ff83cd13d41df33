"""Every page as a reader meets it: a browser, a phone, the dark, and no network."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from places import Repository
from test_book import SCRIPTS, name, pages

pytest.importorskip("playwright")
from playwright.sync_api import Browser, Locator, Page, Route

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[1]
PAGES = pages()
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}

# Text of the article whose contrast with what is behind it is below the limit of WCAG AA.
FAINT = """(limit) => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, w, i) => {
    const v = c[i] / 255;
    return sum + w * (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  }, 0);
  const known = new Map([[null, [255, 255, 255]]]); // of each element, found once
  const behind = (node) => {
    if (!known.has(node)) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      const own = colour.length === 3 || colour[3] > 0.5;
      known.set(node, own ? colour : behind(node.parentElement));
    }
    return known.get(node);
  };
  const kinds = "h1, h2, h3, p, li, td, th, dd, a, summary, label, pre, "
    + "figcaption, figcaption span";
  const bad = [];
  for (const node of document.querySelectorAll("article")[0].querySelectorAll(kinds)) {
    const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !node.offsetParent) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < limit) bad.push(`${ratio.toFixed(1)}: ${node.textContent.trim().slice(0, 40)}`);
  }
  return bad;
}"""

# Elements that stick out of the window and that no box of their own scrolls or cuts.
WIDE = """() => {
  const limit = document.documentElement.clientWidth + 1, bad = [];
  for (const node of document.querySelectorAll(".bd-article *")) {
    if (!node.offsetParent || node.getBoundingClientRect().right <= limit) continue;
    let at = node;
    while (at && !/auto|scroll|hidden/.test(getComputedStyle(at).overflowX)) at = at.parentElement;
    if (!at || !at.closest(".bd-article")) bad.push(node.outerHTML.slice(0, 80));
  }
  return bad;
}"""


class Visit:
    """A window on the built book without a network; notes what it asks for and what goes wrong."""

    def __init__(self, browser: Browser, book: Path, **settings: Any) -> None:
        self.book = book
        self.complaints: list[str] = []
        self.asked: set[str] = set()
        self.context = browser.new_context(**settings)
        self.context.route(re.compile(r"^(https?|wss?):"), self.refuse)
        self.page = self.context.new_page()
        self.page.on("request", lambda r: self.asked.add(re.split("[?#]", r.url)[0]))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda m: m.type == "error" and self.complaints.append(m.text))

    def refuse(self, route: Route) -> None:
        """Cut the network, and remember what was asked of it."""
        self.complaints.append(f"asked for {route.request.url}")
        route.abort()

    def open(self, page: str) -> Page:
        """Open a page and wait until its formulas stand."""
        self.page.goto((self.book / f"{page}.html").as_uri())
        if self.page.locator("article .math").count():
            self.page.wait_for_function("window.companionFormulas !== undefined")
            self.page.evaluate("() => companionFormulas")
        return self.page


@pytest.fixture
def visit(browser: Browser, book: Path) -> Iterator[Any]:
    """Return a function that opens a window with given settings."""
    visits: list[Visit] = []

    def begin(**settings: Any) -> Visit:
        visits.append(Visit(browser, book, **({"viewport": DESK} | settings)))
        return visits[-1]

    yield begin
    for each in visits:
        each.context.close()


@pytest.fixture(scope="module")
def window(browser: Browser, book: Path, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A window on one page that its tests share, for a page of formulas takes seconds to open."""
    shared = Visit(browser, book, viewport=DESK, color_scheme="light")
    shared.open(request.param)
    yield shared
    shared.context.close()


every_page = pytest.mark.parametrize("window", PAGES, indirect=True, scope="module")
every_chapter = pytest.mark.parametrize(
    "window", [f"book/{name(script)}" for script in SCRIPTS], indirect=True, scope="module"
)


@every_page
def test_page_needs_no_network_and_renders_its_formulas(window: Visit) -> None:
    shown = window.page
    assert window.complaints == []
    wanted = shown.locator("article .math").count()
    assert shown.locator("article .math:has(.katex)").count() == wanted
    assert shown.locator(".katex-error").count() == 0
    assert not re.search(r"\$\$|\\\(|\\\[|\\begin\{", text_without_code(shown))


def text_without_code(page: Page) -> str:
    """Return the article's text; code may hold anything, formulas hold it for screen readers."""
    return page.evaluate("""() => {
      const copy = document.querySelector("article").cloneNode(true);
      copy.querySelectorAll("pre, code, script, .katex").forEach((node) => node.remove());
      return copy.textContent;
    }""")


@every_page
def test_nothing_sticks_out_on_a_phone(window: Visit) -> None:
    window.page.set_viewport_size(PHONE)
    wide = window.page.evaluate("document.documentElement.scrollWidth")
    sticking = window.page.evaluate(WIDE)
    window.page.set_viewport_size(DESK)
    assert (wide <= PHONE["width"], sticking) == (True, [])


@pytest.mark.parametrize("theme", ["dark", "light"])
@every_page
def test_text_is_readable(window: Visit, theme: Any) -> None:
    window.page.emulate_media(color_scheme=theme)
    window.page.wait_for_selector(f"html[data-theme={theme}]", timeout=5000)
    assert window.page.evaluate(FAINT, 4.5) == []


def test_a_phone_that_touches_finds_its_width(visit: Any) -> None:
    shown = visit(viewport=PHONE, has_touch=True, is_mobile=True).open("book/latent/elbo")
    assert shown.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert shown.evaluate(WIDE) == []


def test_theme_button_leads_to_the_dark(visit: Any) -> None:
    shown = visit(color_scheme="light").open(PAGES[0])
    for _ in range(3):
        if shown.locator("html").get_attribute("data-theme") == "dark":
            break
        shown.locator("button.theme-switch-button:visible").first.click()
    assert shown.locator("html").get_attribute("data-theme") == "dark"


def picture(explorable: Locator) -> str:
    """Return the pixels that an explorable shows now."""
    return explorable.locator("canvas").evaluate("canvas => canvas.toDataURL()")


@every_chapter
def test_explorables_move_by_mouse_and_by_keyboard(window: Visit) -> None:
    shown = window.page
    figures, folds = shown.locator(".companion-explorable"), shown.locator("details.solution")
    assert figures.count() > 0
    folds.evaluate_all("all => all.forEach((one) => (one.open = true))")
    for figure in figures.all():
        for slider in figure.locator("input[type=range]").all():
            slider.scroll_into_view_if_needed()
            slider.fill("0")
            first = picture(figure)
            box = slider.bounding_box()
            assert box
            shown.mouse.click(box["x"] + 0.97 * box["width"], box["y"] + box["height"] / 2)
            last = picture(figure)
            assert last != first
            slider.focus()
            shown.keyboard.press("Home")
            assert picture(figure) == first
            shown.keyboard.press("End")
            assert picture(figure) == last
    folds.evaluate_all("all => all.forEach((one) => (one.open = false))")
    assert window.complaints == []


@every_chapter
def test_solutions_unfold(window: Visit) -> None:
    assert window.page.locator("details.solution").count() > 0
    for solution in window.page.locator("details.solution").all():
        body = solution.locator("section").first
        assert not body.is_visible()
        solution.locator("summary").first.click()
        body.wait_for(state="visible", timeout=5000)


@every_chapter
def test_buttons_lead_to_the_colab_edition_and_the_script(
    window: Visit, book: Path, request: pytest.FixtureRequest
) -> None:
    page = request.node.callspec.params["window"]
    repository = Repository.read()
    links = window.page.locator("a[href]").evaluate_all("links => links.map(link => link.href)")
    place = "/".join(repository.owner_and_name) + f"/blob/{repository.branch}"
    edition = f"{page.replace('book/', 'book/_colab/', 1)}.ipynb"
    assert f"https://colab.research.google.com/github/{place}/{edition}" in links
    assert (ROOT / edition).exists()
    assert (book / "_sources" / edition).as_uri() in links
    assert (book / "_sources" / edition).read_bytes() == (ROOT / edition).read_bytes()
    edit = f"{repository.url}/edit/{repository.branch}/{page}.py"
    assert edit in links


def test_search_finds_a_word_without_network(visit: Any) -> None:
    window = visit()
    window.page.goto((window.book / "search.html").as_uri() + "?q=notation")
    window.page.locator("#search-results li a").first.wait_for(timeout=10_000)
    hits = window.page.locator("#search-results li a").evaluate_all("all => all.map(a => a.href)")
    assert any("book/notation.html" in hit for hit in hits)
    assert [text for text in window.complaints if text.startswith("asked for")] == []


def test_results_are_filtered_by_words(visit: Any) -> None:
    shown = visit().open("book/results")
    rows = shown.locator(".companion-overview tbody tr:not(:has(th))")
    every = rows.count()
    shown.get_by_label("Show only").fill("diffusion frechet")
    kept = [row.inner_text().lower() for row in rows.all() if row.is_visible()]
    assert 0 < len(kept) < every and all("frechet" in text for text in kept)
    heads = shown.locator(".companion-overview tbody tr:has(th)").all()
    assert ["diffusion" in h.inner_text().lower() for h in heads if h.is_visible()] == [True]
    shown.get_by_label("Show only").fill("")
    assert all(row.is_visible() for row in rows.all())


def test_code_can_be_copied(visit: Any) -> None:
    shown = visit().open(f"book/{name(SCRIPTS[0])}")
    assert shown.locator("button.copybtn").count() > 0


@pytest.mark.parametrize("fault", ["wide", "faint", "network", "script"])
def test_the_checks_see_a_fault(visit: Any, fault: str) -> None:
    window = visit(viewport=PHONE)
    shown = window.open("book/notation")
    add = "html => document.querySelector('.bd-article').insertAdjacentHTML('beforeend', html)"
    if fault == "wide":
        shown.evaluate(add, "<div style='width: 900px'>wide</div>")
        assert shown.evaluate(WIDE)
    elif fault == "faint":
        shown.evaluate(add, "<p style='color: #777; background: #666'>faint</p>")
        assert shown.evaluate(FAINT, 4.5)
    elif fault == "network":
        shown.evaluate("fetch('https://example.org/x').catch(() => 0)")
        assert "asked for https://example.org/x" in window.complaints
    else:
        shown.evaluate("setTimeout(() => { throw Error('broken') })")
        shown.wait_for_timeout(200)
        assert any("broken" in text for text in window.complaints)
