"""The loss of JEM: a classifier's cross-entropy, and the energy of data less that of negatives."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from companion.models.jem import JointEnergy
from companion.recipes import Batch, Terms
from companion.samplers.energy import walked

RUNAWAY = 100.0  # nats between mean energies of data and of negatives: too many


def joint_energy_loss(
    model: JointEnergy, batch: Batch, step: int, weight: float = 1.0, jitter: float = 0.03
) -> Terms:
    """-log p(y | x) + weight (E(data) - E(negatives)), one number a pair.

    weight: of the generative term, 0: a plain classifier, no chain walks. jitter: deviation of
    normal noise on the data. The first step whose mean gap is above 100 nats in size, or whose
    mean cross-entropy is above log(classes), that of a guess, is the last: `model.diverged`
    remembers it, and the terms of that step say by what, with "diverged, " before their names.
    """
    if model.diverged >= 0:
        return {"loss": resting(batch)}
    x, y = batch[:2]
    low, high = model.walk.low, model.walk.high
    x = (x + jitter * torch.randn_like(x)).clamp(low, high)
    negative, age = negatives(model, len(x)) if weight else (x[:0], torch.ones(()))
    logits = model.network(torch.cat([x, negative])).float()
    label = F.cross_entropy(logits[: len(x)], y, reduction="none")
    terms = {"cross_entropy": label, "error": (logits[: len(x)].argmax(1) != y).float()}
    if not weight:
        return {"loss": label, **terms}
    data, drawn = (-logits.logsumexp(1)).split([len(x), len(negative)])
    gap = drawn.mean() - data.mean()
    terms |= {"gap": gap, "E of data": data, "E of negatives": drawn, "age": age}
    if gap.abs() < RUNAWAY and label.mean() < math.log(logits.shape[1]):
        return {"loss": label - weight * gap, **terms}
    model.diverged.fill_(step)
    seen = {f"diverged, {name}": value.mean() for name, value in terms.items()}
    return {"loss": resting(batch), **terms, **seen}


def resting(batch: Batch) -> Tensor:
    """A loss that reaches no weight: they get no gradient, and no optimizer moves them."""
    return torch.zeros(len(batch[0]), device=batch[0].device, requires_grad=True)


def negatives(model: JointEnergy, n: int) -> tuple[Tensor, Tensor]:
    """Where n chains end, (n, ...), remembered, and how many walks they have behind them."""
    start, slots = model.begin(n)
    found = walked(model, start)
    if model.memory is None or slots is None:
        return found, torch.ones(())
    model.memory.write(slots, found)
    return found, model.memory.age[slots].double().mean()
