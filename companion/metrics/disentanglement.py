"""Does each dimension of a code hold one factor of the data? MIG, SAP and DCI."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from companion.estimate import Estimate, mean_of

Labelled = tuple[Tensor, Tensor]  # codes (N, K) and factors (N, F)


@dataclass(frozen=True)
class InformationGap:
    """A mutual information gap and what it is made of.

    `score`: the mean of the gaps. `gaps` (F,): largest minus second largest information about a
    factor, over the factor's entropy. `information` (K, F): I(z_k; v_f) in nats. `entropies`
    (F,): of the factors, in nats.
    """

    score: Estimate
    gaps: Tensor
    information: Tensor
    entropies: Tensor


@dataclass(frozen=True)
class SeparatedPredictability:
    """A SAP score, its gaps (F,), and how well dimension k alone tells factor f: (K, F)."""

    score: Estimate
    gaps: Tensor
    predictability: Tensor


@dataclass(frozen=True)
class ImportanceScores:
    """DCI: three scores, 1 at best, and the importance (K, F) of dimensions for factors."""

    disentanglement: Estimate
    completeness: Estimate
    informativeness: Estimate
    importance: Tensor


def mutual_information_gap(codes: Tensor, factors: Tensor, bins: int = 20) -> InformationGap:
    """Measure the histogram MIG of codes (N, K) and discrete factors (N, F); 1 at best.

    Chen et al. 2018, eq. 6, as Locatello et al. 2019 compute it: each dimension is cut into
    `bins` bins of equal width between its least and its largest value, and the information of
    the counts is taken, in nats. It lies too high by about (bins - 1)(values - 1) / 2N for each
    pair (Miller 1955); most of that cancels in the gap. The error is the infinitesimal jackknife
    over points (Efron 1982), the bins held still. Raises ValueError for shapes that do not fit,
    under two dimensions, codes that are not finite, and a factor that never varies.
    """
    check_labelled(codes, factors)
    if bins < 2:
        raise ValueError(f"needs at least 2 bins, got {bins}")
    place = histogram_place(codes, bins)  # (N, K)
    n, k = place.shape
    cells = place + bins * np.arange(k)
    of_bin = np.bincount(cells.ravel(), minlength=k * bins)
    information, pointwise, surprise = [], [], []
    for factor in factors.cpu().numpy().T:
        _, label, of_value = np.unique(factor, return_inverse=True, return_counts=True)
        joint = np.bincount(
            (cells * len(of_value) + label[:, None]).ravel(), minlength=k * bins * len(of_value)
        )
        shared = n_log_n(joint).reshape(k, -1).sum(1) - n_log_n(of_bin).reshape(k, -1).sum(1)
        information.append((shared - n_log_n(of_value).sum()) / n + np.log(n))
        top = np.argsort(-information[-1], kind="stable")[:2]
        cell = cells[:, top]  # log p(v | z_k) of each point, at the two best dimensions
        pointwise.append(np.log(joint[cell * len(of_value) + label[:, None]] / of_bin[cell]))
        surprise.append(-np.log(of_value[label] / n))
    return gap_of(*(torch.from_numpy(np.stack(x, -1)) for x in (information, pointwise, surprise)))


def gap_of(information: Tensor, pointwise: Tensor, surprise: Tensor) -> InformationGap:
    """Make the gap of information (K, F), with the error of its mean over points.

    `pointwise` (N, 2, F): what each point adds to the two largest informations, up to a common
    constant. `surprise` (N, F): -log p(v) of its factors, whose mean is the entropy.
    """
    information = information.clamp_min(0)
    best = information.topk(2, dim=0).values
    entropies = surprise.mean(0)
    gaps = (best[0] - best[1]) / entropies
    influence = (pointwise[:, 0] - pointwise[:, 1] - gaps * surprise) / entropies
    points = mean_of(influence.mean(1))
    score = Estimate(gaps.mean().item(), points.error, points.n)
    return InformationGap(score, gaps, information, entropies)


def separated_predictability(
    train: Labelled, test: Labelled, ordered: Sequence[int] = ()
) -> SeparatedPredictability:
    """Measure SAP: how much better the best dimension tells a factor than the second best.

    Kumar et al. 2018, section 3, as Locatello et al. 2019 compute it: a factor is told from one
    dimension by a linear SVM (C = 0.01, classes weighted by their rarity) fitted to `train`, and
    the score is its accuracy on `test`. The columns in `ordered` are scored by the squared
    correlation on `test` instead, both papers' choice for continuous factors. Train and test are
    codes (N, K) and factors (N, F); a dimension that does not vary scores 0 or the chance of a
    guess. Raises ValueError as `mutual_information_gap` does, and for a column that is not there.
    """
    from sklearn.svm import LinearSVC  # slow to import

    for codes, factors in (train, test):
        check_labelled(codes, factors, like=train)
    z, v = (x.double().cpu().numpy() for x in test)
    fit, labels = (x.double().cpu().numpy() for x in train)
    if not set(ordered) <= set(range(v.shape[1])):
        raise ValueError(f"ordered factors must be columns 0 to {v.shape[1] - 1}, got {ordered}")
    scores = np.zeros((z.shape[1], v.shape[1]))
    points = np.zeros((len(z), *scores.shape))  # what each point adds to a score
    for f in range(v.shape[1]):
        for k in range(z.shape[1]):
            if f in ordered:
                points[:, k, f] = squared_correlation(z[:, k], v[:, f])
            else:
                machine = LinearSVC(C=0.01, class_weight="balanced", random_state=0)
                machine.fit(fit[:, [k]], labels[:, f])
                points[:, k, f] = machine.predict(z[:, [k]]) == v[:, f]
    predictability = torch.from_numpy(points).mean(0)
    best = predictability.topk(2, dim=0)
    gaps = best.values[0] - best.values[1]
    of_best = torch.from_numpy(points).gather(1, best.indices.expand(len(z), -1, -1))
    score = mean_of((of_best[:, 0] - of_best[:, 1]).mean(1))
    return SeparatedPredictability(score, gaps, predictability)


def squared_correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Split r^2 of two samples (N,) over its points, by the influence of each: (N,) of mean r^2.

    0 where one of them does not vary.
    """
    spread = x.std() * y.std()
    if spread < 1e-12:
        return np.zeros(len(x))
    a, b = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    r = (a * b).mean()
    return r**2 + 2 * r * (a * b - r * (a**2 + b**2) / 2)


