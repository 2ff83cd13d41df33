"""Tensors -> numbers with their standard errors."""

from companion.metrics.classification import accuracy, fgsm, robust_accuracy
from companion.metrics.codes import active_units, linear_probe
from companion.metrics.estimate import Estimate, mean_of
from companion.metrics.frechet import Frechet, frechet_distance
from companion.metrics.inception import inception_distance
from companion.metrics.likelihood import elbo_terms, importance_weighted_nll
from companion.metrics.spectrum import radial_spectrum

__all__ = [
    "Estimate", "Frechet", "accuracy", "active_units", "elbo_terms", "fgsm", "frechet_distance",
    "importance_weighted_nll", "inception_distance", "linear_probe", "mean_of", "radial_spectrum",
    "robust_accuracy",
]  # fmt: skip
