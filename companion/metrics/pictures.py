"""How near a picture comes to its original: PSNR and SSIM."""

import torch
from torch import Tensor

from companion.estimate import Estimate, mean_of


def check_pictures(x: Tensor, like: Tensor) -> None:
    """Raise ValueError unless both are images (N, C, H, W) of one shape in [0, 1]."""
    if x.ndim != 4 or x.shape != like.shape:
        got = f"{tuple(x.shape)} and {tuple(like.shape)}"
        raise ValueError(f"needs two sets of images (N, C, H, W) of one shape, got {got}")
    least, most = min(x.min(), like.min()), max(x.max(), like.max())
    if least < 0 or most > 1:
        raise ValueError(f"pixels must be in [0, 1], got {least:g} to {most:g}")


def signal_to_noise(x: Tensor, original: Tensor) -> Estimate:
    """Peak signal-to-noise ratio of images (N, C, H, W) in [0, 1]: decibels, mean over images.

    -10 log10 of an image's mean squared error, by torchmetrics. Raises ValueError for equal
    images, whose ratio is infinite, and for other shapes or ranges.
    """
    from torchmetrics.functional import image  # slow to import

    check_pictures(x, original)
    psnr = image.peak_signal_noise_ratio
    found = psnr(x, original, data_range=1.0, reduction="none", dim=(1, 2, 3))
    if found.isinf().any():
        raise ValueError("two images are equal: their signal-to-noise ratio is infinite")
    return mean_of(found, "dB")


def similarity(x: Tensor, original: Tensor) -> Estimate:
    """Structural similarity of images (N, C, H, W) in [0, 1]; 1 where they are equal.

    Wang et al. 2004, Gaussian window of 11 pixels, by torchmetrics; mean over images.
    """
    from torchmetrics.functional import image  # slow to import

    check_pictures(x, original)
    parts = zip(x.split(100), original.split(100), strict=True)
    ssim = image.structural_similarity_index_measure
    found = [ssim(a, b, data_range=1.0, reduction="none") for a, b in parts]
    return mean_of(torch.cat([part for part in found if isinstance(part, Tensor)]))
