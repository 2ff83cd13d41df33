"""The HTML of an explorable: one picture that holds all frames, and a script that cuts it."""

from html import escape
from typing import Any

from companion.figures.embedded import attribute, script_of, style_of


def page(source: str, alt: str, caption: str, facts: dict[str, Any]) -> str:
    """Write an explorable's HTML; `source` is the address of its sheet of frames.

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
