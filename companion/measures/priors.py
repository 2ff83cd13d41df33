"""What chapter `latent/priors` asks of VAEs with learned priors, and of sparse codes."""

from collections.abc import Mapping
from typing import Any

import torch

from companion.data import Dataset
from companion.estimate import Estimate, mean_of
from companion.metrics import active_units, elbo_terms, importance_weighted_nll
from companion.metrics.codes import codes
from companion.metrics.terms import mean_terms
from companion.models.sparse import SparseAutoencoder

WATCHED = 1000  # test images, the first ones
DRAWS = 5000  # of the importance-weighted estimate, as most papers take


def of_bound(model: Any, data: Dataset) -> Mapping[str, Estimate]:
    """The bound of the first 1,000 test images and its terms, in nats per image."""
    return elbo_terms(model, data.examples("test", WATCHED)[0], batch=250)


def of_likelihood(model: Any, data: Dataset) -> Mapping[str, Estimate]:
    """The bound of all test images; the importance-weighted estimate of the first 1,000.

    As many draws as training images, at most, and a fiftieth of fewer than 1,000 test images: a
    short trial is not to take longer to measure.
    """
    x = data.examples("test")[0]
    draws, few = min(DRAWS, len(data.train[0])), max(len(x) // 50, 2)
    weighted = x[: WATCHED if len(x) >= WATCHED else few]
    whole = {f"{name}, all": value for name, value in elbo_terms(model, x, batch=250).items()}
    active = active_units(codes(model, x))
    return {
        "nll": importance_weighted_nll(model, weighted, draws, batch=2),
        "active units": Estimate(active, 0.0, len(x), "dimensions"),
        **whole,
    }


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
