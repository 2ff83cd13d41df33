"""Annealed importance sampling: from a law that is known to one whose constant is not."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor


@torch.no_grad()
def annealed_importance(
    x: Tensor,
    log_density: Callable[[Tensor, float], Tensor],
    move: Callable[[Tensor, float], Tensor],
    betas: Sequence[float],
) -> tuple[Tensor, Tensor]:
    """Walk from draws x (N, ...) of the first law to the last; return ends and log weights (N,).

    log_density: of x at beta, up to a constant Z(beta), (N,). move: a step that leaves the law at
    beta as it is. The mean weight is Z(last) / Z(first) in expectation (Neal 2001, eq. 11).
    Raises ValueError unless betas rise, two or more.
    """
    if len(betas) < 2 or any(b <= a for a, b in pairwise(betas)):
        raise ValueError(f"needs two or more betas that rise, got {list(betas)[:5]}")
    log_weight = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for before, after in pairwise(betas):
        log_weight += log_density(x, after) - log_density(x, before)
        x = move(x, after)
    return x, log_weight
