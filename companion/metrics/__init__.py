"""Tensors -> numbers with their standard errors."""

from companion.estimate import Estimate, mean_of
from companion.metrics.aggregate import (
    Decomposition,
    kl_decomposition,
    mutual_information_gap_of_posteriors,
)
from companion.metrics.areas import outlier_area
from companion.metrics.calibration import (
    Reliability,
    binning_bias,
    calibration_error,
    reliability,
)
from companion.metrics.classification import (
    accuracy,
    fgsm,
    pgd,
    robust_accuracies,
    robust_accuracy,
    uphill,
)
from companion.metrics.codes import active_units, linear_probe
from companion.metrics.coverage import (
    Overlap,
    class_histogram,
    effective_classes,
    imbalance,
    overlap,
)
from companion.metrics.disentanglement import (
    ImportanceScores,
    InformationGap,
    SeparatedPredictability,
    importance_scores,
    mutual_information_gap,
    separated_predictability,
)
from companion.metrics.frechet import (
    Frechet,
    extrapolated_distance,
    frechet_distance,
    gaussian_distance,
)
from companion.metrics.likelihood import elbo_terms, importance_weighted_nll
from companion.metrics.pictures import signal_to_noise, similarity
from companion.metrics.spectrum import radial_spectrum
from companion.metrics.terms import mean_terms

__all__ = [
    "Decomposition", "Estimate", "Frechet", "ImportanceScores", "InformationGap", "Overlap",
    "Reliability", "SeparatedPredictability", "accuracy", "active_units", "binning_bias",
    "calibration_error", "class_histogram", "effective_classes", "elbo_terms",
    "extrapolated_distance", "fgsm", "frechet_distance", "gaussian_distance", "imbalance",
    "importance_scores", "importance_weighted_nll", "kl_decomposition", "linear_probe", "mean_of",
    "mean_terms", "mutual_information_gap", "mutual_information_gap_of_posteriors",
    "outlier_area", "overlap", "pgd", "radial_spectrum", "reliability", "robust_accuracies",
    "robust_accuracy", "separated_predictability", "signal_to_noise", "similarity", "uphill",
]  # fmt: skip
