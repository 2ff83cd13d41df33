"""Networks of pixels beside scikit-learn: the certified fit, and the speed of drawing.

python tests/bench/pixels.py    write the section of `book/benchmarks.md`
"""

import platform
import time
from collections.abc import Callable
from statistics import median

import sklearn
import torch
from page import put
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from companion.data import load
from companion.models.logistic import count, fit
from companion.models.pixels import PixelNetwork, quarter_plane

TITLE = "## Networks of pixels"
TURNS = 3
FEW = 3000  # images of whose patches scikit-learn's table still fits into memory
DRAWN = 10_000


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def certified(images: Tensor) -> None:
    """From images to the optimum of 15 parents, with its certificate."""
    network = PixelNetwork(quarter_plane(4))
    optimum = fit(network, count(network, images))
    if not (optimum.certified and optimum.gradient <= 1e-8):
        raise SystemExit(f"no certificate: gradient {optimum.gradient:.1e}")


def theirs(images: Tensor, merged: bool) -> None:
    """The same optimum by LogisticRegression, from all patches, or from counted ones."""
    network = PixelNetwork(quarter_plane(4)).double()
    model = LogisticRegression(C=1e12, tol=1e-6, max_iter=2000)
    if not merged:
        x = network.features(network.codes(images).flatten()).numpy()
        model.fit(x, images.flatten().numpy())
        return
    counts = count(network, images)
    x = network.features(counts.codes.repeat(2)).numpy()
    y = torch.arange(2).repeat_interleave(len(counts.codes)).numpy()
    weights = torch.cat([counts.seen - counts.ink, counts.ink]) * len(images)
    model.fit(x, y, sample_weight=weights.numpy())


def rows() -> list[tuple[str, str, float, float]]:
    """Measure every case: its name, the rival, seconds of ours and of the rival's."""
    images = load("persian").examples("train")[0]
    few, found = images[:FEW], []
    cases = [
        (f"fit of {FEW:,} images", "LogisticRegression on all patches", few, False),
        ("fit of 60,000 images", "LogisticRegression on our counts", images, True),
    ]
    for case, rival, part, merged in cases:
        pairs = [
            (seconds(lambda p=part: certified(p)), seconds(lambda p=part, m=merged: theirs(p, m)))
            for _ in range(TURNS)
        ]
        ours, other = median(a for a, _ in pairs), median(b for _, b in pairs)
        found.append((case, rival, ours, other))
    for position in (False, True):
        network = PixelNetwork(quarter_plane(4), position=position)
        fit(network, count(network, images[:FEW]))
        ours = median(seconds(lambda n=network: n.sample(DRAWN)) for _ in range(TURNS))
        name = f"{DRAWN:,} draws, {'with' if position else 'without'} position"
        found.append((name, "", ours, float("nan")))
    return found


def main() -> None:
    """Measure, print, and write the section."""
    machine = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    lines = [
        TITLE, "",
        f"Linear law, 15 parents, Persian digits of 28 × 28 pixels; {machine}, "
        f"torch {torch.__version__}, scikit-learn {sklearn.__version__}.",
        f"Ours is timed from the images to a gradient of at most 1e-8; medians of {TURNS} turns.",
        "", "| case | rival | ours, s | rival, s | ratio |", "| :-- | :-- | --: | --: | --: |",
    ]  # fmt: skip
    for case, rival, ours, other in rows():
        beside = f"{other:.2f} | {other / ours:.2f}" if rival else "– | –"
        lines.append(f"| {case} | {rival or '–'} | {ours:.2f} | {beside} |")
        print(lines[-1], flush=True)
    put("\n".join(lines) + "\n", TITLE)


if __name__ == "__main__":
    main()
