"""What the chapter on residual flows asks: bits by a long series, and by a coin."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from companion.data import Dataset
from companion.estimate import Estimate, mean_of
from companion.maths import log_normal
from companion.measures.flows import AT_ONCE, nats
from companion.models.dequantise import uniform_noise
from companion.models.residual import READING, Roulette, read_layers

FEW, EVERY = 200, 5  # test images watched; which ones are read at the end
TRIAL, BRIEF = 1000, 20  # with fewer test images than the first, so many are read
WHOLE, PART = 16, 50  # images with all of their determinants; images at a time
COIN = Roulette(10, 0.5)  # as in training: its variance is infinite where a block is too steep


def of_few(model: Any, data: Dataset) -> Mapping[str, Estimate]:
    """Nats of the first 200 test images; of fewer than 1,000, of the first 20."""
    return nats(model, data, FEW if len(data.test[0]) >= TRIAL else BRIEF)


@torch.no_grad()
def of_bits(model: Any, data: Dataset) -> Mapping[str, Estimate]:
    """Bits per dimension of every fifth test image by a long series; of all by a coin, beside.

    Of the first 200 of every fifth: the variance of a reading, from two of them. On 16: the exact
    bits, and what both readings of the same noise miss. Of fewer than 1,000 test images, the first
    20 are all there are, for short trials.
    """
    size = data.test[0][0].numel() * math.log(2)

    def bits(y: Tensor, coin: Roulette | None, many: int = PART) -> Tensor:
        """Bits per dimension that each noisy image costs."""
        return torch.cat([-log_prob(model, part, coin) / size for part in y.split(many)])

    pixels = data.examples("test")[0]
    pixels = pixels if len(pixels) >= TRIAL else pixels[:BRIEF]
    by_coin = torch.cat([bits(noisy(part), COIN, AT_ONCE) for part in pixels.split(AT_ONCE)])
    apart = EVERY if len(pixels) >= 2 * EVERY else 1
    y = noisy(pixels[::apart])
    long = bits(y, READING)
    again = bits(y[:FEW], READING)
    few = slice(0, max(min(WHOLE, len(y) // 8), 2))
    whole = bits(y[few], None)
    found = {
        "bits": long,
        "bits by a coin": by_coin,
        "bits by a coin, same images": by_coin[::apart],
        "exact bits": whole,
        "reading less exact": long[few] - whole,
        "coin less exact": bits(y[few], COIN) - whole,
    }
    told = {name: mean_of(values, "bits/dim") for name, values in found.items()}
    told["reading's variance"] = mean_of((long[:FEW] - again) ** 2 / 2, "(bits/dim)²")
    return told


def noisy(pixels: Tensor) -> Tensor:
    """Pixels with uniform noise."""
    return pixels.float() + uniform_noise(pixels.float())[0]


def log_prob(model: Any, y: Tensor, coin: Roulette | None) -> Tensor:
    """Log-density with this coin in every residual block, or with whole determinants: (B,)."""
    z, log_det = read_layers(model.layers, y, coin)
    return log_normal(z).sum(1) + log_det
