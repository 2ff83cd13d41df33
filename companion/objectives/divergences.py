"""f-divergences, their variational bounds, and what a generator pays for each.

With data p and model q, D_f(p || q) = sum_x q(x) f(p(x) / q(x)): Csiszar 1967. Wherever q is 0
and p is not, a cell costs p(x) f'(inf) with f'(inf) = lim f(u) / u; where both are 0, nothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from companion.words import nearest

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Divergence:
    """A generator f, convex on (0, inf), and what training by its bound needs.

    `conjugate(t)` is f*(t) = sup over u >= 0 of u t - f(u), for t up to `steepest`. `output`
    maps any score v to such a t (Nowozin et al. 2016, table 2) and increases with v; `cost` is
    conjugate(output(v)), written so that large scores stay finite. `at_zero` is f(0), what a
    share of the model beside the data costs; `steepest` is f'(inf), what a share of the data
    that the model lacks costs. All in nats for those with logarithms.
    """

    name: str
    f: Function
    derivative: Function
    conjugate: Function
    output: Function
    cost: Function
    at_zero: float
    steepest: float

    def between(self, p: Tensor, q: Tensor) -> Tensor:
        """Sum D_f(p || q) of probability tables (..., n) exactly, infinity included; (...).

        Raises ValueError unless both are tables of one shape.
        """
        check_tables(p, q)
        u = p / q  # infinite as well where q is too small for float
        beside = p * self.steepest if math.isfinite(self.steepest) else p / 0.0
        cells = torch.where(u.isinf(), beside, q * self.f(u))
        return torch.where(p + q > 0, cells, 0.0).sum(-1)

    def optimal(self, p: Tensor, q: Tensor) -> Tensor:
        """Give T = f'(p / q), at which the bound is tight; f'(inf) where q is 0, (..., n).

        Where p = q = 0 any T would do, and f'(1) is given. Raises ValueError as `between`.
        """
        check_tables(p, q)
        u = torch.where(p + q > 0, p / q, 1.0)
        return torch.where(u.isinf(), self.steepest, self.derivative(u))

    def bound(self, p: Tensor, q: Tensor, critic: Tensor) -> Tensor:
        """E_p T - E_q f*(T) <= D_f(p || q) for any critic T (..., n) up to f'(inf); (...).

        Nguyen et al. 2010; Nowozin et al. 2016, eq. 4. A cell without mass counts 0.
        Raises ValueError as `between`, and for a critic above f'(inf), where f* is infinite.
        """
        check_tables(p, q)
        if bool((critic > self.steepest).any()):
            told = f"{self.steepest:g} for {self.name}, got {critic.max().item():g}"
            raise ValueError(f"the critic must be at most {told}")
        gain = torch.where(p > 0, p * critic, 0.0)
        return (gain - torch.where(q > 0, q * self.conjugate(critic), 0.0)).sum(-1)

    def value(self, data_scores: Tensor, model_scores: Tensor) -> Tensor:
        """Estimate the bound from scores (B, ...) of data and of samples: means over dim 0.

        The discriminator ascends it, the generator descends it (Nowozin et al. 2016, eq. 6).
        """
        return self.output(data_scores).mean(0) - self.cost(model_scores).mean(0)


def check_tables(p: Tensor, q: Tensor) -> None:
    """Raise ValueError unless p and q are probability tables (..., n) of one shape."""
    if p.shape != q.shape or p.ndim == 0:
        raise ValueError(f"p and q must be tables of one shape, got {p.shape} and {q.shape}")
    for name, table in (("p", p), ("q", q)):
        total = table.sum(-1)
        if not bool((table >= 0).all()) or not torch.allclose(total, torch.ones_like(total)):
            off = total.flatten()[(total - 1).abs().argmax()].item()
            told = f"sum {off:g} and least {table.min().item():g}"
            raise ValueError(f"{name} must be >= 0 and sum to 1, got {told}")


def shannon(u: Tensor) -> Tensor:
    """Half of u log u - (u + 1) log((u + 1) / 2)."""
    return 0.5 * (torch.xlogy(u, u) - (u + 1) * ((u + 1) / 2).log())


ALL = (
    Divergence(
        "KL",
        f=lambda u: torch.xlogy(u, u),
        derivative=lambda u: 1 + u.log(),
        conjugate=lambda t: (t - 1).exp(),
        output=lambda v: v,
        cost=lambda v: (v - 1).exp(),
        at_zero=0.0,
        steepest=math.inf,
    ),
    Divergence(
        "reverse KL",
        f=lambda u: -u.log(),
        derivative=lambda u: -1 / u,
        conjugate=lambda t: -1 - (-t).log(),
        output=lambda v: -(-v).exp(),
        cost=lambda v: v - 1,
        at_zero=math.inf,
        steepest=0.0,
    ),
    Divergence(
        "Pearson",  # chi squared; below t = -2 the best u is 0
        f=lambda u: (u - 1) ** 2,
        derivative=lambda u: 2 * (u - 1),
        conjugate=lambda t: (1 + t / 2).clamp(min=0) ** 2 - 1,
        output=lambda v: v,
        cost=lambda v: (1 + v / 2).clamp(min=0) ** 2 - 1,
        at_zero=1.0,
        steepest=math.inf,
    ),
    Divergence(
        "Hellinger",  # squared: the sum of (sqrt p - sqrt q)^2, at most 2
        f=lambda u: (u.sqrt() - 1) ** 2,
        derivative=lambda u: 1 - 1 / u.sqrt(),
        conjugate=lambda t: 1 / (1 - t) - 1,
        output=lambda v: 1 - (-v).exp(),
        cost=lambda v: torch.expm1(v),
        at_zero=1.0,
        steepest=1.0,
    ),
    Divergence(
        "Jensen-Shannon",  # mean of the two KLs to (p + q) / 2, at most log 2
        f=shannon,
        derivative=lambda u: 0.5 * (2 * u / (u + 1)).log(),
        conjugate=lambda t: -0.5 * (2 - (2 * t).exp()).log(),
        output=lambda v: 0.5 * (math.log(2) - F.softplus(-v)),
        cost=lambda v: 0.5 * (F.softplus(v) - math.log(2)),
        at_zero=0.5 * math.log(2),
        steepest=0.5 * math.log(2),
    ),
    Divergence(
        "GAN",  # 2 Jensen-Shannon - log 4; output = log D for D = sigmoid(v)
        f=lambda u: torch.xlogy(u, u) - (u + 1) * (u + 1).log(),
        derivative=lambda u: (u / (u + 1)).log(),
        conjugate=lambda t: -torch.log1p(-t.exp()),
        output=lambda v: -F.softplus(-v),
        cost=lambda v: F.softplus(v),
        at_zero=0.0,
        steepest=0.0,
    ),
    Divergence(
        "total variation",  # half the sum of |p - q|, at most 1
        f=lambda u: 0.5 * (u - 1).abs(),
        derivative=lambda u: 0.5 * (u - 1).sign(),
        conjugate=lambda t: t.clamp(min=-0.5),
        output=lambda v: 0.5 * v.tanh(),
        cost=lambda v: 0.5 * v.tanh(),
        at_zero=0.5,
        steepest=0.5,
    ),
)
DIVERGENCES = {one.name: one for one in ALL}


def divergence(name: str) -> Divergence:
    """Look up one of DIVERGENCES, e.g. "KL" or "total variation".

    Raises ValueError for an unknown name, with the nearest one.
    """
    if name not in DIVERGENCES:
        raise ValueError(f"no divergence {name!r} {nearest(name, DIVERGENCES)}")
    return DIVERGENCES[name]
