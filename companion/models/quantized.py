"""Autoencoders whose code is a grid of symbols: VQ-VAE, discrete VAE, finite scalars."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from companion.models.likelihoods import Bernoulli
from companion.words import at_least

SIDE = 7  # of the grid
REVIVED = 1.0  # a code that fewer vectors of a batch choose, on average, is dead


def nearest(z: Tensor, codebook: Tensor) -> Tensor:
    """Number of the row of the codebook (K, D) that is nearest to each of z (N, D): int64 (N,).

    By |e|^2 - 2 z e, one product of matrices: |z|^2 is the same for all rows.
    """
    return torch.addmm(codebook.square().sum(1), z, codebook.T, alpha=-2).argmin(1)


class Coded(nn.Module):
    """What the three have in common: tokens (B, 49), their vectors, a decoder, a uniform prior.

    encoder: images (B, 1, 28, 28) -> (B, C, 7, 7); decoder: (B, D, 7, 7) -> logits of pixels.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, vocabulary: int) -> None:
        super().__init__()
        at_least(2, vocabulary=vocabulary)
        self.encoder, self.decoder, self.vocabulary = encoder, decoder, vocabulary

    def raw(self, x: Tensor) -> Tensor:
        """What the encoder says of each place: (B, 1, 28, 28) -> (B, 49, C)."""
        return self.encoder(x).float().flatten(2).transpose(1, 2)

    def choose(self, raw: Tensor) -> Tensor:
        """The symbol of each place: (B, 49, C) -> int64 (B, 49)."""
        raise NotImplementedError

    def vectors(self, tokens: Tensor) -> Tensor:
        """What the decoder sees of symbols: int64 (B, 49) -> (B, 49, D)."""
        raise NotImplementedError

    def tokens(self, x: Tensor) -> Tensor:
        """The symbols of images, deterministic: (B, 1, 28, 28) -> int64 (B, 49)."""
        return self.choose(self.raw(x))

    def code(self, x: Tensor) -> Tensor:
        """The symbols' vectors in one row: (B, 1, 28, 28) -> (B, 49 D)."""
        return self.vectors(self.tokens(x)).flatten(1)

    def decode(self, vectors: Tensor) -> Bernoulli:
        """Distribution over images: (B, 49, D) -> p(x | z) on (B, 1, 28, 28)."""
        return Bernoulli(self.decoder(vectors.transpose(1, 2).unflatten(2, (SIDE, SIDE))).float())

    def seen(self, tokens: Tensor) -> Bernoulli:
        """Distribution over images given their symbols: int64 (B, 49) -> p(x | tokens)."""
        return self.decode(self.vectors(tokens))

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """Nats that each image costs: distortion at its symbols, and log K for each symbol.

        Their sum is at least -log p(x), under the uniform prior.
        """
        distortion = -self.seen(self.tokens(x)).log_prob(x)
        rate = SIDE**2 * math.log(self.vocabulary)
        return {"distortion": distortion, "rate": torch.full_like(distortion, rate)}

    def sample(self, n: int) -> Tensor:
        """Draw n images: symbols from the uniform prior, then the mean; (n, 1, 28, 28)."""
        at_least(1, n=n)
        device = next(self.parameters()).device
        return self.seen(torch.randint(self.vocabulary, (n, SIDE**2), device=device)).mean


class VectorQuantised(Coded):
    """VQ-VAE with a codebook that follows its vectors by averages (van den Oord et al. 2017).

    depth: D, of a vector; decay: of the averages; revive: a dead code begins anew at a vector of
    the batch (Dhariwal et al. 2020, section 3). The codebook is a buffer: no gradient moves it.
    """

    codebook: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, vocabulary: int, depth: int,
        decay: float = 0.99, revive: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(encoder, decoder, vocabulary)
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self.decay, self.revive = decay, revive
        start = torch.randn(vocabulary, depth)
        self.register_buffer("codebook", start)
        self.register_buffer("counts", torch.ones(vocabulary))
        self.register_buffer("sums", start.clone())

    def choose(self, raw: Tensor) -> Tensor:
        return nearest(raw.reshape(-1, raw.shape[-1]), self.codebook).view(raw.shape[:-1])

    def vectors(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self.codebook)

    @torch.no_grad()
    def follow(self, z: Tensor, tokens: Tensor) -> None:
        """Move the codebook towards the means of the vectors z (N, D) that chose each code (N,).

        van den Oord et al. 2017, appendix A.1: averages of counts and of sums, and their ratio.
        """
        chosen = torch.bincount(tokens, minlength=self.vocabulary).to(z.dtype)
        total = torch.zeros_like(self.sums).index_add_(0, tokens, z)
        self.counts.lerp_(chosen, 1 - self.decay)
        self.sums.lerp_(total, 1 - self.decay)
        if self.revive:
            dead = self.counts < REVIVED
            rows = z[torch.randint(len(z), (self.vocabulary,), device=z.device)]
            self.counts.masked_fill_(dead, REVIVED)
            self.sums.copy_(torch.where(dead[:, None], REVIVED * rows, self.sums))
        known = self.counts > 1e-6  # a ratio of two numbers that fade away together
        mean = self.sums / self.counts.clamp_min(1e-6)[:, None]
        self.codebook.copy_(torch.where(known[:, None], mean, self.codebook))


