"""Live figures work alone in an output and many on a page, which carries their code once."""

import sys
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

from companion.figures import Explorable, SeparationExplorable

pytest.importorskip("sphinx")
sys.path.append(str(Path(__file__).parents[1] / "book/_ext"))
from companion_book import first_copies

BOOK = Path(__file__).parents[1] / "book"
WEB = sorted(files("companion.figures").joinpath("web").iterdir(), key=lambda file: file.name)
STYLED = [*BOOK.glob("_ext/*.js"), *BOOK.glob("_ext/web/*.js"), BOOK / "_static/companion.css"]
# A notebook puts the HTML of an output into its place, then runs the scripts in it.
SHOW = """html => {
  const output = document.body.appendChild(document.createElement("div"));
  output.innerHTML = html;
  for (const dead of output.querySelectorAll("script")) {
    const script = document.createElement("script");
    script.textContent = dead.textContent;
    dead.replaceWith(script);
  }
}"""
READ = """canvases => canvases.map(
  canvas => canvas.getContext("2d").getImageData(0, 0, 1, 1).data[0])"""


def slider(shade: float) -> str:
    frames = [np.full((8, 8), shade), np.zeros((8, 8))]
    return Explorable(frames, "ab", "position", alt="A grey square").html


def graph(*edges: str) -> str:
    return SeparationExplorable(nx.DiGraph(edges), caption="Click.", alt="A graph").html


OUTPUTS = [slider(0.0), graph("ab", "cb"), slider(1.0), graph("ab", "bc"), slider(0.0)]


def test_a_page_holds_each_style_and_each_script_once() -> None:
    html = first_copies("".join(OUTPUTS))
    assert html.count("<style") == html.count("<script") == 2
    assert html.count("<figure") == len(OUTPUTS)
    assert first_copies(html) == html and first_copies(OUTPUTS[0]) == OUTPUTS[0]
    # The next figure of a kind costs its picture and its facts, not the 6 kB of its code.
    assert len(first_copies(2 * OUTPUTS[0])) - len(OUTPUTS[0]) < 1500


SHARING = """from companion_book import share_scripts
html_theme = "basic"
def setup(app):
    app.connect("html-page-context", share_scripts)
"""


def test_two_builds_of_the_book_write_one_page(tmp_path: Path) -> None:
    from sphinx.cmd.build import build_main

    source = tmp_path / "source"
    source.mkdir()
    (source / "conf.py").write_text(SHARING)
    raw = "".join(
        ".. raw:: html\n\n" + "".join(f"   {line}\n" for line in html.splitlines()) + "\n"
        for html in OUTPUTS
    )
    (source / "index.rst").write_text("Title\n=====\n\n" + raw)
    pages = []
    for place in (tmp_path / "one", tmp_path / "two"):
        assert build_main(["-q", "-W", str(source), str(place)]) == 0
        pages.append((place / "index.html").read_text())
    assert pages[0] == pages[1] and pages[0].count("<script data-companion>") == 2


@pytest.mark.browser
def test_every_figure_of_a_built_page_wakes_from_disk(shown: Any, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<!doctype html>" + first_copies("".join(OUTPUTS)))
    shown.goto((tmp_path / "page.html").as_uri())
    assert shown.locator("[data-live]").count() == len(OUTPUTS)
    assert shown.locator("form").count() == 2 and shown.locator("canvas").count() == 3
    assert shown.locator("canvas").evaluate_all(READ) == [0, 255, 0]  # each shows its own


@pytest.mark.browser
def test_each_output_wakes_in_a_frame_of_its_own(shown: Any) -> None:
    shown.set_content("".join(f'<iframe srcdoc="{escape(html)}"></iframe>' for html in OUTPUTS))
    for place in range(len(OUTPUTS)):
        shown.frame_locator("iframe").nth(place).locator("[data-live]").wait_for()


@pytest.mark.browser
def test_outputs_of_a_notebook_wake_one_by_one_and_again(shown: Any) -> None:
    shown.set_content("<!doctype html>")
    for k, html in enumerate([*OUTPUTS, *OUTPUTS], 1):
        shown.evaluate(SHOW, html)
        assert shown.locator("[data-live]").count() == k
    assert shown.locator("input[type=range]").count() == 6 and shown.locator("form").count() == 4


@pytest.mark.browser
@pytest.mark.parametrize("shown", [False], ids=["without script"], indirect=True)
def test_without_scripts_all_frames_show(shown: Any) -> None:
    shown.set_content(first_copies("".join(OUTPUTS)))
    assert shown.locator("img:visible").count() == 3
    assert shown.locator("svg:visible").count() == 2
    assert shown.locator("img").first.evaluate("sheet => sheet.naturalWidth") == 16


@pytest.mark.browser
@pytest.mark.parametrize("file", [*WEB, *STYLED], ids=lambda file: file.name)
def test_a_browser_understands_every_line(shown: Any, file: Any) -> None:
    text = file.read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 99
    if file.name.endswith(".js"):
        shown.evaluate("text => { new Function(text); }", text)
    else:
        read = """text => {
          const sheet = new CSSStyleSheet();
          sheet.replaceSync(text);
          const count = (rules) => [...rules].reduce(
            (sum, rule) => sum + 1 + count(rule.cssRules || []), 0);
          return count(sheet.cssRules);
        }"""
        assert shown.evaluate(read, text) == text.count("{")