def importance_scores(
    train: Labelled, test: Labelled, trees: int = 10, depth: int = 8
) -> ImportanceScores:
    """Measure DCI: disentanglement, completeness and informativeness.

    Eastwood and Williams 2018, section 2, with their random forests, here one classifier for
    every factor (all dimensions tried at each split, depth bounded). Locatello et al. 2019 boost
    trees, which takes minutes and gives like but not equal numbers. Importance is the impurity
    that splits on a dimension remove. Disentanglement: 1 - entropy of a dimension's importance
    over factors (base F), mean weighted by importance. Completeness: the same of a factor's over
    dimensions (base K). Informativeness: accuracy on `test`. Errors of the first two: deviation
    of the trees' own scores. Raises ValueError as `mutual_information_gap` does.
    """
    from sklearn.ensemble import RandomForestClassifier  # slow to import

    for codes, factors in (train, test):
        check_labelled(codes, factors, like=train)
    if train[1].shape[1] < 2:
        raise ValueError("needs two or more factors (N, F), got one")
    fit, labels = train[0].cpu().numpy(), train[1].cpu().numpy()
    importance, right = [], []
    for f in range(labels.shape[1]):
        forest = RandomForestClassifier(
            trees,
            max_depth=depth,
            max_features=1.0,  # type: ignore[arg-type]
            random_state=0,
        )
        forest.fit(fit, labels[:, f])
        importance.append([tree.feature_importances_ for tree in forest.estimators_])
        right.append(forest.predict(test[0].cpu().numpy()) == test[1][:, f].cpu().numpy())
    by_tree = torch.from_numpy(np.array(importance)).permute(1, 2, 0)  # (T, K, F)
    matrix = by_tree.mean(0)
    spread = torch.stack([torch.stack(concentrations(tree)) for tree in by_tree]).std(0)
    found = concentrations(matrix)
    d, c = (Estimate(x.item(), e.item(), len(fit)) for x, e in zip(found, spread, strict=True))
    informativeness = mean_of(torch.from_numpy(np.array(right)).double().mean(0), "accuracy")
    return ImportanceScores(d, c, informativeness, matrix)


def concentrations(importance: Tensor) -> tuple[Tensor, Tensor]:
    """Return disentanglement and completeness of importance (K, F); 0 if all of it is."""
    total = importance.sum()
    weight = importance / total if total > 0 else importance

    def mean_over(rows: Tensor) -> Tensor:
        mass = rows.sum(1)
        p = rows / mass.where(mass > 0, mass.new_ones(()))[:, None]
        return (mass * (1 + p.xlogy(p).sum(1) / np.log(rows.shape[1]))).sum()

    return mean_over(weight), mean_over(weight.T)


def check_labelled(codes: Tensor, factors: Tensor, like: Labelled | None = None) -> None:
    """Raise ValueError unless these are codes (N, K) and discrete factors (N, F) that vary."""
    fits = codes.ndim == factors.ndim == 2 and len(codes) == len(factors) >= 2
    if not fits or codes.shape[1] < 2 or factors.shape[1] < 1:
        got = f"{tuple(codes.shape)} and {tuple(factors.shape)}"
        raise ValueError(f"needs codes (N, K) and factors (N, F), N and K at least 2, got {got}")
    if like and (codes.shape[1], factors.shape[1]) != (like[0].shape[1], like[1].shape[1]):
        got = f"{tuple(like[0].shape)} and {tuple(codes.shape)}"
        raise ValueError(f"needs as many dimensions and factors in both sets, got {got}")
    if not codes.is_floating_point():
        raise ValueError(f"codes must be floats, got {codes.dtype}")
    if bad := int((~codes.isfinite()).sum()):
        raise ValueError(f"codes must be finite, got {bad:,} values that are not")
    if factors.is_floating_point() or factors.is_complex() or factors.dtype == torch.bool:
        raise ValueError(f"factors must be integers, one for each value, got {factors.dtype}")
    still = (factors == factors[0]).all(0).nonzero().flatten().tolist()
    if still:
        value = factors[0, still[0]].item()
        raise ValueError(f"factor {still[0]} is {value} at every point: its entropy is 0")


def histogram_place(codes: Tensor, bins: int) -> np.ndarray:
    """Find the bin of each value (N, K), of equal width by dimension, as np.histogram does."""
    columns = codes.detach().double().cpu().numpy().T
    place = [np.digitize(z, np.histogram_bin_edges(z, bins)[1:-1]) for z in columns]
    return np.stack(place, -1)


def n_log_n(count: np.ndarray) -> np.ndarray:
    """n log n of counts, 0 at 0."""
    return count * np.log(np.maximum(count, 1))
