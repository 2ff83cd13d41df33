"""Normalising flows: a list of bijections between data and Gaussian noise (RealNVP)."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from companion.maths import log_mean_exp, log_normal
from companion.models.bijections import (
    BOUND,
    Both,
    Coupling,
    FactorOut,
    Flatten,
    Logit,
    Permutation,
    Squeeze,
    back_through,
    through,
)
from companion.models.dequantise import LearnedNoise, uniform_noise
from companion.nets.coupling import conv_net, dense_net

LEVELS = 256  # of a pixel
CHECKERBOARD = (0, 3)  # of the four pixels of a block: those with an even row + column
TOP = (0, 1)


class Flow(nn.Module):
    """A density by change of variables: log p(x) = log N(f(x); 0, I) + log |det df/dx|.

    layers: bijections from data to noise; noise: the shape (D,) of one draw.
    """

    def __init__(self, layers: Sequence[nn.Module], noise: int) -> None:
        super().__init__()
        self.layers, self.noise = nn.ModuleList(layers), noise

    def forward(self, x: Tensor) -> Both:
        """Data to noise: z (B, D) and log |det dz/dx| (B,)."""
        return through(self.layers, x)

    def inverse(self, z: Tensor) -> Both:
        """Noise to data: x and log |det dx/dz| (B,)."""
        return back_through(self.layers, z)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of points in nats, (B,)."""
        z, log_det = self(x)
        return log_normal(z.to(log_det.dtype)).sum(1) + log_det

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """Nats that each point costs: -log p(x), (B,)."""
        return {"nll": -self.log_prob(x)}

    def draw(self, n: int, temperature: float, generator: torch.Generator | None) -> Tensor:
        """Noise N(0, temperature^2): (n, D). Raises ValueError for n < 1 or temperature < 0."""
        if n < 1 or not temperature >= 0:
            raise ValueError(f"n must be at least 1, temperature >= 0, got {n} and {temperature}")
        place = next(self.parameters())
        z = torch.randn(n, self.noise, generator=generator, dtype=place.dtype, device=place.device)
        return temperature * z

    def pictures(self, z: Tensor) -> Tensor:
        """What a person sees of noise (B, D): here its points."""
        return self.inverse(z)[0]

    @torch.no_grad()
    def sample(
        self, n: int, temperature: float = 1.0, generator: torch.Generator | None = None,
        **given: Tensor,
    ) -> Tensor:  # fmt: skip
        """Draw n points, or n images with pixels in [0, 1]; given: what `draw` is told more."""
        return self.pictures(self.draw(n, temperature, generator, **given))


