"""Score matching: three ways to fit the gradient of a log-density that nobody has seen.

A score is a function of points (..., D) that returns as many vectors (..., D), each from its own
point. Every loss is in 1 / (squared unit of x), one number for each point, to be averaged.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Score = Callable[[Tensor], Tensor]


def followed(score: Score, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return points (..., D) to differentiate by, and their scores (..., D).

    Raises ValueError unless the score has the shape of x.
    """
    x = x.detach().requires_grad_()
    s = score(x)
    if s.shape != x.shape:
        got = f"{tuple(s.shape)} for points of shape {tuple(x.shape)}"
        raise ValueError(f"a score is one vector for each point, got {got}")
    return x, s


def implicit_score_loss(score: Score, x: Tensor) -> Tensor:
    """|s|^2 / 2 + trace of the Jacobian of s, at points x (..., D): (...).

    Hyvarinen 2005, theorem 1; one backward pass for each of the D coordinates. Raises ValueError
    unless the score has the shape of x.
    """
    x, s = followed(score, x)
    trace = torch.zeros_like(s[..., 0])
    for i in range(x.shape[-1]):
        (row,) = torch.autograd.grad(s[..., i].sum(), x, create_graph=True)
        trace = trace + row[..., i]
    return s.square().sum(-1) / 2 + trace


def sliced_score_loss(score: Score, x: Tensor, v: Tensor, reduced: bool = True) -> Tensor:
    """|s|^2 / 2 + v' J v, with J the Jacobian of s, at points x (..., D): (...).

    v (..., D): random directions with mean v v' = I, drawn apart from x; one backward pass.
    reduced=False: (v' s)^2 / 2 in place of |s|^2 / 2, the same in the mean (Song, Garg, Shi and
    Ermon 2020, section 3, where the first is called SSM-VR). Raises ValueError for a score or
    directions that do not have the shape of x.
    """
    if v.shape != x.shape:
        got = f"{tuple(v.shape)} for points of shape {tuple(x.shape)}"
        raise ValueError(f"needs one direction for each point, got {got}")
    x, s = followed(score, x)
    along = (s * v).sum(-1)
    (row,) = torch.autograd.grad(along.sum(), x, create_graph=True)
    square = s.square().sum(-1) if reduced else along.square()
    return square / 2 + (row * v).sum(-1)


def denoising_score_loss(
    score: Score, x: Tensor, noise: Tensor, sigma: float | Tensor, paired: bool = False
) -> Tensor:
    """|s(x + sigma noise) + noise / sigma|^2 / 2 at points x (..., D): (...).

    Vincent 2011, section 4.2: the score of x with noise N(0, sigma^2 I), up to a constant.
    noise: standard normal, (..., D). sigma: above 0, in the unit of x; a tensor broadcasts with
    x, and has a last dimension of 1 if it differs between points. paired: the mean over noise
    and -noise, less |noise|^2 / (2 sigma^2). Raises ValueError for a sigma that is not above 0
    or noise that does not have the shape of x.
    """
    if noise.shape != x.shape:
        got = f"{tuple(noise.shape)} for points of shape {tuple(x.shape)}"
        raise ValueError(f"needs noise for each point, got {got}")
    if not bool((torch.as_tensor(sigma) > 0).all()):
        raise ValueError(f"the noise level sigma must be above 0, got {sigma}")
    if paired:
        sides = [denoising_score_loss(score, x, sign * noise, sigma) for sign in (1, -1)]
        return (sides[0] + sides[1]) / 2 - (noise / sigma).square().sum(-1) / 2
    error = score(x + sigma * noise) + noise / sigma
    return error.square().sum(-1) / 2
