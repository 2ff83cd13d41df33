"""Black-box variational inference: two estimators of one gradient, and ascent along either.

q is a normal law with independent coordinates, z = mean + exp(log_std) * noise. Both estimators
take the draws as `noise` (S, D), and give one gradient of E_q f(z) with respect to
(mean, log_std) for each draw, (S, 2, D): what they average to is the same, how they scatter is
not. Only values of f are needed for the one, and its derivative for the other. They raise
`ValueError` for shapes that do not fit, and where f is not one finite number for each draw.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR

from companion.graphs.rows import Chance, source_of

Function = Callable[[Tensor], Tensor]  # z (S, D) -> (S,)
Estimator = Callable[[Function, Tensor, Tensor, Tensor], Tensor]


def score_gradients(
    f: Function,
    mean: Tensor,
    log_std: Tensor,
    noise: Tensor,
    baseline: Tensor | float = 0.0,
) -> Tensor:
    """Estimate by (f(z) - baseline) times the score of q (Williams 1992, REINFORCE).

    `baseline`: a number, or one for each entry, (2, D). It may not depend on the draws.
    """
    check_draws(mean, log_std, noise)
    with torch.no_grad():
        value = values_of(f, mean + log_std.exp() * noise)
        return (value[:, None, None] - baseline) * score(log_std, noise)


def leave_one_out_gradients(f: Function, mean: Tensor, log_std: Tensor, noise: Tensor) -> Tensor:
    """Estimate by the score; the baseline of a draw is the mean of f over all *other* draws.

    Mnih and Rezende 2016. Needs two draws or more.
    """
    check_draws(mean, log_std, noise)
    if len(noise) < 2:
        raise ValueError(f"leaving one draw out needs at least 2, got {len(noise)}")
    with torch.no_grad():
        value = values_of(f, mean + log_std.exp() * noise)
        others = (value.sum() - value) / (len(value) - 1)
        return (value - others)[:, None, None] * score(log_std, noise)


def reparameterised_gradients(
    f: Function,
    mean: Tensor,
    log_std: Tensor,
    noise: Tensor,
) -> Tensor:
    """Estimate by f's own derivative at z = mean + std * noise (Kingma and Welling 2014)."""
    check_draws(mean, log_std, noise)
    std = log_std.detach().exp()
    z = (mean.detach() + std * noise).requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(values_of(f, z).sum(), z)
    return torch.stack([slope, slope * std * noise], 1)


class Path(NamedTuple):
    """Where an ascent has been: the start, and the parameters after each step."""

    mean: Tensor  # (steps + 1, D)
    log_std: Tensor  # (steps + 1, D)


def black_box_ascent(
    log_joint: Function,
    mean: Tensor,
    log_std: Tensor,
    estimator: Estimator = reparameterised_gradients,
    steps: int = 1000,
    samples: int = 10,
    rate: float = 0.05,
    generator: Chance = None,
) -> Path:
    """Climb the bound E_q log_joint(z) + entropy of q; `log_joint`: (S, D) -> (S,).

    By Adam (Kingma and Ba 2015). Each step averages an `estimator` over `samples` draws; the
    entropy's gradient is exact, and the rate falls to 0 along a cosine. `generator`: a
    torch.Generator, or a seed. Raises `ValueError` for
    counts below 1 and for a log-density that is not finite.
    """
    if steps < 1 or samples < 1 or not rate > 0:
        given = f"steps={steps}, samples={samples}, rate={rate}"
        raise ValueError(f"steps and samples must be at least 1 and the rate above 0, got {given}")
    generator = source_of(generator)
    parameters = torch.stack([mean, log_std]).double().detach()
    of_entropy = torch.stack([torch.zeros_like(mean), torch.ones_like(mean)])
    adam = Adam([parameters], lr=rate, maximize=True)
    cosine = CosineAnnealingLR(adam, T_max=steps)
    path = [parameters.clone()]
    for _ in range(steps):
        noise = torch.randn(samples, len(mean), generator=generator, dtype=torch.float64)
        at, log_scale = parameters
        slope = estimator(log_joint, at, log_scale, noise).mean(0)
        parameters.grad = slope + of_entropy
        adam.step()
        cosine.step()
        path.append(parameters.clone())
    return Path(*torch.stack(path, 1))


def score(log_std: Tensor, noise: Tensor) -> Tensor:
    """Differentiate log q(z) with respect to (mean, log_std) at each draw, (S, 2, D)."""
    return torch.stack([noise / log_std.exp(), noise**2 - 1], 1)


def check_draws(mean: Tensor, log_std: Tensor, noise: Tensor) -> None:
    """Raise `ValueError` unless the parameters are (D,) and the draws (S, D)."""
    if mean.ndim != 1 or log_std.shape != mean.shape or noise.shape[1:] != mean.shape:
        shapes = f"{tuple(mean.shape)}, {tuple(log_std.shape)} and {tuple(noise.shape)}"
        raise ValueError(f"need mean (D,), log_std (D,) and noise (S, D), got shapes {shapes}")


def values_of(f: Function, z: Tensor) -> Tensor:
    """Compute f(z), (S, D) -> (S,); raises `ValueError` for another shape, NaN or infinity."""
    value = f(z)
    if value.shape != z.shape[:1]:
        raise ValueError(f"f must give one number for each draw, got shape {tuple(value.shape)}")
    if not bool(value.isfinite().all()):
        raise ValueError("f must be finite where q draws, got NaN or infinity: start elsewhere")
    return value
