"""The importance-weighted estimate beside loops over its draws.

OMP_NUM_THREADS=1 python tests/bench/latent.py    write the section of `book/benchmarks.md`

The rivals draw once for each of some images, again and again, and average in the end. Each side
estimates with the same model; the first check is that they agree.
"""

from functools import partial
from math import log
from typing import Any

import torch
from page import put
from torch import Tensor
from turns import duel, peak

from companion.experiments import binary_vae, layered_vae
from companion.metrics import importance_weighted_nll
from companion.metrics.likelihood import Weighted

TITLE = "## Importance-weighted likelihood"
IMAGES, DRAWS = 20, 300
MOST = 5000  # draws of the published estimates: memory is measured at so many


@torch.no_grad()
def looped(model: Weighted, x: Tensor, samples: int, batch: int) -> float:
    """The same estimate, one draw of `batch` images at a time."""
    found = []
    for part in x.split(batch):
        weights = torch.cat([model.log_weights(part, 1) for _ in range(samples)])
        found.append(log(samples) - weights.logsumexp(0))
    return torch.cat(found).mean().item()


def main() -> None:
    """Measure, print, and write the section."""
    lines = [
        TITLE, "",
        f"{DRAWS} draws of {IMAGES} images of 28 × 28 bits, dense networks; "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}. Aim: three times as fast "
        "as a loop over draws, at 1 GB at most.",
        "", "| model | rival | ours, ms | rival, ms | ratio |", "| :-- | :-- | --: | --: | --: |",
    ]  # fmt: skip
    torch.manual_seed(0)
    x = torch.bernoulli(torch.full((IMAGES, 1, 28, 28), 0.2))
    models = {"one layer": binary_vae().model, "two layers": layered_vae().model}
    for name, batch in (("one layer", 1), ("one layer", IMAGES), ("two layers", IMAGES)):
        model: Any = models[name]
        ours = partial(importance_weighted_nll, model, x, DRAWS)
        theirs = partial(looped, model, x, DRAWS, batch)
        off = abs(theirs() - ours().value)
        assert off < 2, off  # nats of an untrained model, whose estimate is rough
        fast, slow, ratio = duel(ours, theirs, 3)
        rival = f"loop over draws, {batch} image{'s' * (batch > 1)} at a time"
        lines.append(f"| {name} | {rival} | {1000 * fast:.0f} | {1000 * slow:.0f} | {ratio:.2f} |")
        print(lines[-1], flush=True)
    before = peak()
    importance_weighted_nll(models["two layers"], x, MOST)  # type: ignore[arg-type]
    lines += ["", f"With {MOST:,} draws the process had {peak():.2f} GB at most ({before:.2f} "
              "before, most of it torch itself)."]  # fmt: skip
    put("\n".join(lines) + "\n", TITLE)


if __name__ == "__main__":
    main()
