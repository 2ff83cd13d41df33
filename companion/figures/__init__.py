"""Pictures and tables of the book: arrays in, figures out; nothing is trained or loaded here."""

from companion.figures.captions import Captioned, show
from companion.figures.curves import curves
from companion.figures.explorable import Explorable
from companion.figures.graphs import draw_graph, graph_grid
from companion.figures.grids import image_grid, image_rows
from companion.figures.histories import history_curves
from companion.figures.latents import latent_grid, latent_map
from companion.figures.layouts import circle, layered
from companion.figures.live import Knob, Live
from companion.figures.probability_tables import ProbabilityTable, probability_table
from companion.figures.separation import SeparationExplorable
from companion.figures.sketches import Sketch
from companion.figures.source import Source, show_source
from companion.figures.style import COLOURS, LINES, blank, colour, use_style
from companion.figures.tables import TextTable, results_table

__all__ = [
    "COLOURS",
    "LINES",
    "Captioned",
    "Explorable",
    "Knob",
    "Live",
    "ProbabilityTable",
    "SeparationExplorable",
    "Sketch",
    "Source",
    "TextTable",
    "blank",
    "circle",
    "colour",
    "curves",
    "draw_graph",
    "graph_grid",
    "history_curves",
    "image_grid",
    "image_rows",
    "latent_grid",
    "latent_map",
    "layered",
    "probability_table",
    "results_table",
    "show",
    "show_source",
    "use_style",
]

use_style()
