"""Masked networks over the pixels of binary images: FVSBN and MADE."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from companion.nets.masked import MaskedLinear


class MADE(nn.Module):
    """The law p(x) = prod_i p(x_i | all pixels before) by one masked pass (Germain et al. 2015).

    hidden: units of its one layer; 0: none, and each pixel is a logistic regression on all before
    it: a fully visible sigmoid belief network, FVSBN (Neal 1992). order: the pixels (S * S,) in
    the order in which they are told; None: raster order. Raises ValueError for no permutation.
    """

    order: Tensor

    def __init__(self, side: int = 28, hidden: int = 0, order: Tensor | None = None) -> None:
        super().__init__()
        d = side * side
        order = torch.arange(d) if order is None else order
        if hidden < 0 or not torch.equal(order.sort().values, torch.arange(d)):
            raise ValueError(f"needs hidden >= 0 and an order of {d} pixels, got hidden={hidden}")
        self.side, self.hidden = side, hidden
        self.register_buffer("order", order, persistent=False)
        rank = order.argsort()  # of a pixel: when it is told, 0 .. d - 1
        self.direct = MaskedLinear(rank[:, None] > rank[None])
        if hidden:  # unit j has the rank m_j of the last pixel that it may see
            unit = torch.arange(hidden) * (d - 1) // hidden
            self.inside = MaskedLinear(unit[:, None] >= rank[None])
            self.outside = MaskedLinear(rank[:, None] > unit[None])

    def logits(self, x: Tensor) -> Tensor:
        """Logit of ink of each pixel given those before it: (B, 1, S, S) -> (B, 1, S, S)."""
        if x.shape[1:] != (1, self.side, self.side):
            expected = f"(B, 1, {self.side}, {self.side})"
            raise ValueError(f"images must have shape {expected}, got {tuple(x.shape)}")
        flat = x.flatten(1)
        z = self.direct(flat)
        if self.hidden:
            z = z + self.outside(F.relu(self.inside(flat)))
        return z.view_as(x)

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """Nats that each image costs: -log p(x), (B,)."""
        z = self.logits(x)
        return {"nll": (F.softplus(z) - x * z).flatten(1).sum(1)}

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n images (n, 1, S, S), 0 or 1, pixel by pixel.

        A new pixel adds one column to what the hidden units have summed up, as in NADE.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1 image, got {n}")
        x = self.direct.weight.new_zeros(n, self.side**2)
        direct = self.direct.weight * self.direct.mask
        if self.hidden:
            inward = self.inside.weight * self.inside.mask
            outward = self.outside.weight * self.outside.mask
            held = self.inside.bias.expand(n, -1).clone()
        for i in self.order.tolist():
            z = x @ direct[i] + self.direct.bias[i]
            if self.hidden:
                z = z + F.relu(held) @ outward[i] + self.outside.bias[i]
            draw = torch.rand(n, generator=generator, device=x.device)
            x[:, i] = (draw < z.sigmoid()).to(x.dtype)
            if self.hidden:
                held += x[:, i : i + 1] * inward[:, i]
        return x.view(n, 1, self.side, self.side)
