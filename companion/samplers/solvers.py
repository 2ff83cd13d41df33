"""Solvers of dx/dt = velocity(x, t): pure functions of a velocity, a start and a list of times."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]  # x (B, ...), time -> dx/dt (B, ...)
Step = Callable[[Velocity, Tensor, float, float], Tensor]  # from one time to the next


def euler(velocity: Velocity, x: Tensor, t: float, s: float) -> Tensor:
    """Go from t to s along the slope at t: one evaluation, order 1."""
    return x + (s - t) * velocity(x, t)


def heun(velocity: Velocity, x: Tensor, t: float, s: float) -> Tensor:
    """Go along the mean of the slopes at both ends: two evaluations, order 2."""
    first = velocity(x, t)
    return x + (s - t) / 2 * (first + velocity(x + (s - t) * first, s))


def runge_kutta(velocity: Velocity, x: Tensor, t: float, s: float) -> Tensor:
    """Go by the classical method of Kutta 1901: four evaluations, order 4."""
    h, middle = s - t, (t + s) / 2
    a = velocity(x, t)
    b = velocity(x + h / 2 * a, middle)
    c = velocity(x + h / 2 * b, middle)
    return x + h / 6 * (a + 2 * b + 2 * c + velocity(x + h * c, s))


@torch.no_grad()
def solve(velocity: Velocity, x: Tensor, times: Sequence[float], step: Step = euler) -> Tensor:
    """Carry x (B, ...) along the velocity through all times, rising or falling, by one step each.

    Raises ValueError for fewer than two times.
    """
    if len(times) < 2:
        raise ValueError(f"a way needs two or more times, got {list(times)}")
    for t, s in pairwise(times):
        x = step(velocity, x, t, s)
    return x
