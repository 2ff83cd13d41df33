"""Ways to draw from a model: pure functions of the model, a start and a schedule."""

from companion.samplers.diffusion import ancestral_variance, implicit_step, invert, sample, times

__all__ = ["ancestral_variance", "implicit_step", "invert", "sample", "times"]
