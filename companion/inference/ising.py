"""The Ising model on a square torus: mean field on a checkerboard, and the exact log Z."""

from __future__ import annotations

from math import isfinite

import torch
from torch import Tensor
from torch.distributions import Bernoulli

from companion.graphs.table import Table

LARGEST = 10  # sites along a side: the transfer matrix has 4^10 entries


def check_side(side: int) -> None:
    """Raise `ValueError` unless a checkerboard fits a torus without a bond counted twice."""
    if side < 4 or side % 2 or side > LARGEST:
        raise ValueError(f"the side of the torus is even and from 4 to {LARGEST}, got {side}")


def neighbours(values: Tensor) -> Tensor:
    """Add up the four neighbours of each site of a torus, (L, L) -> (L, L)."""
    return sum((values.roll(shift, axis) for shift in (1, -1) for axis in (0, 1)), 0 * values)


class IsingMeanField:
    """q(s) = prod_i q_i(s_i) near p(s) = exp(coupling sum_bonds s_i s_j + field sum_i s_i) / Z.

    Spins are -1 or 1 on an L x L torus. `means` (L, L), in (-1, 1), are the first E s_i; they
    are 0 if not given. Sites of one colour of the checkerboard are no neighbours, so all of
    them are updated at once and it is still coordinate ascent.

    Raises `ValueError` for a side that is odd or too large, and for means out of range.

    >>> q = IsingMeanField(side=4, coupling=0.3, means=torch.full((4, 4), 0.5))
    >>> for _ in range(100):
    ...     q.step()
    >>> round(q.means[0, 0].item(), 3), q.elbo() < ising_log_partition(4, 0.3).item()
    (0.659, True)
    """

    def __init__(
        self, side: int, coupling: float, field: float = 0.0, means: Tensor | None = None
    ) -> None:
        check_side(side)
        self.coupling, self.field = finite(coupling, "coupling"), finite(field, "field")
        self.means = torch.zeros(side, side) if means is None else means
        self.means = self.means.double().clone()
        if self.means.shape != (side, side) or not bool((self.means.abs() < 1).all()):
            shape = tuple(self.means.shape)
            raise ValueError(f"means must lie in (-1, 1), ({side}, {side}), got shape {shape}")
        rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        self.black = (rows + columns) % 2 == 0

    @property
    def factors(self) -> Bernoulli:
        """The laws of s_i = 1."""
        return Bernoulli((1 + self.means) / 2)

    def step(self) -> None:
        """Update all sites, one colour after the other: E s = tanh(coupling sum + field)."""
        for colour in (self.black, ~self.black):
            best = torch.tanh(self.coupling * neighbours(self.means) + self.field)
            self.means = torch.where(colour, best, self.means)

    def elbo(self) -> float:
        """Compute the bound on log Z, in nats."""
        m = self.means
        bonds = (m * neighbours(m)).sum() / 2  # each bond is seen from both of its ends
        up = torch.stack([(1 + m) / 2, (1 - m) / 2])
        entropy = torch.special.entr(up).sum()
        return (self.coupling * bonds + self.field * m.sum() + entropy).item()


def ising_log_partition(
    side: int, coupling: float | Tensor, field: float | Tensor = 0.0
) -> Tensor:
    """Compute log Z of the L x L torus exactly, in nats, by its transfer matrix.

    Z = trace(T^L), where T couples the 2^L states of a row with those of the next (Kramers and
    Wannier 1941). Differentiable: d log Z / d field is the mean of sum_i s_i, and the second
    derivative its variance.
    """
    check_side(side)
    beta = torch.as_tensor(coupling, dtype=torch.float64)
    h = torch.as_tensor(field, dtype=torch.float64)
    row = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0]).double()] * side)  # (2^L, L)
    within = beta * (row * row.roll(1, 1)).sum(1) + h * row.sum(1)
    log_t = within[:, None] / 2 + within / 2 + beta * row @ row.T
    largest = log_t.detach().max()
    power, scale = (log_t - largest).exp(), side * largest
    product = torch.eye(len(row)).double()
    for _ in range(side):
        product = product @ power
        size = product.detach().max()
        product, scale = product / size, scale + size.log()
    return product.trace().log() + scale


def ising_tables(side: int, coupling: float, field: float = 0.0) -> list[Table]:
    """Write the same model as tables: one for each bond, and one for each site with a field.

    Variables are the sites (row, column); their states are "-" and "+".
    """
    check_side(side)
    spin = torch.tensor([-1.0, 1.0]).double()
    bond, site = (coupling * spin[:, None] * spin).exp(), (field * spin).exp()
    tables = []
    for i in range(side):
        for j in range(side):
            for other in ((i, (j + 1) % side), ((i + 1) % side, j)):
                tables.append(Table(bond, {(i, j): "-+", other: "-+"}))
            if field:
                tables.append(Table(site, {(i, j): "-+"}))
    return tables


def finite(number: float, name: str) -> float:
    """Return a number that is finite; raises `ValueError` with its name otherwise."""
    if not isfinite(number):
        raise ValueError(f"the {name} must be a finite number, got {number}")
    return float(number)
