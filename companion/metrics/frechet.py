"""Fréchet distance between two sets of images, on the features of the book's own classifier."""

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from companion.files import fit, load_tensors
from companion.maths import nearest
from companion.metrics.codes import codes
from companion.metrics.estimate import Estimate
from companion.models.classifier import extractor_network
from companion.runs import all_runs


def frechet_distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared Fréchet distance of Gaussians fitted to features (N, D) and (M, D).

    |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)); Heusel et al. 2017, eq. 6. The trace of
    the root is the sum of the singular values of S_a^(1/2) S_b^(1/2). Raises ValueError unless
    both are two or more points in the same space.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        got = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ValueError(f"needs features (N, D) and (M, D), N and M at least 2, got {got}")
    a, b = a.double(), b.double()
    difference = (a.mean(0) - b.mean(0)).square().sum()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    cross = torch.linalg.matrix_norm(root(cov_a) @ root(cov_b), ord="nuc")
    return difference + cov_a.trace() + cov_b.trace() - 2 * cross


def root(covariance: Tensor) -> Tensor:
    """Symmetric square root of a positive semi-definite matrix (D, D)."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp_min(0).sqrt() @ vectors.T


@cache
def extractor(name: str = "fashion-mnist") -> tuple[nn.Module, str]:
    """Recall the pinned feature extractor of a data set, and its weights' sha256 (8 digits)."""
    runs = [r for r in all_runs() if r.config["experiment"] == "extractor"]
    known = {run.config["choices"]["data"]: run for run in runs}
    if name not in known:
        raise ValueError(f"no pinned extractor for {name!r} {nearest(name, known)}")
    network = extractor_network()
    weights, record = load_tensors(known[name].weights)
    fit(network, weights, known[name].weights)
    return network.eval(), record["sha256"][:8]


class Frechet:
    """Distances to one set of real images (N, 1, 28, 28) in [0, 1], between three brackets."""

    def __init__(self, real: Tensor, data: str = "fashion-mnist"):
        self.network, self.weights_hash = extractor(data)
        self.real, self.features = real, self.embed(real)

    def embed(self, images: Tensor) -> Tensor:
        """Features of images (N, 1, 28, 28) in [0, 1] -> (N, 64)."""
        return codes(self.network, images.cpu())

    def distance(self, images: Tensor, resamples: int = 10) -> Estimate:
        """Squared Fréchet distance to the real images; its error is a bootstrap over images."""
        found = self.embed(images)
        draw = torch.Generator().manual_seed(0)

        def again(x: Tensor) -> Tensor:
            return x[torch.randint(len(x), (len(x),), generator=draw)]

        repeats = [frechet_distance(again(self.features), again(found)) for _ in range(resamples)]
        value = frechet_distance(self.features, found).item()
        error = torch.stack(repeats).std().item()
        return Estimate(value, error, len(found), "squared distance")

    def brackets(self, other: Tensor) -> dict[str, Estimate]:
        """Give the scale a meaning: other real images, the same blurred, and pure noise."""
        kernel = torch.tensor([1.0, 4, 6, 4, 1]) / 16  # binomial, about one pixel wide
        kernel = (kernel[:, None] * kernel)[None, None]
        blurred = torch.cat([F.conv2d(part, kernel, padding=2) for part in other.split(500)])
        noise = torch.rand(other.shape, generator=torch.Generator().manual_seed(0))
        sets = {"other real images (the floor)": other, "blurred": blurred, "noise": noise}
        return {name: self.distance(images) for name, images in sets.items()}
