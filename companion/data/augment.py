"""Augmentation: changes of a batch that a label survives. Only training applies them."""

import torch
from torch import Tensor
from torch.nn import functional as F

from companion.data.forms import Batch


def flip_and_shift(batch: Batch) -> Batch:
    """Mirror half of the images and move each by up to 2 pixels: (B, 1, 28, 28) in [0, 1]."""
    x, *rest = batch
    mirrored = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    return (shifted(torch.where(mirrored, x.flip(3), x)), *rest)


def shift(batch: Batch) -> Batch:
    """Move each image by up to 2 pixels, for digits, which no mirror leaves what they are."""
    x, *rest = batch
    return (shifted(x), *rest)


def redrawn(batch: Batch) -> Batch:
    """Draw black or white pixels anew from greys in [0, 1], which are probabilities of ink."""
    x, *rest = batch
    return (torch.bernoulli(x), *rest)


def shifted(x: Tensor) -> Tensor:
    """Move each of (B, 1, H, W) by up to 2 pixels down or up, right or left."""
    n, _, height, width = x.shape
    x = F.pad(x, (2, 2, 2, 2))
    down, right = torch.randint(0, 5, (2, n, 1), device=x.device)
    rows = torch.arange(height, device=x.device) + down  # (B, H)
    columns = torch.arange(width, device=x.device) + right  # (B, W)
    each = torch.arange(n, device=x.device)[:, None, None]
    return x.transpose(0, 1)[:, each, rows[:, :, None], columns[:, None, :]].transpose(0, 1)
