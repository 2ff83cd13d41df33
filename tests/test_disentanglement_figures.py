"""Figures of codes and factors draw what they are given, and refuse what does not fit."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from companion.figures import show
from companion.figures.disentanglement import (
    factor_maps,
    information_map,
    rate_distortion_plane,
    stacked_parts,
    strips,
)


def marks_of(figure: Figure, panel: int = 0) -> list[np.ndarray]:
    """Return the places of each scatter of a panel: (N, 2)."""
    return [np.asarray(dots.get_offsets()) for dots in figure.axes[panel].collections]


def test_every_run_is_a_point_and_grey_lines_have_one_sum():
    figure = rate_distortion_plane({"VAE": ([20.0, 22.0], [90.0, 85.0]), "flat": ([0.0], [500.0])})
    assert [len(dots) for dots in marks_of(figure)] == [2, 1]
    for line in figure.axes[0].lines:
        sums = np.asarray(line.get_xdata()) + np.asarray(line.get_ydata())
        assert np.nanmax(sums) - np.nanmin(sums) < 1e-9 * np.nanmax(sums)  # rounding
    assert show(figure, "caption", "alt").html().startswith("<figure")


def test_bars_are_as_high_as_their_parts_sum_to():
    parts = {"a": torch.tensor([[1.0, 2.0], [3.0, 1.0]]), "b": torch.tensor([[0.5, 0.5]])}
    bars = stacked_parts(parts, ("low", "high"), "nats").axes[0].patches
    boxes = [bar for bar in bars if isinstance(bar, Rectangle)]
    tops = {round(float(box.get_x()), 2): box.get_y() + box.get_height() for box in boxes}
    assert sorted(tops.values()) == [1.0, 3.0, 4.0]  # the upper part of a bar comes last


def test_each_factor_colours_the_same_points():
    z, v = torch.randn(30, 2), torch.arange(30)
    figure = factor_maps({"VAE": z, "other": -z}, {"angle": v, "size": v % 3}, cyclic=["angle"])
    assert len(figure.axes) == 4
    first, second = figure.axes[0].collections[0], figure.axes[1].collections[0]
    np.testing.assert_array_equal(first.get_offsets(), second.get_offsets())
    assert first.get_cmap() != second.get_cmap()


def test_the_map_writes_every_share():
    shares = torch.tensor([[0.25, 0.5, 0.0], [1.0, 0.75, 0.1]])
    texts = information_map(shares, ["z1", "z2"], ["a", "b", "c"]).axes[0].texts
    assert [text.get_text() for text in texts] == ["0.25", "0.50", "0.00", "1.00", "0.75", "0.10"]


def test_the_bar_of_a_strip_is_its_median():
    figure = strips({"VAE": [0.1, 0.4, 0.2], "β-VAE": [0.3]}, "score", lines={"other": 0.25})
    middles = [float(np.asarray(line.get_xdata())[0]) for line in figure.axes[0].lines]
    assert middles == [0.2, 0.3, 0.25]
    assert [len(dots) for dots in marks_of(figure)] == [3, 1]


def test_what_does_not_fit_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match="finite numbers in 1 axes"):
        strips({"a": [float("nan")]}, "score")
    with pytest.raises(ValueError, match="at least one"):
        rate_distortion_plane({})
    with pytest.raises(ValueError, match="2 parts each"):
        stacked_parts({"a": torch.ones(4, 3)}, ("x", "y"), "nats")
    with pytest.raises(ValueError, match="of one N"):
        factor_maps({"a": torch.randn(5, 2)}, {"v": torch.arange(4)})
    with pytest.raises(ValueError, match=r"no factor 'angel' \(did you mean 'angle'"):
        factor_maps({"a": torch.randn(5, 2)}, {"angle": torch.arange(5)}, cyclic=["angel"])
    with pytest.raises(ValueError, match="3 factors"):
        information_map(torch.ones(2, 2), ["z1", "z2"], ["a", "b", "c"])
