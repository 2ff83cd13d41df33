"""Continuous flows: the limit of many small residual blocks (Chen et al. 2018)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from companion.models.bijections import Both

Step = Callable[[Callable[[Tensor, float], Tensor], Tensor, float, float], Tensor]


class Field(nn.Module):
    """A velocity in space and time: tanh layers, (B, D) and t -> (B, D)."""

    def __init__(self, features: int = 2, width: int = 32) -> None:
        super().__init__()
        self.into, self.inside = nn.Linear(features + 1, width), nn.Linear(width, width)
        self.out = nn.Linear(width, features)

    def both(self, x: Tensor, t: float) -> Both:
        """The velocity, and its divergence tr df/dx: (B, D) and (B,).

        The trace of W3 D2 W2 D1 W1 is the sum of (W2 * (W1 W3)') weighted by both slopes.
        """
        a = torch.tanh(self.into(torch.cat([x, x.new_full((len(x), 1), t)], 1)))
        b = torch.tanh(self.inside(a))
        loop = self.inside.weight * (self.into.weight[:, :-1] @ self.out.weight).T
        divergence = torch.einsum("bi,ij,bj->b", 1 - b**2, loop, 1 - a**2)
        return self.out(b), divergence


class Continuous(nn.Module):
    """The limit of many small residual blocks: dx/dt = f(x, t) from t = 0 to 1.

    d log_det / dt = tr df/dx (Chen et al. 2018, theorem 1), solved together with x. step: a
    solver's step; steps: of them in training, and eight times as many otherwise.
    """

    def __init__(self, field: Field, step: Step, steps: int = 8) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"a way needs at least 1 step, got {steps}")
        self.field, self.step, self.steps = field, step, steps

    def along(self, x: Tensor, start: float, end: float) -> Both:
        """Carry x (B, D) and what its volume gains from one time to another."""

        def velocity(state: Tensor, t: float) -> Tensor:
            speed, divergence = self.field.both(state[:, :-1], t)
            return torch.cat([speed, divergence[:, None]], 1)

        many = self.steps if self.training else 8 * self.steps
        state = torch.cat([x, x.new_zeros(len(x), 1)], 1)
        for k in range(many):
            t, s = (start + (end - start) * (k + more) / many for more in (0, 1))
            state = self.step(velocity, state, t, s)
        return state[:, :-1], state[:, -1]

    def forward(self, x: Tensor) -> Both:
        """From data, at time 0, to noise."""
        return self.along(x, 0.0, 1.0)

    def inverse(self, z: Tensor) -> Both:
        """The same way back."""
        return self.along(z, 1.0, 0.0)