class ImageFlow(Flow):
    """A flow over images whose pixels are whole numbers 0..255, by dequantisation.

    Each pixel k becomes y = k + u with u in [0, 1) from a density q(u | k), uniform unless
    `between` says otherwise, and the density p of y is what is learned: the mean of
    log p(k + u) - log q(u | k) is at most log P(k) (Theis et al. 2016, Ho et al. 2019).
    """

    def __init__(
        self, layers: Sequence[nn.Module], noise: int, between: LearnedNoise | None = None
    ) -> None:
        super().__init__(layers, noise)
        self.between = between

    @property
    def levels(self) -> int:
        """How many values a pixel has."""
        return LEVELS

    def whole(self, x: Tensor) -> Tensor:
        """Pixels 0..255 as whole numbers below `levels`, in this model's precision."""
        return (x // (LEVELS // self.levels)).to(next(self.parameters()).dtype)

    def terms(self, x: Tensor, *given: Tensor) -> dict[str, Tensor]:
        """Nats that each image costs, at one draw of u: an upper bound, in expectation. (B,).

        Raises TypeError unless pixels are whole numbers.
        """
        if x.is_floating_point():
            raise TypeError(f"terms() takes pixels that are whole numbers 0..255, got {x.dtype}")
        k = self.whole(x)
        u, log_q = (self.between or uniform_noise)(k)
        return {"nll": log_q - self.log_prob(k + u, *given)}

    def weighted(self, x: Tensor, draws: int) -> Tensor:
        """-log of the mean of p / q over `draws` of u: a tighter bound, nats, (B,)."""
        found = torch.stack([-self.terms(x)["nll"] for _ in range(draws)])
        return -log_mean_exp(found, 0)

    def pictures(self, z: Tensor) -> Tensor:
        """Decode noise (B, D) to images with pixels in [0, 1], rounded down to whole levels."""
        top = self.levels - 1
        return self.inverse(z)[0].nan_to_num(0.0).floor().clamp(0, top) / top


def plane_flow(
    couplings: int = 8, width: int = 64, hidden: int = 2, features: int = 2, bound: float = BOUND
) -> Flow:
    """Flow of points: each coupling keeps the first half, then the halves change places.

    Raises ValueError for fewer than two couplings: the first half would never move.
    """
    return Flow(halves(couplings, features, width, hidden, bound), features)


def halves(
    couplings: int, features: int, width: int, hidden: int, bound: float
) -> list[nn.Module]:
    """Couplings of two halves, each followed by the permutation that swaps them."""
    if couplings < 2:
        raise ValueError(f"needs at least 2 couplings, or half never moves, got {couplings}")
    first = range(features // 2)
    swap = torch.arange(features).roll(-(features // 2))
    if features % 2:  # the kept part must change, whatever the sizes
        swap = torch.arange(features).flip(0)
    net = partial(dense_net, width=width, hidden=hidden)
    pairs = [(Coupling(features, first, net, bound), Permutation(swap)) for _ in range(couplings)]
    return [layer for pair in pairs for layer in pair]


def halves_flow(
    couplings: int = 8, width: int = 256, hidden: int = 2, side: int = 28, bound: float = BOUND
) -> ImageFlow:
    """Image flow of the homework sheet: two equal halves and a permutation after each coupling."""
    pixels = side * side
    body = halves(couplings, pixels, width, hidden, bound)
    return ImageFlow([Logit(LEVELS), Flatten((1, side, side)), *body], pixels)


def scale(channels: int, each: int, width: int, blocks: int, bound: float) -> list[nn.Module]:
    """Couplings of one scale: a squeeze, checkerboards in turn, then halves of the channels.

    After the squeeze each block of 2 x 2 pixels is four channels, so a checkerboard of pixels is
    a choice of channels, (0, 3) against (1, 2), and its network runs on a quarter of the places.
    channels: before the squeeze; each: couplings of a kind.
    """
    net = partial(conv_net, width=width, blocks=blocks)
    layers: list[nn.Module] = [Squeeze()]
    for pattern in (CHECKERBOARD, TOP):
        chosen = {4 * c + place for c in range(channels) for place in pattern}
        others = set(range(4 * channels)) - chosen
        for k in range(each):
            layers.append(Coupling(4 * channels, sorted((chosen, others)[k % 2]), net, bound))
    return layers


def multi_scale_flow(
    each: int = 3, width: int = 32, blocks: int = 1, side: int = 28, bound: float = BOUND,
    learned_noise: bool = False,
) -> ImageFlow:  # fmt: skip
    """Image flow of two scales: half of the numbers leave after the first (Dinh et al. 2017).

    each: couplings of each kind at each scale; learned_noise: dequantise by `LearnedNoise`.
    Raises ValueError unless 4 divides the side and each >= 2, or some pixels would never move.
    """
    if side % 4 or each < 2:
        raise ValueError(f"needs a side that 4 divides and each >= 2, got {side} and {each}")
    inner = [*scale(2, each, width, blocks, bound), Flatten((8, side // 4, side // 4))]
    outer = scale(1, each, width, blocks, bound)
    out = FactorOut((4, side // 2, side // 2), inner)
    between = LearnedNoise() if learned_noise else None
    return ImageFlow([Logit(LEVELS), *outer, out], side * side, between)


class RoundTrip(NamedTuple):
    """How far points are from where they started, there and back; infinite if not a number."""

    error: float  # of the whole flow: max |x' - x|, in units of x
    by_layer: dict[str, float]  # of each layer alone, relative to 1 + |its input|

    @property
    def worst(self) -> str:
        """The layer with the largest error of its own; the first of equals."""
        return max(self.by_layer, key=lambda name: self.by_layer[name])


def steps_through(
    layers: nn.ModuleList, x: Tensor, above: str = ""
) -> Iterator[tuple[str, Any, Tensor]]:
    """Name each layer, those within a `FactorOut` too, with the input that reaches it."""
    for k, layer in enumerate(layers):
        if isinstance(layer, FactorOut):
            yield from steps_through(layer.layers, x.chunk(2, 1)[1], f"{above}{k}.")
        else:
            yield f"{above}{k} {type(layer).__name__}", layer, x
        x = layer(x)[0]


@torch.no_grad()
def check_inverse(flow: Flow, x: Tensor) -> RoundTrip:
    """Send points (B, ...) to noise and back, as a whole and layer by layer."""
    by_layer = {}
    for name, layer, begun in steps_through(flow.layers, x):
        back = layer.inverse(layer(begun)[0])[0]
        by_layer[name] = largest((back - begun) / (1 + begun.abs()))
    return RoundTrip(largest(flow.inverse(flow(x)[0])[0] - x), by_layer)


def largest(miss: Tensor) -> float:
    """Largest size among numbers; infinite if one of them is not finite."""
    return miss.abs().nan_to_num(math.inf, math.inf).max().item()
