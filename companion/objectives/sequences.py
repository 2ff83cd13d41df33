"""Losses of sequence models that answer questions about what they read."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from companion.recipes import Batch, Terms
from companion.worlds.recall import UNASKED


def answered(model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """Cross-entropy, in nats, and whether the likeliest answer is wrong, of each place (B, L).

    Both are NaN where nothing is asked.
    """
    tokens, answers = batch[0].long(), batch[1].long()
    asked = answers != UNASKED
    logits = model(tokens)[asked]
    costs, wrong = (torch.full(tokens.shape, torch.nan, device=tokens.device) for _ in range(2))
    costs[asked] = F.cross_entropy(logits.float(), answers[asked], reduction="none")
    wrong[asked] = (logits.argmax(1) != answers[asked]).float()
    return costs, wrong


def recall_loss(model: Any, batch: Batch, step: int) -> Terms:
    """Mean cross-entropy of a sequence's answers, in nats, and the share that is wrong."""
    costs, wrong = (part.nanmean(1) for part in answered(model, batch))
    return {"loss": costs, "cross_entropy": costs, "error": wrong}
