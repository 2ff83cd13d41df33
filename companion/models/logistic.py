"""The certified optimum of a linear-sigmoid conditional law, from counts of what pixels see."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from companion.models.pixels import PixelNetwork, unique

STEPS = 60  # Newton steps: ten are enough where there is a maximum
SMALL = 1e-8  # nats: the gradient norm at which we stop


class Counts(NamedTuple):
    """Sufficient statistics of images: how often each pattern was seen, and with ink."""

    codes: Tensor  # int64 (U,): what was seen, as `PixelNetwork.codes` numbers it
    seen: Tensor  # float64 (U,): how often, in mean per image
    ink: Tensor  # float64 (U,): how often the pixel was ink then


def count(network: PixelNetwork, images: Tensor, weights: Tensor | None = None) -> Counts:
    """Count the patterns that the pixels of images (N, 1, S, S), 0 or 1, see.

    weights: probabilities (N,) of the images, in all one; None: all the same.
    """
    bits, side, room = len(network.parents), network.side, network.room
    canvas = torch.zeros(side + room, side + 2 * room, len(images), dtype=torch.uint8)
    canvas[room:, room : room + side] = images[:, 0].permute(1, 2, 0)
    found = []
    for pixel in range(side * side):
        row, column = room + pixel // side, room + pixel % side
        both = canvas[row, column].int()  # ink is bit 0, the parents' pattern stands above it
        for j, (up, left) in enumerate(network.parents):
            both += canvas[row - up, column - left].int() << (j + 1)
        kinds, place = unique(both.long(), 2 ** (bits + 1))
        seen = torch.bincount(place, weights, len(kinds)).double()
        first = pixel << bits if network.position else 0
        found.append(((kinds >> 1) + first, seen, seen * (kinds & 1)))
    codes, seen, ink = (torch.cat(parts) for parts in zip(*found, strict=True))
    share = 1 / len(images) if weights is None else 1.0
    return merged(codes, share * seen, share * ink)


def merged(codes: Tensor, seen: Tensor, ink: Tensor) -> Counts:
    """Add up what was counted of one code in several places."""
    codes, place = torch.unique(codes, return_inverse=True)
    sums = torch.zeros(2, len(codes), dtype=torch.float64)
    return Counts(codes, *sums.index_add_(1, place, torch.stack([seen, ink])))


def forget(counts: Counts, network: PixelNetwork, smaller: PixelNetwork) -> Counts:
    """Count for a network that sees less, from what was counted for one that sees more.

    Raises ValueError if the smaller one sees what the other does not.
    """
    if smaller.position > network.position or not {*smaller.parents} <= {*network.parents}:
        raise ValueError("counts can only be forgotten: the smaller network sees something new")
    codes = torch.zeros_like(counts.codes)
    for j, parent in enumerate(smaller.parents):
        codes += (counts.codes >> network.parents.index(parent) & 1) << j
    if smaller.position:
        codes += counts.codes >> len(network.parents) << len(smaller.parents)
    return merged(codes, counts.seen, counts.ink)


@dataclass(frozen=True)
class Optimum:
    """Weights, bias first, and what proves how good they are; losses in nats per image."""

    weights: Tensor  # float64 (inputs + 1,)
    loss: float
    gradient: float  # norm of the loss's gradient
    curvature: float  # smallest eigenvalue of its Hessian
    steepest: float  # largest eigenvalue
    radius: float  # largest norm of (1, inputs)
    trace: tuple[tuple[float, float, float], ...]  # loss, gradient norm, weights' norm, by step

    @property
    def certified(self) -> bool:
        """Whether a minimum is proved to exist, within 1 / radius of these weights."""
        return 2 * math.e * self.radius * self.gradient < self.curvature

    @property
    def gap(self) -> float:
        """Nats per image that the loss can be above its minimum: e g^2 / (2 mu)."""
        if not self.certified:
            return math.inf
        return math.e * self.gradient**2 / (2 * self.curvature)


def loss_of(features: Tensor, counts: Counts, weights: Tensor) -> Tensor:
    """Nats per image of weights (inputs + 1,): sum of seen softplus(z) - ink z."""
    z = features @ weights
    return counts.seen @ F.softplus(z) - counts.ink @ z


def slopes(features: Tensor, counts: Counts, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient (D,) and Hessian (D, D) of `loss_of`."""
    p = torch.sigmoid(features @ weights)
    gradient = features.T @ (counts.seen * p - counts.ink)
    return gradient, (features.T * (counts.seen * p * (1 - p))) @ features


def newton(features: Tensor, counts: Counts, steps: int = STEPS) -> Optimum:
    """Minimise `loss_of` by Newton's method, halving a step that does not help enough.

    features: float64 (U, D), a column of ones among them. Where the data are separable there is
    no minimum: the weights grow until `steps` are done, and `certified` is false.
    """
    weights = torch.zeros(features.shape[1], dtype=torch.float64)
    trace = []
    for step in range(steps + 1):
        loss = loss_of(features, counts, weights)
        gradient, hessian = slopes(features, counts, weights)
        size = gradient.norm().item()
        trace.append((loss.item(), size, weights.norm().item()))
        if size <= SMALL or step == steps:
            break
        move = torch.linalg.lstsq(hessian, gradient[:, None], driver="gelsd").solution[:, 0]
        share = 1.0
        while share > 1e-6 and (
            loss_of(features, counts, weights - share * move)
            > loss - 0.1 * share * (gradient @ move)
        ):
            share /= 2
        weights = weights - share * move
    spectrum = torch.linalg.eigvalsh(hessian)
    low, high = spectrum[0].item(), spectrum[-1].item()
    radius = features.norm(dim=1).max().item()
    return Optimum(weights, loss.item(), size, low, high, radius, tuple(trace))


def features_of(network: PixelNetwork, counts: Counts) -> Tensor:
    """What the counted patterns are, with a one before: float64 (U, inputs + 1)."""
    return F.pad(network.double().features(counts.codes), (1, 0), value=1.0)


def fit(network: PixelNetwork, counts: Counts) -> Optimum:
    """Bring a linear network to its maximum likelihood, in place, and say how near it is.

    The network is in float64 from then on. Raises ValueError for one with hidden layers.
    """
    law = network.conditional[0]
    if len(network.conditional) != 1 or not isinstance(law, nn.Linear):
        raise ValueError("only a linear network has a certified optimum: this one has layers")
    optimum = newton(features_of(network, counts), counts)
    with torch.no_grad():
        law.bias.copy_(optimum.weights[:1])
        law.weight.copy_(optimum.weights[None, 1:])
    return optimum


def entropy(counts: Counts) -> float:
    """The least nats per image that any shared law of these patterns can reach on what was seen.

    It gives each pattern the frequency of ink that was counted after it.
    """
    other, seen = counts.seen - counts.ink, counts.seen
    return sum(-torch.special.xlogy(n, n / seen).sum().item() for n in (counts.ink, other))
