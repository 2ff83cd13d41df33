"""The literature's own scale, an option: Fréchet distance on Inception features.

It needs torch-fidelity and its weights, which are downloaded at the first use. Numbers on this
scale and on the scale of `companion.metrics.Frechet` must never stand in one column.
"""

import torch
from torch import Tensor

from companion.estimate import Estimate


def inception_distance(real: Tensor, fake: Tensor, batch: int = 100) -> Estimate:
    """FID of images (N, C, H, W) in [0, 1], C = 1 or 3, by torchmetrics; Heusel et al. 2017.

    The standard error is left at zero: one FID on N images is one number, with a bias of order
    1 / N. Raises RuntimeError, in one sentence, where the weights cannot be had.
    """
    if real.shape[1:] != fake.shape[1:] or real.ndim != 4 or real.shape[1] not in (1, 3):
        sizes = f"{tuple(real.shape)} and {tuple(fake.shape)}"
        raise ValueError(f"needs two sets (N, 1 or 3, H, W) of one image shape, got {sizes}")
    try:
        from torchmetrics.image.fid import (  # pyright: ignore[reportMissingImports]
            FrechetInceptionDistance,
        )

        metric = FrechetInceptionDistance(feature=2048, normalize=True)
    except Exception as error:  # not installed, no network, no disk: each has its own type
        raise RuntimeError(
            "the Inception scale needs `pip install torchmetrics[image]` and a download of its "
            f"weights ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error
    with torch.no_grad():
        for images, is_real in ((real, True), (fake, False)):
            for part in images.split(batch):
                metric.update(part.expand(-1, 3, -1, -1), real=is_real)
    return Estimate(metric.compute().item(), 0.0, len(fake), "FID (Inception)")
