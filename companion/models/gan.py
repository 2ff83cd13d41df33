"""Generative adversarial networks: no density, only a way to draw."""

import torch
from torch import Tensor, nn


class GAN(nn.Module):
    """A generator of images and a critic that compares them with real ones (Goodfellow 2014).

    generator: codes (B, latent) -> images (B, C, H, W) in [0, 1]; critic: images -> (B,), the
    logit of "real" if it is a discriminator, any real number if it is a Wasserstein critic.
    Raises ValueError for a latent size below 1.
    """

    def __init__(self, generator: nn.Module, critic: nn.Module, latent: int):
        super().__init__()
        if not isinstance(latent, int) or latent < 1:
            raise ValueError(f"latent must be at least 1 dimension, a whole number, got {latent}")
        self.generator, self.critic, self.latent = generator, critic, latent

    def codes(self, n: int) -> Tensor:
        """Draw n codes from the standard normal: (n, latent)."""
        if n < 1:
            raise ValueError(f"n must be at least 1 image, got {n}")
        return torch.randn(n, self.latent, device=next(self.generator.parameters()).device)

    def generate(self, z: Tensor) -> Tensor:
        """Turn codes into images: (B, latent) -> (B, C, H, W) in [0, 1]."""
        if z.ndim != 2 or z.shape[1] != self.latent:
            raise ValueError(f"codes must be (B, {self.latent}), got shape {tuple(z.shape)}")
        return self.generator(z).float()

    def sample(self, n: int) -> Tensor:
        """Draw n images: (n, C, H, W) in [0, 1]."""
        return self.generate(self.codes(n))

    def judge(self, x: Tensor) -> Tensor:
        """Say how real images look: (B, C, H, W) in [0, 1] -> (B,)."""
        return self.critic(x).float()
