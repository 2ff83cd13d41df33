"""Sparse codes: ISTA, FISTA, and the network that ISTA is when its steps are layers.

All solve the lasso, min over z of |y - D z|^2 / 2 + lam |z|_1, for many y (B, M) at once, with
a dictionary D (M, K) whose columns are called atoms.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def soft_threshold(v: Tensor, threshold: float | Tensor) -> Tensor:
    """Move each number towards 0 by `threshold` and stop there: sign(v) max(|v| - t, 0)."""
    t = torch.as_tensor(threshold, dtype=v.dtype, device=v.device)
    return v - v.clamp(min=-t, max=t)


def lasso(y: Tensor, dictionary: Tensor, z: Tensor, lam: float) -> Tensor:
    """Value of the lasso at codes z: (B, M), (M, K), (B, K) -> (B,)."""
    return 0.5 * (y - z @ dictionary.T).square().sum(-1) + lam * z.abs().sum(-1)


def steepness(dictionary: Tensor) -> Tensor:
    """Lipschitz constant of the smooth part's gradient: the largest eigenvalue of D^T D."""
    return torch.linalg.matrix_norm(dictionary, 2) ** 2


def ista(y: Tensor, dictionary: Tensor, lam: float, steps: int) -> Tensor:
    """Codes after each of 0 ... `steps` steps of ISTA from 0: (steps + 1, B, K).

    A gradient step of the smooth part, then a soft threshold (Daubechies et al. 2004). Raises
    ValueError for a negative lam or number of steps.
    """
    check(lam, steps)
    largest = steepness(dictionary)
    z = y.new_zeros(len(y), dictionary.shape[1])
    path = [z]
    for _ in range(steps):
        z = soft_threshold(z + (y - z @ dictionary.T) @ dictionary / largest, lam / largest)
        path.append(z)
    return torch.stack(path)


def fista(y: Tensor, dictionary: Tensor, lam: float, steps: int) -> Tensor:
    """The same with momentum, Beck and Teboulle 2009: (steps + 1, B, K)."""
    check(lam, steps)
    largest = steepness(dictionary)
    z = ahead = y.new_zeros(len(y), dictionary.shape[1])
    path, t = [z], 1.0
    for _ in range(steps):
        v = ahead + (y - ahead @ dictionary.T) @ dictionary / largest
        new, later = soft_threshold(v, lam / largest), (1 + (1 + 4 * t**2) ** 0.5) / 2
        ahead, z, t = new + (t - 1) / later * (new - z), new, later
        path.append(z)
    return torch.stack(path)


def check(lam: float, steps: int) -> None:
    """Raise ValueError for a lasso or a number of steps that cannot be."""
    if not lam >= 0 or steps < 0:
        raise ValueError(f"lam and steps must be 0 or above, got {lam} and {steps}")


class LISTA(nn.Module):
    """ISTA whose matrices and thresholds are learned (Gregor and LeCun 2010): (B, M) -> (B, K).

    z <- soft(W y + S z, t), begun with W = D^T / L, S = 1 - D^T D / L, t = lam / L, where it is
    ISTA to the letter. `shared`: one W, S and t for all steps, else one for each.
    Raises ValueError for less than one step or a negative lam.
    """

    def __init__(self, dictionary: Tensor, lam: float, steps: int, shared: bool = True):
        super().__init__()
        check(lam, steps - 1)
        largest, layers = steepness(dictionary), 1 if shared else steps
        eye = torch.eye(dictionary.shape[1], dtype=dictionary.dtype)
        kept = eye - dictionary.T @ dictionary / largest
        self.into = nn.Parameter((dictionary.T / largest).repeat(layers, 1, 1))
        self.kept = nn.Parameter(kept.repeat(layers, 1, 1))
        self.threshold = nn.Parameter((lam / largest).expand(layers, len(eye)).clone())
        self.steps = steps

    def forward(self, y: Tensor) -> Tensor:
        z = y.new_zeros(())
        for k in range(self.steps):
            layer = min(k, len(self.into) - 1)
            v = F.linear(y, self.into[layer])
            v = v + F.linear(z, self.kept[layer]) if k else v
            z = soft_threshold(v, self.threshold[layer].clamp(min=0))
        return z
