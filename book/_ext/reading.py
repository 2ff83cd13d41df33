"""Sphinx extension: how a page reads. Its parts are the modules named in `PARTS`."""

import shutil
from pathlib import Path

from sphinx.application import Sphinx

PARTS = ("typeset", "folds", "bodies", "icons", "references")
WEB = Path(__file__).parent / "web"


def copy_web(app: Sphinx) -> None:
    """Put styles and scripts where pages look; in `_static` every page would load them all."""
    if app.builder.format == "html":
        shutil.copytree(WEB, Path(app.outdir) / "_static", dirs_exist_ok=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Load the parts."""
    for part in PARTS:
        app.setup_extension(part)
    app.add_js_file("reading.js", loading_method="defer")
    app.connect("builder-inited", copy_web)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
