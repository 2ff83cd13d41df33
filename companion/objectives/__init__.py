"""Losses: (model, batch, step) -> scalars by name; "loss" is the one that is minimised."""

from companion.objectives.images import (
    attribute_error,
    cross_entropy,
    joint,
    log_aggregate,
    negative_elbo,
    negative_tc_elbo,
    reconstruction,
)

__all__ = [
    "attribute_error", "cross_entropy", "joint", "log_aggregate", "negative_elbo",
    "negative_tc_elbo", "reconstruction",
]  # fmt: skip
