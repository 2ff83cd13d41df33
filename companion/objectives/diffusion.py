"""Losses of diffusion models: how well the network guesses what was added."""

import torch
from torch import Tensor

from companion.models.diffusion import Diffusion
from companion.recipes import Batch, Terms
from companion.words import nearest

WEIGHTS = ("simple", "bound", "velocity")
DROPPED = 0.1  # share of images whose label is withheld, so that guidance has both guesses


def weight_of_noise(kind: str, alpha_bar: Tensor, t: Tensor) -> Tensor:
    """What the squared error of the noise counts at times t (B,) of 1..T: (B,).

    "simple": 1 (Ho et al. 2020, eq. 14). "bound": (SNR_{t-1} - SNR_t) / (2 SNR_t), with which the
    sum over t is the bound's, in nats; SNR_0 is infinite, and at t = 1 the term is the weight of
    t = 2. "velocity": 1 + 1 / SNR_t = 1 / alpha_bar_t, with which it is the velocity's squared
    error. Raises ValueError for another name.
    """
    if kind == "simple":
        return torch.ones_like(alpha_bar[t])
    if kind == "velocity":
        return 1 / alpha_bar[t]
    if kind != "bound":
        raise ValueError(f"no weighting is called {kind!r} {nearest(kind, WEIGHTS)}")
    ratio = alpha_bar / (1 - alpha_bar)
    t = t.clamp_min(2)
    return (ratio[t - 1] - ratio[t]) / (2 * ratio[t])


def denoising_loss(model: Diffusion, batch: Batch, step: int, weighting: str = "simple") -> Terms:
    """Squared error of the guess at a random time, per pixel; Ho et al. 2020, algorithm 1.

    batch: images (B, C, H, W) in [-1, 1] and, for a model with classes, labels (B,). The error is
    that of the noise, weighted as `weighting` says. Every tenth label is withheld.
    """
    x = batch[0]
    t = torch.randint(1, model.steps + 1, (len(x),), device=x.device)
    noise = torch.randn_like(x)
    y = None
    if model.classes:
        hidden = torch.rand(len(x), device=x.device) < DROPPED
        y = torch.where(hidden, model.classes, batch[1])
    guess = model.predict(model.noised(x, t, noise), t, y)
    if weighting == "velocity":
        signal, scale = model.rates(t, x)
        return {"loss": of_pixels(guess.velocity - (signal * noise - scale * x))}
    error = of_pixels(guess.noise - noise)
    weight = weight_of_noise(weighting, model.alpha_bar, t).to(error.dtype)
    return {"loss": weight * error, "noise": error}


def of_pixels(error: Tensor) -> Tensor:
    """Mean square of an error over all that belongs to one example: (B, ...) -> (B,)."""
    return error.square().flatten(1).mean(1)
