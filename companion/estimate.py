"""A measured number never travels without its standard error."""

from dataclasses import dataclass
from math import sqrt

from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A value, its standard error, the number of observations behind it, and its unit."""

    value: float
    error: float
    n: int
    unit: str = ""

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.error:.2g} {self.unit}".rstrip()


def mean_of(values: Tensor, unit: str = "") -> Estimate:
    """Mean of independent observations (N,), with the standard error of that mean."""
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"needs two or more observations (N,), got shape {tuple(values.shape)}")
    x = values.double()
    return Estimate(x.mean().item(), x.std().item() / sqrt(len(x)), len(x), unit)
