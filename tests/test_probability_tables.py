"""A probability table has headers for eyes and for ears, and numbers that say what is 0 and 1."""

import shutil
from typing import Any

import pytest
from bs4 import BeautifulSoup

from companion.figures import probability_table
from companion.figures.probability_tables import ProbabilityTable
from companion.graphs import Table

YES_NO = ("yes", "no")
GRASS = Table(
    [[[0.99, 0.01], [0.9, 0.1]], [[0.8, 0.2], [0, 1]]],
    {"rain": YES_NO, "sprinkler": YES_NO, "wet grass": ("wet", "dry")},
)


def body(shown: ProbabilityTable) -> list[list[str]]:
    soup = BeautifulSoup(shown._repr_mimebundle_()["text/html"], "html.parser")
    return [[cell.get_text() for cell in row.select("th, td")] for row in soup.select("tbody tr")]


def test_a_row_is_a_state_of_the_parents_and_a_column_a_state_of_the_node() -> None:
    shown = probability_table(GRASS)
    assert shown.caption == "p(wet grass | rain, sprinkler)"
    for rain, sprinkler, wet, dry in body(shown):
        assert float(wet) == GRASS[rain, sprinkler, "wet"]
        assert float(dry) == GRASS[rain, sprinkler, "dry"]
    assert [row[:2] for row in body(shown)] == [[r, s] for r in YES_NO for s in YES_NO]


def test_every_number_has_its_headers() -> None:
    soup = BeautifulSoup(probability_table(GRASS).html(), "html.parser")
    scopes = [[th["scope"] for th in row.select("th")] for row in soup.select("tr")]
    assert scopes == [["col", "col", "colgroup"], ["col", "col"], *[["row", "row"]] * 4]
    top, states = soup.select("thead tr")
    assert [th.get_text() for th in top.select("th")] == ["rain", "sprinkler", "wet grass"]
    assert [th.get_text() for th in states.select("th")] == ["wet", "dry"]
    assert sum(int(str(th.get("colspan", 1))) for th in top.select("th")) == 4
    assert soup.caption and soup.select_one("[role=region][aria-label][tabindex='0']")


def test_another_variable_may_be_the_node() -> None:
    shown = probability_table(GRASS, "Turned", node="rain")
    assert body(shown)[1] == ["yes", "dry", "0.01", "0.20"] and shown.caption == "Turned"


@pytest.mark.parametrize(
    ("values", "caption", "rows"),
    [
        ([[0.3, 0.7], [0.25, 0.75]], "p(b | a)", [["0", "0.30", "0.70"], ["1", "0.25", "0.75"]]),
        ([[0.1, 0.2], [0.3, 0.4]], "p(a, b)", [["0", "0.1", "0.2"], ["1", "0.3", "0.4"]]),
        ([[30, 5], [1, 10]], "φ(a, b)", [["0", "30", "5"], ["1", "1", "10"]]),
        ([[1 / 3, 2 / 3], [0, 1]], "p(b | a)", [["0", "0.333", "0.667"], ["1", "0.000", "1.000"]]),
    ],
)
def test_the_caption_says_which_law_and_digits_are_as_many_as_needed(
    values: list[list[float]], caption: str, rows: list[list[str]]
) -> None:
    shown = probability_table(Table(values, ["a", "b"]))
    assert shown.caption == caption and body(shown) == rows


def test_what_is_almost_certain_is_not_shown_as_certain() -> None:
    for small, told in ((2e-5, ["0.99998", "0.00002"]), (3e-9, ["0.999999997", "3e-09"])):
        assert body(probability_table(Table([1 - small, small], ["a"]))) == [told]
    assert body(probability_table(Table([1 - 2**-53, 2**-53], ["a"])))[0][0] == "1"


def test_a_terminal_shows_it_too_and_names_are_escaped() -> None:
    lines = repr(probability_table(GRASS)).splitlines()
    assert lines[0] == "p(wet grass | rain, sprinkler)" and len(lines) == 6
    assert lines[1].split("  ")[0] == "rain" and lines[3].split()[-2:] == ["0.90", "0.10"]
    html = probability_table(Table([0.5, 0.5], {"<b>": ('"&', "y")})).html()
    assert "<b>" not in html and "p(&lt;b&gt;)" in html and "&quot;&amp;" in html
    assert "<caption>" not in probability_table(GRASS, "").html()


def test_bad_input_gets_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"no variable 'rian' .*did you mean 'rain'"):
        probability_table(GRASS, node="rian")
    with pytest.raises(ValueError, match=r"digits of at least 0: .*-1"):
        probability_table(GRASS, digits=-1)


@pytest.mark.browser
def test_a_wide_table_scrolls_in_its_own_box() -> None:
    players: Any = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    wide = Table([[0.1] * 10] * 2, {"a": YES_NO, "b": [f"state number {i}" for i in range(10)]})
    with players.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shown = browser.new_context(viewport={"width": 390, "height": 800}).new_page()
        shown.set_content(probability_table(wide).html())
        assert shown.evaluate("document.documentElement.scrollWidth") <= 390
        box = shown.locator(".probability-table")
        assert box.evaluate("box => box.scrollWidth > box.clientWidth")
        box.focus()
        shown.keyboard.press("ArrowRight")
        shown.wait_for_function("document.querySelector('.probability-table').scrollLeft > 0")
        browser.close()
