"""What the chapter on residual flows asks: bits of all images, and what their reading misses."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from companion.data import Dataset
from companion.estimate import Estimate, mean_of
from companion.maths import log_normal
from companion.measures.flows import nats
from companion.models.residual import exactly

FEW, WHOLE, AT_ONCE = 500, 16, 50  # images watched; with all of their determinants; at a time


def of_few(model: Any, data: Dataset) -> Mapping[str, Estimate]:
    """Nats of the first 500 test images."""
    return nats(model, data, FEW)


@torch.no_grad()
def of_bits(model: Any, data: Dataset) -> Mapping[str, Estimate]:
    """Bits per dimension of all test images by one estimate; how far such an estimate is off.

    On 500 images, each with noise of its own: the variance of an estimate, from
    two of them. On 16: the exact reading, and an estimate less it. Of fewer than 1,000 test
    images a fiftieth is read, for short trials.
    """
    size = data.test[0][0].numel() * math.log(2)
    nll = nats(model, data, 0)["nll"]
    bits = Estimate(nll.value / size, nll.error / size, nll.n, "bits/dim")
    n = FEW if len(data.test[0]) >= 2 * FEW else max(len(data.test[0]) // 50, 2)
    y = torch.cat([batch[0] for batch in data.batches("test", AT_ONCE, n)]).float()
    y = y + torch.rand_like(y)
    first, second = (in_parts(model.log_prob, y) / size for _ in range(2))
    few = y[:WHOLE]
    whole = in_parts(lambda part: exact_log_prob(model, part), few) / size
    return {
        "bits": bits,
        "estimate's variance": mean_of((first - second) ** 2 / 2, "(bits/dim)²"),
        "exact bits": mean_of(-whole, "bits/dim"),
        "estimate less exact": mean_of(whole - first[: len(few)], "bits/dim"),
    }


def in_parts(ask: Any, y: Tensor) -> Tensor:
    """Ask about a few images at a time."""
    return torch.cat([ask(part) for part in y.split(AT_ONCE)])


def exact_log_prob(model: Any, y: Tensor) -> Tensor:
    """Log-density with the whole determinant of each residual block, in nats: (B,)."""
    z, log_det = exactly(model.layers, y)
    return log_normal(z).sum(1) + log_det
