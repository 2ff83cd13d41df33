"""Accuracy, and what is left of it under attack."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from companion.estimate import Estimate, mean_of

Classify = Callable[[Tensor], Tensor]  # images (B, C, H, W) in [0, 1] -> logits (B, classes)


@torch.no_grad()
def accuracy(classify: Classify, x: Tensor, y: Tensor, batch: int = 2000) -> Estimate:
    """Share of right answers on images x (N, C, H, W) in [0, 1] with labels y (N,)."""
    right = [(classify(a).argmax(1) == b).double() for a, b in pairs(x, y, batch)]
    return mean_of(torch.cat(right), "accuracy")


def pairs(x: Tensor, y: Tensor, batch: int) -> list[tuple[Tensor, Tensor]]:
    """Cut images and labels into batches. Raises ValueError unless each image has one label."""
    if y.shape != x.shape[:1]:
        got = f"{tuple(x.shape)} and {tuple(y.shape)}"
        raise ValueError(f"needs images (N, C, H, W) and labels (N,), got shapes {got}")
    return list(zip(x.split(batch), y.split(batch), strict=True))


def uphill(classify: Classify, x: Tensor, y: Tensor) -> Tensor:
    """The sign of the loss's gradient at each pixel of images x with labels y."""
    with torch.enable_grad():
        x = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(classify(x), y, reduction="sum"), x)
    return gradient.sign()


def fgsm(
    classify: Classify, x: Tensor, y: Tensor, epsilon: float, signs: Tensor | None = None
) -> Tensor:
    """Attack by one step along the sign of the loss's gradient, then clamp to [0, 1].

    x + epsilon sign(grad_x loss), Goodfellow, Shlens and Szegedy 2015, eq. in section 4;
    epsilon in units of the pixel range; signs: those of the gradient, if they are known. Raises
    ValueError if epsilon is negative, or a pixel is outside of [0, 1].
    """
    if epsilon < 0:
        raise ValueError(f"epsilon must be 0 or above, got {epsilon}")
    if not x.is_floating_point() or x.min() < 0 or x.max() > 1:
        raise ValueError(f"pixels must be real and in [0, 1], got {x.dtype} up to {x.max():g}")
    pairs(x, y, len(x))
    signs = uphill(classify, x, y) if signs is None else signs
    return (x + epsilon * signs).clamp(0, 1).detach()


def pgd(
    classify: Classify, x: Tensor, y: Tensor, epsilon: float, steps: int = 10, seed: int = 0
) -> Tensor:
    """Attack by projected gradient ascent on the loss, from a random start (Madry et al. 2018).

    Each step goes 2.5 epsilon / steps along the sign of the gradient, then back to within epsilon
    of x in each pixel and to [0, 1]. Raises ValueError as `fgsm` does, or for fewer than 1 step.
    """
    if steps < 1:
        raise ValueError(f"needs 1 or more steps, got {steps}")
    low, high = (fgsm(classify, x, y, epsilon, torch.full_like(x, s)) for s in (-1.0, 1.0))
    draw = torch.Generator().manual_seed(seed)
    moved = low + (high - low) * torch.rand(x.shape, generator=draw).to(x)
    for _ in range(steps):
        moved = moved + 2.5 * epsilon / steps * uphill(classify, moved, y)
        moved = torch.minimum(torch.maximum(moved, low), high)
    return moved.detach()


def robust_accuracy(
    classify: Classify, x: Tensor, y: Tensor, epsilon: float, batch: int = 1000
) -> Estimate:
    """Accuracy on images that FGSM has moved by at most epsilon in each pixel."""
    return robust_accuracies(classify, x, y, [epsilon], batch)[0]


def robust_accuracies(
    classify: Classify, x: Tensor, y: Tensor, epsilons: Sequence[float], batch: int = 1000
) -> list[Estimate]:
    """Accuracy at each of some epsilons; all go along one gradient, which is taken once."""
    parts, found = pairs(x, y, batch), []
    signs = [uphill(classify, a, b) for a, b in parts]
    for epsilon in epsilons:
        attacked = [
            fgsm(classify, a, b, epsilon, up) for (a, b), up in zip(parts, signs, strict=True)
        ]
        found.append(accuracy(classify, torch.cat(attacked), y, batch))
    return found
