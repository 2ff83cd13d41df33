"""A measured number never travels without its standard error."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, isfinite, log10, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def with_error(value: float, error: float) -> str:
    """Write value ± error; the error keeps one digit, two where it begins with 1.

    A value without an error keeps four significant digits; what is below 1e-4 has a power of ten.
    """
    if not isfinite(value):
        return str(value).replace("inf", "∞")
    if 0 < abs(value) + abs(error) < 1e-4:
        power = floor(log10(max(abs(value), abs(error))))
        return f"({with_error(value / 10.0**power, error / 10.0**power)})e{power}"
    if not isfinite(error) or error <= 0:
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    keep = 1 if f"{error:.1e}"[0] == "1" else 0
    places = keep - floor(log10(float(f"{error:.{keep}e}")))
    value, error = round(value, places), round(error, places)
    return f"{value:,.{max(0, places)}f} ± {error:,.{max(0, places)}f}"


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
        return f"{with_error(self.value, self.error)} {self.unit}".rstrip()


def mean_of(values: Tensor, unit: str = "") -> Estimate:
    """Mean of independent observations (N,), with the standard error of that mean."""
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"needs two or more observations (N,), got shape {tuple(values.shape)}")
    x = values.double()
    return Estimate(x.mean().item(), x.std().item() / sqrt(len(x)), len(x), unit)
