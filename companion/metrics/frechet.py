"""Fréchet distance between two sets of images, on the features of a classifier."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from companion.estimate import Estimate
from companion.metrics.codes import codes
from companion.models.classifier import Classifier


def frechet_distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared Fréchet distance of Gaussians fitted to features (N, D) and (M, D).

    Heusel et al. 2017, eq. 6. Raises ValueError unless both are two or more finite points in the
    same space.
    """
    match(a, b)
    return gaussian_distance(*moments(a), *moments(b))


def match(a: Tensor, b: Tensor) -> None:
    """Raise ValueError unless both are two or more points in the same space."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        got = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ValueError(f"needs features (N, D) and (M, D), N and M at least 2, got {got}")


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of features (N, D). ValueError unless they are finite."""
    if bad := int((~features.isfinite()).sum()):
        raise ValueError(f"features must be finite, got {bad:,} values that are not")
    x = features.double()
    return x.mean(0), torch.cov(x.T).reshape(x.shape[1], x.shape[1])  # of one feature: a scalar


def gaussian_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> Tensor:
    """Squared Fréchet distance of two Gaussians: means (D,) and covariances (D, D).

    |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)); Dowson and Landau 1982. With
    S_a = A A^T for any square A, the product has the eigenvalues of the symmetric A^T S_b A: no
    root of a matrix is needed, only the roots of these. At least 0, whatever was rounded.
    """
    half = factor(cov_a)
    cross = torch.linalg.eigvalsh(half.T @ cov_b @ half).clamp_min(0).sqrt().sum()
    difference = (mean_a - mean_b).square().sum()
    return (difference + cov_a.trace() + cov_b.trace() - 2 * cross).clamp_min(0)


def factor(covariance: Tensor) -> Tensor:
    """Some A with A A^T the covariance (D, D): Cholesky's, unless a direction has no variance."""
    lower, failed = torch.linalg.cholesky_ex(covariance)
    if not failed:
        return lower
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp_min(0).sqrt()


def extrapolated_distance(
    real: Tensor, fake: Tensor, sizes: Sequence[int] = (), draws: int = 1
) -> Estimate:
    """Squared Fréchet distance of infinitely many fakes (M, D), by a line in 1 / n.

    The distance of n fakes is too large by about a constant over n, so a straight line through
    distances of subsets, `draws` random ones of each size, meets the axis 1 / n = 0 at the one
    without that bias (Chong and Forsyth 2020). sizes: by default ten from M / 5 to
    M. The bias of the real images (N, D) stays. The error is the line's own. Raises ValueError
    for fewer than three sizes, or one that is not from 2 to M, and for features that are not
    finite.
    """
    m = len(fake)
    sizes = list(sizes) or torch.linspace(m / 5, m, 10).round().int().tolist()
    if len(set(sizes)) < 3 or min(sizes) < 2 or max(sizes) > m or draws < 1:
        raise ValueError(
            f"needs three or more sizes from 2 to {m}, draws >= 1, got {sizes}, {draws}"
        )
    generator = torch.Generator().manual_seed(0)
    truth = moments(real)
    x, y = [], []
    for n in sizes:
        for _ in range(draws):
            some = fake[torch.randperm(m, generator=generator)[:n]]
            y.append(gaussian_distance(*truth, *moments(some)))
            x.append(1 / n)
    inverse, found = torch.tensor(x, dtype=torch.double), torch.stack(y)
    centred = inverse - inverse.mean()
    slope = (centred * found).sum() / centred.square().sum()
    value = found.mean() - slope * inverse.mean()
    rest = (found - value - slope * inverse).square().sum() / (len(x) - 2)
    error = (rest * (1 / len(x) + inverse.mean() ** 2 / centred.square().sum())).sqrt()
    return Estimate(value.item(), error.item(), m, "squared distance")


