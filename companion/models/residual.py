"""Residual flows: z = x + g(x) with a contraction g (Behrmann et al. 2019, Chen et al. 2019)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from companion.models.bijections import Both, Flatten, Logit, Squeeze, nothing_changes, summed
from companion.models.flows import LEVELS, Flow, ImageFlow
from companion.models.glow import ActNorm
from companion.nets.lipschitz import LipschitzNet, conv_lipschitz, dense_lipschitz, slopes

EXACT = 64  # numbers up to which the determinant is computed whole, when not training
MARGIN = 1e-5  # of the logit: it spreads black and white, which a block of slope < 2 cannot
ITERATIONS = 1000  # after which an inverse gives up


@dataclass(frozen=True)
class Roulette:
    """How many terms of a series are computed: `sure` of them, then another while a coin allows.

    stop: the coin's probability of ending it, in (0, 1]; 1: never more than `sure`, a truncated
    series, whose sum is biased.
    """

    sure: int = 2
    stop: float = 0.5

    def __post_init__(self) -> None:
        if self.sure < 1 or not 0 < self.stop <= 1:
            raise ValueError(f"needs sure >= 1 and stop in (0, 1], got {self.sure}, {self.stop}")

    def draw(self) -> int:
        """Throw the coin: the number of terms."""
        if self.stop == 1:
            return self.sure
        return self.sure + int(torch.empty(()).geometric_(self.stop).item()) - 1

    def weight(self, k: int) -> float:
        """1 / P(term k is computed), k = 1, 2, ...: what makes up for the terms left out."""
        return (1 - self.stop) ** -max(k - self.sure, 0) if self.stop < 1 else 1.0


def signs(x: Tensor) -> Tensor:
    """Draw a probe of numbers +1 and -1, each with probability 1/2, of the shape of x."""
    return torch.copysign(torch.ones_like(x), torch.rand_like(x) - 0.5)


READING = Roulette(50, 1.0)  # when not training: no coin, whose variance may be infinite


class Series(torch.autograd.Function):
    """z = x + g(x), and an estimate of log |det(I + J)| with the gradient of its expectation.

    With a probe v: sum of (-1)^(k+1) w_k / k v' J^k v, k = 1 to n, and w_k from the roulette.
    Its gradient is not followed through the sum: it is v' dJ y, where y = sum of (-1)^k w_(k+1)
    J^k v, k = 0 to n - 1, is summed in the forward pass too (the Neumann series of (I + J)^-1 v;
    Chen et al. 2019, eq. 8). So only x, v and y are kept; the backward pass goes through g once
    more, for both outputs together.
    """

    @staticmethod
    def forward(
        ctx: Any, net: LipschitzNet, n: int, weight: Callable[[int], float], x: Tensor,
        *weights: Tensor,
    ) -> Both:  # fmt: skip
        """Sum the series along one probe of signs."""
        g, before = net.value(x, weights)
        steep = slopes(before)
        v = signs(x)
        y, power, log_det = torch.zeros_like(v), v, nothing_changes(x)
        for k in range(1, n + 1):
            sign = (-1) ** (k + 1) * weight(k)
            y = y + sign * power
            power = net.push(power, steep, weights)
            log_det = log_det + sign / k * summed(v * power)
        ctx.net = net
        ctx.save_for_backward(x, v, y, *weights)
        return x + g, log_det

    @staticmethod
    def backward(ctx: Any, of_z: Tensor, of_log_det: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Go through g and J y once, with gradients."""
        x, v, y, *weights = ctx.saved_tensors
        with torch.enable_grad():
            x, *weights = (one.detach().requires_grad_() for one in (x, *weights))
            g, before = ctx.net.value(x, weights)
            along = summed(v * ctx.net.push(y, slopes(before), weights))
            found = torch.autograd.grad((g, along), (x, *weights), (of_z, of_log_det))
        return None, None, None, found[0] + of_z, *found[1:]


def exact_log_det(net: LipschitzNet, steep: Sequence[Tensor], x: Tensor, weights: Any) -> Tensor:
    """log |det(I + J)| from the whole Jacobian, in as few passes as may be: (B,)."""
    shape, D = x.shape[1:], x[0].numel()
    eye = torch.eye(D, dtype=x.dtype, device=x.device)
    if len(x) < D:
        units, each = eye.view(D, *shape), [[s[b : b + 1] for s in steep] for b in range(len(x))]
        J = torch.stack([net.push(units, here, weights).flatten(1).T for here in each])
    else:
        columns = (net.push(e.view(1, *shape).expand_as(x), steep, weights) for e in eye)
        J = torch.stack([column.flatten(1) for column in columns], 2)
    return torch.linalg.slogdet((J + eye).to(nothing_changes(x).dtype)).logabsdet


