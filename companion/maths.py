"""Pure functions of the book's formulas."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def log_mean_exp(x: Tensor, dim: int = 0) -> Tensor:
    """Average exp(x) along `dim` in log-space, so that e^-1000 does not become 0."""
    if x.shape[dim] == 0:
        raise ValueError(f"needs a value along dimension {dim}, got shape {tuple(x.shape)}")
    return torch.logsumexp(x, dim) - math.log(x.shape[dim])


def log_normal(x: Tensor) -> Tensor:
    """Log-density of N(0, 1) at each number, in nats."""
    return -0.5 * (x**2 + math.log(2 * math.pi))


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, diag e^log_variance) || N(0, I)) in nats; (B, K) -> (B,).

    Kingma and Welling 2014, appendix B.
    """
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(-1)


def continuous_bernoulli_log_normaliser(logits: Tensor) -> Tensor:
    """log C(lambda) of the density C lambda^x (1 - lambda)^(1 - x) on [0, 1], per pixel.

    With eta = logit(lambda), the integral of e^(eta x) / (1 + e^eta) over [0, 1] is
    tanh(eta / 2) / eta, so C = eta / tanh(eta / 2) (Loaiza-Ganem and Cunningham 2019, eq. 7).
    At eta = 0 that quotient is 0 / 0: near it, its Taylor series is used.
    """
    small = logits.abs() < 1e-2
    safe = torch.where(small, torch.ones_like(logits), logits)
    quotient = torch.log(safe / torch.tanh(safe / 2))
    return torch.where(small, math.log(2) + logits**2 / 12, quotient)


def continuous_bernoulli_mean(logits: Tensor) -> Tensor:
    """Mean of the continuous Bernoulli: not sigmoid(logits), but closer to one half.

    E x = 1 / (1 - e^-eta) - 1 / eta (Loaiza-Ganem and Cunningham 2019, eq. 8, in logits), where
    1 / (1 - e^-eta) = (1 + 1 / tanh(eta / 2)) / 2, whose gradient stays finite at large logits.
    """
    small = logits.abs() < 1e-2
    safe = torch.where(small, torch.ones_like(logits), logits)
    exact = 0.5 + 0.5 / torch.tanh(safe / 2) - 1 / safe
    return torch.where(small, 0.5 + logits / 12 - logits**3 / 720, exact)


def bernoulli_log_prob(logits: Tensor, x: Tensor) -> Tensor:
    """x log lambda + (1 - x) log(1 - lambda), per pixel, for any x in [0, 1], from logits."""
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none")


def cosine(
    horizon: float, warmup: float = 0.0, floor: float = 0.0, hold: float = 0.0
) -> Callable[[float], float]:
    """Make a schedule: epochs done -> factor of the learning rate, from 1 down to `floor`.

    It rises in `warmup` epochs, stays at 1 for `hold`, and falls along half a cosine until the
    horizon. It depends on the epoch alone, so a run that is continued repeats the longer run.
    """
    if horizon <= 0:
        raise ValueError(f"the schedule's horizon must be above 0 epochs, got {horizon}")
    if warmup < 0 or hold < 0 or not 0 <= floor <= 1:
        got = f"{warmup}, {hold} and {floor}"
        raise ValueError(f"needs warmup and hold >= 0 and floor in [0, 1], got {got}")
    start = warmup + hold

    def factor(epoch: float) -> float:
        if epoch < warmup:
            return (epoch + 1e-9) / warmup
        progress = min(1.0, max(0.0, epoch - start) / max(horizon - start, 1e-9))
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    return factor
