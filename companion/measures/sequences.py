"""What chapter `likelihood/state_spaces` asks of models that remember."""

import json
from importlib.resources import files
from typing import Any

import torch

from companion.data import Dataset
from companion.estimate import Estimate, mean_of
from companion.metrics.terms import mean_terms
from companion.objectives.sequences import recall_loss
from companion.worlds.recall import induction

LENGTHS = (16, 32, 64, 128, 256, 512)  # tokens, of which training sees one length
JUDGED = 5000  # test images whose nats are measured


def of_recall(model: Any, data: Dataset) -> dict[str, Estimate]:
    """Share of answers that are right, and their cross-entropy in nats, on the test sequences."""
    batches = data.batches("test", 250)
    found = mean_terms(recall_loss(model, batch, 0) for batch in batches)
    error, cost = found["error"], found["cross_entropy"]
    right = Estimate(1 - error.value, error.error, error.n, "accuracy")
    return {"accuracy": right, "cross_entropy": Estimate(cost.value, cost.error, cost.n, "nats")}


def of_law(model: Any, data: Dataset) -> dict[str, Estimate]:
    """Nats that each of the first 5,000 test images costs, in mean."""
    return mean_terms((model.terms(x) for x, _ in data.batches("test", 250, JUDGED)), "nats")


@torch.no_grad()
def of_lengths(model: Any, data: Dataset) -> dict[str, Estimate]:
    """Share of right answers on induction sequences of other lengths than those trained on.

    On a quarter as many sequences of each length as there are to test on.
    """
    found, asked = {}, max(2, len(data.test[0]) // 4)
    for length in LENGTHS:
        draw = torch.Generator().manual_seed(length)
        tokens, answers = induction(asked, length, draw)
        device = next(model.parameters()).device
        parts = zip(tokens.to(device).split(20), answers.to(device).split(20), strict=True)
        wrong = torch.cat([recall_loss(model, part, 0)["error"] for part in parts])
        found[f"accuracy at {length}"] = mean_of(1 - wrong.cpu(), "accuracy")
    return found


def measured() -> dict[str, Any]:
    """What `tests/bench/states.py` measured of the scan: its machine, and rows by length."""
    return json.loads(files("companion.nets").joinpath("measured.json").read_text())
