"""Glow: activation normalisation, invertible 1 x 1 convolutions, and a prior for each class."""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from companion.maths import log_normal
from companion.models.bijections import (
    BOUND,
    Both,
    Coupling,
    FactorOut,
    Flatten,
    Logit,
    Squeeze,
    summed,
)
from companion.models.flows import ImageFlow
from companion.nets.coupling import glow_net, split_net

SMALLEST = 1e-6  # standard deviation of a channel that never varies


def of_all_processes(mean: Tensor) -> Tensor:
    """Average means of equally many examples over the processes, if there are several."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(mean)
        mean /= torch.distributed.get_world_size()
    return mean


class ActNorm(nn.Module):
    """Scale and shift each channel: z = (x + shift) exp(log_scale), (B, C, ...).

    Kingma and Dhariwal 2018, section 3.1. The first batch that it sees in training sets both, so
    that this batch comes out with mean 0 and variance 1 in each channel; from then on they are
    weights like any other. Whether that has happened is saved with them.
    """

    started: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.register_buffer("started", torch.zeros((), dtype=torch.uint8))

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        """Set shift and scale by a batch; several processes by all of theirs together."""
        channels = x.transpose(0, 1).flatten(1)  # (C, B H W)
        mean = of_all_processes(channels.mean(1))
        # Not E x^2 - (E x)^2, of which float32 leaves nothing where the mean is large.
        variance = of_all_processes((channels - mean[:, None]).square().mean(1))
        self.shift.copy_(-mean)
        self.log_scale.copy_(-variance.clamp_min(SMALLEST**2).sqrt().log())
        self.started.fill_(1)

    def log_det(self, x: Tensor) -> Tensor:
        """Each channel counts once for each place: H W sum(log_scale), (B,)."""
        places = x[0, 0].numel()
        return places * summed(self.log_scale[None]).expand(len(x))

    def forward(self, x: Tensor) -> Both:
        """Shift, then scale."""
        if self.training and not self.started:
            self.start(x)
        shape = (1, -1, *[1] * (x.ndim - 2))
        return (x + self.shift.view(shape)) * self.log_scale.exp().view(shape), self.log_det(x)

    def inverse(self, z: Tensor) -> Both:
        """Scale back, then shift back."""
        shape = (1, -1, *[1] * (z.ndim - 2))
        return z * (-self.log_scale).exp().view(shape) - self.shift.view(shape), -self.log_det(z)


class Invertible1x1(nn.Module):
    """Mix the channels at each place by one matrix W = P L (U + diag(s)): (B, C, ...).

    Kingma and Dhariwal 2018, section 3.2. P is a permutation and stays, L is lower triangular
    with ones on its diagonal, U strictly upper triangular; s = sign exp(log_size), and the signs
    stay. W starts as a random orthogonal matrix. log_det = H W sum(log_size).
    """

    order: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        start = torch.linalg.qr(torch.randn(channels, channels))[0]
        P, L, U = torch.linalg.lu(start)
        self.lower, self.upper = nn.Parameter(L.tril(-1)), nn.Parameter(U.triu(1))
        self.log_size = nn.Parameter(U.diagonal().abs().log())
        self.register_buffer("sign", U.diagonal().sign())
        self.register_buffer("order", P.argmax(1))  # row i of W is row order[i] of L U

    def factors(self) -> Both:
        """The triangular matrices L and U + diag(s)."""
        ones = torch.eye(len(self.sign), dtype=self.lower.dtype, device=self.lower.device)
        diagonal = torch.diag(self.sign.to(self.lower.dtype) * self.log_size.exp())
        return self.lower.tril(-1) + ones, self.upper.triu(1) + diagonal

    def matrix(self) -> Tensor:
        """W = P L (U + diag(s)), (C, C)."""
        L, U = self.factors()
        return (L @ U)[self.order]

    def log_det(self, x: Tensor) -> Tensor:
        """H W log |det W| = H W sum(log |s|), (B,)."""
        return x[0, 0].numel() * summed(self.log_size[None]).expand(len(x))

    def forward(self, x: Tensor) -> Both:
        """Multiply the channels of each place by W."""
        z = self.matrix() @ x.flatten(2) if x.ndim > 2 else x @ self.matrix().T
        return z.view_as(x), self.log_det(x)

    def inverse(self, z: Tensor) -> Both:
        """Undo P, then solve two triangular systems; W is never inverted."""
        L, U = self.factors()
        x = (z.flatten(2) if z.ndim > 2 else z[..., None])[:, self.order.argsort()]
        x = torch.linalg.solve_triangular(L, x, upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(U, x, upper=True).view_as(z), -self.log_det(z)


def normal(z: Tensor) -> Tensor:
    """Log-density of (..., D) under N(0, I) in nats: (...)."""
    return log_normal(z).sum(-1)


class ClassPrior(nn.Module):
    """A normal law for each class, of the last numbers of z: learned mean and log scale."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(classes, width))
        self.log_scale = nn.Parameter(torch.zeros(classes, width))

    def log_prob(self, top: Tensor) -> Tensor:
        """Log-density of (B, width) under each class in nats: (B, classes)."""
        noise = (top[:, None] - self.mean) * (-self.log_scale).exp()  # (B, classes, width)
        return normal(noise) - self.log_scale.sum(1)

    def place(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Make N(0, I) a draw of its class: (B, width)."""
        return self.mean[labels] + self.log_scale[labels].exp() * noise


def step(channels: int, width: int, bound: float = BOUND) -> list[nn.Module]:
    """One step of Glow: normalise, mix the channels, let the first half move the second."""
    net = partial(glow_net, width=width)
    coupling = Coupling(channels, range(channels // 2), net, bound)
    return [ActNorm(channels), Invertible1x1(channels), coupling]


def scales(
    shape: Sequence[int], steps: Sequence[int], widths: Sequence[int], bound: float
) -> list[nn.Module]:
    """Squeeze, the steps of this scale, and the next scale with half of the channels.

    What leaves is first made noise by a coupling that hears what stays: the learned prior of
    what is factored out. shape: (C, H, W) before the squeeze.
    """
    channels, height, wide = 4 * shape[0], shape[1] // 2, shape[2] // 2
    layers: list[nn.Module] = [Squeeze()]
    for _ in range(steps[0]):
        layers += step(channels, widths[0], bound)
    if len(steps) == 1:
        return [*layers, Flatten((channels, height, wide))]
    half = channels // 2
    leave = Coupling(channels, range(half, channels), split_net, bound)
    below = scales((half, height, wide), steps[1:], widths[1:], bound)
    return [*layers, leave, FactorOut((channels, height, wide), below)]


class Glow(ImageFlow):
    """A flow of images over several scales; of each class too, where there are classes.

    shape: (C, H, W) of an image; steps, widths: of each scale, the finest first. bits: of a pixel;
    with fewer than eight the lowest are thrown away, as Kingma and Dhariwal do. In
    log p(x | class) the last scale has the class's normal law and all others N(0, I).
    """

    def __init__(
        self, shape: Sequence[int], steps: Sequence[int], widths: Sequence[int],
        classes: int = 0, bits: int = 8, bound: float = BOUND,
    ) -> None:  # fmt: skip
        many, (_, height, wide) = len(steps), shape
        even = height % 2**many == wide % 2**many == 0
        if not even or len(widths) != many or min(steps, default=0) < 1:
            raise ValueError(
                "needs steps >= 1 and a width for each scale, and sides that 2 to the number of "
                f"scales divides, got {tuple(shape)}, steps={steps} and widths={widths}"
            )
        if not 1 <= bits <= 8:
            raise ValueError(f"bits must be 1 to 8, got {bits}")
        super().__init__([Logit(2**bits), *scales(shape, steps, widths, bound)], math.prod(shape))
        self.bits, self.classes = bits, classes
        leaving = [self.noise // 2**k for k in range(1, many)]
        self.sizes = (*leaving, self.noise - sum(leaving))  # numbers of each scale, finest first
        self.prior = ClassPrior(classes, self.sizes[-1]) if classes else None

    @property
    def levels(self) -> int:
        """How many values a pixel has."""
        return 2**self.bits

    def code(self, x: Tensor) -> Tensor:
        """z of images with whole pixels 0..255, at the middle of each level: (B, D)."""
        return self(self.whole(x) + 0.5)[0]

    def parts(self, z: Tensor) -> tuple[Tensor, ...]:
        """z (B, D) by scale, the finest first: views of it."""
        return z.split(self.sizes, 1)

    def class_log_prob(self, y: Tensor) -> Tensor:
        """log p(y | class) in nats for each class: (B, classes); without classes (B, 1)."""
        z, log_det = self(y)
        *fine, top = self.parts(z)
        last = normal(top)[:, None] if self.prior is None else self.prior.log_prob(top)
        return last + (sum(map(normal, fine)) + log_det)[:, None]

    def log_prob(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Log-density of points in nats, (B,): of their class, or else of equal shares of all."""
        each = self.class_log_prob(x)
        if labels is not None and self.classes:
            return each.gather(1, labels[:, None])[:, 0]
        return each.logsumexp(1) - math.log(each.shape[1])

    def draw(
        self, n: int, temperature: float, generator: torch.Generator | None,
        labels: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Noise of these classes (n,), or of all in turn: (n, D)."""
        z = super().draw(n, temperature, generator)
        if self.prior is None:
            return z
        labels = torch.arange(n, device=z.device) % self.classes if labels is None else labels
        *fine, top = self.parts(z)
        return torch.cat([*fine, self.prior.place(top, labels)], 1)