class Frechet:
    """Distances to one set of real images (N, C, H, W) in [0, 1], between three brackets.

    network: whose features are compared; images go to the device where it is.
    """

    def __init__(self, real: Tensor, network: Classifier):
        self.network = network
        self.features = self.embed(real)
        self._again: dict[tuple[int, int], list[tuple[tuple[Tensor, Tensor], Tensor]]] = {}

    @cached_property
    def _real(self) -> tuple[Tensor, Tensor]:
        """Mean and covariance of the real images' features."""
        return moments(self.features)

    def drawn_again(self, n: int, resamples: int) -> list[tuple[tuple[Tensor, Tensor], Tensor]]:
        """Moments of the real features resampled, and rows (n,) to resample n others: each once.

        Always the same ones for the same n, so they are kept: they cost more than all the rest.
        """
        if (n, resamples) not in self._again:
            draw, m = torch.Generator().manual_seed(0), len(self.features)
            self._again[n, resamples] = [
                (
                    moments(self.features[torch.randint(m, (m,), generator=draw)]),
                    torch.randint(n, (n,), generator=draw),
                )
                for _ in range(resamples)
            ]
        return self._again[n, resamples]

    def embed(self, images: Tensor) -> Tensor:
        """Features of images (N, C, H, W) in [0, 1] -> (N, D), on the CPU."""
        device = next(self.network.parameters()).device
        return codes(self.network, images.to(device))

    @torch.no_grad()
    def read(self, images: Tensor) -> Tensor:
        """Classes that the network reads on images (N, C, H, W) in [0, 1]: int64 (N,)."""
        return self.network.head(self.embed(images).to(self.network.head.weight)).argmax(1).cpu()

    def distance(self, images: Tensor, labels: Tensor | None = None) -> Estimate:
        """Squared Fréchet distance to the real images; its error is a bootstrap over images.

        labels (N,): the classes that the images were asked for. The bootstrap then keeps their
        numbers, and the real images: the error of another drawing from the same model.
        """
        return self.distance_of(self.embed(images), labels)

    def distance_of(
        self, found: Tensor, labels: Tensor | None = None, resamples: int = 10
    ) -> Estimate:
        """Squared Fréchet distance of images whose features (N, D) are known."""
        match(self.features, found)
        if labels is None:
            pairs = [(r, found[rows]) for r, rows in self.drawn_again(len(found), resamples)]
        else:
            draw = torch.Generator().manual_seed(0)
            kinds = [found[labels == k] for k in labels.unique()]
            resampled = [
                torch.cat([x[torch.randint(len(x), (len(x),), generator=draw)] for x in kinds])
                for _ in range(resamples)
            ]
            pairs = [(self._real, some) for some in resampled]
        repeats = [gaussian_distance(*real, *moments(some)) for real, some in pairs]
        value = gaussian_distance(*self._real, *moments(found)).item()
        error = torch.stack(repeats).std().item()
        return Estimate(value, error, len(found), "squared distance")

    def floor(self, images: Tensor, labels: Tensor, n: int, draws: int = 20) -> Estimate:
        """Distance of n other real images, as many of each class: mean and deviation of draws.

        images (N, C, H, W) in [0, 1], labels (N,): what each draw takes n of, none of it twice.
        Raises ValueError if a class has too few.
        """
        kinds = labels.unique()
        rows = [(labels == k).nonzero()[:, 0] for k in kinds]
        share, least = n // len(kinds), min(map(len, rows))
        if not 0 < share <= least or share * len(kinds) != n:
            raise ValueError(f"{n} is not {len(kinds)} times 1 to {least}, images of a class")
        found, draw, repeats = self.embed(images), torch.Generator().manual_seed(0), []
        for _ in range(draws):
            some = [row[torch.randperm(len(row), generator=draw)[:share]] for row in rows]
            repeats.append(gaussian_distance(*self._real, *moments(found[torch.cat(some)])))
        each = torch.stack(repeats)
        return Estimate(each.mean().item(), each.std().item(), n, "squared distance")

    def brackets(self, other: Tensor) -> dict[str, Estimate]:
        """Give the scale a meaning: other real images, the same blurred, and pure noise."""
        kernel = torch.tensor([1.0, 4, 6, 4, 1]) / 16  # binomial, about one pixel wide
        kernel = (kernel[:, None] * kernel)[None, None]
        blurred = torch.cat([F.conv2d(part, kernel, padding=2) for part in other.split(500)])
        noise = torch.rand(other.shape, generator=torch.Generator().manual_seed(0))
        sets = {"other real images (the floor)": other, "blurred": blurred, "noise": noise}
        return {name: self.distance(images) for name, images in sets.items()}
