"""Measure disentanglement scores beside other libraries, in this one process.

`make bench` runs it after `graphs.py`. It writes the section "Disentanglement" of
`book/benchmarks.md`: every rival scores the same codes, and the scores are compared.
"""

import platform
from collections.abc import Callable
from functools import partial

import numpy as np
import sklearn
import torch
from page import put
from sklearn.metrics import mutual_info_score
from turns import Row, duel

from companion.metrics.disentanglement import mutual_information_gap

TITLE = "## Disentanglement"
TURNS = 25
SIZES = (3, 6, 40, 32, 32)  # the factors of dSprites


def world(points: int, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw codes that mix noise with the five factors of dSprites: (N, K) and (N, 5)."""
    rng = np.random.default_rng(0)
    factors = np.stack([rng.integers(0, size, points) for size in SIZES], 1)
    mix = rng.normal(size=(len(SIZES), dimensions)) * (rng.random((len(SIZES), dimensions)) < 0.3)
    return factors / SIZES @ mix + 0.1 * rng.normal(size=(points, dimensions)), factors


def double_loop(codes: np.ndarray, factors: np.ndarray) -> float:
    """Score as libraries do: scikit-learn's information of each dimension with each factor."""
    cut = [np.digitize(z, np.histogram(z, 20)[1][:-1]) for z in codes.T]
    shared = np.sort([[mutual_info_score(v, z) for v in factors.T] for z in cut], axis=0)
    entropies = [mutual_info_score(v, v) for v in factors.T]
    return float(np.mean((shared[-1] - shared[-2]) / entropies))


def rivals() -> dict[str, Callable[[np.ndarray, np.ndarray], float]]:
    """Name the programs that compute the same score, those that are installed."""
    found = {f"scikit-learn {sklearn.__version__}, two loops": double_loop}
    try:
        from disent.metrics._mig import _compute_mig

        found["disent 0.8.0"] = lambda z, v: float(_compute_mig(z.T, v.T)["mig.discrete_score"])
    except ImportError:
        print("disent is not installed: its row is left out")
    return found


def rows() -> list[Row]:
    """Measure the histogram MIG of 10,000 codes of 10 dimensions and 5 factors."""
    codes, factors = world(10_000, 10)
    ours = partial(mutual_information_gap, torch.from_numpy(codes), torch.from_numpy(factors))
    found = []
    for name, score in rivals().items():
        apart = abs(ours().score.value - score(codes, factors))
        assert apart < 1e-6, f"{name} differs by {apart}"
        a, b, ratio = duel(ours, partial(score, codes, factors), TURNS, least=0.05)
        row = {"case": "MIG, 10,000 × 10 × 5", "rival": name, "ours": a, "theirs": b}
        found.append({**row, "ratio": ratio, "target": "≥ 10", "apart": apart})
    return found


def section(found: list[Row]) -> str:
    """Write the part of the page."""
    lines = [
        TITLE,
        "",
        "Scores of the same codes; ours comes with its standard error, the rivals' without.",
        f"Measured on: {platform.machine()} CPU, one thread, one process, numpy {np.__version__}.",
        f"Both sides took turns; the ratio is the median over {TURNS} pairs of turns.",
        "Apart: the difference of the two scores.",
        "",
        "| case | rival | ours, ms | rival, ms | ratio | target | apart |",
        "| :-- | :-- | --: | --: | --: | --: | --: |",
    ]
    for r in found:
        times = f"{1e3 * r['ours']:.1f} | {1e3 * r['theirs']:.1f} | {r['ratio']:.1f}"
        apart = f"{r['apart']:.1g}"
        lines.append(f"| {r['case']} | {r['rival']} | {times} | {r['target']} | {apart} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and put the section in its place on the page."""
    torch.set_num_threads(1)
    text = section(rows())
    put(text, TITLE)
    print(text)


if __name__ == "__main__":
    main()
