"""What chapter `latent/hierarchy` asks of VAEs with one or more latent layers."""

from collections.abc import Mapping
from typing import Any

import torch

from companion.data import Dataset
from companion.estimate import Estimate
from companion.metrics import active_units, elbo_terms, importance_weighted_nll, kl_decomposition
from companion.models.hierarchy import Hierarchy

WATCHED = 1000  # test images, the first ones
DRAWS, FEW = 5000, 100  # of the importance-weighted estimate: as most papers take; of a trial
TRIAL = 10_000  # training images of a trial, at most


def of_bound(model: Any, data: Dataset) -> Mapping[str, Estimate]:
    """The bound of the first 1,000 test images and its terms, in nats per image."""
    return elbo_terms(model, data.examples("test", WATCHED)[0], batch=250)


def of_likelihood(model: Any, data: Dataset) -> Mapping[str, Estimate]:
    """The bound of all test images; the importance-weighted estimate of the first 1,000.

    It takes 5,000 draws an image, or 100 if few images were trained on.
    """
    x = data.examples("test")[0]
    draws = DRAWS if len(data.train[0]) > TRIAL else FEW
    whole = {f"{name}, all": value for name, value in elbo_terms(model, x, batch=250).items()}
    return {"nll": importance_weighted_nll(model, x[:WATCHED], draws), **whole}


@torch.no_grad()
def of_layers(model: Hierarchy, data: Dataset) -> Mapping[str, Estimate]:
    """What `of_likelihood` gives, active units of each layer, and what the top layer tells.

    A layer's code of an image is the mean of its law at the means of the layers that it reads.
    The information, in nats, is that between the top layer and what it is read from, over 1,000
    images; of so many it is at most log 1000.
    """
    x = data.examples("test", WATCHED)[0]
    z = model.infer(x, mean=True)[0]
    found = {
        f"active units {i + 1}": Estimate(float(active_units(code)), 0.0, len(x), "dimensions")
        for i, code in enumerate(z)
    }
    law = model.infer(x)[1][-1].base_dist
    told = kl_decomposition(law.mean, law.variance.log(), samples=1000)
    told_by = {"information of the top": told.mutual_information}
    return {**of_likelihood(model, data), **found, **told_by}
