"""Diagrams take the colours of the page, say what they show, and their arrows end at nodes."""

import re
from math import hypot

import pytest
from IPython.core.formatters import DisplayFormatter

from companion.figures import Sketch


def drawn(**link) -> str:
    sketch = Sketch(200, 60).node("a", 20, 30).node("b", 160, 30, "later", size=(60, 20))
    return sketch.link("a", "b", **link).show("See <i>a</i>.", "a leads to b", "fig-ab").html()


def test_a_diagram_has_no_colour_of_its_own_but_the_accent():
    html = drawn()
    assert "currentColor" in html and not re.search(r"#[0-9a-fA-F]{3,6}", html)
    assert "color-mix" in drawn(lit=True)


def test_a_diagram_tells_what_it_shows_and_can_be_linked():
    html = drawn()
    (name,) = re.findall(r'aria-labelledby="(\w+)"', html)
    assert f'<title id="{name}">a leads to b</title>' in html
    assert '<figure class="companion-figure" id="fig-ab"' in html and "See <i>a</i>." in html
    assert html == drawn()  # the same id in every build


@pytest.mark.parametrize("bend", [0, 25, -25])
def test_an_arrow_runs_from_border_to_border(bend):
    html = drawn(bend=bend)
    path = re.search(r'<path d="M([\d.-]+) ([\d.-]+)Q', html)
    start = [float(number) for number in path.groups()]
    assert hypot(start[0] - 20, start[1] - 30) == pytest.approx(14, abs=0.1)
    tip = re.search(r'<polygon points="([\d.-]+),([\d.-]+)', html)
    x, y = (float(number) for number in tip.groups())
    assert max(abs(x - 160) / 30, abs(y - 30) / 10) == pytest.approx(1, abs=0.02)


def test_a_line_without_a_head_has_none_and_a_dashed_one_is_dashed():
    assert "<polygon" not in drawn(head=False) and "stroke-dasharray" in drawn(dashed=True)


def test_words_are_escaped():
    assert "a &lt; b" in Sketch(50, 20).words(25, 10, "a < b").show("See.", "Words.").html()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda s: s.link("a", "c"), "no node 'c' (known: a, b)"),
        (lambda s: s.show("", "alt"), "a figure needs a caption"),
        (lambda s: s.show("caption", " "), "a figure needs alt text"),
        (lambda s: s.show("caption", "alt", "ab"), "starts with 'fig-', got 'ab'"),
    ],
)
def test_what_cannot_be_drawn_is_told(make, sentence):
    sketch = Sketch(100, 40).node("a", 20, 20).node("b", 80, 20)
    with pytest.raises(ValueError) as caught:
        make(sketch)
    assert sentence in str(caught.value)


def test_a_diagram_that_is_not_finished_is_no_output_of_a_cell():
    shows, sketch = DisplayFormatter(), Sketch(100, 40).node("a", 20, 20)
    assert shows.format(sketch) == ({}, {})
    assert "text/html" in shows.format(sketch.show("See.", "a"))[0]
