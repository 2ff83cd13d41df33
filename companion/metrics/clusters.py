"""Clusters beside labels: who agrees with whom, and how apart clusters are."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from companion.estimate import Estimate, mean_of


def contingency(clusters: Tensor, labels: Tensor, least: int = 0) -> Tensor:
    """Count the examples of each cluster and label: int64 (N,) twice -> int64 (clusters, labels).

    least: so many clusters there are at least, though the last ones may be empty.
    Raises ValueError unless both are of one length, and none is negative.
    """
    if clusters.shape != labels.shape or clusters.ndim != 1 or not len(clusters):
        got = f"{tuple(clusters.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"needs clusters (N,) and labels (N,), N at least 1, got {got}")
    if min(int(clusters.min()), int(labels.min())) < 0:
        raise ValueError("clusters and labels must be 0 or above")
    across = int(labels.max()) + 1
    cells = max(int(clusters.max()) + 1, least) * across
    return torch.bincount(clusters * across + labels, minlength=cells).view(-1, across)


def matched(table: Tensor) -> Tensor:
    """Name each cluster by a label: counts (clusters, labels) -> int64 (clusters,).

    As many clusters as labels, or fewer: one label each, by the assignment with the largest sum
    (Kuhn 1955, the "Hungarian" method). More: each takes its commonest label.
    """
    from scipy.optimize import linear_sum_assignment

    if len(table) > table.shape[1]:
        return table.argmax(1)
    _, named = linear_sum_assignment(table.cpu().numpy(), maximize=True)
    return torch.from_numpy(named)


def purity(table: Tensor) -> float:
    """Share of examples that have their cluster's commonest label: counts (clusters, labels)."""
    return (table.amax(1).sum() / table.sum()).item()


def agreement(clusters: Tensor, labels: Tensor) -> dict[str, float]:
    """Share of right names after matching, purity, NMI and ARI of clusters (N,), labels (N,)."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    table = contingency(clusters, labels)
    return {
        "accuracy": (matched(table)[clusters] == labels).double().mean().item(),
        "purity": purity(table),
        "NMI": float(normalized_mutual_info_score(labels, clusters)),
        "ARI": float(adjusted_rand_score(labels, clusters)),
    }


def distances(points: Tensor) -> Tensor:
    """Euclidean distances of all pairs, in double precision: (N, D) -> (N, N).

    By the product of matrices, whose cancelling would spoil the last digits in single precision.
    """
    return torch.cdist(points.double(), points.double())


def silhouette(apart: Tensor, clusters: Tensor) -> Estimate:
    """Mean silhouette of clusters (N,), by distances of all pairs (N, N); Rousseeuw 1987.

    Its error is that of a mean of N; of one cluster, or of N, it is 0.
    """
    kinds, clusters = clusters.unique(return_inverse=True)
    n, k = len(clusters), len(kinds)
    if not 1 < k < n:
        return Estimate(0.0, 0.0, n, "silhouette")
    member = torch.nn.functional.one_hot(clusters, k).to(apart)
    sums, size = apart @ member, member.sum(0)  # (N, k), (k,)
    own = sums.gather(1, clusters[:, None])[:, 0] / (size[clusters] - 1).clamp_min(1)
    other = (sums / size).masked_fill(member.bool(), math.inf).amin(1)
    score = (other - own) / torch.maximum(own, other).clamp_min(1e-300)
    return mean_of(torch.where(size[clusters] > 1, score, 0.0), "silhouette")


def perplexity(tokens: Tensor, vocabulary: int) -> Estimate:
    """exp of the entropy of how often each of K symbols is used: int64 (N, T) -> 1 to K.

    K of them equally often: K. The error is of N images, to first order.
    """
    used = torch.bincount(tokens.flatten(), minlength=vocabulary).double()
    surprise = -(used / used.sum()).log()[tokens].mean(1)  # (N,), finite where it is used
    found = mean_of(surprise)
    return Estimate(math.exp(found.value), math.exp(found.value) * found.error, found.n, "codes")


def best_clusters(scores: Sequence[tuple[int, Estimate]]) -> int:
    """The number of clusters with the largest silhouette, of pairs (k, silhouette)."""
    return max(scores, key=lambda pair: pair[1].value)[0]
