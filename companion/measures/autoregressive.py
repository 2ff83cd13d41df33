"""What chapter `likelihood/image_gpt` asks of autoregressive models: nats, exactly."""

from collections.abc import Mapping
from typing import Any

import torch

from companion.data import Dataset
from companion.data.binary import held_out
from companion.estimate import Estimate
from companion.metrics.terms import mean_terms
from companion.recipes import terms_of

FEW, TRIAL, MOST = 250, 2000, 10_000  # test images: watched; measured of a trial, of any run
AT_ONCE = 250


def nats(model: Any, data: Dataset, rows: torch.Tensor) -> dict[str, Estimate]:
    """Mean of the model's terms over rows of the test set, in nats per image."""
    parts = rows.split(AT_ONCE)
    return mean_terms((terms_of(model, data.take("test", part)) for part in parts), "nats")


def of_few(model: Any, data: Dataset) -> Mapping[str, Estimate]:
    """Nats of the first 250 test images."""
    rows = torch.arange(min(FEW, len(data.test[0])))
    return {"nll of the first 250": nats(model, data, rows)["nll"]}


def of_most(model: Any, data: Dataset) -> Mapping[str, Estimate]:
    """Nats of test images: at most 10,000, or a quarter of how many were trained on."""
    n = min(MOST, max(TRIAL, len(data.train[0]) // 4), len(data.test[0]))
    return nats(model, data, torch.arange(n))


def of_validation(model: Any, data: Dataset) -> Mapping[str, Estimate]:
    """Nats of the validation images of the split 85/10/5."""
    return {"validation": nats(model, data, held_out(len(data.test[0]), "validation"))["nll"]}


def of_test(model: Any, data: Dataset) -> Mapping[str, Estimate]:
    """Nats of the test images of the split 85/10/5."""
    return nats(model, data, held_out(len(data.test[0]), "test"))
