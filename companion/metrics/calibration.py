"""Calibration: is a classifier right as often as it says?"""

from dataclasses import dataclass

import torch
from torch import Tensor

from companion.estimate import Estimate, mean_of

BINS = 20  # of equal width in [0, 1], as Grathwohl et al. 2020 take


@dataclass(frozen=True)
class Reliability:
    """What is said and what is so in each bin: mean confidence, accuracy and count, (bins,)."""

    confidence: Tensor
    accuracy: Tensor
    count: Tensor

    @property
    def error(self) -> Tensor:
        """Expected calibration error: sum_b (n_b / n) |accuracy_b - confidence_b|."""
        gap = (self.accuracy - self.confidence).abs()
        return (self.count * gap).sum(-1) / self.count.sum(-1)


def reliability(confidence: Tensor, right: Tensor, bins: int = BINS) -> Reliability:
    """Sort answers by their confidence (N,) in [0, 1] into bins ((b - 1) / bins, b / bins].

    right: (N,) or (draws, N) of 0 and 1, one table for each draw. An empty bin has zeros.
    Raises ValueError for shapes that misfit, no bins, or a confidence that is no probability.
    """
    if confidence.ndim != 1 or right.shape[-1:] != confidence.shape or bins < 1:
        got = f"{tuple(confidence.shape)}, {tuple(right.shape)} and {bins}"
        raise ValueError(f"needs confidence (N,), right (..., N) and bins of 1 or more, got {got}")
    if not len(confidence) or not bool(((confidence >= 0) & (confidence <= 1)).all()):
        raise ValueError("needs one or more confidences, all in [0, 1]")
    p, hits = confidence.double(), right.double()
    place = (p * bins).ceil().long().sub(1).clamp(0, bins - 1)
    into = torch.nn.functional.one_hot(place, bins).double()  # (N, bins)
    count = into.sum(0)
    share = 1 / count.clamp_min(1)
    return Reliability((p @ into) * share, (hits @ into) * share, count)


def calibration_error(
    confidence: Tensor, right: Tensor, bins: int = BINS, resamples: int = 50
) -> Estimate:
    """Expected calibration error (Naeini et al. 2015, Guo et al. 2017); error of a bootstrap."""
    value = reliability(confidence, right, bins).error.item()
    draw, n, again = torch.Generator().manual_seed(0), len(confidence), []
    for _ in range(resamples):
        k = torch.randint(n, (n,), generator=draw)
        again.append(reliability(confidence[k], right[k], bins).error)
    return Estimate(value, torch.stack(again).std().item(), n)


def binning_bias(confidence: Tensor, bins: int = BINS, draws: int = 200) -> Estimate:
    """Mean calibration error of answers that are right exactly as often as they say.

    All of it is bias: the true one is 0. Outcomes are drawn, the confidences (N,) stay.
    """
    draw = torch.Generator().manual_seed(0)
    right = torch.bernoulli(confidence.expand(draws, -1).double(), generator=draw)
    return mean_of(reliability(confidence, right, bins).error)