class ResidualBlock(nn.Module):
    """z = x + g(x), a bijection because g is a contraction (Behrmann et al. 2019, theorem 1).

    In training log_det is estimated by a series that a roulette ends. Otherwise it is exact for
    points of up to `EXACT` numbers; beyond, it is the long series of `READING`, along one probe.
    """

    def __init__(self, net: LipschitzNet, roulette: Roulette | None = None) -> None:
        super().__init__()
        self.net, self.roulette = net, roulette or Roulette()

    def forward(self, x: Tensor) -> Both:
        """Add g(x)."""
        if not self.training and x[0].numel() <= EXACT:
            return self.exact(x)
        return self.estimate(x, self.roulette if self.training else READING)

    def estimate(self, x: Tensor, roulette: Roulette) -> Both:
        """What `forward` gives, with the series that this roulette ends, along one probe."""
        return Series.apply(self.net, roulette.draw(), roulette.weight, x, *self.net.weights())

    def exact(self, x: Tensor) -> Both:
        """What `forward` gives, with the determinant of the whole Jacobian."""
        g, before = self.net.value(x, weights := self.net.weights())
        return x + g, exact_log_det(self.net, slopes(before), x, weights)

    @torch.no_grad()
    def solve(self, z: Tensor, iterations: int = ITERATIONS) -> tuple[Tensor, int]:
        """Iterate x <- z - g(x) from x = z until x stands still; the number of steps, too.

        Banach's theorem: the error falls by the Lipschitz constant of g at each step. Where that
        is above 1 it may never end: what there is after `iterations` is returned.
        """
        weights, x, steps, moves = self.net.weights(), z, 0, True
        still = 10 * torch.finfo(z.dtype).eps
        while moves and steps < iterations:
            before, x = x, z - self.net.value(x, weights)[0]
            moves = bool(((x - before).abs() / (1 + x.abs())).max() > still)
            steps += 1
        return x, steps

    def inverse(self, z: Tensor) -> Both:
        """Solve x + g(x) = z."""
        x = self.solve(z)[0]
        return x, -self(x)[1]


def read_layers(layers: Any, x: Tensor, roulette: Roulette | None = None) -> Both:
    """Apply bijections in turn; residual blocks with whole determinants, or by a series."""
    total = nothing_changes(x)
    for layer in layers:
        if isinstance(layer, ResidualBlock):
            x, log_det = layer.estimate(x, roulette) if roulette else layer.exact(x)
        else:
            x, log_det = layer(x)
        total = total + log_det
    return x, total


Step = Callable[[Callable[[Tensor, float], Tensor], Tensor, float, float], Tensor]


class Field(nn.Module):
    """A velocity in space and time: tanh layers, (B, D) and t -> (B, D)."""

    def __init__(self, features: int = 2, width: int = 32) -> None:
        super().__init__()
        self.into, self.inside = nn.Linear(features + 1, width), nn.Linear(width, width)
        self.out = nn.Linear(width, features)

    def both(self, x: Tensor, t: float) -> Both:
        """The velocity, and its divergence tr df/dx: (B, D) and (B,).

        The trace of W3 D2 W2 D1 W1 is the sum of (W2 * (W1 W3)') weighted by both slopes.
        """
        a = torch.tanh(self.into(torch.cat([x, x.new_full((len(x), 1), t)], 1)))
        b = torch.tanh(self.inside(a))
        loop = self.inside.weight * (self.into.weight[:, :-1] @ self.out.weight).T
        divergence = torch.einsum("bi,ij,bj->b", 1 - b**2, loop, 1 - a**2)
        return self.out(b), divergence


class Continuous(nn.Module):
    """The limit of many small residual blocks: dx/dt = f(x, t) from t = 0 to 1.

    d log_det / dt = tr df/dx (Chen et al. 2018, theorem 1), solved together with x. step: a
    solver's step; steps: of them in training, and eight times as many otherwise.
    """

    def __init__(self, field: Field, step: Step, steps: int = 8) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"a way needs at least 1 step, got {steps}")
        self.field, self.step, self.steps = field, step, steps

    def along(self, x: Tensor, start: float, end: float) -> Both:
        """Carry x (B, D) and what its volume gains from one time to another."""

        def velocity(state: Tensor, t: float) -> Tensor:
            speed, divergence = self.field.both(state[:, :-1], t)
            return torch.cat([speed, divergence[:, None]], 1)

        many = self.steps if self.training else 8 * self.steps
        state = torch.cat([x, x.new_zeros(len(x), 1)], 1)
        for k in range(many):
            t, s = (start + (end - start) * (k + more) / many for more in (0, 1))
            state = self.step(velocity, state, t, s)
        return state[:, :-1], state[:, -1]

    def forward(self, x: Tensor) -> Both:
        """From data, at time 0, to noise."""
        return self.along(x, 0.0, 1.0)

    def inverse(self, z: Tensor) -> Both:
        """The same way back."""
        return self.along(z, 1.0, 0.0)


def residual_plane_flow(
    blocks: int = 12, width: int = 32, bound: float = 0.97, roulette: Roulette | None = None
) -> Flow:
    """Flow of points in the plane: actnorm, then residual blocks."""
    nets = (dense_lipschitz(2, width, bound=bound) for _ in range(blocks))
    return Flow([ActNorm(2), *(ResidualBlock(net, roulette) for net in nets)], 2)


def residual_image_flow(
    blocks: Sequence[int] = (8, 8), width: int = 16, bound: float = 0.98, side: int = 28,
    margin: float = MARGIN, roulette: Roulette | None = None,
) -> ImageFlow:  # fmt: skip
    """At each scale a squeeze, then blocks and actnorms; ValueError if the side does not fit."""
    if side % 2 ** len(blocks):
        raise ValueError(f"needs a side that {2 ** len(blocks)} divides, got {side}")
    layers: list[nn.Module] = [Logit(LEVELS, margin)]
    for scale, many in enumerate(blocks, 1):
        shape = (4**scale, side // 2**scale, side // 2**scale)
        layers += [Squeeze(), ActNorm(shape[0])]
        for _ in range(many):
            net = conv_lipschitz(shape, width, bound)
            layers += [ResidualBlock(net, roulette), ActNorm(shape[0])]
    return ImageFlow([*layers, Flatten(shape)], math.prod(shape))
