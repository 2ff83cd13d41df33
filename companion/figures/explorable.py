"""Pictures with one or two sliders: the same in a notebook, on Colab and on the page.

An explorable shows itself as HTML, in every notebook that is stored: there a widget without its
kernel shows "Error displaying widget: model not found". Where scripts are forbidden, the HTML
shows all frames. One that has a `Live` shows ipywidgets too, where a person runs the cell.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from companion.figures.embedded import attribute, script_of, style_of
from companion.figures.live import LEAST, Form, Knob, Live, is_live
from companion.figures.pictures import Pixels, as_frame, data_uri, encode

RECORDED = "<small>Recorded; in JupyterLab and on Colab the model answers.</small>"
STRIP = 1400  # pixels: the width of a sheet that holds the frames of one slider


class Explorable:
    """Frames to walk through with a slider, or a table of frames with two.

    `frames` are figures of one size, or images with pixels in [0, 1]: (H, W), (H, W, 3) or
    (C, H, W). Nested lists `frames[i][j]` make two sliders, the first for i, the second for
    j. `labels` name each position of the slider: one list, or a pair of lists. `description`
    names what the slider moves; a pair for two. `alt` says in words what the picture shows,
    `caption` what to see. `start` is the position shown first, or a pair. `live` computes the
    picture anew where a kernel runs; without `Knob`s of its own it takes the sliders' values.

    Raises ValueError where frames and labels do not match, or frames differ in size.
    """

    def __init__(
        self,
        frames: Any,
        labels: Sequence[Any],
        description: str | Sequence[str],
        alt: str,
        caption: str = "",
        start: int | Sequence[int] = 0,
        live: Live | None = None,
    ) -> None:
        rows = list(frames)
        two = bool(rows) and isinstance(rows[0], list | tuple)
        if not two:  # one slider walks along a table of one row
            rows = [rows]
        self.sizes = [len(rows), len(rows[0])] if two else [len(rows[0])]
        self.labels = [[told(label) for label in names] for names in (labels if two else [labels])]
        self.descriptions = [description] if isinstance(description, str) else list(description)
        self.start = [start] * len(self.sizes) if isinstance(start, int) else list(start)
        self.alt, self.caption = alt, caption
        self.check([len(row) for row in rows])
        flat = [frame for row in rows for frame in row]
        self.drawn = isinstance(flat[0], Figure)
        self.frames = [as_frame(frame) for frame in flat]
        shapes = list(dict.fromkeys(frame.shape for frame in self.frames))
        if len(shapes) > 1:
            raise ValueError(f"all frames must be of one size, got {shapes[0]} and {shapes[1]}")
        self.sheet = encode(np.concatenate(self.strips()))
        seen = f"{caption} {RECORDED}".strip() if live else caption
        self.html = page(data_uri(self.sheet), alt, seen, self.facts())
        self.live = live
        if live is not None and not live.knobs:
            live.knobs = [
                Knob(name, as_numbers(labels), as_numbers(labels)[k])
                for name, labels, k in zip(self.descriptions, self.labels, self.start, strict=True)
            ]

    def check(self, widths: list[int]) -> None:
        """Raise ValueError unless frames, labels, descriptions and start fit together."""
        if 0 in widths or len(set(widths)) != 1:
            raise ValueError(f"need at least one frame, equally many in each row, got {widths}")
        counts = [len(names) for names in self.labels]
        if counts != self.sizes:
            raise ValueError(f"need one label for each frame: {self.sizes}, got {counts} labels")
        if not len(self.descriptions) == len(self.start) == len(self.sizes):
            told = f"{self.descriptions} and {self.start}"
            raise ValueError(f"{len(self.sizes)} slider(s) need a description and a start: {told}")
        if not all(0 <= k < n for k, n in zip(self.start, self.sizes, strict=True)):
            raise ValueError(f"start must be below {self.sizes} and not below 0: {self.start}")
        if not self.alt.strip():
            raise ValueError("an explorable needs alt text that says what the picture shows")

    @property
    def columns(self) -> int:
        """The frames beside one another in the sheet."""
        fitting = max(1, STRIP // self.frames[0].shape[1])
        return self.sizes[1] if len(self.sizes) == 2 else min(self.sizes[0], fitting)

    def strips(self) -> list[Pixels]:
        """Join the frames row by row; the last row is filled up with white."""
        blanks = -len(self.frames) % self.columns
        tiles = self.frames + [np.full_like(self.frames[0], 255)] * blanks
        starts = range(0, len(tiles), self.columns)
        return [np.concatenate(tiles[k : k + self.columns], axis=1) for k in starts]

    def facts(self) -> dict[str, Any]:
        """Tell the page's script where the frames lie in the sheet and what they are called."""
        height, width = self.frames[0].shape[:2]
        return {
            "width": width,
            "height": height,
            "columns": self.columns,
            "shown": width if self.drawn else width * -(-LEAST // width),
            "look": "" if self.drawn else "crisp",
            "labels": self.labels,
            "descriptions": self.descriptions,
            "start": self.start,
        }

    def _ipython_display_(self) -> None:
        """Show the live form before the recorded frames, which it hides while it lives."""
        if self.live is None or not is_live():
            raise NotImplementedError  # so IPython shows the HTML alone
        from IPython.display import display

        k = int(np.ravel_multi_index(self.start, self.sizes))
        Form(self.live, self.frames[k], self.alt, self.caption).display()
        display(self._repr_mimebundle_(), raw=True)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return {"text/html": self.html, "text/plain": repr(self)}

    def __repr__(self) -> str:
        sliders = "; ".join(
            f"{name} from {labels[0]} to {labels[-1]}"
            for name, labels in zip(self.descriptions, self.labels, strict=True)
        )
        return f"Explorable of {len(self.frames)} frames ({sliders}): {self.alt}"


def told(label: Any) -> str:
    """Write a label; zero has no sign."""
    text = str(label)
    return text[1:] if text.startswith("-") and not text.strip("-0.") else text


def as_numbers(labels: Sequence[str]) -> list[Any]:
    """Read labels as whole numbers or as floats if all are such, or leave them as they are."""
    for kind in (int, float):
        try:
            return [kind(label.replace("−", "-")) for label in labels]
        except ValueError:
            continue
    return list(labels)


def page(source: str, alt: str, caption: str, facts: dict[str, Any]) -> str:
    """Write the HTML; `source` is the address of the sheet that holds all frames.

    Without the script (an untrusted notebook, a printer) it shows the whole sheet.
    """
    across = facts["columns"] * facts["width"]
    across *= max(1, 700 // across)
    look = "max-width:100%;height:auto" + (";image-rendering:pixelated" if facts["look"] else "")
    return (
        f'{style_of("explorable")}<figure class="companion-explorable" {attribute(facts)}>'
        f'<img class="dark-light" src="{source}" alt="{escape(alt)}" width="{across}"'
        f' style="{look}">'
        f"<figcaption>{caption}</figcaption></figure>{script_of('explorable')}"
    )
