"""Models of sequences: blocks of state spaces, a causal transformer, and laws of images."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from companion.nets.state_spaces import Selective, State

TAPS = 4  # steps that the short convolution sees
BLOCK = 2  # pixels a side of the block that is one token
KINDS = 2 ** (BLOCK * BLOCK)


class Block(nn.Module):
    """Mamba's block: widen, look a few steps back, mix along time, gate, narrow, and add.

    mixer: width -> a layer along time with `forward`, `begin` and `step`. gate: multiply by a
    second branch that sees the present step only (Gu and Dao 2023, figure 3).
    """

    def __init__(
        self, width: int, mixer: Callable[[int], nn.Module] = Selective, gate: bool = True
    ):
        super().__init__()
        wide = 2 * width
        self.norm = nn.RMSNorm(width)
        self.widen = nn.Linear(width, 2 * wide if gate else wide, bias=False)
        self.taps: Any = nn.Conv1d(wide, wide, TAPS, groups=wide)
        self.mixer: Any = mixer(wide)
        self.narrow = nn.Linear(wide, width, bias=False)
        self.gate = gate

    def finish(self, x: Tensor, mixed: Tensor, gate: list[Tensor]) -> Tensor:
        """Gate what was mixed, or only bend it; narrow it, and add it to the input."""
        bent = mixed * F.silu(gate[0]) if gate else F.silu(mixed)
        return x + self.narrow(bent)

    def forward(self, x: Tensor) -> Tensor:
        """Read a whole sequence: (B, L, W) -> (B, L, W)."""
        u, *gate = self.widen(self.norm(x)).chunk(1 + self.gate, -1)
        seen = self.taps(F.pad(u.mT, (TAPS - 1, 0))).mT  # zeros before the beginning: causal
        return self.finish(x, self.mixer(F.silu(seen)), gate)

    def begin(self, n: int) -> State:
        """The state before anything is read: the last inputs of the taps, and the mixer's."""
        last = self.narrow.weight.new_zeros(n, TAPS - 1, self.taps.in_channels)
        return last, *self.mixer.begin(n)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one step (B, W); costs the same however long the past is."""
        u, *gate = self.widen(self.norm(x)).chunk(1 + self.gate, -1)
        window = torch.cat([state[0], u[:, None]], 1)  # (B, TAPS, wide)
        seen = (window * self.taps.weight[:, 0].T).sum(1) + self.taps.bias
        mixed, after = self.mixer.step(F.silu(seen), state[1:])
        return self.finish(x, mixed, gate), (window[:, 1:], *after)


class StateSpaceModel(nn.Module):
    """Tokens (B, L) in 0..vocabulary - 1 -> logits (B, L, outputs) of what was read so far."""

    def __init__(
        self,
        vocabulary: int,
        outputs: int,
        width: int,
        layers: int,
        mixer: Callable[[int], nn.Module] = Selective,
        gate: bool = True,
    ):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.blocks: Any = nn.ModuleList(Block(width, mixer, gate) for _ in range(layers))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Read whole sequences."""
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def begin(self, n: int) -> list[State]:
        """The states of n sequences before anything is read."""
        return [block.begin(n) for block in self.blocks]

    def step(self, tokens: Tensor, states: list[State]) -> tuple[Tensor, list[State]]:
        """Read one token each (B,): logits (B, outputs), and the states after it."""
        x, after = self.embed(tokens), []
        for block, state in zip(self.blocks, states, strict=True):
            x, state = block.step(x, state)
            after.append(state)
        return self.head(self.norm(x)), after


class CausalTransformer(nn.Module):
    """The same task by causal self-attention, with sinusoidal positions of any length."""

    def __init__(self, vocabulary: int, outputs: int, width: int, layers: int, heads: int = 2):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, 0.0, F.gelu, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, outputs)

    def positions(self, length: int, width: int) -> Tensor:
        """Sines and cosines of wavelengths from 2 pi to 20,000 pi: (L, W)."""
        rate = torch.exp(-math.log(1e4) * torch.arange(0, width, 2) / width)
        angle = torch.arange(length)[:, None] * rate
        return torch.cat([angle.sin(), angle.cos()], 1).to(self.head.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Read whole sequences: (B, L) -> (B, L, outputs)."""
        x = self.embed(tokens)
        length, width = x.shape[1:]
        mask = nn.Transformer.generate_square_subsequent_mask(length, x.device, x.dtype)
        x = self.encoder(x + self.positions(length, width), mask, is_causal=True)
        return self.head(self.norm(x))


def to_tokens(images: Tensor) -> Tensor:
    """Binary images (B, 1, S, S), 0 or 1 -> tokens (B, S^2 / 4): each a block of 2 x 2 pixels.

    Blocks in raster order; within one the upper left pixel is bit 3, the lower right bit 0.
    """
    blocks = F.pixel_unshuffle(images.round(), BLOCK)  # (B, 4, S / 2, S / 2)
    bits = 2 ** torch.arange(BLOCK * BLOCK - 1, -1, -1, device=images.device)
    return (blocks.long() * bits[:, None, None]).sum(1).flatten(1)


def to_images(tokens: Tensor) -> Tensor:
    """The inverse of `to_tokens`: (B, T) -> float (B, 1, S, S)."""
    side = math.isqrt(tokens.shape[1])
    bits = torch.arange(BLOCK * BLOCK - 1, -1, -1, device=tokens.device)
    pixels = tokens.view(-1, 1, side, side) >> bits[:, None, None] & 1
    return F.pixel_shuffle(pixels.float(), BLOCK)


class SequenceLaw(nn.Module):
    """A law of binary images, token after token: p(x) = prod_t p(x_t | x_1, ..., x_{t-1}).

    network: reads KINDS + 1 tokens, the last of which stands for the beginning, and gives KINDS
    logits. It draws by its `step` if it has one, else by reading everything again.
    """

    def __init__(self, network: nn.Module, side: int = 28):
        super().__init__()
        self.network: Any = network
        self.length = (side // BLOCK) ** 2

    def logits(self, tokens: Tensor) -> Tensor:
        """Logits of each token given those before it: (B, T) -> (B, T, KINDS)."""
        return self.network(F.pad(tokens[:, :-1], (1, 0), value=KINDS))

    def token_nll(self, x: Tensor) -> Tensor:
        """Nats that each token of images (B, 1, S, S) costs: (B, T)."""
        tokens = to_tokens(x)
        return F.cross_entropy(self.logits(tokens).mT, tokens, reduction="none")

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """Nats that each image costs, exactly: -log p(x), (B,)."""
        return {"nll": self.token_nll(x).sum(1)}

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n images (n, 1, S, S), 0 or 1. Raises ValueError for fewer than one."""
        if n < 1:
            raise ValueError(f"n must be at least 1 image, got {n}")
        tokens = torch.full((n, 1), KINDS, device=next(self.parameters()).device)
        states = self.network.begin(n) if hasattr(self.network, "begin") else None
        for _ in range(self.length):
            if states is None:
                logits = self.network(tokens)[:, -1]
            else:
                logits, states = self.network.step(tokens[:, -1], states)
            drawn = torch.multinomial(logits.softmax(1), 1, generator=generator)
            tokens = torch.cat([tokens, drawn], 1)
        return to_images(tokens[:, 1:])
