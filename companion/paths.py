"""Paths from data to noise: x_t = signal x_0 + scale noise, and what one guess tells of the rest.

A guess of noise, clean data, velocity or score is one linear equation beside x_t = signal x_0 +
scale noise: two equations, two unknowns.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from companion.words import nearest

UNTOLD = torch.tensor(torch.nan)
KINDS = ("noise", "clean", "velocity", "score")


class Prediction(NamedTuple):
    """One guess in four words; all of the shape of x_t."""

    noise: Tensor  # epsilon
    clean: Tensor  # x_0
    velocity: Tensor = UNTOLD  # signal' x_0 + scale' epsilon
    score: Tensor = UNTOLD  # -epsilon / scale, the gradient of log q(x_t | x_0)


def translate(
    kind: str,
    guess: Tensor,
    x: Tensor,
    signal: Tensor,
    scale: Tensor,
    slopes: tuple[Tensor, Tensor] | None = None,
) -> Prediction:
    """Say a guess of one kind in all four, where x = signal x_0 + scale epsilon.

    slopes: of signal and scale by the path's own time. By default (-scale, signal), those of a
    circle by its angle: velocity is then signal epsilon - scale x_0 (Salimans and Ho 2022,
    appendix D), also where signal^2 + scale^2 is not 1. On the straight path (1 - t) x_0 + t
    epsilon they are (-1, 1), the velocity epsilon - x_0 of flow matching. Where the two equations
    say the same (noise at signal 0, clean at scale 0) the other part cannot be known and is not
    finite. Raises ValueError for an unknown kind.
    """
    c, d = slopes if slopes is not None else (-scale, signal)
    if kind == "noise":
        noise, clean = guess, (x - scale * guess) / signal
    elif kind == "clean":
        noise, clean = (x - signal * guess) / scale, guess
    elif kind == "score":
        noise = -scale * guess
        clean = (x - scale * noise) / signal
    elif kind == "velocity":  # [signal scale; c d] [x_0; epsilon] = [x; guess], by Cramer's rule
        volume = signal * d - scale * c
        noise, clean = (signal * guess - c * x) / volume, (d * x - scale * guess) / volume
    else:
        raise ValueError(f"no prediction is called {kind!r} {nearest(kind, KINDS)}")
    return Prediction(noise, clean, c * clean + d * noise, -noise / scale)


class Path(NamedTuple):
    """Signal and scale of x_t by the time t in [0, 1], data at 0, and their slopes."""

    signal: Callable[[Tensor], Tensor]
    scale: Callable[[Tensor], Tensor]
    signal_slope: Callable[[Tensor], Tensor]
    scale_slope: Callable[[Tensor], Tensor]

    def rates(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Signal, scale and their slopes at times (B,), ready to multiply x (B, ...)."""
        each = (part(t).to(x).reshape(-1, *[1] * (x.ndim - 1)) for part in self)
        signal, scale, *slopes = each
        return signal, scale, (slopes[0], slopes[1])

    def noised(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Put data x (B, ...) under noise at times t (B,)."""
        signal, scale, _ = self.rates(t, x)
        return signal * x + scale * noise

    def translate(self, kind: str, guess: Tensor, x: Tensor, t: Tensor) -> Prediction:
        """Say a guess about x_t (B, ...) at times t (B,) in all words, as `translate` does."""
        return translate(kind, guess, x, *self.rates(t, x))


STRAIGHT = Path(lambda t: 1 - t, lambda t: t, lambda t: -torch.ones_like(t), torch.ones_like)
QUARTER = torch.pi / 2
CIRCLE = Path(  # keeps the variance: signal^2 + scale^2 = 1
    lambda t: torch.cos(QUARTER * t),
    lambda t: torch.sin(QUARTER * t),
    lambda t: -QUARTER * torch.sin(QUARTER * t),
    lambda t: QUARTER * torch.cos(QUARTER * t),
)
