"""Bijections, the layers of a flow.

The contract: `forward(x) -> z, log_det` with log |det dz/dx|, (B,), and `inverse(z) -> x, log_det`
with log |det dx/dz|, which is minus the former at the same point. So `forward` goes from data to
noise, and its sign is that of `torch.distributions.Transform.log_abs_det_jacobian(x, z)`.
nflows agrees (`forward`, `inverse`); zuko says `call_and_ladj` for forward; in normflows `forward`
goes from noise to data, so there the names are exchanged.

Log-determinants are summed in float32 or better, whatever the networks compute in.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Both = tuple[Tensor, Tensor]  # what a bijection returns: the point (B, ...) and log_det (B,)
BOUND = 2.0  # |log scale| of a coupling stays below


def summed(values: Tensor) -> Tensor:
    """Sum (B, ...) over all but the batch, in float32 at least: (B,)."""
    wide = torch.promote_types(values.dtype, torch.float32)
    return values.flatten(1).sum(1, dtype=wide)


def nothing_changes(x: Tensor) -> Tensor:
    """Log-determinant of what only moves numbers around: zeros (B,)."""
    return x.new_zeros(len(x), dtype=torch.promote_types(x.dtype, torch.float32))


class Permutation(nn.Module):
    """Put features, or channels, into another order: (B, C, ...) -> (B, C, ...).

    Raises ValueError if `order` is not one.
    """

    order: Tensor
    back: Tensor

    def __init__(self, order: Tensor | Sequence[int]) -> None:
        super().__init__()
        order = torch.as_tensor(order)
        if not torch.equal(order.sort().values, torch.arange(len(order))):
            raise ValueError(f"needs an order of all features, got {order.tolist()}")
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())

    def forward(self, x: Tensor) -> Both:
        """Reorder; the volume stays."""
        return x[:, self.order], nothing_changes(x)

    def inverse(self, z: Tensor) -> Both:
        """Put all back."""
        return z[:, self.back], nothing_changes(z)


class Squeeze(nn.Module):
    """Turn each 2 x 2 block of pixels into four channels: (B, C, H, W) -> (B, 4C, H/2, W/2)."""

    def forward(self, x: Tensor) -> Both:
        """Space to channels; channel 4c + 2i + j is pixel (i, j) of the block in channel c."""
        return F.pixel_unshuffle(x, 2), nothing_changes(x)

    def inverse(self, z: Tensor) -> Both:
        """Channels to space."""
        return F.pixel_shuffle(z, 2), nothing_changes(z)


class Flatten(nn.Module):
    """Lay images out as vectors: (B, *shape) -> (B, D)."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Both:
        """Lay out."""
        return x.flatten(1), nothing_changes(x)

    def inverse(self, z: Tensor) -> Both:
        """Fold up."""
        return z.unflatten(1, self.shape), nothing_changes(z)


class Logit(nn.Module):
    """Map pixels y in (0, levels) to all real numbers: logit(a + (1 - 2a) y / levels).

    Dinh et al. 2017, section 4.1, with a = `margin`. With a > 0 the whole interval is stretched
    a little beyond 0 and `levels`, so that no pixel becomes infinite. Outside of that interval
    there is no image: log_det is -inf there. Raises ValueError for a margin outside [0, 0.5).
    """

    def __init__(self, levels: int = 256, margin: float = 0.05) -> None:
        super().__init__()
        if not 0 <= margin < 0.5 or levels < 2:
            raise ValueError(f"needs margin in [0, 0.5), levels >= 2, got {margin} and {levels}")
        self.levels, self.margin = levels, margin
        self.slope = (1 - 2 * margin) / levels

    def log_slope(self, z: Tensor) -> Tensor:
        """Sum of log dz/dy: each pixel gives log slope - log sigma(z) - log sigma(-z)."""
        return summed(math.log(self.slope) + F.softplus(z) + F.softplus(-z))

    def forward(self, x: Tensor) -> Both:
        """Stretch; a point outside is taken for the middle, at log_det -inf."""
        share = self.margin + self.slope * x
        inside = (share > 0) & (share < 1)
        z = torch.logit(torch.where(inside, share, 0.5))
        all_inside = inside.flatten(1).all(1)
        return z, torch.where(all_inside, self.log_slope(z), -math.inf)

    def inverse(self, z: Tensor) -> Both:
        """Squash."""
        return (torch.sigmoid(z) - self.margin) / self.slope, -self.log_slope(z)


