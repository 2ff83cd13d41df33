"""How well a score tells strangers from what is known."""

import torch
from torch import Tensor

from companion.estimate import Estimate


def outlier_area(known: Tensor, strange: Tensor, resamples: int = 20) -> Estimate:
    """Area under the ROC curve of a score (N,), (M,) that is to be high on strangers.

    It is the chance that a stranger has the higher one; a tie counts half. Its error is a
    bootstrap over both sets.
    """
    from sklearn.metrics import roc_auc_score  # takes a second to load

    draw, areas = torch.Generator().manual_seed(0), []
    truth = torch.arange(len(known) + len(strange)) >= len(known)
    for _ in range(resamples):
        again = (x[torch.randint(len(x), (len(x),), generator=draw)] for x in (known, strange))
        areas.append(roc_auc_score(truth, torch.cat([*again])))
    value = float(roc_auc_score(truth, torch.cat([known, strange])))
    return Estimate(value, torch.tensor(areas).std().item(), len(truth), "area")
