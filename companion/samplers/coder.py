"""An arithmetic coder: a law of tokens, tokens <-> bits (Witten, Neal and Cleary 1987)."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

TOTAL = 2**16  # into which a law is cut; every token has a share of 1 or more
HALF, QUARTER = 2**31, 2**30


class Reader(Protocol):
    """What tells the law of the next token of n images, and is then told the tokens."""

    tokens: Tensor  # int64 (n, T)

    def logits(self) -> Tensor: ...
    def read(self, tokens: Tensor) -> None: ...


def cuts(logits: Tensor) -> list[list[int]]:
    """Cut 0..TOTAL in proportion to softmax(logits): (n, V) -> n lists of V + 1 whole numbers."""
    v = logits.shape[1]
    share = 1 + (logits.double().softmax(1) * (TOTAL - v)).floor().long()
    share[torch.arange(len(share)), share.argmax(1)] += TOTAL - share.sum(1)
    return torch.nn.functional.pad(share.cumsum(1), (1, 0)).tolist()


class Interval:
    """An interval [low, high] of 32-bit numbers that tokens narrow and bits widen again."""

    def __init__(self) -> None:
        self.low, self.high = 0, 2 * HALF - 1

    def narrow(self, cut: Sequence[int], token: int) -> Iterator[int]:
        """Keep the part of a token; yield what is settled: a bit, or 2 for a half in doubt."""
        span = self.high - self.low + 1
        self.low, self.high = (
            self.low + span * cut[token] // TOTAL, self.low + span * cut[token + 1] // TOTAL - 1
        )  # fmt: skip
        while True:
            if self.high < HALF or self.low >= HALF:
                bit = int(self.low >= HALF)
            elif self.low >= QUARTER and self.high < HALF + QUARTER:
                bit = 2
            else:
                return
            off = (0, HALF, QUARTER)[bit]
            self.low, self.high = 2 * (self.low - off), 2 * (self.high - off) + 1
            yield bit


def encode(reader: Reader, tokens: Tensor) -> list[int]:
    """Write tokens (n, T) as bits, all n images in one stream; the reader has read nothing."""
    interval, bits, waiting = Interval(), [], 0
    for t in range(tokens.shape[1]):
        for cut, token in zip(cuts(reader.logits()), tokens[:, t].tolist(), strict=True):
            for bit in interval.narrow(cut, token):
                waiting = waiting + 1 if bit == 2 else waiting
                if bit < 2:
                    bits += [bit, *[1 - bit] * waiting]
                    waiting = 0
        reader.read(tokens[:, t])
    last = int(interval.low >= QUARTER)
    return [*bits, last, *[1 - last] * (waiting + 1)]


def decode(reader: Reader, bits: Sequence[int]) -> Tensor:
    """Undo `encode` with a reader of the same model that has read nothing: int64 (n, T)."""
    interval, rest = Interval(), iter(bits)
    value = sum(next(rest, 0) << k for k in range(31, -1, -1))
    for _ in range(reader.tokens.shape[1]):
        found = []
        for cut in cuts(reader.logits()):
            span = interval.high - interval.low + 1
            point = ((value - interval.low + 1) * TOTAL - 1) // span
            token = sum(edge <= point for edge in cut[1:])
            for bit in interval.narrow(cut, token):
                value = 2 * (value - (0, HALF, QUARTER)[bit]) + next(rest, 0)
            found.append(token)
        reader.read(torch.tensor(found))
    return reader.tokens
