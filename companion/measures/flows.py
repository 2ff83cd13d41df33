"""What the chapters on flows ask of them: nats, bits per dimension, a tighter reading, classes."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from companion.data import Dataset
from companion.estimate import Estimate, mean_of
from companion.metrics.terms import mean_terms

FEW, WEIGHTED, DRAWS = 2000, 500, 32  # test images watched and weighted; draws of the noise
AT_ONCE = 250


def nats(model: Any, data: Dataset, n: int) -> dict[str, Estimate]:
    """Mean of the model's terms over the first n test images (0: all), in nats per image."""
    parts = (model.terms(batch[0]) for batch in data.batches("test", AT_ONCE, n))
    return mean_terms(parts, "nats")


def of_few(model: Any, data: Dataset, n: int = FEW) -> Mapping[str, Estimate]:
    """Nats of the first test images, by default 2,000."""
    return nats(model, data, n)


@torch.no_grad()
def of_all(model: Any, data: Dataset) -> Mapping[str, Estimate]:
    """Bits per dimension of all test images; of 500, with one draw of noise and with many.

    Many draws are costly: of fewer than 1,000 test images a fiftieth is read, for short trials.
    """
    nll, size = nats(model, data, 0)["nll"], data.test[0][0].numel() * math.log(2)
    bits = Estimate(nll.value / size, nll.error / size, nll.n, "bits/dim")
    n = len(data.test[0])
    read = WEIGHTED if n >= 2 * WEIGHTED else max(n // 50, 2)
    parts = [batch[0] for batch in data.batches("test", AT_ONCE // 5, read)]
    readings = {"one draw": lambda x: model.terms(x)["nll"]}
    readings[f"{DRAWS} draws"] = partial(model.weighted, draws=DRAWS)
    found = {
        f"bits, {name}": mean_of(torch.cat([ask(x) for x in parts]) / size, "bits/dim")
        for name, ask in readings.items()
    }
    return {"bits": bits, **found}


@torch.no_grad()
def of_classes(model: Any, data: Dataset) -> Mapping[str, Estimate]:
    """What `of_all` measures; bits of an image given its class; how often Bayes' rule is right.

    The rule takes the class under which the image, with one draw of noise, is most likely.
    """
    parts = []
    for x, labels in data.batches("test", AT_ONCE):
        y = model.whole(x).float()
        each = model.class_log_prob(y + torch.rand_like(y))  # (B, classes)
        own = each.gather(1, labels[:, None])[:, 0] / (-x[0].numel() * math.log(2))
        parts.append({"bits, class known": own, "right": (each.argmax(1) == labels).double()})
    known = mean_of(torch.cat([part["bits, class known"] for part in parts]), "bits/dim")
    right = mean_of(torch.cat([part["right"] for part in parts]), "accuracy")
    return {**of_all(model, data), "bits, class known": known, "accuracy": right}
