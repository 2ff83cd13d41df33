"""Denoising diffusion: a fixed way into noise, a network that leads back."""

import math

import torch
from torch import Tensor, nn

from companion.paths import Prediction, translate
from companion.words import nearest

PREDICTS = ("noise", "clean", "velocity")


def linear_schedule(steps: int = 1000) -> Tensor:
    """alpha_bar at t = 0..steps, float64 (steps + 1,): beta rises linearly.

    From 1e-4 to 0.02 at 1,000 steps (Ho et al. 2020, section 4); fewer steps are larger ones.
    alpha_bar_0 = 1: index t is time t. Raises ValueError for fewer than 25 steps.
    """
    if steps < 25:
        raise ValueError(f"the linear schedule needs 25 or more steps, got {steps}")
    beta = torch.linspace(1e-4, 0.02, steps, dtype=torch.double) * (1000 / steps)
    return torch.cat([torch.ones(1, dtype=torch.double), (1 - beta).cumprod(0)])


def cosine_schedule(steps: int = 1000, offset: float = 0.008) -> Tensor:
    """alpha_bar at t = 0..steps, float64 (steps + 1,): a squared cosine, beta at most 0.999.

    Nichol and Dhariwal 2021, eq. 17. Raises ValueError for no step.
    """
    if steps < 1:
        raise ValueError(f"a schedule needs at least 1 step, got {steps}")
    t = torch.arange(steps + 1, dtype=torch.double) / steps
    wave = ((t + offset) / (1 + offset) * math.pi / 2).cos().square()
    beta = (1 - wave[1:] / wave[:-1]).clamp(max=0.999)
    return torch.cat([torch.ones(1, dtype=torch.double), (1 - beta).cumprod(0)])


SCHEDULES = {"linear": linear_schedule, "cosine": cosine_schedule}


class Diffusion(nn.Module):
    """A network that undoes noise, and the schedule by which noise was added (Ho et al. 2020).

    net: x_t (B, C, H, W), times t (B,) and labels (B,) or None -> what `predicts` names.
    alpha_bar: (T + 1,) from 1 down, of `linear_schedule` or `cosine_schedule`. Inside, pixels are
    in [-1, 1]; `classes` labels may be given. Raises ValueError for a schedule that rises.
    """

    alpha_bar: Tensor

    def __init__(
        self, net: nn.Module, alpha_bar: Tensor, predicts: str = "noise", classes: int = 0
    ):
        super().__init__()
        falls = alpha_bar.ndim == 1 and len(alpha_bar) > 1 and bool((alpha_bar.diff() < 0).all())
        if not falls or alpha_bar[0] != 1 or alpha_bar[-1] <= 0:
            raise ValueError("alpha_bar must be (T + 1,), start at 1, and fall, but not to 0")
        if predicts not in PREDICTS:
            hint = nearest(predicts, PREDICTS)
            raise ValueError(f"no prediction is called {predicts!r} {hint}")
        self.net, self.predicts, self.classes = net, predicts, classes
        self.register_buffer("alpha_bar", alpha_bar.double(), persistent=False)

    @property
    def steps(self) -> int:
        """T: times go from 0, an image, to T, noise."""
        return len(self.alpha_bar) - 1

    def rates(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t) of times (B,), ready to multiply x."""
        kept = self.alpha_bar[t].reshape(-1, *[1] * (x.ndim - 1))
        return kept.sqrt().to(x.dtype), (1 - kept).sqrt().to(x.dtype)

    def noised(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Draw from q(x_t | x_0): the images x (B, C, H, W) in [-1, 1] at times t (B,), eq. 4."""
        signal, scale = self.rates(t, x)
        return signal * x + scale * noise

    def predict(
        self, x: Tensor, t: Tensor, y: Tensor | None = None, guidance: float = 1.0
    ) -> Prediction:
        """Guess what is behind x_t (B, C, H, W) at times t (B,) of 1..T.

        guidance w: none + w (labelled - none), so 1 is the labelled guess itself and 0 the one
        without labels (Ho and Salimans 2022, eq. 6, where w is one less).
        """
        guess = self.net(x, t, y if guidance else None).float()
        if y is not None and guidance not in (0, 1):
            none = self.net(x, t, None).float()
            guess = none + guidance * (guess - none)
        return translate(self.predicts, guess, x, *self.rates(t, x))
