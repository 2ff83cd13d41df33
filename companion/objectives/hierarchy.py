"""Loss against collapsed layers: rates that weigh little at first, or are free up to a floor."""

import torch

from companion.models.hierarchy import Hierarchy
from companion.recipes import Batch, Terms


def guarded_elbo(
    model: Hierarchy, batch: Batch, step: int, warmup: int = 0, free: float = 0.0
) -> Terms:
    """Distortion plus the rates, each layer's mean over the batch counted as `free` at least.

    warmup: steps in which the weight of the rates rises from 0 to 1 (Bowman et al. 2016; Sønderby
    et al. 2016). free: nats per layer (Kingma et al. 2016, eq. 15). Raises ValueError if negative.
    """
    if warmup < 0 or not free >= 0:
        raise ValueError(f"warmup and free must be 0 or above, got {warmup} and {free}")
    terms = model.terms(batch[0])
    weight = min(1.0, step / warmup) if warmup else 1.0
    rates = torch.stack([value for name, value in terms.items() if name != "distortion"])
    cost = rates.mean(1).clamp_min(free).sum() if free else rates.sum(0)
    return {"loss": terms["distortion"] + weight * cost, **terms}
