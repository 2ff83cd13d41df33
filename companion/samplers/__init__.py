"""Ways to draw from a model: pure functions of the model, a start and a schedule."""

from companion.samplers.diffusion import ancestral_variance, implicit_step, invert, sample, times
from companion.samplers.solvers import euler, heun, runge_kutta, solve

__all__ = [
    "ancestral_variance", "euler", "heun", "implicit_step", "invert", "runge_kutta", "sample",
    "solve", "times",
]  # fmt: skip
