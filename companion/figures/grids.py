"""Many small images as one picture, each pixel a sharp square."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from companion.figures.pictures import SCALE, as_array, channels_last
from companion.figures.style import DPI, WIDTH, blank, text_width

GAP = 4  # CSS pixels between images
LARGEST = 128  # CSS pixels: no image is drawn wider
LINE = 19  # CSS pixels: the height of a line of text
POINTS = 9.5  # the size of letters


def image_grid(
    images: Any,
    columns: int,
    titles: Sequence[str] | None = None,
    row_labels: Sequence[str] | None = None,
    alt: str = "",
) -> Figure:
    """Draw images (N, C, H, W) with pixels in [0, 1] row by row, `columns` to a row.

    `titles` stand above the columns, or above every image if there are N; `row_labels` stand
    to the left. On the page every image pixel is a whole number of device pixels wide.
    Raises ValueError for pixels outside [0, 1] or counts that do not match.
    """
    pixels = [channels_last(image) for image in as_array(images)]
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    columns = min(columns, len(pixels))
    rows = ceil(len(pixels) / columns)
    titles, row_labels = list(titles or ()), list(row_labels or ())
    check_texts(len(pixels), columns, rows, titles, row_labels)
    left = ceil(max((text_width(t, POINTS) for t in row_labels), default=-12)) + 12
    zoom = magnification(pixels[0].shape[1], columns, left)
    sheet, corners = lay_out(pixels, columns, zoom, left, titles)
    figure = full_page(sheet, alt)
    half_w, half_h = (zoom * side / SCALE / 2 for side in pixels[0].shape[1::-1])
    for (x, y), title in zip(corners, titles, strict=False):
        write(figure, title, x + half_w, y - 3, ha="center", va="bottom")
    for (_, y), text in zip(corners[::columns], row_labels, strict=False):
        write(figure, text, left - 9, y + half_h, ha="right", va="center")
    return figure


def image_rows(
    rows: Mapping[str, Any], titles: Sequence[str] | None = None, alt: str = ""
) -> Figure:
    """Draw rows of equally many images under one another, e.g. inputs above reconstructions.

    `rows` maps a label to images (N, C, H, W) with pixels in [0, 1].
    """
    arrays = {label: as_array(images) for label, images in rows.items()}
    shapes = {label: array.shape for label, array in arrays.items()}
    if len(set(shapes.values())) != 1:
        raise ValueError(f"all rows need images of one number and shape, got {shapes}")
    number = next(iter(shapes.values()))[0]
    return image_grid(np.concatenate(list(arrays.values())), number, titles, list(rows), alt)


def check_texts(n: int, columns: int, rows: int, titles: list[str], row_labels: list[str]) -> None:
    """Raise ValueError unless there are as many titles and row labels as places for them."""
    if len(titles) not in (0, columns, n):
        raise ValueError(f"titles: got {len(titles)}, need {columns} (columns) or {n} (images)")
    if len(row_labels) not in (0, rows):
        raise ValueError(f"row_labels: got {len(row_labels)}, need {rows}, one for each row")


def magnification(width: int, columns: int, left: int) -> int:
    """Find the device pixels per image pixel that let a row of images fill a page."""
    room = (WIDTH * DPI - left - GAP * (columns - 1)) / columns
    return max(1, int(SCALE * min(room, LARGEST) / width))


def lay_out(
    pixels: list[NDArray[np.float32]], columns: int, zoom: int, left: int, titles: list[str]
) -> tuple[NDArray[np.float32], list[tuple[float, float]]]:
    """Lay images on a white sheet of device pixels; also their corners in CSS pixels."""
    height, width = (side * zoom for side in pixels[0].shape[:2])
    rows = ceil(len(pixels) / columns)
    line = SCALE * LINE * max((title.count("\n") + 1 for title in titles), default=0)
    lines = [line] * rows if len(titles) > columns else [line] + [0] * (rows - 1)
    tops = np.cumsum(lines) + np.arange(rows) * (height + SCALE * GAP)
    lefts = SCALE * left + np.arange(columns) * (width + SCALE * GAP)
    shape = (int(tops[-1]) + height, int(lefts[-1]) + width, *pixels[0].shape[2:])
    sheet = np.ones(shape, np.float32)
    corners = []
    for k, image in enumerate(pixels):
        y, x = int(tops[k // columns]), int(lefts[k % columns])
        sheet[y : y + height, x : x + width] = image.repeat(zoom, 0).repeat(zoom, 1)
        corners.append((x / SCALE, y / SCALE))
    return sheet, corners


def full_page(sheet: NDArray[np.float32], alt: str) -> Figure:
    """Make a figure of exactly the sheet's device pixels."""
    figure = blank(sheet.shape[0] / DPI / SCALE, sheet.shape[1] / DPI / SCALE)
    figure.set_layout_engine("none")
    figure.set_label(alt)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    return figure


def write(figure: Figure, text: str, x: float, y: float, **alignment: Any) -> None:
    """Write at (x, y) in CSS pixels from the figure's upper left corner."""
    width, height = figure.get_size_inches() * DPI
    figure.text(x / width, 1 - y / height, text, fontsize=POINTS, **alignment)
