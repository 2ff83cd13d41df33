"""The live form of an explorable asks the model, in a bare kernel and in JupyterLab.

What is stored must stay readable: a cell that a machine executes shows recorded frames only.
"""

import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

from companion.figures import Explorable, Knob, Live, blank
from companion.figures.live import Form

pytest.importorskip("ipywidgets")
ROOT = Path(__file__).parents[1]
VIEW = "application/vnd.jupyter.widget-view+json"
CELL = """
import numpy as np
from companion.figures import Explorable, Live
grey = lambda shade: np.full((8, 8), shade)
Explorable([grey(0.0), grey(1.0)], [0.0, 1.0], "shade", "A grey square", live=Live(grey))
"""


def mean_of(png: bytes) -> float:
    return float(np.asarray(Image.open(io.BytesIO(png)).convert("L"), dtype=float).mean())


def form_of(live: Live, frames: Any = (0.0, 1.0)) -> Form:
    squares = [np.full((8, 8), shade) for shade in frames]
    shown = Explorable(squares, list(frames), "shade", "A grey square", live=live)
    return Form(live, shown.frames[0], shown.alt, shown.caption)


def noise(level: float) -> torch.Tensor:
    return (level * torch.rand(8, 8)).clamp(0, 1)


def test_numbers_become_continuous_and_texts_a_menu() -> None:
    frames = [[np.zeros((8, 8))] * 3] * 2
    live = Live(lambda name, value: np.full((8, 8), value))
    labels = [["VAE", "GAN"], ["−0.5", "+0.0", "1.0"]]
    Explorable(frames, labels, ["model", "value"], "A square", start=[1, 2], live=live)
    menu, slider = (knob.widget for knob in live.knobs)
    assert menu.options == ("VAE", "GAN") and menu.value == "GAN"
    assert (slider.min, slider.max, slider.value) == (-0.5, 1.0, 1.0) and slider.step < 0.01
    whole = Knob("strides", [5, 50], 10).widget
    assert (type(whole).__name__, whole.step) == ("IntSlider", 1)


def test_a_form_shows_what_is_recorded_until_a_knob_is_turned() -> None:
    asked = []
    live = Live(lambda shade: asked.append(shade) or np.full((8, 8), shade))
    form = form_of(live)
    assert asked == [] and "Recorded" in form.told.value and mean_of(form.image.value) == 0
    live.knobs[0].widget.value = 0.35
    assert asked == [0.35] and "Computed here" in form.told.value
    assert mean_of(form.image.value) == pytest.approx(0.35 * 255, abs=0.5)


def test_explorables_that_hold_one_knob_move_together() -> None:
    shared = Knob("shade", [0.0, 1.0])
    one, other = (form_of(Live(lambda s: np.full((8, 8), s), shared)) for _ in range(2))
    one.live.knobs[0].widget.value = 0.5
    assert other.live.knobs[0].widget.value == 0.5
    assert one.image.value == other.image.value and mean_of(one.image.value) > 100


def test_equal_knobs_give_equal_draws_until_one_draws_again() -> None:
    live = Live(noise, again=True)
    form, knob = form_of(live), live.knobs[0].widget
    knob.value = 0.5
    first = form.image.value
    knob.value = 0.6
    knob.value = 0.5
    assert form.image.value == first
    form.button.click()
    assert form.image.value != first


def test_a_live_answer_leaves_the_next_cell_as_it_was() -> None:
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    torch.set_default_dtype(torch.float64)
    seen = []

    def picture(level: float) -> torch.Tensor:
        seen.append((noise(level).dtype, torch.is_grad_enabled()))
        return noise(level)

    live = Live(picture)
    torch.set_default_dtype(torch.float32)
    form_of(live)
    live.knobs[0].widget.value = 0.5
    assert seen == [(torch.float64, False)]
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()
    assert torch.equal(torch.rand(4), wanted)


def test_an_answer_uses_what_the_names_meant_in_the_cell_that_made_it() -> None:
    notebook: dict[str, Any] = {"np": np, "Live": Live}
    cells = ["z = 0.5", "def square():\n    return np.full((8, 8), z)"]
    cells += ["live = Live(lambda s: s * [square() for _ in 'a'][0])", "z = 9", "del square"]
    for cell in cells:
        exec(cell, notebook)
    ((_, pixels),) = notebook["live"].answers([0.5])
    assert (pixels == 64).all()


