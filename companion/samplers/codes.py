"""Samples of fixed codes, so that two epochs, or two models, can be compared image by image."""

import torch
from torch import Tensor

from companion.models.gan import GAN


@torch.no_grad()
def from_fixed_codes(model: GAN, n: int) -> Tensor:
    """Generate from n fixed codes, the first n of one list: (n, C, H, W) in [0, 1], on the CPU."""
    rows = -(-n // 16) * 16  # torch draws 16 numbers at once, and a rest of fewer otherwise
    z = torch.randn(rows, model.latent, generator=torch.Generator().manual_seed(0))[:n]
    device = next(model.generator.parameters()).device
    return torch.cat([model.generate(part.to(device)).cpu() for part in z.split(500)])
