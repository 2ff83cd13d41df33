"""Langevin dynamics: walk up the score, shaken so that the walk ends in samples."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor


@torch.no_grad()
def langevin_path(
    score: Callable[[Tensor], Tensor],
    x: Tensor,
    step: float,
    steps: int,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Yield x (..., D) after each of `steps` moves x + step / 2 score(x) + sqrt(step) noise.

    Song and Ermon 2019, eq. 4. step: in the squared unit of x; for a normal of variance v the
    walk settles if step < 4 v. Raises ValueError unless step is above 0 and steps at least 1.
    """
    if not step > 0 or steps < 1:
        raise ValueError(f"needs a step above 0 and 1 or more steps, got {step} and {steps}")
    for _ in range(steps):
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        x = x + step / 2 * score(x) + step**0.5 * noise
        yield x


def langevin(
    score: Callable[[Tensor], Tensor],
    x: Tensor,
    step: float,
    steps: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return where `langevin_path` ends: (..., D)."""
    for moved in langevin_path(score, x, step, steps, generator):
        x = moved
    return x


@torch.no_grad()
def mala_path(
    log_prob: Callable[[Tensor], Tensor],
    score: Callable[[Tensor], Tensor],
    x: Tensor,
    step: float,
    steps: int,
    generator: torch.Generator | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield x (..., D) and which proposals were taken (...), after each Metropolis-adjusted move.

    The proposal is a move of `langevin_path`; it is taken with the probability that leaves
    exp(log_prob) as it is (Roberts and Tweedie 1996). Raises ValueError as `langevin_path`.
    """
    for _ in range(steps):
        [there] = langevin_path(score, x, step, 1, generator)
        forth = -(there - x - step / 2 * score(x)).square().sum(-1) / (2 * step)
        back = -(x - there - step / 2 * score(there)).square().sum(-1) / (2 * step)
        log_ratio = log_prob(there) - log_prob(x) + back - forth
        chance = torch.rand(log_ratio.shape, generator=generator, dtype=x.dtype).to(x.device)
        taken = chance.log() < log_ratio
        x = torch.where(taken[..., None], there, x)
        yield x, taken


def annealed_langevin(
    score: Callable[[Tensor, float], Tensor],
    x: Tensor,
    sigmas: Sequence[float],
    step: float,
    steps: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Walk `steps` moves at each noise level, from the largest down: (..., D) -> (..., D).

    Song and Ermon 2019, algorithm 1. score: of points and a noise level. step: of the last level;
    at level sigma it is step * (sigma / last)^2. Raises ValueError unless the levels fall and
    stay above 0, and for a step or steps that `langevin_path` refuses.
    """
    levels = [float(sigma) for sigma in sigmas]
    falls = all(a > b for a, b in pairwise(levels))
    if not levels or not falls or levels[-1] <= 0:
        raise ValueError(f"noise levels must fall and stay above 0, got {levels}")
    for sigma in levels:
        pace = step * (sigma / levels[-1]) ** 2
        x = langevin(lambda x, at=sigma: score(x, at), x, pace, steps, generator)
    return x
