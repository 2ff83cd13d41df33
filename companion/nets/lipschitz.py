"""Networks whose Lipschitz constant is bounded layer by layer, with their Jacobian's products.

A layer's weights are divided by what its largest singular value exceeds a bound (Miyato et al.
2018; Behrmann et al. 2019, eq. 2). The singular value is that of the map itself, found by power
iteration with the map and its adjoint: of a convolution with its padding on images of their true
size (Gouk et al. 2021), not of the kernel laid out as a matrix.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEEPEST = 1.1  # a bound of the slope of u sigma(u), whose largest value is 1.0998
SETTLED = 20  # power iterations at the start, and whenever a model is not training


class Bounded(nn.Module):
    """A linear map with a bias, whose largest singular value `scaled` keeps below `bound`.

    shape: of one input. In training each call makes one power iteration from where the last one
    ended; otherwise `SETTLED`, and nothing is stored.
    """

    v: Tensor  # the right singular vector, as far as it is known: (1, *shape)

    def __init__(self, weight: Tensor, outputs: int, shape: Sequence[int], bound: float) -> None:
        super().__init__()
        if not bound > 0:
            raise ValueError(f"the bound of a singular value must be above 0, got {bound}")
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.bound = bound
        self.register_buffer("v", torch.randn(1, *shape))

    @torch.no_grad()
    def settle(self) -> None:
        """Find the singular vector, and begin at the bound: smaller weights would learn slowly."""
        self.v = self.power(SETTLED)
        if not math.isinf(self.bound):
            self.weight *= self.bound / self.linear(self.v, self.weight).norm()

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The map, without a bias if there is none."""
        return F.linear(x, weight, bias)

    def adjoint(self, u: Tensor, weight: Tensor) -> Tensor:
        """The transposed map."""
        return F.linear(u, weight.T)

    @torch.no_grad()
    def power(self, iterations: int) -> Tensor:
        """A unit vector nearer to the right singular vector: (1, *shape)."""
        v = self.v
        for _ in range(iterations):
            v = self.adjoint(self.linear(v / v.norm(), self.weight), self.weight)
        return v / v.norm()

    def sigma(self) -> Tensor:
        """The largest singular value of the stored weights, from below; it has gradients."""
        v = self.power(1 if self.training else SETTLED)
        if self.training:
            self.v = v
        return self.linear(v, self.weight).norm()

    def scaled(self) -> Tensor:
        """The weights that count: divided by max(1, sigma / bound)."""
        if math.isinf(self.bound):
            return self.weight
        return self.weight / (self.sigma() / self.bound).clamp_min(1.0)


class BoundedLinear(Bounded):
    """A dense layer (B, inputs) -> (B, outputs)."""

    def __init__(self, inputs: int, outputs: int, bound: float) -> None:
        start = nn.Linear(inputs, outputs)
        super().__init__(start.weight.detach(), outputs, (inputs,), bound)
        self.settle()


class BoundedConv(Bounded):
    """A convolution (B, C, H, W) -> (B, outputs, H, W) with an odd kernel and zeros around.

    shape: (C, H, W), for the singular value depends on the size of the image.
    """

    def __init__(self, shape: Sequence[int], outputs: int, kernel: int, bound: float) -> None:
        start = nn.Conv2d(shape[0], outputs, kernel)
        super().__init__(start.weight.detach(), outputs, shape, bound)
        self.padding = kernel // 2
        self.settle()

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Convolve."""
        return F.conv2d(x, weight, bias, padding=self.padding)

    def adjoint(self, u: Tensor, weight: Tensor) -> Tensor:
        """Convolve with the kernel turned round, its inputs and outputs exchanged."""
        return F.conv2d(u, weight.transpose(0, 1).flip(2, 3), padding=self.padding)


class LipschitzNet(nn.Module):
    """Bounded layers with LipSwish between them: h sigma(beta h) / 1.1 (Chen et al. 2019).

    Its Lipschitz constant is at most the product of the layers' bounds, because LipSwish is never
    steeper than 1. All methods take the weights that `weights` has scaled, so that one power
    iteration serves a pass through the network, its Jacobian's products and their gradients.
    """

    def __init__(self, layers: Sequence[BoundedLinear | BoundedConv]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.beta = nn.Parameter(torch.full((len(layers) - 1,), 0.5))  # before softplus

    @property
    def each(self) -> list[Any]:
        """The layers in turn."""
        return [*self.layers]

    @property
    def lipschitz(self) -> float:
        """The product of the layers' bounds."""
        return math.prod(layer.bound for layer in self.each)

    def weights(self) -> list[Tensor]:
        """Weight and bias of each layer in turn, as `value` and `push` use them.

        LipSwish is silu(beta h) / (1.1 beta): beta goes into the layer before, the rest into the
        layer behind, so that no large tensor is multiplied by a number.
        """
        beta, found = F.softplus(self.beta), []
        for k, layer in enumerate(self.each):
            weight, bias = layer.scaled(), layer.bias
            if k:
                weight = weight / (STEEPEST * beta[k - 1])
            if k < len(beta):
                weight, bias = weight * beta[k], bias * beta[k]
            found += [weight, bias]
        return found

    def value(self, x: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """g(x), and beta h before each activation."""
        before = []
        for k, layer in enumerate(self.each):
            x = layer.linear(F.silu(x) if k else x, weights[2 * k], weights[2 * k + 1])
            before.append(x)
        return x, before[:-1]

    def push(self, v: Tensor, steep: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        """J v, with the activations' slopes at x: the layers without biases, slopes between."""
        for k, layer in enumerate(self.each):
            v = layer.linear(v * steep[k - 1] if k else v, weights[2 * k])
        return v

    def forward(self, x: Tensor) -> Tensor:
        """g(x)."""
        return self.value(x, self.weights())[0]


def slopes(before: Sequence[Tensor]) -> list[Tensor]:
    """Slope of silu at each u = beta h: s + u s (1 - s) with s = sigma(u), and silu(u) = u s."""
    found = []
    for u in before:
        s = torch.sigmoid(u)
        found.append(torch.lerp(u * s, u.new_ones(()).expand_as(u), s))
    return found


def dense_lipschitz(
    features: int, width: int = 32, hidden: int = 2, bound: float = 0.97
) -> LipschitzNet:
    """A network (B, features) -> the same through `hidden` layers of `width` units."""
    sizes = [features, *[width] * hidden, features]
    layers = [BoundedLinear(a, b, bound) for a, b in pairwise(sizes)]
    return LipschitzNet(layers)


def conv_lipschitz(shape: Sequence[int], width: int = 32, bound: float = 0.97) -> LipschitzNet:
    """A network (B, C, H, W) -> the same by 3 x 3, 1 x 1 and 3 x 3 convolutions."""
    channels, height, wide = shape
    inside = (width, height, wide)
    return LipschitzNet(
        [
            BoundedConv(shape, width, 3, bound), BoundedConv(inside, width, 1, bound),
            BoundedConv(inside, channels, 3, bound),
        ]
    )  # fmt: skip
