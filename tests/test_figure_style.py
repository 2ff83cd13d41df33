"""Colours and marks: the same for the same model, and apart in every eye."""

import itertools

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from companion.figures import COLOURS, LINES, colour
from companion.figures.style import MARKERS, PALETTE, darker, marks

# Machado, Oliveira and Fernandes 2009, table 1, severity 1: what each kind of eye sees.
EYES = {
    "usual": np.eye(3),
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def light(tone: str) -> NDArray[np.float64]:
    """Linear light of a colour, red green blue."""
    rgb = np.array(to_rgb(tone))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(tone: str, eye: str) -> NDArray[np.float64]:
    """CIELAB of a colour as an eye sees it."""
    seen = XYZ @ np.clip(np.asarray(EYES[eye]) @ light(tone), 0, 1) / [0.9505, 1, 1.089]
    f = np.where(seen > 0.008856, np.cbrt(seen), 7.787 * seen + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize(
    ("meeting", "apart"),
    [
        (["data", "autoencoder", "vae", "beta-vae", "classifier"], 16),
        (["data", "autoregressive", "vae", "flow", "gan", "energy", "diffusion"], 10),
    ],
    ids=["chapter on VAEs", "all families"],
)
def test_models_that_meet_differ_in_every_eye(eye: str, meeting: list[str], apart: float) -> None:
    # A difference of 2.3 is just noticeable; 10 is plain at a glance.
    for a, b in itertools.combinations(meeting, 2):
        assert np.linalg.norm(lab(COLOURS[a], eye) - lab(COLOURS[b], eye)) > apart, (a, b)


@pytest.mark.parametrize("tone", sorted({*COLOURS.values(), *PALETTE}))
def test_lines_and_their_labels_stand_out_from_white(tone: str) -> None:
    def contrast(tone: str) -> float:
        return 1.05 / (float(XYZ[1] @ light(tone)) + 0.05)

    assert contrast(tone) >= 3 and contrast(darker(tone)) >= 4.5  # WCAG 1.4.11 and 1.4.3


def test_colour_never_stands_alone() -> None:
    assert set(LINES) == set(COLOURS) and len(set(LINES.values())) == len(LINES)
    assert len(set(MARKERS)) == len(MARKERS) == len(PALETTE)
    chosen = marks(["VAE, test", "VAE, training", "β-VAE", "chance", "guess"])
    looks = {(mark.dash, mark.marker, mark.filled) for mark in chosen.values()}
    assert len(looks) == len(chosen)


def test_a_model_keeps_its_colour() -> None:
    assert colour("β-VAE") == colour("beta_vae") == COLOURS["beta-vae"]
    assert marks(["VAE, 2 dimensions"])["VAE, 2 dimensions"].colour == COLOURS["vae"]
    assert not {m.colour for m in marks(["VAE", "chance"]).values()} - {COLOURS["vae"], "#777777"}
    with pytest.raises(ValueError, match="did you mean 'vae'"):
        colour("vea")


def test_letters_are_legible_and_paper_is_white() -> None:
    sizes = ["font.size", "axes.labelsize", "xtick.labelsize", "ytick.labelsize"]
    assert min(float(rcParams[key]) for key in [*sizes, "legend.fontsize"]) >= 9
    assert rcParams["savefig.facecolor"] == "white"