class DiscreteVAE(Coded):
    """The encoder gives logits over K symbols at each place; the prior is uniform.

    Jang et al. 2017, Maddison et al. 2017: a Gumbel-softmax draw is differentiable.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, vocabulary: int, depth: int
    ) -> None:
        super().__init__(encoder, decoder, vocabulary)
        self.codebook = nn.Parameter(torch.randn(vocabulary, depth))

    def choose(self, raw: Tensor) -> Tensor:
        return raw.argmax(-1)

    def vectors(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self.codebook)

    def relaxed(self, logits: Tensor, temperature: float) -> Tensor:
        """Mix vectors by a Gumbel-softmax draw: (B, 49, K) -> (B, 49, D)."""
        return F.softmax((logits + gumbel_like(logits)) / temperature, -1) @ self.codebook

    def rate(self, logits: Tensor) -> Tensor:
        """KL(q || uniform), summed over places: (B, 49, K) -> (B,) nats."""
        log_q = F.log_softmax(logits, -1)
        return ((log_q.exp() * log_q).sum(-1) + math.log(self.vocabulary)).sum(-1)

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """The two terms of the negative bound, at a true draw of the symbols: (B,) nats each."""
        logits = self.raw(x)
        tokens = (logits + gumbel_like(logits)).argmax(-1)
        return {"distortion": -self.seen(tokens).log_prob(x), "rate": self.rate(logits)}


def gumbel_like(logits: Tensor) -> Tensor:
    """Independent standard Gumbel noise: -log of an exponential number."""
    return -torch.empty_like(logits).exponential_().log()


class FiniteScalars(Coded):
    """Each of a few numbers is rounded to one of so many levels: no codebook to collapse.

    Mentzer et al. 2024; levels: of each number, the first the most significant in a token.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, levels: tuple[int, ...]) -> None:
        if not levels or min(levels) < 2:
            raise ValueError(f"levels must be two or more of each number, got {levels}")
        super().__init__(encoder, decoder, math.prod(levels))
        self.levels = tuple(levels)
        grid = torch.cartesian_prod(*(torch.arange(n) for n in levels)).view(-1, len(levels))
        self.register_buffer("grid", grid.float(), persistent=False)

    def bounded(self, raw: Tensor) -> Tensor:
        """Squeeze each number between -1/2 and its last level + 1/2: (..., C) -> (..., C)."""
        top = raw.new_tensor(self.levels)
        return top * torch.sigmoid(raw) - 0.5

    def rounded(self, raw: Tensor) -> Tensor:
        """The level of each number, a whole one: (..., C) -> (..., C)."""
        top = raw.new_tensor(self.levels) - 1
        return torch.minimum(self.bounded(raw).round().clamp_min(0), top)

    def choose(self, raw: Tensor) -> Tensor:
        whole, place = self.rounded(raw).long(), 1
        tokens = torch.zeros_like(whole[..., 0])
        for axis in reversed(range(len(self.levels))):
            tokens = tokens + place * whole[..., axis]
            place *= self.levels[axis]
        return tokens

    def centred(self, whole: Tensor) -> Tensor:
        """Levels 0..n - 1 as numbers from -1 to 1."""
        return 2 * whole / (whole.new_tensor(self.levels) - 1) - 1

    def vectors(self, tokens: Tensor) -> Tensor:
        return self.centred(F.embedding(tokens, self.grid))  # type: ignore[arg-type]
