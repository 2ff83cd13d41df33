"""How well a score tells strangers from what is known."""

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from companion.estimate import Estimate


def outlier_area(known: Tensor, strange: Tensor, resamples: int = 20) -> Estimate:
    """Area under the curve of a score (N,), (M,) that is to be high on strangers.

    It is the chance that a stranger has the higher one. Its error is a bootstrap over both sets.
    """
    n, m = len(known), len(strange)
    score, truth = torch.cat([known, strange]), torch.arange(n + m) >= n
    draw, areas = torch.Generator().manual_seed(0), []
    for _ in range(resamples):
        k = torch.cat([s + torch.randint(c, (c,), generator=draw) for s, c in ((0, n), (n, m))])
        areas.append(roc_auc_score(truth[k], score[k]))
    value, error = roc_auc_score(truth, score), torch.tensor(areas).std().item()
    return Estimate(float(value), error, n + m, "area")
