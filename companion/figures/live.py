"""An explorable where a kernel runs: sliders, menus and a button ask the model itself.

A live form is built only where a person can answer (`is_live`): a chapter that papermill, nbmake
or a builder of books executes asks for no input, and stores no widget.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from html import escape
from types import CodeType, FunctionType
from typing import Any

import torch
from matplotlib.figure import Figure

from companion.figures.pictures import Pixels, as_frame, quick

SOON = 0.1  # seconds: an answer that takes longer waits until a slider is let go
LEAST = 300  # CSS pixels: a small image is magnified to about this width


class Knob:
    """What a reader moves: numbers make a slider from the least to the largest, texts a menu.

    Whole numbers make a slider of whole numbers. `start` is the value at first, by default the
    first of `values`. Two explorables that hold the same knob move together.
    """

    def __init__(self, name: str, values: Sequence[Any], start: Any = None) -> None:
        self.name, self.values = name, list(values)
        self.start = self.values[0] if start is None else start
        self.is_number = all(isinstance(value, int | float) for value in self.values)
        low, high = (min(self.values), max(self.values)) if self.is_number else (0, 0)
        fits = low <= self.start <= high if self.is_number else self.start in self.values
        if len(self.values) < 2 or not fits:
            raise ValueError(f"{name!r} needs two values and a start of them, got {self.start!r}")

    @cached_property
    def widget(self) -> Any:
        """Build the control; each view of it shows the same value."""
        import ipywidgets

        wide = {"description_width": "initial"}
        usual = {"description": self.name, "value": self.start, "style": wide}
        if not self.is_number:
            return ipywidgets.Dropdown(options=self.values, **usual)
        low, high = min(self.values), max(self.values)
        whole = all(isinstance(value, int) for value in (*self.values, self.start))
        kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
        step = 1 if whole else float(f"{(high - low) / 200:.0e}")
        usual["layout"] = {"width": "420px", "max_width": "100%"}
        return kind(min=low, max=high, step=step, **usual)


class Live:
    """What computes the picture of an explorable, and the knobs that a reader turns.

    `picture` takes the knobs' values in their order and returns what a frame may be: a figure,
    or an image with pixels in [0, 1]. One that takes long yields pairs instead: the share that
    is done, the picture so far. It may draw from torch's generator: equal knobs give equal draws
    until "draw again" is pressed, a button that `again` adds, and a cell that runs later draws
    as if nobody had touched it. It computes without gradients, in the dtype that was the default
    when it was made, with what the names in it meant then. Without `knobs` the sliders are those
    of the recorded frames.
    """

    def __init__(self, picture: Callable[..., Any], *knobs: Knob, again: bool = False) -> None:
        self.picture, self.knobs, self.again = as_it_is(picture), list(knobs), again
        self.dtype = torch.get_default_dtype()
        self.places: list[Any] = []

    def answers(self, values: Sequence[Any], draw: int = 0) -> Iterator[tuple[float, Pixels]]:
        """Yield the share that is done and the picture so far, (H, W) or (H, W, 3) in 0..255."""
        with undisturbed(self.dtype, draw):
            found = self.picture(*values)
            for share, picture in found if isinstance(found, Generator) else [(1.0, found)]:
                yield share, self.drawn(picture)

    def drawn(self, picture: Any) -> Pixels:
        """Turn an answer into pixels; the panels of a figure stay where those of the first were.

        Finding places for them costs as much as drawing them.
        """
        if isinstance(picture, Figure):
            if len(self.places) == len(picture.axes):
                picture.set_layout_engine("none")
                for axes, place in zip(picture.axes, self.places, strict=True):
                    axes.set_position(place)
            else:
                picture.draw_without_rendering()
                self.places = [axes.get_position() for axes in picture.axes]
        return as_frame(picture)


class Form:
    """A live form: picture, progress, a line that says what was computed, the controls.

    It shows the recorded frame `first` until a knob is turned.
    """

    def __init__(self, live: Live, first: Pixels, alt: str, caption: str) -> None:
        import ipywidgets

        self.live, self.draw = live, 0
        self.image = ipywidgets.Image(format="png", layout={"max_width": "100%"})
        self.bar = ipywidgets.FloatProgress(max=1.0, layout={"display": "none"})
        self.told = ipywidgets.HTML("Recorded. Move a control, and the model answers.")
        self.button = ipywidgets.Button(description="draw again")
        self.button.on_click(self.draw_again)
        controls = [knob.widget for knob in live.knobs] + [self.button] * live.again
        words = ipywidgets.HTML(f'<span role="img" aria-label="{escape(alt)}"></span>{caption}')
        parts = [self.image, self.bar, self.told, *controls, words]
        self.box = ipywidgets.VBox(parts).add_class("companion-live")
        for knob in live.knobs:
            knob.widget.observe(self.answer, names="value")
        self.show(first)

    def show(self, pixels: Pixels) -> None:
        """Put a picture into the form, a small one magnified."""
        zoom = -(-LEAST // pixels.shape[1])
        self.image.value = quick(pixels.repeat(zoom, 0).repeat(zoom, 1))
        self.image.layout.width = f"{zoom * pixels.shape[1]}px"

    def draw_again(self, *_: Any) -> None:
        """Answer with other random numbers."""
        self.draw += 1
        self.answer()

    def answer(self, *_: Any) -> None:
        """Compute and show the picture of the knobs' values; an error is one line."""
        began = time.perf_counter()
        self.told.value = "Computing."
        values = [knob.widget.value for knob in self.live.knobs]
        try:
            for share, pixels in self.live.answers(values, self.draw):
                self.show(pixels)
                self.bar.value = share
                self.bar.layout.display = "none" if share >= 1 else "flex"
        except Exception as error:  # a front end would hide it in a log
            self.told.value = escape(f"{type(error).__name__}: {error}")
            return
        took = time.perf_counter() - began
        self.told.value = f"Computed here in {1000 * took:,.0f} ms."
        for knob in self.live.knobs:  # one that takes long waits until the slider is let go
            if took > SOON and knob.widget.has_trait("continuous_update"):
                knob.widget.continuous_update = False

    def display(self) -> None:
        """Show the form; where no widgets are known, one line stands in its place."""
        from IPython.display import display

        view = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        told = "Live where a kernel runs."
        display({"application/vnd.jupyter.widget-view+json": view, "text/plain": told}, raw=True)


