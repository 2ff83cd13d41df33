"""Worlds that ask for memory: selective copying, and induction. Tokens drawn, answers known."""

from collections.abc import Callable

import torch
from torch import Tensor

from companion.data import Batch, Dataset
from companion.data.dataset import fingerprint

VOCABULARY = 16  # 0: noise or nothing, 1: the sign, 2..15: letters
NOISE, SIGN, FIRST = 0, 1, 2
UNASKED = 255  # in the answers: nothing is asked here


def selective_copying(
    n: int, length: int, letters: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Letters at random places among noise, then as many signs: which letters were they?

    Returns tokens and answers, uint8 (n, length + letters). Gu and Dao 2023, section 4.1.1, after
    Jing et al. 2019. Raises ValueError for more letters than places.
    """
    if not 1 <= letters <= length:
        raise ValueError(f"needs 1 to {length} letters among {length} places, got {letters}")
    places = torch.rand(n, length, generator=generator).argsort(1)[:, :letters].sort(1).values
    drawn = torch.randint(FIRST, VOCABULARY, (n, letters), generator=generator)
    tokens = torch.full((n, length + letters), NOISE)
    tokens.scatter_(1, places, drawn)
    tokens[:, length:] = SIGN
    answers = torch.full_like(tokens, UNASKED)
    answers[:, length:] = drawn
    return tokens.to(torch.uint8), answers.to(torch.uint8)


def induction(n: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random letters, and somewhere a sign; at the end the sign again: what came after it?

    Returns tokens and answers, uint8 (n, length), asked at the last place. Gu and Dao 2023,
    section 4.1.2, after Olsson et al. 2022. Raises ValueError for lengths below 4.
    """
    if length < 4:
        raise ValueError(f"length must be at least 4 tokens, got {length}")
    tokens = torch.randint(FIRST, VOCABULARY, (n, length), generator=generator)
    place = torch.randint(length - 2, (n, 1), generator=generator)
    tokens.scatter_(1, place, SIGN)
    tokens[:, -1] = SIGN
    answers = torch.full_like(tokens, UNASKED)
    answers[:, -1:] = tokens.gather(1, place + 1)
    return tokens.to(torch.uint8), answers.to(torch.uint8)


def dataset(name: str, make: Callable[..., Batch], train: int, test: int) -> Dataset:
    """Draw a training and a test set by `make(n, generator)`, always the same."""
    parts = [
        make(n, generator=torch.Generator().manual_seed(seed))
        for seed, n in enumerate((train, test))
    ]
    sha256 = fingerprint(*parts[0], *parts[1])
    return Dataset(name, parts[0], parts[1], (), "procedural", sha256)
