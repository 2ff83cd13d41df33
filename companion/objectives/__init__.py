"""Losses: (model, batch, step) -> scalars by name; "loss" is the one that is minimised."""

from companion.objectives.images import cross_entropy, joint, negative_elbo, reconstruction

__all__ = ["cross_entropy", "joint", "negative_elbo", "reconstruction"]
