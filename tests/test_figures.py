"""Figures show what they were given, to every eye, and say the same thing twice."""

import base64
import io
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from numpy.typing import NDArray
from PIL import Image

from companion.estimate import with_error
from companion.figures import (
    Captioned,
    curves,
    history_curves,
    image_grid,
    image_rows,
    latent_grid,
    latent_map,
    results_table,
    show,
)
from companion.figures.curves import spread
from companion.figures.pictures import SHADES, encode, render
from companion.figures.style import WIDTH, blank

STEP = 255 / (SHADES - 1) / 2 + 1  # the worst error of a quantised grey, and of rounding


def opened(packed: bytes) -> NDArray[np.float64]:
    return np.asarray(Image.open(io.BytesIO(packed)).convert("RGB"), dtype=float)


def seen(figure: Captioned) -> NDArray[np.float64]:
    """The pixels that a captioned figure shows."""
    found = re.search(r"base64,([\w+/=]+)", figure.picture)
    assert found
    return opened(base64.b64decode(found[1]))


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_a_picture_keeps_its_greys() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.abs(opened(encode(ramp))[..., 0] - ramp).max() <= STEP
    assert opened(encode(ramp)).max() == 255 and opened(encode(ramp)).min() == 0


def test_every_image_of_a_grid_is_in_the_picture() -> None:
    images, gap = noise(6, 1, 28, 28), 8  # device pixels
    drawn = seen(show(image_grid(images, 3, row_labels=["input", "VAE"]), "See.", "Six."))
    zoom = 2 * 128 // 28
    side = 28 * zoom
    left = drawn.shape[1] - 3 * side - 2 * gap
    assert drawn.shape[0] == 2 * side + gap and left > 0
    for k, image in enumerate(images):
        y, x = (k // 3) * (side + gap), left + (k % 3) * (side + gap)
        block = drawn[y : y + side, x : x + side, 0]
        expected = np.kron(image[0].numpy(), np.ones((zoom, zoom))) * 255
        assert np.abs(block - expected).max() <= STEP
    assert drawn[:, : left - gap].min() < 100  # the row labels


def test_a_colour_grid_has_its_colours() -> None:
    images = torch.zeros(2, 3, 4, 4)
    images[0, 0], images[1, 2] = 1, 1
    drawn = seen(show(image_grid(images, 2), "See.", "Red, blue."))
    assert drawn[5, 5].tolist() == [255, 0, 0] and drawn[5, -5].tolist() == [0, 0, 255]


@pytest.mark.parametrize("labels", [["input", "VAE"], ["a rather long name of a row", "b"]])
def test_row_labels_are_not_cut(labels: list[str]) -> None:
    drawn = render(image_rows(dict.fromkeys(labels, noise(10, 1, 28, 28))))
    assert drawn[:, :2].min() == 255 and drawn.shape[1] <= 2 * 100 * WIDTH


def test_a_latent_plane_has_its_axes_the_right_way() -> None:
    grid = torch.tensor([-1.0, 0.0, 1.0])
    z = torch.cartesian_prod(grid, grid)
    bright = (z @ torch.tensor([0.3, 0.1]) + 0.5).clamp(0, 1)  # most at z_1 = z_2 = 1
    figure = latent_grid(bright.reshape(-1, 1, 1, 1).expand(-1, 1, 28, 28), grid)
    drawn = render(figure)[..., 0] / 255
    box = figure.axes[0].get_position()
    for (z1, z2), value in zip(z.tolist(), bright.tolist(), strict=True):
        x = box.x0 + box.width * (z1 + 1.5) / 3
        y = 1 - (box.y0 + box.height * (z2 + 1.5) / 3)
        shade = drawn[int(y * drawn.shape[0]), int(x * drawn.shape[1])]
        assert shade == pytest.approx(value, abs=0.01)
    assert render(figure)[:, :2].min() == 255  # no text is cut


def test_each_class_has_a_legend_and_a_name_at_its_median() -> None:
    names, labels = ["Shirt", "Coat", "Bag"], torch.arange(300) % 3
    centres = torch.tensor([[0.0, 0.0], [0.02, 0.0], [5.0, 3.0]])
    z = centres[labels] + 0.1 * torch.randn(300, 2, generator=torch.Generator().manual_seed(1))
    figure = latent_map(z, labels, names)
    axes = figure.axes[0]
    legend = axes.get_legend()
    assert legend is not None and [t.get_text() for t in legend.get_texts()] == names
    written = {text.get_text(): text for text in axes.texts}
    assert written["Bag"].get_position() == pytest.approx((5, 3), abs=0.1)
    figure.draw_without_rendering()
    assert not written["Shirt"].get_window_extent().overlaps(written["Coat"].get_window_extent())


def test_curves_hold_their_points_and_bands() -> None:
    x, y, error = [0, 1, 2], [1.0, 4.0, 2.0], [0.5, 0.25, 0.1]
    figure = curves({"VAE": (x, y, error), "autoencoder": (x, y[::-1])}, "ε", "accuracy")
    axes = figure.axes[0]
    lines = {str(line.get_label()): line for line in axes.lines}
    assert np.array_equal(lines["VAE"].get_ydata(), y)
    band = axes.collections[0].get_paths()[0].vertices
    assert {(0, 0.5), (0, 1.5), (1, 3.75), (1, 4.25)} <= {tuple(point) for point in band}
    assert {text.get_text() for text in axes.texts} == {"VAE", "autoencoder"}
    assert render(figure)[:, -2:].min() == 255  # no label is cut


def test_labels_are_pushed_apart_and_stay_inside() -> None:
    placed = spread([50, 51, 52, 99], 15, 0, 100)
    assert min(np.diff(placed)) >= 15 and max(placed) <= 100 and placed[0] >= 0
    assert spread([10, 60], 15, 0, 100) == [10, 60]


def test_histories_tell_test_from_training() -> None:
    rows = [{"epoch": e, "vae/elbo": -e, "seconds": 1.0} for e in (1, 2, 3)]
    rows[2]["test/elbo"] = -7.0
    axes = history_curves({"VAE": rows}, ["elbo"]).axes[0]
    training, test = axes.lines
    assert list(training.get_ydata()) == [-1, -2, -3] and training.get_linestyle() == "--"
    assert list(test.get_xdata()) == [3] and list(test.get_ydata()) == [-7]
    assert "nats" in axes.get_ylabel()
    with pytest.raises(ValueError, match=r"no term 'elb' .*did you mean 'elbo'"):
        history_curves({"VAE": rows}, ["elb"])


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (-236.731, 0.213, "-236.7 ± 0.2"),
        (0.98765, 0.0012, "0.9877 ± 0.0012"),
        (12.3, 0.0996, "12.30 ± 0.10"),
        (12345.0, 62.0, "12,340 ± 60"),
        (0.5, 0.0, "0.5"),
        (float("nan"), 0.1, "nan"),
        (float("-inf"), 0.0, "-∞"),
    ],
)
def test_a_number_keeps_the_digits_its_error_allows(value: float, error: float, text: str) -> None:
    assert with_error(value, error) == text


