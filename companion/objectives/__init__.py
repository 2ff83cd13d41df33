"""Losses: (model, batch, step) -> scalars by name; "loss" is the one that is minimised."""

from companion.objectives.images import (
    cross_entropy,
    joint,
    log_aggregate,
    negative_elbo,
    negative_tc_elbo,
    reconstruction,
)

__all__ = [
    "cross_entropy", "joint", "log_aggregate", "negative_elbo", "negative_tc_elbo",
    "reconstruction",
]  # fmt: skip
