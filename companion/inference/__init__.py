"""Variational inference: coordinate ascent, mixtures, Ising grids, black-box gradients."""

from companion.inference.black_box import black_box_ascent
from companion.inference.ising import IsingMeanField
from companion.inference.mean_field import MeanField, coordinate_ascent
from companion.inference.mixtures import MixtureEM, MixtureMeanField

__all__ = [
    "IsingMeanField",
    "MeanField",
    "MixtureEM",
    "MixtureMeanField",
    "black_box_ascent",
    "coordinate_ascent",
]
