"""The tiny world: a law over all 65,536 binary 4 x 4 images, each probability known exactly."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from companion.data.drawing.persian import draw

SIDE = 4  # pixels
STATES = 2 ** (SIDE * SIDE)  # 65,536
DIGITS, SEED = 10_000, 2  # drawn digits behind the law; train and test sets have seeds 0 and 1
BLOCK = 5  # pixels a side of what becomes one pixel
ENOUGH = 7  # pixels of ink, of 25, that make it ink
FLIP_PROB = 0.01


def encode(images: Tensor) -> Tensor:
    """Number binary images (N, 1, 4, 4), 0 or 1: int64 (N,) in 0..65,535.

    Pixels are read row by row, the first one counts most. Raises ValueError for other images.
    """
    if images.shape[1:] != (1, SIDE, SIDE):
        raise ValueError(f"tiny images have shape (N, 1, 4, 4), got {tuple(images.shape)}")
    if ((images != 0) & (images != 1)).any():
        low, high = images.min().item(), images.max().item()
        raise ValueError(f"tiny images have pixels 0 or 1, got some between {low:g} and {high:g}")
    worth = 2 ** torch.arange(SIDE * SIDE - 1, -1, -1, device=images.device)
    return (images.flatten(1).long() * worth).sum(1)


def decode(states: Tensor) -> Tensor:
    """Undo `encode`: whole numbers (N,) in 0..65,535 -> float32 (N, 1, 4, 4), 0 or 1.

    `decode(torch.arange(65_536))` are all images there are. Raises ValueError for other numbers.
    """
    whole = not states.is_floating_point() and states.ndim == 1
    if not whole or ((states < 0) | (states >= STATES)).any():
        raise ValueError(f"states are whole numbers (N,) in 0..65535, got {states}")
    bits = torch.arange(SIDE * SIDE - 1, -1, -1, device=states.device)
    return (states.long()[:, None] >> bits & 1).view(-1, 1, SIDE, SIDE).float()


@dataclass(frozen=True)
class TinyWorld:
    """A law over (state, label), and what follows from it; read the tensors, do not write."""

    joint: Tensor  # p(state, label), float64 (65536, 10), above zero, in all one

    @property
    def probs(self) -> Tensor:
        """p(state): float64 (65536,)."""
        return self.joint.sum(1)

    @property
    def posterior(self) -> Tensor:
        """p(label | state): float64 (65536, 10)."""
        return self.joint / self.joint.sum(1, keepdim=True)

    @property
    def entropy(self) -> float:
        """Entropy of the images, in nats."""
        return torch.special.entr(self.probs).sum().item()

    def log_prob(self, images: Tensor) -> Tensor:
        """Log-probability of images (N, 1, 4, 4), in nats: float64 (N,)."""
        return self.probs.log()[encode(images).cpu()].to(images.device)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n images independently: float32 (n, 1, 4, 4), 0 or 1."""
        if n < 1:
            raise ValueError(f"n must be at least 1 image, got {n}")
        return decode(torch.multinomial(self.probs, n, replacement=True, generator=generator))


@lru_cache(maxsize=1)
def tiny_digits() -> TinyWorld:
    """Build the tiny world of Persian digits, the same for every reader, in about a second.

    10,000 digits are drawn, 1,000 of each class. Of each the middle 20 x 20 pixels are divided
    into 4 x 4 blocks of 5 x 5, and a block with at least 7 pixels of ink becomes one of ink.
    Then each of the 16 pixels is flipped, independently, with probability 1/100. The law of what
    comes out is known exactly, and every image has a probability above zero. Knowing it, 82 %
    of the labels can be told from the image.
    """
    images, labels = draw(DIGITS, SEED)
    edge = (images.shape[-1] - SIDE * BLOCK) // 2
    ink = images[:, 0, edge:-edge, edge:-edge] > 0
    ink = ink.unflatten(2, (SIDE, BLOCK)).unflatten(1, (SIDE, BLOCK))  # (N, 4, 5, 4, 5)
    states = encode((ink.sum((2, 4)) >= ENOUGH)[:, None])
    counts = torch.bincount(states * 10 + labels, minlength=STATES * 10)
    law = (counts.double() / DIGITS).view(*[2] * (SIDE * SIDE), 10)
    for pixel in range(SIDE * SIDE):
        law = (1 - FLIP_PROB) * law + FLIP_PROB * law.flip(pixel)
    return TinyWorld(law.reshape(STATES, 10))
