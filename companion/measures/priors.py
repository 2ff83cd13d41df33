"""What chapter `latent/priors` asks of VAEs with learned priors, and of sparse codes."""

from collections.abc import Mapping
from typing import Any

import torch

from companion.data import Dataset
from companion.estimate import Estimate, mean_of
from companion.measures.hierarchy import WATCHED, of_bound
from companion.measures.hierarchy import of_likelihood as of_draws
from companion.metrics import active_units
from companion.metrics.codes import codes
from companion.metrics.terms import mean_terms
from companion.models.hierarchy import Hierarchy
from companion.models.sparse import SparseAutoencoder

__all__ = ["of_bound", "of_code", "of_ladder", "of_likelihood", "of_terms"]


def of_likelihood(model: Any, data: Dataset) -> Mapping[str, Estimate]:
    """The bound, the importance-weighted estimate, and the active units."""
    x = data.examples("test")[0]
    active = active_units(codes(model, x))
    found = {"active units": Estimate(active, 0.0, len(x), "dimensions")}
    return {**of_draws(model, data), **found}


@torch.no_grad()
def of_ladder(model: Hierarchy, data: Dataset) -> Mapping[str, Estimate]:
    """The same for a ladder of latent layers; active units of each layer, the lowest first."""
    x = data.examples("test", WATCHED)[0]
    found = {
        f"active units {i + 1}": Estimate(active_units(code), 0.0, len(x), "dimensions")
        for i, code in enumerate(model.infer(x, mean=True)[0])
    }
    return {**of_draws(model, data), **found}


def of_terms(model: SparseAutoencoder, data: Dataset) -> Mapping[str, Estimate]:
    """The terms of the first 1,000 test images, in nats per image."""
    x = data.examples("test", WATCHED)[0]
    return mean_terms((model.terms(part) for part in x.split(250)), "nats")


def of_code(model: SparseAutoencoder, data: Dataset) -> Mapping[str, Estimate]:
    """The terms of all test images; how many atoms an image uses, and how many any image uses."""
    x = data.examples("test")[0]
    used = codes(model, x) != 0
    with torch.no_grad():
        found = mean_terms((model.terms(part) for part in x.split(250)), "nats")
    return {
        **{f"{name}, all": value for name, value in found.items()},
        "atoms of an image": mean_of(used.sum(1).double(), "atoms"),
        "atoms in use": Estimate(int(used.any(0).sum()), 0.0, len(x), "atoms"),
    }
