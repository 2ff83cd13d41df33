"""What a table says about independence: entropy, mutual information, the statements that hold."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from torch import Tensor

from companion.graphs.statements import Statement, as_set, disjoint, statements
from companion.graphs.table import Table

Names = Hashable | Iterable[Hashable]
ROUNDING = 1e-6  # how far the sum of a law may lie from 1


def entropy(law: Table, names: Names | None = None) -> float:
    """Return the entropy of some variables of a joint law, of all if not said, in nats.

    Raises `ValueError` for a variable that is not there, and a table that does not sum to 1.
    """
    kept = as_set(law.names if names is None else names, law.states)
    p = _sum_out(_values(law), law, kept)
    return max(0.0, -p.xlogy(p).sum().item())


def mutual_information(law: Table, x: Names, y: Names, given: Names = ()) -> float:
    """Return I(x; y | given) in nats: 0 where they are independent, never below.

    `x`, `y` and `given` are a variable or several. Raises `ValueError` for a variable that is
    not there or is in two of the three, and for a table that does not sum to 1.
    """
    joint, product = _joint_and_product(law, x, y, given)
    ratio = joint / product.where(joint > 0, joint.new_ones(()))
    return max(0.0, joint.xlogy(ratio).sum().item())


def independent(law: Table, x: Names, y: Names, given: Names = (), atol: float = 1e-9) -> bool:
    """Say whether `x` and `y` are independent given `given`, within `atol`.

    They are if p(x, y, z) = p(x, z) p(y, z) / p(z) in every cell with p(z) > 0. Raises
    `ValueError` as `mutual_information` does.
    """
    joint, product = _joint_and_product(law, x, y, given)
    return bool(((joint - product).abs() <= atol).all())


def independencies(law: Table, atol: float = 1e-9) -> frozenset[Statement]:
    """Return all statements of independence that hold in a joint law, within `atol`.

    There are about 4 ** n / 2 to decide for n variables. Raises `ValueError` for a table that
    does not sum to 1.
    """
    _values(law)
    return frozenset(s for s in statements(law.names) if independent(law, *s, atol=atol))


def _values(law: Table) -> Tensor:
    total = law.values.sum().item()
    if abs(total - 1) > ROUNDING:
        raise ValueError(f"a law sums to 1, this table to {total:.6g}: take .normalised()")
    return law.values


def _sum_out(p: Tensor, law: Table, kept: frozenset[Hashable]) -> Tensor:
    """Sum over all axes but those of `kept`; the axes stay, with one entry each."""
    axes = [k for k, name in enumerate(law.names) if name not in kept]
    return p.sum(axes, keepdim=True) if axes else p


def _joint_and_product(law: Table, x: Names, y: Names, given: Names) -> tuple[Tensor, Tensor]:
    """Return p(x, y, z) and p(x, z) p(y, z) / p(z), which is 0 where p(z) is."""
    left, right, seen = disjoint(x, y, given, law.states)
    joint = _sum_out(_values(law), law, left | right | seen)
    mass = _sum_out(joint, law, seen)
    product = _sum_out(joint, law, left | seen) * _sum_out(joint, law, right | seen)
    return joint, product / mass.where(mass > 0, mass.new_ones(()))
