"""Image GPT: a causal transformer over the blocks of a binary image (Chen et al. 2020)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from companion.nets.attention import CausalBlock, Past


def sources(across: int, window: int) -> Tensor:
    """Name the earlier tokens that a position reads: int64 (T, K); T stands for outside.

    window 0: the one before in raster order, as in a language model. w: all earlier tokens of the
    block of w rows above and w columns each way, nearest rows first.
    """
    t = torch.arange(across**2)
    if window == 0:
        return torch.where(t > 0, t - 1, across**2)[:, None]
    places = range(-window, window + 1)
    back = [(up, left) for up in range(window + 1) for left in places if up or left > 0]
    found = []
    for up, left in back:
        row, column = t // across - up, t % across - left
        inside = (row >= 0) & (column >= 0) & (column < across)
        found.append(torch.where(inside, row * across + column, across**2))
    return torch.stack(found, 1)


class ImageGPT(nn.Module):
    """The law p(x) = prod_t p(token t | tokens before) of binary images (B, 1, side, side).

    block: pixels a side of a token, so a token is one of 2 ** (block * block). window: earlier
    tokens whose embeddings are summed at a position, see `sources`. factorised: a position is a
    row plus a column, else it has an embedding of its own. tied: the last layer's weights are the
    embeddings. classes: labels that are given, 0: none. vocabulary: of tokens that are no pixels,
    see `CodePrior`. Raises ValueError for what cannot be.
    """

    source: Tensor

    def __init__(
        self, width: int = 64, layers: int = 3, heads: int = 2, block: int = 2, window: int = 0,
        factorised: bool = True, tied: bool = False, classes: int = 0, side: int = 28,
        vocabulary: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        if block not in (1, 2) or side % block or window < 0 or (tied and window) or layers < 1:
            got = f"block={block}, window={window}, tied={tied}, layers={layers}, side={side}"
            allowed = "blocks of 1 or 2 that fill a side, layers, and a window or tied, not both"
            raise ValueError(f"needs {allowed}, got {got}")
        self.side, self.block, self.across = side, block, side // block
        self.steps, self.vocabulary = self.across**2, vocabulary or 2 ** (block * block)
        self.factorised, self.tied, self.classes = factorised, tied, classes
        self.register_buffer("source", sources(self.across, window), persistent=False)
        taps = self.source.shape[1]
        self.tokens_table = embedding(taps * (self.vocabulary + 1), width)  # + 1: outside
        self.places = embedding(2 * self.across if factorised else self.steps, width)
        self.labels = embedding(classes, width) if classes else None
        self.blocks = nn.ModuleList(CausalBlock(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(self.vocabulary))
        self.head = None if tied else embedding(self.vocabulary, width)

    def tokens(self, x: Tensor) -> Tensor:
        """Number the blocks of images in raster order: (B, 1, S, S) in {0, 1} -> int64 (B, T)."""
        if x.shape[1:] != (1, self.side, self.side):
            expected = f"(B, 1, {self.side}, {self.side})"
            raise ValueError(f"images must have shape {expected}, got {tuple(x.shape)}")
        bits = F.pixel_unshuffle(x, self.block).flatten(2).long()  # (B, block ** 2, T)
        return (bits << torch.arange(bits.shape[1], device=x.device)[:, None]).sum(1)

    def images(self, tokens: Tensor) -> Tensor:
        """Undo `tokens`: int64 (B, T) -> float32 (B, 1, S, S)."""
        size = self.block**2
        bits = tokens[:, None] >> torch.arange(size, device=tokens.device)[:, None] & 1
        return F.pixel_shuffle(bits.view(-1, size, self.across, self.across).float(), self.block)

    def embed(self, tokens: Tensor, at: Tensor, y: Tensor | None) -> Tensor:
        """What positions at (P,) read of tokens (B, T): (B, P, width). Later tokens are unread."""
        outside = tokens.new_full((len(tokens), 1), self.vocabulary)
        seen = torch.cat([tokens, outside], 1)[:, self.source[at]]  # (B, P, K)
        taps = torch.arange(seen.shape[2], device=seen.device) * (self.vocabulary + 1)
        x = F.embedding_bag((seen + taps).flatten(0, 1), self.tokens_table, mode="sum")
        x = x.view(*seen.shape[:2], -1) + self.place(at)
        if self.labels is None:
            return x
        if y is None:
            raise ValueError("this model needs the labels y (B,) of its images")
        return x + self.labels[y][:, None]

    def place(self, at: Tensor) -> Tensor:
        """Embeddings of positions (P,): (P, width)."""
        if not self.factorised:
            return self.places[at]
        return self.places[at // self.across] + self.places[self.across + at % self.across]

    def read_out(self, x: Tensor) -> Tensor:
        """Logits of the next token: (B, P, width) -> (B, P, vocabulary)."""
        weight = self.tokens_table[: self.vocabulary] if self.head is None else self.head
        return F.linear(self.norm(x), weight, self.bias)

    def forward(self, tokens: Tensor, y: Tensor | None = None) -> Tensor:
        """Logits of each token given those before it: (B, T) -> (B, T, vocabulary)."""
        x = self.embed(tokens, torch.arange(self.steps, device=tokens.device), y)
        for block in self.blocks:
            x = block(x)
        return self.read_out(x)

    def terms(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """Nats that each image costs (given its label): -log p(x), (B,)."""
        tokens = self.tokens(x)
        logits = self(tokens, y).transpose(1, 2)  # (B, vocabulary, T)
        return {"nll": F.cross_entropy(logits, tokens, reduction="none").sum(1)}

    @torch.no_grad()
    def sample(
        self, n: int, y: Tensor | None = None, temperature: float = 1.0,
        given: Tensor | None = None, rows: int = 0, generator: torch.Generator | None = None,
        cached: bool = True,
    ) -> Tensor:  # fmt: skip
        """Draw n images (n, 1, S, S), 0 or 1, token by token.

        given, rows: images (n, 1, S, S) whose first rows are kept, whole blocks. temperature: by
        which logits are divided; 0 takes the most probable token. cached: keep the keys and
        values of what was read; else all is computed anew for each token, for comparison.
        """
        if n < 1 or temperature < 0 or rows % self.block:
            got = f"n={n}, temperature={temperature}, rows={rows}"
            raise ValueError(f"needs n >= 1, temperature >= 0 and rows of whole blocks, got {got}")
        if y is None and self.classes:
            y = torch.arange(n, device=self.bias.device) % self.classes
        reading = Reading(self, n, y)
        known = 0 if given is None else rows // self.block * self.across
        fixed = None if given is None else self.tokens(given)
        for t in range(self.steps):
            if fixed is not None and t < known:
                if cached:
                    reading.logits()
                reading.read(fixed[:, t])
                continue
            logits = reading.logits() if cached else self(reading.tokens, y)[:, t]
            reading.read(choose(logits, temperature, generator))
        return self.images(reading.tokens)


def embedding(n: int, width: int) -> nn.Parameter:
    """A table of n small random rows."""
    return nn.Parameter(0.1 * torch.randn(n, width))


def choose(logits: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    """Draw from softmax(logits / temperature): (n, V) -> int64 (n,); 0: the largest."""
    if temperature == 0:
        return logits.argmax(1)
    steps = (logits.double() / temperature).softmax(1).cumsum(1)
    draw = torch.rand(len(logits), 1, generator=generator, device=logits.device).double()
    return (draw * steps[:, -1:] > steps).sum(1).clamp(max=logits.shape[1] - 1)


class Reading:
    """A model that reads n images token by token, and keeps what it computed."""

    def __init__(self, model: ImageGPT, n: int, y: Tensor | None = None) -> None:
        like, width, first = model.bias, model.places.shape[1], model.blocks[0]
        heads = first.heads if isinstance(first, CausalBlock) else 1
        self.model, self.y, self.at = model, y, 0
        self.tokens = torch.zeros(n, model.steps, dtype=torch.int64, device=like.device)
        self.past = [Past(n, heads, model.steps, width // heads, like) for _ in model.blocks]

    @torch.no_grad()
    def logits(self) -> Tensor:
        """Logits of the next token (n, V); to be asked once for each token."""
        at = torch.tensor([self.at], device=self.tokens.device)
        x = self.model.embed(self.tokens, at, self.y)
        for block, past in zip(self.model.blocks, self.past, strict=True):
            x = block(x, past)
        return self.model.read_out(x)[:, 0]

    def read(self, tokens: Tensor) -> None:
        """Go on by one token of each image, (n,)."""
        self.tokens[:, self.at] = tokens
        self.at += 1
