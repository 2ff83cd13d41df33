"""An explorable holds its frames, names its positions, and is the same in every process."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from companion.figures import Explorable, blank
from companion.figures.pictures import SHADES

STEP = 255 / (SHADES - 1) / 2 + 1
BUILD = """
import numpy as np
from companion.figures import Explorable
frames = [np.full((8, 8), k / 4) for k in range(5)]
print(hash("x"), Explorable(frames, range(5), "noise level", alt="A grey square").html)
"""


def greys(n: int = 5) -> list[NDArray[np.float64]]:
    return [np.full((8, 8), k / (n - 1)) for k in range(n)]


def table() -> Explorable:
    """Three dimensions by four values, each frame another random picture."""
    frames = np.random.default_rng(0).random((3, 4, 8, 8))
    nested = [list(row) for row in frames]
    labels = [["z1", "z2", "z3"], [-2, -1, 1, 2]]
    return Explorable(nested, labels, ["dimension", "value"], alt="A picture", start=(0, 2))


def facts(html: str) -> dict[str, Any]:
    """What the page's script knows, and the sheet that it cuts."""
    told = re.search(r"data-facts='([^']*)'", html)
    uri = re.search(r'src="data:image/webp;base64,([^"]+)"', html)
    assert told and uri
    sheet = Image.open(io.BytesIO(base64.b64decode(uri[1]))).convert("RGB")
    return {**json.loads(unescape(told[1])), "sheet": np.asarray(sheet, dtype=float)}


def cut(told: dict[str, Any], k: int) -> NDArray[np.float64]:
    """Frame k of the sheet, as the script finds it."""
    h, w = told["height"], told["width"]
    y, x = h * (k // told["columns"]), w * (k % told["columns"])
    return told["sheet"][y : y + h, x : x + w]


def test_the_sheet_holds_every_frame() -> None:
    explorable = table()
    told = facts(explorable.html)
    for k, frame in enumerate(np.random.default_rng(0).random((12, 8, 8))):
        assert np.abs(cut(told, k)[..., 0] - 255 * frame).max() <= STEP


def test_a_long_sheet_breaks_into_rows() -> None:
    wide = torch.linspace(0, 1, 7).reshape(7, 1, 1, 1).expand(7, 1, 4, 400)
    told = facts(Explorable(wide, range(7), "step", alt="A bar").html)
    assert told["columns"] == 3 and told["sheet"].shape[0] == 3 * 4
    assert [round(cut(told, k).mean() / 255 * 6) for k in range(7)] == list(range(7))


def test_colour_frames_keep_their_colours() -> None:
    frames = [np.eye(3)[k] * np.ones((4, 4, 1)) for k in range(3)]
    told = facts(Explorable(frames, "rgb", "channel", alt="A colour").html)
    for k in range(3):
        assert np.array_equal(cut(told, k)[1, 1], 255 * np.eye(3)[k])


def test_figures_are_frames_too() -> None:
    figures = [blank(2, 3) for _ in range(2)]
    figures[1].set_facecolor("black")
    told = facts(Explorable(figures, ["white", "black"], "ground", alt="A sheet").html)
    assert (told["width"], told["height"]) == (300, 200)
    assert cut(told, 0).min() == 255 and cut(told, 1)[100, 150].max() < 5


def test_each_slider_has_one_position_for_each_label() -> None:
    told = facts(table().html)
    assert [len(labels) for labels in told["labels"]] == [3, 4] and told["start"] == [0, 2]
    assert len(table().frames) == 12


def same_in_two_processes(script: str) -> bool:
    """Whether a script that prints a hash and a page prints another hash and the same page."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    answers = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split(maxsplit=1)
        for seed in ("1", "2")
    ]
    return answers[0][0] != answers[1][0] and answers[0][1] == answers[1][1]


def test_two_processes_write_the_same_page() -> None:
    assert same_in_two_processes(BUILD)


def test_nothing_is_asked_from_a_network_and_no_text_breaks_the_script() -> None:
    html = Explorable(greys(2), ["</script>", "'\""], "a<b", alt='"<', caption="x").html
    assert facts(html)["labels"] == [["</script>", "'\""]]
    assert not re.search(r"https?:|//[a-z]", html)
    assert html.count("</script>") == 1 and 'alt="&quot;&lt;"' in html


def test_a_notebook_stores_no_widget() -> None:
    # A stored widget without its kernel shows an error where the picture should be.
    assert set(table()._repr_mimebundle_()) == {"text/html", "text/plain"}


def test_ten_dimensions_by_eleven_values_are_light() -> None:
    y, x = np.mgrid[-1:1:28j, -1:1:28j]
    frames = [
        [np.exp(-((x - d / 10) ** 2 + y**2) * (1 + v)) for v in range(11)] for d in range(10)
    ]
    labels = [range(10), range(11)]
    explorable = Explorable(frames, labels, ["dimension", "value"], alt="A blob")
    assert len(explorable.html) < 90_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": "abc"}, r"one label for each frame: \[5\], got \[3\]"),
        ({"frames": [], "labels": []}, "at least one frame"),
        ({"frames": [np.ones((8, 8)), np.ones((9, 8))], "labels": "ab"}, r"\(8, 8\) and \(9, 8\)"),
        ({"frames": [greys(2), greys(3)], "labels": ["ab", "abc"]}, r"each row, got \[2, 3\]"),
        ({"description": ["a", "b"]}, r"1 slider\(s\) need a description"),
        ({"start": 5}, r"below \[5\] and not below 0: \[5\]"),
        ({"alt": " "}, "needs alt text"),
        ({"frames": [2 * f for f in greys()]}, r"in \[0, 1\], got 1.5 to 1.5"),
    ],
)
def test_bad_input_gets_one_sentence(changes: dict[str, Any], message: str) -> None:
    usual = {"frames": greys(), "labels": range(5), "description": "noise", "alt": "Grey"}
    with pytest.raises(ValueError, match=message) as raised:
        Explorable(**{**usual, **changes})
    assert "\n" not in str(raised.value)


@pytest.mark.browser
def test_two_copies_on_a_page_move_one_by_one() -> None:
    """By keyboard, on a phone, in one browser and without a network."""
    browsers = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    told = facts(table().html)
    with browsers.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        window = browser.new_context(viewport={"width": 390, "height": 800}, offline=True)
        shown, errors = window.new_page(), []
        shown.on("pageerror", lambda error: errors.append(error))
        shown.set_content(2 * table().html)
        one, other = shown.locator("[data-live]").all()
        one.locator("input").first.focus()
        for key in ("ArrowRight", "Tab", "End"):
            shown.keyboard.press(key)
        assert one.locator("output").all_text_contents() == ["z2", "2"]
        assert other.locator("output").all_text_contents() == ["z1", "1"]
        assert one.locator("input").nth(1).get_attribute("aria-valuetext") == "2"
        read = "canvas => [...canvas.getContext('2d').getImageData(0, 0, 8, 8).data]"
        pixels = np.reshape(one.locator("canvas").evaluate(read), (8, 8, 4))
        assert np.array_equal(pixels[..., :3], cut(told, 7))
        sides = "nodes => nodes.map(node => node.getBoundingClientRect().height)"
        assert min(shown.locator("input, button").evaluate_all(sides)) >= 44
        assert shown.evaluate("document.documentElement.scrollWidth") <= 390
        assert errors == []
        browser.close()


def test_zero_has_no_sign_on_a_slider() -> None:
    explorable = Explorable(greys(3), [-1.0, -0.0, 1.0], "value", alt="A grey square")
    assert explorable.labels == [["-1.0", "0.0", "1.0"]]
