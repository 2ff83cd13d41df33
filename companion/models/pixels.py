"""Bayesian networks of binary pixels in raster order, all with one shared conditional law."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Offsets = tuple[tuple[int, int], ...]  # (rows up, columns left) from a pixel to each parent
MOST_PARENTS = 16  # a pattern of parents is one whole number


def quarter_plane(k: int) -> Offsets:
    """Name the k * k - 1 pixels of the block that ends in a pixel: above it and to its left.

    Nearest rows first, the pixel's own row leading: (0, 1), (1, 0), (1, 1) for k = 2. Raises
    ValueError unless k is from 2 to 4.
    """
    if k not in (2, 3, 4):
        raise ValueError(f"a block is 2, 3 or 4 pixels a side, got {k}")
    return tuple((up, left) for up in range(k) for left in range(k) if up or left)


def conditional(
    inputs: int, hidden: Sequence[int] = (), activation: Callable[[], nn.Module] = nn.SiLU
) -> nn.Sequential:
    """Build what turns `inputs` numbers into one logit: linear, or with hidden layers."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), activation()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, 1))


def unique(codes: Tensor, kinds: int) -> tuple[Tensor, Tensor]:
    """Find the different numbers (U,) among codes in 0..kinds - 1, and the place of each code.

    Where a list of all kinds is short it is marked, which is quicker than to sort.
    """
    if kinds > 8 * codes.numel():
        return torch.unique(codes, return_inverse=True)
    there = torch.zeros(kinds, dtype=torch.bool, device=codes.device)
    there[codes.flatten()] = True
    return there.nonzero()[:, 0], (there.cumsum(0) - 1)[codes]


class PixelNetwork(nn.Module):
    """The law p(x) = prod_i p(x_i | parents of i) of binary images (B, 1, side, side).

    parents: offsets of each pixel's parents, all of them earlier in raster order; those outside
    of the image are 0. position: two more inputs, column and row of the pixel in [0, 1]. The
    conditional law is the same for all pixels. As a pixel sees few different patterns, `logits`
    asks for each of them once. Raises ValueError for parents that come later or are too many.
    """

    def __init__(
        self,
        parents: Offsets,
        hidden: Sequence[int] = (),
        position: bool = False,
        activation: Callable[[], nn.Module] = nn.SiLU,
        side: int = 28,
    ) -> None:
        super().__init__()
        later = [(up, left) for up, left in parents if up < 0 or (up == 0 and left < 1)]
        if later or not 1 <= len(parents) <= MOST_PARENTS:
            why = f"parents {later} come later" if later else f"got {len(parents)} parents"
            raise ValueError(f"needs 1 to {MOST_PARENTS} parents, all earlier pixels: {why}")
        self.parents, self.position, self.side = tuple(parents), position, side
        self.conditional = conditional(len(parents) + 2 * position, hidden, activation)
        self.room = max(max(up, abs(left)) for up, left in parents)  # border that is needed

    def codes(self, x: Tensor) -> Tensor:
        """Number what each pixel sees: images (B, 1, S, S) in {0, 1} -> int64 (B, S, S).

        Parent j is bit j; with position, the pixel's number in raster order stands above them.
        """
        if x.shape[1:] != (1, self.side, self.side):
            expected = f"(B, 1, {self.side}, {self.side})"
            raise ValueError(f"images must have shape {expected}, got {tuple(x.shape)}")
        room, side = self.room, self.side
        canvas = F.pad(x[:, 0].to(torch.int32), (room,) * 4)
        seen = torch.zeros(len(x), side, side, dtype=torch.int32, device=x.device)
        for j, (up, left) in enumerate(self.parents):
            row, column = room - up, room - left
            seen += canvas[:, row : row + side, column : column + side] << j
        if not self.position:
            return seen.long()
        place = torch.arange(side * side, device=x.device).view(side, side)
        return seen.long() + (place << len(self.parents))

    def codes_at(self, canvas: Tensor, r: Tensor, c: Tensor) -> Tensor:
        """Number what pixels (r, c), (P,) each, see on a canvas (S + room, S + 2 room, n).

        The canvas is images with their border, pixel by pixel. Returns int64 (P, n).
        """
        seen = torch.zeros(len(r), canvas.shape[2], dtype=torch.int32, device=canvas.device)
        for j, (up, left) in enumerate(self.parents):
            seen += canvas[r + self.room - up, c + self.room - left].int() << j
        place = (r * self.side + c << len(self.parents)) if self.position else 0 * r
        return seen.long() + place[:, None]

    def features(self, codes: Tensor) -> Tensor:
        """Write out what numbered patterns are: int64 (U,) -> (U, inputs), bits and position."""
        bits = codes[:, None] >> torch.arange(len(self.parents), device=codes.device) & 1
        bits = bits.to(next(self.parameters()).dtype)
        if not self.position:
            return bits
        place = codes >> len(self.parents)
        across = torch.stack([place % self.side, place // self.side], 1)
        return torch.cat([bits, across.to(bits) / (self.side - 1)], 1)

    def logits_of(self, codes: Tensor) -> Tensor:
        """Logit of ink for numbered patterns of any shape; each different one is asked once."""
        kinds = 2 ** len(self.parents) * (self.side**2 if self.position else 1)
        distinct, place = unique(codes, kinds)
        logits = self.conditional(self.features(distinct))[:, 0]
        return logits.index_select(0, place.flatten()).view(codes.shape)

    def logits(self, x: Tensor) -> Tensor:
        """Logit of ink of each pixel given its parents: (B, 1, S, S) -> (B, 1, S, S)."""
        return self.logits_of(self.codes(x))[:, None]

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """Nats that each image costs, exactly: -log p(x) = -sum_i log p(x_i | parents), (B,)."""
        logits = self.logits(x)
        return {"nll": (F.softplus(logits) - x * logits).flatten(1).sum(1)}

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n images (n, 1, S, S), 0 or 1, parents first: a front of pixels at a time.

        With parents above and to the left, an anti-diagonal depends on earlier ones only; where
        parents lie up to r columns to the right, the front is 1 + r columns steeper a row.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1 image, got {n}")
        side, room = self.side, self.room
        device = next(self.parameters()).device
        slope = 1 + max(0, *(-left for _, left in self.parents))
        width = side + 2 * room
        canvas = torch.zeros(side + room, width, n, dtype=torch.uint8, device=device)
        rows = torch.arange(side, device=device)
        for front in range(side + slope * (side - 1)):
            columns = front - slope * rows
            inside = (columns >= 0) & (columns < side)
            r, c = rows[inside], columns[inside]
            ink = torch.sigmoid(self.logits_of(self.codes_at(canvas, r, c)))
            draw = torch.rand(ink.shape, generator=generator, device=device)
            canvas[r + room, c + room] = (draw < ink).to(torch.uint8)
        image = canvas[room:, room : room + side]  # (S, S, n)
        return image.permute(2, 0, 1)[:, None].float()