def as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    """Bind a notebook's function to what its names mean now: a later cell may use them anew."""
    if not isinstance(function, FunctionType):
        return function
    world = function.__globals__
    kept: dict[str, Any] = {"__builtins__": world.get("__builtins__", __builtins__)}

    def bound(one: FunctionType) -> FunctionType:
        copy = FunctionType(one.__code__, kept, one.__name__, one.__defaults__, one.__closure__)
        copy.__kwdefaults__ = one.__kwdefaults__
        for name in names_in(one.__code__):
            if name in world and name not in kept:
                kept[name] = value = world[name]
                if isinstance(value, FunctionType) and value.__globals__ is world:
                    kept[name] = bound(value)
        return copy

    return bound(function)


def names_in(code: CodeType) -> set[str]:
    """Return the names that a code and those within it look up."""
    inner = (part for part in code.co_consts if isinstance(part, CodeType))
    return set(code.co_names).union(*map(names_in, inner))


@contextmanager
def undisturbed(dtype: torch.dtype, seed: int) -> Iterator[None]:
    """Compute without gradients, in `dtype`, from `seed`; then leave all as it was."""
    usual = torch.get_default_dtype()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.set_default_dtype(dtype)
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_default_dtype(usual)


def is_live() -> bool:
    """Tell whether this cell was sent by a front end where a person can answer."""
    from IPython.core.getipython import get_ipython

    return bool(getattr(getattr(get_ipython(), "kernel", None), "_allow_stdin", False))