def test_a_table_is_markdown_and_text() -> None:
    ours = SimpleNamespace(value=0.8712, error=0.0034, n=10_000)
    rows = [{"model": "VAE | head", "accuracy (%)": ours, "published": None}]
    table = results_table(rows, percent=["accuracy (%)"])
    header, rule, line = table._repr_markdown_().splitlines()
    assert header == "| model | accuracy (%) | published |" and rule.count("|") == 4
    assert line == r"| VAE \| head | 87.1 ± 0.3 | – |"
    assert "87.1 ± 0.3" in repr(table)
    with pytest.raises(ValueError, match="did you mean 'model'"):
        results_table(rows, ["modle"])


def test_a_shown_figure_is_whole_small_and_alone() -> None:
    pyplot.figure()
    shown = show(blank(3), "See <i>z</i>.", alt='A "quoted" word', label="fig-one")
    html = shown._repr_mimebundle_()["text/html"]
    assert 'alt="A &quot;quoted&quot; word"' in html and 'id="fig-one"' in html
    assert "http:" not in html and "https:" not in html
    uri = re.search(r'src="data:image/webp;base64,([^"]+)"', html)
    assert uri and opened(base64.b64decode(uri[1])).shape == (600, 1400, 3)
    number = pyplot.gcf().number
    show(pyplot.gcf(), "See.", "Nothing.")
    assert not pyplot.fignum_exists(number)  # or a notebook prints it again


def test_alt_text_drawn_with_a_figure_is_kept() -> None:
    kept = show(image_grid(noise(2, 1, 4, 4), 2, alt="Two boots"), "See.")
    assert 'alt="Two boots"' in kept.picture


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: image_grid(noise(2, 1, 4, 4) * 3, 2), r"in \[0, 1\], got"),
        (lambda: image_grid(noise(2, 1, 4, 4) * float("nan"), 2), r"in \[0, 1\], got nan"),
        (lambda: image_grid(noise(2, 1, 4, 4), 0), "columns must be at least 1, got 0"),
        (lambda: image_grid(noise(4, 1, 4, 4), 2, row_labels=["a"]), "got 1, need 2"),
        (lambda: image_grid(noise(4, 1, 4, 4), 2, titles=list("abc")), "got 3, need 2"),
        (lambda: image_grid(noise(4, 2, 4, 4), 2), r"an image is \(H, W\)"),
        (lambda: image_rows({"a": noise(2, 1, 4, 4), "b": noise(3, 1, 4, 4)}), "one number"),
        (lambda: latent_map(noise(5, 3), torch.zeros(5), ["a"]), r"need z \(N, 2\)"),
        (lambda: latent_map(noise(5, 2), torch.ones(5), ["a"]), r"labels must be in 0\.\.0"),
        (lambda: latent_grid(noise(5, 1, 4, 4), [0, 1]), "needs 4 images, got 5"),
        (lambda: curves({}, "x", "y"), "at least one series"),
        (lambda: curves({"VAE": ([1, 2], [1])}, "x", "y"), r"'VAE' need one length .* \[2, 1\]"),
        (lambda: curves({"VAE": ([1, 2],)}, "x", "y"), "got 1 parts"),
        (lambda: results_table([]), "at least one row"),
        (lambda: show(blank(2), "See."), "needs alt text"),
        (lambda: show(blank(2), " ", "Blank."), "needs a caption"),
        (lambda: show(blank(2), "See.", "Blank.", label="one"), "starts with 'fig-', got 'one'"),
    ],
)
def test_bad_input_gets_one_sentence(wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        wrong()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("height", [1.8, 2.4, 3.4])
def test_a_long_label_of_an_upright_axis_stays_on_the_picture(height):
    """It was cut at both ends where a figure was low."""
    line = (np.arange(3.0), np.arange(3.0))
    figure = curves({"a": line}, "x", "mean squared error per pixel, test", height=height)
    figure.draw_without_rendering()
    label = figure.axes[0].yaxis.label.get_window_extent()
    assert label.y0 >= 0 and label.y1 <= figure.bbox.height
