"""The U-Net of diffusion models: residual blocks and attention that know the noise level."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = (32, 64, 128)  # at 28, 14 and 7 pixels


def time_embedding(t: Tensor, width: int, longest: float = 10_000.0) -> Tensor:
    """Write numbers as sines and cosines of falling frequency: (B,) -> (B, width).

    Vaswani et al. 2017, section 3.5; the wavelengths go from 2 pi to 2 pi `longest`. Raises
    ValueError unless width is even and at least 4.
    """
    if width < 4 or width % 2:
        raise ValueError(f"width must be even and at least 4, got {width}")
    half = width // 2
    steps = torch.arange(half, device=t.device) / (half - 1)
    angle = t.float()[:, None] * torch.exp(-math.log(longest) * steps)  # (B, half)
    return torch.cat([angle.sin(), angle.cos()], 1)


def normal(channels: int) -> nn.GroupNorm:
    """Normalise groups of 8 channels, image by image (Wu and He 2018)."""
    return nn.GroupNorm(max(1, channels // 8), channels)


def silent(layer: nn.Conv2d) -> nn.Conv2d:
    """Start a residual branch at zero, so that a fresh block changes nothing."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ResBlock(nn.Module):
    """x + conv(norm(conv(norm(x)) + time)): (B, before, H, W), (B, E) -> (B, after, H, W).

    Ho et al. 2020, appendix B: GroupNorm and SiLU before each 3 x 3 convolution, the embedded
    noise level added to every pixel between them, a 1 x 1 convolution where channels differ.
    """

    def __init__(self, before: int, after: int, embedding: int):
        super().__init__()
        self.norm1, self.conv1 = normal(before), nn.Conv2d(before, after, 3, padding=1)
        self.time = nn.Linear(embedding, after)
        self.norm2, self.conv2 = normal(after), silent(nn.Conv2d(after, after, 3, padding=1))
        self.match = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(F.silu(e))[:, :, None, None]  # (B, after) -> (B, after, 1, 1)
        return self.match(x) + self.conv2(F.silu(self.norm2(h)))


class Attention(nn.Module):
    """Every pixel looks at every other, then thinks for itself: (B, C, H, W) -> the same.

    Multi-head self-attention and a feed-forward layer, each a residual branch behind a GroupNorm
    (Vaswani et al. 2017, eq. 1). Raises ValueError unless the heads divide the channels.
    """

    def __init__(self, channels: int, heads: int = 4):
        super().__init__()
        if heads < 1 or channels % heads:
            raise ValueError(f"heads must divide {channels} channels, got {heads}")
        self.heads = heads
        self.norm, self.qkv = normal(channels), nn.Conv2d(channels, 3 * channels, 1)
        self.out = silent(nn.Conv2d(channels, channels, 1))
        self.feed = nn.Sequential(
            normal(channels),
            nn.Conv2d(channels, 2 * channels, 1),
            nn.SiLU(),
            silent(nn.Conv2d(2 * channels, channels, 1)),
        )

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        """How much pixel i takes from pixel j; each row sums to 1: (B, heads, N, N)."""
        scores = torch.einsum("bhci,bhcj->bhij", q, k) / math.sqrt(q.shape[2])
        return scores.softmax(-1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, height, width = x.shape
        parts = self.qkv(self.norm(x)).chunk(3, 1)
        shape = (b, self.heads, c // self.heads, height * width)
        q, k, v = (part.reshape(shape) for part in parts)  # (B, heads, C / heads, N)
        seen = torch.einsum("bhij,bhcj->bhci", self.weights(q, k), v)
        x = x + self.out(seen.reshape(b, c, height, width))
        return x + self.feed(x)


class UNet(nn.Module):
    """Image and noise level in, image out: (B, C, H, W), (B,) -> (B, C, H, W).

    The contracting path keeps each level's picture and halves it; the middle attends; the
    expansive path doubles and gets each level's picture back (Ronneberger et al. 2015; Ho et al.
    2020). H and W must be divisible by 2 ** (levels - 1). classes: number of labels y (B,) that
    may be given; the label `classes` means none. Raises ValueError for sizes that do not fit.
    """

    def __init__(
        self,
        image_channels: int = 1,
        channels: tuple[int, ...] = CHANNELS,
        classes: int = 0,
        embedding: int = 128,
    ):
        super().__init__()
        if len(channels) < 2 or min(channels) < 8:
            raise ValueError(f"needs two or more levels of 8 or more channels, got {channels}")
        first, last = channels[0], channels[-1]
        self.embedding, self.levels = embedding, len(channels)
        self.embed = nn.Sequential(
            nn.Linear(embedding, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        self.label = nn.Embedding(classes + 1, embedding) if classes else None
        self.stem = nn.Conv2d(image_channels, first, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.shrink, self.grow = nn.ModuleList(), nn.ModuleList()
        for before, after in zip((first, *channels), channels, strict=False):
            self.down.append(ResBlock(before, after, embedding))
            self.shrink.append(nn.Conv2d(after, after, 3, stride=2, padding=1))
        self.shrink[-1] = nn.Identity()
        self.middle = nn.ModuleList(
            [ResBlock(last, last, embedding), Attention(last), ResBlock(last, last, embedding)]
        )
        for here, below in zip(channels[::-1], (last, *channels[::-1]), strict=False):
            self.grow.append(nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(below, here, 1)))
            self.up.append(ResBlock(2 * here, here, embedding))
        self.grow[0] = nn.Identity()
        self.head = nn.Sequential(
            normal(first), nn.SiLU(), silent(nn.Conv2d(first, image_channels, 3, padding=1))
        )

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        if any(side % 2 ** (self.levels - 1) for side in x.shape[-2:]):
            raise ValueError(
                f"height and width must be divisible by {2 ** (self.levels - 1)}, got "
                f"{tuple(x.shape[-2:])}"
            )
        e = self.embed(time_embedding(t, self.embedding))
        if self.label is not None:
            none = torch.full_like(t, self.label.num_embeddings - 1, dtype=torch.long)
            e = e + self.label(none if y is None else y)
        h, kept = self.stem(x), []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            h = block(h, e)
            kept.append(h)
            h = shrink(h)
        first, attention, second = self.middle
        h = second(attention(first(h, e)), e)
        for block, grow in zip(self.up, self.grow, strict=True):
            h = block(torch.cat([grow(h), kept.pop()], 1), e)
        return self.head(h)
