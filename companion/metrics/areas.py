"""How well a score tells strangers from what is known."""

import torch
from torch import Tensor

from companion.estimate import Estimate


def outlier_area(known: Tensor, strange: Tensor, resamples: int = 20) -> Estimate:
    """Area under the curve of a score (N,), (M,) that is to be high on strangers.

    It is the chance that a stranger has the higher one; a tie counts half. Its error is a
    bootstrap over both sets.
    """
    draw = torch.Generator().manual_seed(0)
    areas = []
    for _ in range(resamples):
        a, b = (x[torch.randint(len(x), (len(x),), generator=draw)] for x in (known, strange))
        areas.append(area_of(a, b))
    value, error = area_of(known, strange).item(), torch.stack(areas).std().item()
    return Estimate(value, error, len(known) + len(strange), "area")


def area_of(known: Tensor, strange: Tensor) -> Tensor:
    """Share of pairs in which the stranger has the higher score, by ranks."""
    ranked = known.sort().values
    below = torch.searchsorted(ranked, strange) + torch.searchsorted(ranked, strange, right=True)
    return below.double().mean() / (2 * len(known))
