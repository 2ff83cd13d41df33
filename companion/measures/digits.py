"""What chapter `likelihood/digit_networks` asks of drawn digits that nats do not tell."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from companion.data import Dataset
from companion.estimate import Estimate, mean_of
from companion.models.pixels import PixelNetwork

DRAWN = 2000  # images that a finished model is judged by
ROUND_ABOUT = np.ones((3, 3))  # pixels touch along edges and corners


def pieces(images: Tensor) -> Tensor:
    """Count the connected pieces of ink in binary images (N, 1, H, W): int64 (N,)."""
    from scipy.ndimage import label  # slow to import

    ink = images[:, 0].cpu().numpy() > 0.5
    found: list[Any] = [label(image, ROUND_ABOUT) for image in ink]  # (marked pixels, count)
    return torch.tensor([pieces for _, pieces in found], dtype=torch.int64)


def of_samples(model: PixelNetwork, data: Dataset) -> dict[str, Estimate]:
    """Mean number of pieces, and of pixels of ink, of 2,000 drawn images."""
    drawn = model.sample(DRAWN)
    ink = drawn.flatten(1).sum(1)
    return {"pieces": mean_of(pieces(drawn), "pieces"), "ink": mean_of(ink, "pixels")}
