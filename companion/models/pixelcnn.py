"""PixelCNN: a convolution with a mask, its blind spot, and the two stacks that have none."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from companion.nets.masked import MaskedConv2d

REACH = 3  # pixels each way that the first layer sees; the others see 1


class MaskedStack(nn.Module):
    """Masked convolutions one upon the other (van den Oord et al. 2016, a).

    What lies above and to the right of a pixel is never seen beyond a slope: the blind spot.
    """

    def __init__(self, width: int, layers: int, first: int = REACH) -> None:
        super().__init__()
        self.first = MaskedConv2d(1, width, "before", first)
        self.rest = nn.ModuleList(
            MaskedConv2d(width, width, "up to here", 1) for _ in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 1, H, W) to features (B, width, H, W)."""
        x = self.first(x)
        for layer in self.rest:
            x = x + layer(F.relu(x))
        return x


class TwoStacks(nn.Module):
    """A stack for all rows above, a stack for the row itself (van den Oord et al. 2016, b).

    The vertical one sees whole rows and so needs no mask within; the horizontal one sees the
    pixels to the left, and the vertical one's features. Both are gated.
    """

    def __init__(self, width: int, layers: int, first: int = REACH) -> None:
        super().__init__()
        self.down = MaskedConv2d(1, 2 * width, "above", first)
        self.along = MaskedConv2d(1, 2 * width, "left", first)
        self.downs = nn.ModuleList(
            MaskedConv2d(width, 2 * width, "above or level", 1) for _ in range(layers)
        )
        self.alongs = nn.ModuleList(
            MaskedConv2d(width, 2 * width, "left or here", 1) for _ in range(layers)
        )
        self.across = nn.ModuleList(nn.Conv2d(2 * width, 2 * width, 1) for _ in range(layers + 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 1, H, W) to features (B, width, H, W)."""
        above = self.down(x)
        here = gate(self.along(x) + self.across[0](above))
        above = gate(above)
        layers = zip(self.downs, self.alongs, self.across[1:], strict=True)
        for down, along, across in layers:
            sum_above = down(above)
            here = here + gate(along(here) + across(sum_above))
            above = above + gate(sum_above)
        return here


def gate(x: Tensor) -> Tensor:
    """Let half of the channels decide how much of the other half passes."""
    signal, open_ = x.chunk(2, 1)
    return torch.tanh(signal) * torch.sigmoid(open_)


class PixelCNN(nn.Module):
    """The law p(x) = prod_i p(x_i | pixels before) of binary images, by convolutions.

    gated: two stacks, without a blind spot; else one. Raises ValueError for sizes below 1.
    """

    def __init__(
        self, width: int = 16, layers: int = 6, gated: bool = True, side: int = 28
    ) -> None:
        super().__init__()
        if width < 1 or layers < 0:
            raise ValueError(f"needs width >= 1 and layers >= 0, got {width} and {layers}")
        self.side, self.reach = side, REACH + layers  # pixels each way that are seen
        self.stack = (TwoStacks if gated else MaskedStack)(width, layers)
        self.head = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, 2 * width, 1), nn.ReLU(), nn.Conv2d(2 * width, 1, 1)
        )

    def logits(self, x: Tensor) -> Tensor:
        """Logit of ink of each pixel given those before it: (B, 1, H, W) -> (B, 1, H, W)."""
        return self.head(self.stack(x))

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """Nats that each image costs: -log p(x), (B,)."""
        z = self.logits(x)
        return {"nll": (F.softplus(z) - x * z).flatten(1).sum(1)}

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n images (n, 1, S, S), 0 or 1, pixel by pixel.

        For a pixel only what it can see is computed.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1 image, got {n}")
        side = self.side
        x = next(self.parameters()).new_zeros(n, 1, side, side)
        for r in range(side):
            top = max(0, r - self.reach)
            for c in range(side):
                left = max(0, c - self.reach)
                near = x[:, :, top : r + 1, left : c + self.reach + 1]
                z = self.logits(near)[:, 0, -1, c - left]
                draw = torch.rand(n, generator=generator, device=x.device)
                x[:, 0, r, c] = (draw < z.sigmoid()).to(x.dtype)
        return x