class Coupling(nn.Module):
    """Shift and scale some features by what the others say (Dinh et al. 2017, eqs. 7 and 8).

    kept: the features, or channels, that stay; the others become x exp(s) + t, where the network
    maps the kept ones to (s, t). bound: |s| stays below it by s <- bound tanh(s / bound); inf: no
    bound. Raises ValueError unless some features are kept and some are not.
    """

    kept: Tensor
    moved: Tensor
    back: Tensor

    def __init__(
        self, features: int, kept: Sequence[int], net: Callable[[int, int], nn.Module],
        bound: float = BOUND,
    ) -> None:  # fmt: skip
        super().__init__()
        stay = sorted(set(kept))
        move = [k for k in range(features) if k not in set(stay)]
        if not stay or not move or stay[0] < 0 or stay[-1] >= features or not bound > 0:
            raise ValueError(f"must keep some of {features} features and bound > 0, got {stay}")
        self.register_buffer("kept", torch.tensor(stay))
        self.register_buffer("moved", torch.tensor(move))
        self.register_buffer("back", torch.tensor(stay + move).argsort())
        self.net, self.bound = net(len(stay), 2 * len(move)), bound

    def scale_and_shift(self, kept: Tensor) -> Both:
        """Ask the network: log scale and shift of the others, from those that are kept."""
        s, t = self.net(kept).to(kept.dtype).chunk(2, 1)
        if math.isfinite(self.bound):
            s = self.bound * torch.tanh(s / self.bound)
        return s, t

    def forward(self, x: Tensor) -> Both:
        """z_kept = x_kept, z_moved = x_moved exp(s) + t; log_det = sum of s."""
        a, b = x[:, self.kept], x[:, self.moved]
        s, t = self.scale_and_shift(a)
        return torch.cat([a, b * s.exp() + t], 1)[:, self.back], summed(s)

    def inverse(self, z: Tensor) -> Both:
        """x_moved = (z_moved - t) exp(-s): as fast as forward, and the network is not inverted."""
        a, b = z[:, self.kept], z[:, self.moved]
        s, t = self.scale_and_shift(a)
        return torch.cat([a, (b - t) * (-s).exp()], 1)[:, self.back], -summed(s)


class FactorOut(nn.Module):
    """Let half of the channels be noise already, and send the others through more layers.

    (B, C, H, W) -> (B, D): first the half that leaves, then what the layers make of the rest
    (Dinh et al. 2017, section 3.6). shape: (C, H, W). The layers must end in vectors.
    """

    def __init__(self, shape: Sequence[int], layers: Sequence[nn.Module]) -> None:
        super().__init__()
        channels, height, width = shape
        if channels % 2:
            raise ValueError(f"needs an even number of channels to halve, got {channels}")
        self.leaving = (channels // 2, height, width)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Both:
        """Noise of this scale, then of those below."""
        leaves, stays = x.chunk(2, 1)
        stays, log_det = through(self.layers, stays)
        return torch.cat([leaves.flatten(1), stays], 1), log_det

    def inverse(self, z: Tensor) -> Both:
        """Build the lower scales first, then join this one."""
        leaves, stays = z.tensor_split([math.prod(self.leaving)], 1)
        stays, log_det = back_through(self.layers, stays)
        return torch.cat([leaves.unflatten(1, self.leaving), stays], 1), log_det


def through(layers: Sequence[nn.Module] | nn.ModuleList, x: Tensor) -> Both:
    """Apply bijections one after the other; their log-determinants add."""
    total = nothing_changes(x)
    for layer in layers:
        x, log_det = layer(x)
        total = total + log_det
    return x, total


def back_through(layers: Sequence[Any] | nn.ModuleList, z: Tensor) -> Both:
    """Undo bijections, the last one first."""
    steps: list[Any] = [*layers]
    total = nothing_changes(z)
    for layer in reversed(steps):
        z, log_det = layer.inverse(z)
        total = total + log_det
    return z, total
