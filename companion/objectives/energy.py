"""Losses of energy-based models: contrastive divergence, and noise-contrastive estimation."""

import torch
from torch import Tensor
from torch.nn import functional as F

from companion.models.energy import EnergyModel
from companion.recipes import Batch, Terms
from companion.samplers.energy import walked


def contrastive_loss(
    model: EnergyModel, batch: Batch, step: int, weight: float = 0.1, jitter: float = 0.0
) -> Terms:
    """E(data) - E(negatives) + weight (E(data)^2 + E(negatives)^2), one number a pair.

    Negatives end where the model's chains do, in float32 and without a gradient of the
    parameters; they are remembered. weight: of the regularisation (Du and Mordatch 2019, section
    3.3). jitter: deviation of normal noise on the data. `age`: walks that a chain has behind it.
    """
    x, y = batch[0], batch[1] if model.classes else None
    start, slots = model.begin(len(x), y)
    negative = walked(model, start, y)
    age = torch.ones(())
    if model.memory is not None and slots is not None:
        model.memory.write(slots, negative)
        age = model.memory.age[slots].double().mean()
    x, y = x[: len(negative)], y if y is None else y[: len(negative)]
    low, high = model.walk.low, model.walk.high
    x = (x + jitter * torch.randn_like(x)).clamp(low, high)
    both = torch.cat([x, negative])
    data, drawn = model.energy(both, y if y is None else torch.cat([y, y])).chunk(2)
    small = data.square() + drawn.square()
    return {
        "loss": data - drawn + weight * small,
        "gap": drawn - data, "E of data": data, "E of negatives": drawn, "age": age,
    }  # fmt: skip


def noise_contrastive_loss(data: Tensor, noise: Tensor, nu: float = 1.0) -> tuple[Tensor, Tensor]:
    """Losses of data (N,) and of noise (M,), from log p(x) - log q(x) of each; M / N = nu.

    Minimise mean of the first + nu * mean of the second: data are to be told from draws of a
    known law q, and the constant in log p is a parameter like any other (Gutmann and Hyvarinen
    2012, eq. 8).
    """
    shift = torch.as_tensor(nu).log().to(data)
    return F.softplus(shift - data), F.softplus(noise - shift)
