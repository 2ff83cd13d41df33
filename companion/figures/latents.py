"""Pictures of a two-dimensional latent space."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.figure import Figure
from matplotlib.text import Text

from companion.figures.pictures import SCALE, as_array, channels_last
from companion.figures.style import DPI, MARKERS, PALETTE, blank, darker

MOST = 3000  # points; more would only hide one another
PLANE = 560  # CSS pixels: the largest width of a plane of images
BESIDE, BELOW = 72, 48  # CSS pixels: room for the ticks and names of the axes
HALO = patheffects.withStroke(linewidth=3, foreground="white")


def plain(values: Any) -> np.ndarray:
    """Turn a tensor or a list into an array."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def centre(z: np.ndarray) -> tuple[float, float]:
    """Find the median of points (N, 2), one coordinate at a time."""
    return float(np.median(z[:, 0])), float(np.median(z[:, 1]))


def latent_map(z: Any, labels: Any, class_names: Sequence[str], alt: str = "") -> Figure:
    """Scatter codes z (N, 2) by class; each class has colour, marker and name at its median.

    Of more than 3,000 codes every k-th is drawn. `labels` (N,) are integers.
    Raises ValueError if z is not (N, 2) or a label has no class name.
    """
    z, labels = plain(z), plain(labels)
    if z.ndim != 2 or z.shape[1] != 2 or labels.shape != z.shape[:1]:
        raise ValueError(f"need z (N, 2) and labels (N,), got {z.shape} and {labels.shape}")
    if len(class_names) > len(PALETTE):
        raise ValueError(f"at most {len(PALETTE)} classes can be told apart: {len(class_names)}")
    if len(z) == 0 or not 0 <= labels.min() <= labels.max() < len(class_names):
        raise ValueError(f"labels must be in 0..{len(class_names) - 1}, got {set(labels)}")
    figure = blank(5.2)
    figure.set_label(alt)
    axes = figure.subplots()
    axes.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
    step = -(-len(z) // MOST)
    names = []
    for k, name in enumerate(class_names):
        few = z[::step][labels[::step] == k]
        axes.scatter(*few.T, s=11, c=PALETTE[k], marker=MARKERS[k], lw=0.6, alpha=0.6, label=name)
        if (labels == k).any():
            text = axes.text(*centre(z[labels == k]), name, color=darker(PALETTE[k]))
            text.set(ha="center", va="center", weight="bold", path_effects=[HALO])
            names.append(text)
    legend = axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, markerscale=2)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)
    push_apart(figure, names)
    return figure


def push_apart(figure: Figure, texts: Sequence[Text], rounds: int = 60) -> None:
    """Move texts up and down, a little each round, until none covers another."""
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in texts]
    moved = np.zeros(len(texts))
    for _ in range(rounds):
        before = moved.copy()
        for i, j in combinations(range(len(texts)), 2):
            a, b = boxes[i].translated(0, moved[i]), boxes[j].translated(0, moved[j])
            if a.overlaps(b):
                up = i if (a.y0, i) > (b.y0, j) else j
                moved[up] += 1.5
                moved[i + j - up] -= 1.5
        if (moved == before).all():  # so would every further round leave them
            break
    for text, pixels in zip(texts, moved, strict=True):
        x, y = text.get_transform().transform(text.get_position())
        x, y = text.get_transform().inverted().transform((x, y + pixels))
        text.set_position((float(x), float(y)))


def latent_grid(images: Any, grid: Any, alt: str = "") -> Figure:
    """Draw what each point of a latent plane decodes to.

    `grid` (n,) are increasing values of each coordinate, e.g. normal quantiles; `images`
    (n * n, C, H, W) are decoded from `torch.cartesian_prod(grid, grid)`, so image i * n + j
    belongs to z = (grid[i], grid[j]). z_1 grows to the right and z_2 upwards.
    """
    grid, tiles = plain(grid), [channels_last(image) for image in as_array(images)]
    n = len(grid)
    if len(tiles) != n * n:
        raise ValueError(f"a grid of {n} values needs {n * n} images, got {len(tiles)}")
    columns = [np.concatenate(tiles[i * n : (i + 1) * n][::-1]) for i in range(n)]
    picture = np.concatenate(columns, axis=1)
    zoom = max(1, int(SCALE * PLANE / picture.shape[1]))  # device pixels per image pixel
    picture = picture.repeat(zoom, 0).repeat(zoom, 1)
    tall, wide = (side / SCALE for side in picture.shape[:2])
    figure = blank((tall + BELOW + 8) / DPI, (wide + BESIDE + 8) / DPI)
    figure.set_layout_engine("none")
    figure.set_label(alt)
    full_w, full_h = wide + BESIDE + 8, tall + BELOW + 8
    axes = figure.add_axes((BESIDE / full_w, BELOW / full_h, wide / full_w, tall / full_h))
    extent = (0, n, 0, n)
    image = axes.imshow(picture, "gray", extent=extent, vmin=0, vmax=1, aspect="auto")
    image.set_interpolation("nearest")
    axes.grid(False)
    ticks = np.unique(np.linspace(0, n - 1, min(n, 7)).round().astype(int))
    names = [f"{grid[k]:.2g}".replace("-", "−") for k in ticks]
    axes.set_xticks(ticks + 0.5, names)
    axes.set_yticks(ticks + 0.5, names)
    axes.set(xlabel="$z_1$", ylabel="$z_2$")
    return figure
