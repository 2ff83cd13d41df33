"""A classifier read as a joint energy, and the Gaussians from which its chains may start."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from companion.models.energy import EnergyModel, Walk

RIDGE = 1e-4  # added to each variance: pixels that never change have none
Labelled = Callable[[], tuple[Tensor, Tensor]]  # images (N, ...) in [-1, 1] and classes (N,)


class ClassGaussians(nn.Module):
    """A Gaussian for each class, of its mean and covariance, in equal shares (Yang and Ji 2021).

    images: asked once, when the first image is drawn. Draws are cut to [-1, 1].
    """

    means: Tensor
    roots: Tensor

    def __init__(self, images: Labelled, shape: tuple[int, ...], classes: int = 10):
        super().__init__()
        self.images, self.shape, self.classes = images, shape, classes
        self.register_buffer("means", torch.empty(0), persistent=False)
        self.register_buffer("roots", torch.empty(0), persistent=False)

    def fit(self) -> None:
        """Fit means (K, D) and factors L (K, D, D), L L^T = covariance + ridge."""
        x, y = self.images()
        each = [x[y == k].flatten(1).double() for k in range(self.classes)]
        if min(map(len, each)) < 1:
            raise ValueError(f"needs an image of each of {self.classes} classes")
        self.means = torch.stack([part.mean(0) for part in each])
        away = [part - mean for part, mean in zip(each, self.means, strict=True)]
        eye = RIDGE * torch.eye(self.means.shape[1], dtype=torch.double)
        covariances = torch.stack([part.T @ part / len(part) + eye for part in away])
        self.means, self.roots = self.means.float(), torch.linalg.cholesky(covariances).float()

    def sample(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw an image of each class of y (n,): (n, ...) in [-1, 1], on the CPU."""
        if not len(self.means):
            self.fit()
        shake = torch.randn(len(y), self.means.shape[1], generator=generator)
        x = torch.empty_like(shake)
        for k in y.unique().tolist():
            x[y == k] = self.means[k].cpu() + shake[y == k] @ self.roots[k].cpu().T
        return x.clamp(-1, 1).view(-1, *self.shape)


class JointEnergy(EnergyModel):
    """A classifier as an energy (Grathwohl et al. 2020): E(x, y) = -f(x)[y].

    So E(x) = -log sum_y exp f(x)[y], and p(y | x) is the softmax of the logits f(x), as ever.
    network: (B, ...) in [-1, 1] -> logits (B, classes). gaussians: where chains begin anew;
    None: in uniform noise. `diverged`: the step at which a training ran away; -1: it did not.
    """

    diverged: Tensor

    def __init__(
        self, network: nn.Module, shape: tuple[int, ...], walk: Walk, memory: int = 0,
        reinit: float = 0.05, gaussians: ClassGaussians | None = None,
    ):  # fmt: skip
        super().__init__(network, shape, walk, memory, reinit)
        self.gaussians = gaussians
        self.register_buffer("diverged", torch.tensor(-1))

    def energy(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """E(x), or E(x, y): (B, ...) in [-1, 1], classes (B,) -> (B,)."""
        logits = self.network(x).float()
        return -logits.logsumexp(1) if y is None else -logits.gather(1, y[:, None])[:, 0]

    def classify(self, x: Tensor) -> Tensor:
        """Class logits of images (B, ...) in [0, 1], as metrics give them: (B, classes)."""
        return self.network(2 * x - 1).float()

    def fresh(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Where n chains begin anew: draws of the Gaussians of random classes, or noise."""
        if self.gaussians is None:
            return self.noise(n, generator)
        y = torch.randint(self.gaussians.classes, (n,), generator=generator)
        place = next(self.network.parameters())
        return self.gaussians.sample(y, generator).to(place)
