"""Networks of pixels beside scikit-learn: the certified fit, and the speed of drawing.

python tests/bench/pixels.py    write the section of `book/benchmarks.md`
"""

from statistics import median

import sklearn
import torch
from page import put
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from turns import Row, Work, duel, machine, seconds

from companion.data import load
from companion.models.logistic import count, features_of, fit, newton
from companion.models.pixels import PixelNetwork, quarter_plane

TITLE = "## Networks of pixels"
TURNS = 3
FEW = 3000  # images of whose patches scikit-learn's table still fits into memory
DRAWN = 10_000


def certified(images: Tensor) -> None:
    """From images to the optimum of 15 parents, with its certificate."""
    network = PixelNetwork(quarter_plane(4))
    optimum = fit(network, count(network, images))
    if not (optimum.certified and optimum.gradient <= 1e-8):
        raise SystemExit(f"no certificate: gradient {optimum.gradient:.1e}")


def rival() -> LogisticRegression:
    """Their solver, without a penalty that could be felt."""
    return LogisticRegression(C=1e12, tol=1e-6, max_iter=2000)


def of_patches(images: Tensor) -> None:
    """The same optimum from all patches, one row for each pixel."""
    network = PixelNetwork(quarter_plane(4)).double()
    x = network.features(network.codes(images).flatten()).numpy()
    rival().fit(x, images.flatten().numpy())


def rows() -> list[Row]:
    """Measure every case."""
    images, network = load("persian").examples("train")[0], PixelNetwork(quarter_plane(4))
    few, counts = images[:FEW], count(network, images)
    inputs = features_of(network, counts)
    x, y = inputs[:, 1:].repeat(2, 1).numpy(), torch.arange(2).repeat_interleave(len(inputs))
    weights = len(images) * torch.cat([counts.seen - counts.ink, counts.ink]).numpy()
    name = "LogisticRegression on all patches"
    solver = "LogisticRegression, weighted"
    found = [
        against(f"fit of {FEW:,} images", name, lambda: certified(few), lambda: of_patches(few)),
        against(
            f"from {len(inputs):,} counted patterns", solver,
            lambda: newton(inputs, counts), lambda: rival().fit(x, y, sample_weight=weights),
        ),
        alone("fit of 60,000 images", lambda: certified(images)),
    ]  # fmt: skip
    for position in (False, True):
        network = PixelNetwork(quarter_plane(4), position=position)
        fit(network, count(network, few))
        case = f"{DRAWN:,} draws, {'with' if position else 'without'} position"
        found.append(alone(case, lambda n=network: n.sample(DRAWN)))
    return found


def against(case: str, beside: str, ours: Work, theirs: Work) -> Row:
    """Let ours and the rival take turns."""
    return {"case": case, "rival": beside, **duel(ours, theirs, TURNS)._asdict()}


def alone(case: str, ours: Work) -> Row:
    """Time what has no rival."""
    return {"case": case, "ours": median(seconds(ours) for _ in range(TURNS))}


def main() -> None:
    """Measure, print, and write the section."""
    lines = [
        TITLE, "",
        f"Linear law, 15 parents, Persian digits of 28 × 28 pixels; {machine()}, "
        f"torch {torch.__version__}, scikit-learn {sklearn.__version__}.",
        f"Ours is timed from the images to a gradient of at most 1e-8; medians of {TURNS} turns.",
        "", "| case | rival | ours, s | rival, s | ratio |", "| :-- | :-- | --: | --: | --: |",
    ]  # fmt: skip
    for row in rows():
        rival = f"{row['theirs']:.2f} | {row['ratio']:.2f}" if "rival" in row else "– | –"
        lines.append(f"| {row['case']} | {row.get('rival', '–')} | {row['ours']:.2f} | {rival} |")
        print(lines[-1], flush=True)
    put("\n".join(lines) + "\n", TITLE)


if __name__ == "__main__":
    main()
