"""Causal self-attention, all at once and one step at a time with what was kept."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def attend(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """Mean of the values weighted by softmax(q k / sqrt d) over the keys that are seen.

    q: (..., Q, d), k and v: (..., K, d), seen: bool (Q, K). A query that sees no key gets 0, the
    empty sum, on every device and by every path.
    """
    score = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    score = score.masked_fill(~seen, float("-inf"))
    peak = score.amax(-1, keepdim=True).clamp(min=torch.finfo(score.dtype).min)
    weight = torch.exp(score - peak)  # all 0 in an empty row
    return weight @ v / weight.sum(-1, keepdim=True).clamp(min=torch.finfo(v.dtype).tiny)


class Past:
    """Keys and values of the steps that were read, with room for `steps` of them."""

    def __init__(self, n: int, heads: int, steps: int, depth: int, like: Tensor) -> None:
        self.keys, self.values = like.new_zeros(2, n, heads, steps, depth)
        self.length = 0

    def add(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keep one step, (n, heads, 1, depth) each; return all that is kept."""
        at, self.length = self.length, self.length + 1
        self.keys[:, :, at : at + 1], self.values[:, :, at : at + 1] = k, v
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]


class CausalBlock(nn.Module):
    """Attention to what came before, then a layer for each step (Radford et al. 2019).

    Raises ValueError unless the heads divide the width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"heads must divide the width, got {heads} and {width}")
        self.heads = heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask, self.gather = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.think = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values: (B, T, width) -> three of (B, heads, T, width / heads)."""
        parts = self.ask(self.before(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        return q, k, v

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """Map (B, T, width) to the same shape; with a past, x is the next step, (B, 1, width)."""
        q, k, v = self.split(x)
        if past is not None:
            k, v = past.add(k, v)
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=past is None)
        x = x + self.gather(heads.transpose(1, 2).flatten(2))  # (B, heads, T, d) -> (B, T, width)
        return x + self.think(self.after(x))

    def weights(self, x: Tensor) -> Tensor:
        """How much each step attends to each: (B, T, width) -> (B, heads, T, T), rows sum to 1."""
        q, k, _ = self.split(x)
        eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device).expand(*k.shape[:2], -1, -1)
        return attend(q, k, eye, torch.ones_like(eye[0, 0], dtype=torch.bool).tril())
