"""How sharp images are, by their power at each spatial frequency."""

import torch
from torch import Tensor


def radial_spectrum(images: Tensor) -> Tensor:
    """Mean power in rings one cycle per image wide: (N, 1, S, S) -> (S // 2 - 1,).

    Ring k, from 1 on, holds the frequencies whose radius rounds to k. The mean image is taken
    off first, so that the power is that of what differs between images.
    """
    if images.ndim != 4 or images.shape[1] != 1 or images.shape[2] != images.shape[3]:
        raise ValueError(f"needs square grey images (N, 1, S, S), got {tuple(images.shape)}")
    side = images.shape[-1]
    power = torch.fft.rfft2(images[:, 0] - images[:, 0].mean(0)).abs().square().mean(0)
    down, right = torch.fft.fftfreq(side, 1 / side), torch.fft.rfftfreq(side, 1 / side)
    ring = (down[:, None] ** 2 + right[None] ** 2).sqrt().round().long()
    return torch.stack([power[ring == k].mean() for k in range(1, side // 2)])