def test_what_takes_long_shows_how_far_it_is_and_waits_for_the_slider() -> None:
    bars = []

    def slowly(shade: float) -> Iterator[tuple[float, Any]]:
        for step in (1, 2, 3):
            time.sleep(0.05)
            yield step / 3, np.full((8, 8), shade * step / 3)

    live = Live(slowly)
    form, slider = form_of(live), live.knobs[0].widget
    form.bar.observe(lambda change: bars.append(round(change["new"], 2)), names="value")
    assert slider.continuous_update
    slider.value = 1.0
    assert bars == [0.33, 0.67, 1.0] and form.bar.layout.display == "none"
    assert not slider.continuous_update and mean_of(form.image.value) == 255


def test_an_error_is_one_line_and_the_next_answer_comes() -> None:
    live = Live(lambda shade: np.full((8, 8), 3 * shade))
    form = form_of(live, (0.0, 0.3, 1.0))
    live.knobs[0].widget.value = 0.9
    assert form.told.value.startswith("ValueError: pixels must be in [0, 1]")
    live.knobs[0].widget.value = 0.2
    assert "Computed here" in form.told.value


def test_panels_of_an_answer_stand_where_those_of_a_frame_do() -> None:
    def figure(height: float) -> Any:
        drawn = blank(2, 3)
        drawn.subplots().bar([0], [height])
        return drawn

    live = Live(figure)
    (_, first), (_, again) = (next(live.answers([1.0])) for _ in range(2))
    assert np.array_equal(first, again)


@pytest.mark.parametrize("knob", [("a", [1]), ("a", [0, 1], 2), ("a", ["x", "y"], "z")])
def test_a_knob_needs_two_values_and_a_start_of_them(knob: Any) -> None:
    with pytest.raises(ValueError, match="'a' needs two values and a start of them"):
        Knob(*knob)


