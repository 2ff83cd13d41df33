"""SC-VAE: an autoencoder whose latents are sparse codes under a learned dictionary."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from companion.models.vae import Autoencoder
from companion.nets.sparse import LISTA


class SparseAutoencoder(Autoencoder):
    """Learned ISTA finds the code between encoder and decoder (Xiao et al. 2025, SC-VAE).

    encoder: images (B, C, H, W) -> features (B, M); then LISTA: features -> code z (B, K), few
    of whose K numbers are not 0; decoder: D z (B, M) -> images, D (M, K) with atoms of length 1.
    lam: price of |z|, in nats. Raises ValueError for less than one step or a negative lam.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, features: int, atoms: int, lam: float,
        steps: int,
    ):  # fmt: skip
        super().__init__(encoder, decoder, atoms)
        self.raw = nn.Parameter(torch.randn(features, atoms))
        self.sparse = LISTA(self.dictionary.detach(), lam, steps)
        self.lam = lam

    @property
    def dictionary(self) -> Tensor:
        """Atoms of length 1, as columns: (M, K)."""
        return F.normalize(self.raw, dim=0)

    def code(self, x: Tensor) -> Tensor:
        """The sparse code: (B, C, H, W) -> (B, K)."""
        return self.sparse(self.encoder(x).float())

    def decode(self, z: Tensor):  # type: ignore[no-untyped-def]
        """Distribution over images of the combination D z: (B, K) -> p(x | z)."""
        if z.shape[-1] != self.latent:
            raise ValueError(f"codes must have {self.latent} numbers, got {z.shape[-1]}")
        return self.pixels(self.decoder(z @ self.dictionary.T).float())

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """Distortion, misfit |e - D z|^2 / 2 of the features e, and price lam |z|_1; (B,) each.

        Their sum is -log p(x, e, z) up to a constant, z Laplacian: no bound of log p(x).
        """
        e = self.encoder(x).float()
        z = self.sparse(e)
        misfit = 0.5 * (e - z @ self.dictionary.T).square().sum(1)
        distortion = -self.decode(z).log_prob(x)
        return {"distortion": distortion, "misfit": misfit, "price": self.lam * z.abs().sum(1)}
