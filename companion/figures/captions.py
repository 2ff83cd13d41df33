"""A figure as it stands on a page: picture, text for those who cannot see it, caption."""

from dataclasses import dataclass
from html import escape
from typing import Any

from matplotlib import pyplot
from matplotlib.figure import Figure

from companion.figures.pictures import SCALE, data_uri, encode, render

CARD = "max-width:100%;height:auto;background:#fff;border-radius:6px"
LEGEND = "margin-top:0.5em;text-align:left;color:inherit"


@dataclass(frozen=True)
class Captioned:
    """A picture with its caption; shows itself in a notebook and on the page.

    picture: HTML that needs nothing beside itself, with the text for those who cannot see it.
    """

    picture: str
    caption: str
    label: str = ""

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"Figure: {self.caption}"

    def html(self) -> str:
        """Write the figure as HTML that needs nothing beside itself."""
        anchor = f' id="{escape(self.label)}"' if self.label else ""
        return (
            f'<figure class="companion-figure"{anchor} style="margin:1em 0">{self.picture}'
            f'<figcaption style="{LEGEND}">{self.caption}</figcaption></figure>'
        )


def check_words(caption: str, alt: str, label: str) -> None:
    """Raise ValueError if caption or alt text is missing or the label is not "fig-..."."""
    if not caption.strip() or not alt.strip():
        missing = "a caption that says what to see" if alt.strip() else "alt text"
        raise ValueError(f"a figure needs {missing}, got caption={caption!r}, alt={alt!r}")
    if label and not label.startswith("fig-"):
        raise ValueError(f"the label of a figure starts with 'fig-', got {label!r}")


def show(figure: Figure, caption: str, alt: str = "", label: str = "") -> Captioned:
    """Finish a figure for the page; the last line of a cell.

    `caption` says what to see and may hold simple HTML, e.g. <i>z</i>. `alt` describes the
    picture in words, unless the figure was drawn with it. `label` is an anchor, "fig-...".
    Raises ValueError if caption or alt text is missing or the label is not "fig-...".
    """
    alt = alt or str(figure.get_label())
    check_words(caption, alt, label)
    pixels = render(figure)
    pyplot.close(figure)  # or the notebook would print it a second time
    picture = (
        f'<img class="dark-light" src="{data_uri(encode(pixels))}" alt="{escape(alt)}"'
        f' width="{pixels.shape[1] // SCALE}" style="{CARD}">'
    )
    return Captioned(picture, caption, label)
