"""Noise that fills the gaps between whole-number pixels: uniform, or learned (Ho et al. 2019)."""

import torch
from torch import Tensor, nn
from torch.special import ndtr

from companion.maths import log_normal
from companion.models.bijections import BOUND, Both, Coupling, Squeeze, summed, through
from companion.nets.coupling import conv_net

BLOCK = 4  # pixels of a block of 2 x 2


def uniform_noise(x: Tensor) -> Both:
    """Draw u uniform in [0, 1), whatever the pixels x (B, ...); log q(u) = 0, (B,)."""
    return torch.rand_like(x), x.new_zeros(len(x))


class LearnedNoise(nn.Module):
    """Draw u in (0, 1) from a density q(u | x) that knows the image: variational dequantisation.

    Gaussian noise goes through couplings that see the image, and then through the normal
    distribution function, so couplings that do nothing give uniform noise, and training starts
    close to it. The image joins the noise as channels that every coupling keeps.
    couplings: at least 2, or half of the noise would stay uniform; seen: channels that a network
    reads out of an image (B, 1, H, W) with even sides.
    """

    def __init__(
        self, couplings: int = 4, width: int = 16, seen: int = 8, bound: float = BOUND
    ) -> None:
        super().__init__()
        if couplings < 2:
            raise ValueError(f"needs at least 2 couplings of the noise, got {couplings}")
        self.squeeze, self.read = Squeeze(), conv_net(BLOCK, seen, width)
        image = range(BLOCK, BLOCK + seen)
        self.layers = nn.ModuleList(
            Coupling(
                BLOCK + seen, [*((0, 3), (1, 2))[k % 2], *image],
                lambda i, o: conv_net(i, o, width, blocks=0), bound,
            )
            for k in range(couplings)
        )  # fmt: skip

    def spread(self, x: Tensor, noise: Tensor) -> Both:
        """Map Gaussian noise (B, 4, H/2, W/2) to u (B, 1, H, W); log |det du/dnoise|, (B,)."""
        image = self.read(self.squeeze(x / 127.5 - 1)[0])
        joined, log_det = through([*self.layers], torch.cat([noise, image], 1))
        h = joined[:, :BLOCK]
        return self.squeeze.inverse(ndtr(h))[0], log_det + summed(log_normal(h))

    def forward(self, x: Tensor) -> Both:
        """Draw u for pixels x (B, 1, H, W) in 0..255; log q(u | x) in nats, (B,)."""
        noise = torch.randn_like(self.squeeze(x)[0])
        u, log_det = self.spread(x, noise)
        return u, summed(log_normal(noise)) - log_det
