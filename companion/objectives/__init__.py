"""Losses: (model, batch, step) -> terms per example; the mean of "loss" is minimised.

Beside them what they are made of: divergences and their bounds, scores, an optimizer that clips.
"""

from companion.objectives.adversarial import (
    GENERATOR_LOSSES,
    ClippedRMSprop,
    critic_loss,
    discriminator_loss,
    fooling_loss,
    generator_loss,
    gradient_penalty,
    hinge_loss,
    slopes,
)
from companion.objectives.images import (
    attribute_error,
    cross_entropy,
    joint,
    log_aggregate_of_batch,
    negative_elbo,
    negative_tc_elbo,
)

__all__ = [
    "GENERATOR_LOSSES", "ClippedRMSprop", "attribute_error", "critic_loss", "cross_entropy",
    "discriminator_loss", "fooling_loss", "generator_loss", "gradient_penalty", "hinge_loss",
    "joint", "log_aggregate_of_batch", "negative_elbo", "negative_tc_elbo", "slopes",
]  # fmt: skip
