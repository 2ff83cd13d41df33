"""Means over a data set of what a model says of each example."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from companion.estimate import Estimate, mean_of


@torch.no_grad()
def mean_terms(batches: Iterable[Mapping[str, Tensor]], unit: str = "") -> dict[str, Estimate]:
    """Mean of each term over all examples, with its standard error: batches of {name: (B,)}.

    Terms that are one number for a batch have no error, and are left out.
    """
    found: dict[str, list[Tensor]] = {}
    for terms in batches:
        for name, values in terms.items():
            if values.ndim:
                found.setdefault(name, []).append(values.double().cpu())
    return {name: mean_of(torch.cat(values), unit) for name, values in found.items()}