@pytest.fixture(scope="module")
def kernel() -> Iterator[Any]:
    """A kernel without a front end, and its client."""
    manager = pytest.importorskip("jupyter_client").KernelManager(kernel_name="python3")
    usual = os.environ.get("PYTHONPATH", "")
    manager.start_kernel(env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{usual}"})
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def answered(client: Any, message: str) -> list[dict[str, Any]]:
    """Everything that the kernel publishes because of a message."""
    told = []
    while True:
        found = client.get_iopub_msg(timeout=120)
        if found["parent_header"].get("msg_id") == message:
            told.append(found)
            if found["content"].get("execution_state") == "idle":
                return told


def test_a_kernel_computes_the_picture_that_a_slider_asks_for(kernel: Any) -> None:
    told = answered(kernel, kernel.execute(CELL, allow_stdin=True))
    shown = [m["content"]["data"] for m in told if m["msg_type"] == "display_data"]
    assert [set(data) for data in shown] == [{VIEW, "text/plain"}, {"text/html", "text/plain"}]
    opened = {m["content"]["comm_id"]: m["content"]["data"]["state"]
              for m in told if m["msg_type"] == "comm_open"}  # fmt: skip
    (slider,) = [k for k, s in opened.items() if s["_model_name"] == "FloatSliderModel"]
    change = {"comm_id": slider, "data": {"method": "update", "state": {"value": 0.25}}}
    message = kernel.session.msg("comm_msg", change)
    kernel.shell_channel.send(message)
    told = answered(kernel, message["header"]["msg_id"])
    pictures = [m["buffers"][0] for m in told if m.get("buffers")]
    assert mean_of(bytes(pictures[-1])) == pytest.approx(0.25 * 255, abs=0.5)


def test_a_cell_that_a_machine_executes_stores_frames_only(kernel: Any) -> None:
    told = answered(kernel, kernel.execute(CELL, allow_stdin=False))
    assert not [m for m in told if m["msg_type"].startswith("comm")]
    (data,) = [m["content"]["data"] for m in told if "data" in m["content"]]
    assert set(data) == {"text/html", "text/plain"}


def test_no_stored_notebook_holds_a_widget() -> None:
    for path in [*ROOT.glob("book/*/*.ipynb"), *ROOT.glob("book/_colab/*/*.ipynb")]:
        text = path.read_text(encoding="utf8")
        assert VIEW not in text and '"widgets":' not in text, path.name


def test_every_chapter_lets_its_reader_ask_the_model() -> None:
    chapters = list(ROOT.glob("book/[a-z]*/*.py"))
    assert len(chapters) >= 15
    for path in chapters:
        assert "Live(" in path.read_text(encoding="utf8"), path.name


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A JupyterLab whose folder holds one notebook; the address of the server."""
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
    home = tmp_path_factory.mktemp("lab")
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    page.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(page, home / "page.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [f"--ServerApp.port={port}", f"--ServerApp.root_dir={home}", "--no-browser"]
    options += ["--IdentityProvider.token=", "--allow-root", "--ServerApp.port_retries=0"]
    options += ["--ServerApp.disable_check_xsrf=True"]  # the test ends a kernel by itself
    places = {name: str(home / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with open(home / "log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            env={**os.environ, **places, "PYTHONPATH": path, "IPYTHONDIR": str(home / "ipython")},
            stdout=log,
            stderr=log,
        )
    try:
        for _ in range(240):
            if server.poll() is not None:
                pytest.fail((home / "log").read_text()[-2000:])
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=5)
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


READ = """async image => {
  await image.decode();
  const pen = document.createElement("canvas").getContext("2d");
  pen.drawImage(image, 0, 0);
  return pen.getImageData(0, 0, 1, 1).data[0];
}"""


def known(address: str, kind: str) -> Any:
    with urllib.request.urlopen(f"{address}/api/{kind}") as answer:
        return json.load(answer)


def opened(browser: Any, address: str) -> Any:
    """The notebook in JupyterLab, joined to an idle kernel."""
    page = browser.new_context(viewport={"width": 1280, "height": 1000}).new_page()
    page.set_default_timeout(90_000)
    page.goto(f"{address}/lab/tree/page.ipynb?reset")
    for _ in range(180):
        kernels = known(address, "kernels")
        if any(k["execution_state"] == "idle" and k["connections"] for k in kernels):
            break
        page.wait_for_timeout(500)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]")
    return page


@pytest.mark.browser
@pytest.mark.slow
def test_mouse_and_keyboard_move_the_picture_in_jupyterlab(browser: Any, lab: str) -> None:
    page = opened(browser, lab)
    page.locator("[data-command='notebook:run-cell-and-select-next']").first.click()
    form, handle = page.locator(".companion-live"), page.locator(".companion-live .noUi-handle")
    form.wait_for()
    assert page.locator(".companion-explorable:visible").count() == 0
    assert "Recorded" in form.inner_text() and form.locator("img").evaluate(READ) == 0

    handle.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    form.locator("text=Computed here").wait_for()
    page.wait_for_timeout(1000)
    by_keyboard = form.locator("img").evaluate(READ)
    shade = float(handle.get_attribute("aria-valuetext"))
    assert by_keyboard == round(255 * shade) > 0

    at, rail = handle.bounding_box(), form.locator(".noUi-base").bounding_box()
    page.mouse.move(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
    page.mouse.down()
    page.mouse.move(rail["x"] + 0.8 * rail["width"], rail["y"], steps=5)
    page.mouse.up()
    page.wait_for_timeout(1000)
    shade = float(handle.get_attribute("aria-valuetext"))
    assert shade == pytest.approx(0.8, abs=0.03)
    assert form.locator("img").evaluate(READ) == pytest.approx(255 * shade, abs=1)

    page.locator("[data-command='docmanager:save']").first.click()
    page.wait_for_timeout(2000)
    page.context.close()
    for session in known(lab, "sessions"):
        place = f"{lab}/api/sessions/{session['id']}"
        urllib.request.urlopen(urllib.request.Request(place, method="DELETE"))
    page = opened(browser, lab)  # the notebook was saved with its widget, whose kernel is gone
    page.locator(".companion-explorable canvas").wait_for()
    page.locator("text=model not found").wait_for(state="attached")
    assert page.locator("text=model not found >> visible=true").count() == 0
    page.context.close()
