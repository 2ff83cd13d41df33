"""Image GPT beside x-transformers, a minGPT-style model and Hugging Face's: drawing, training.

python tests/bench/autoregressive.py    write the section of `book/benchmarks.md`

All have width 128, four layers and four heads, 256 tokens of 16 symbols (0.83 million weights).
Ours learns through the book's trainer; the others by a plain loop. x-transformers and
transformers, whose ImageGPT is only trained, are measured where they are installed, and the
section says so where they are not.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
from page import put
from torch import Tensor, nn
from torch.nn import functional as F
from turns import away, count, duel, machine, step_of

from companion.experiments import image_gpt
from companion.models.image_gpt import ImageGPT
from companion.recipes import Player
from companion.train.state import State

TITLE = "## Image GPT"
WIDTH, LAYERS, HEADS, SIDE, STEPS, VOCABULARY = 128, 4, 4, 32, 256, 16
DRAWN, BATCH, TURNS = 16, 32, 3


class Block(nn.Module):
    """A block as minGPT writes it; fused: by torch's kernel, else by softmax of masked scores."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.one, self.two = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        parts = self.qkv(self.one(x)).split(WIDTH, 2)
        q, k, v = (part.view(b, t, HEADS, -1).transpose(1, 2) for part in parts)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            score = q @ k.transpose(2, 3) / math.sqrt(k.shape[3])
            score = score.masked_fill(torch.ones(t, t).tril() == 0, float("-inf"))
            y = score.softmax(3) @ v
        x = x + self.out(y.transpose(1, 2).reshape(b, t, WIDTH))
        return x + self.mlp(self.two(x))


class MinGPT(nn.Module):
    """A GPT without a cache, whose start is symbol 16."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(17, WIDTH), nn.Embedding(STEPS, WIDTH)
        self.blocks = nn.Sequential(*(Block(fused) for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY)

    def forward(self, read: Tensor) -> Tensor:
        x = self.words(read) + self.places(torch.arange(read.shape[1]))
        return self.head(self.norm(self.blocks(x)))

    def loss(self, tokens: Tensor) -> Tensor:
        read = F.pad(tokens[:, :-1], (1, 0), value=VOCABULARY)
        return F.cross_entropy(self(read).transpose(1, 2), tokens)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        read = torch.full((n, 1), VOCABULARY)
        for _ in range(STEPS):
            law = self(read[:, -STEPS:])[:, -1].softmax(1)
            read = torch.cat([read, torch.multinomial(law, 1)], 1)
        return read[:, 1:]


class Theirs(nn.Module):
    """x-transformers' decoder of the same size, with its own cache and wrapper."""

    def __init__(self) -> None:
        super().__init__()
        from x_transformers import AutoregressiveWrapper, Decoder, TransformerWrapper

        decoder: Any = Decoder(
            dim=WIDTH, depth=LAYERS, heads=HEADS, attn_dim_head=WIDTH // HEADS, attn_flash=True
        )
        net = TransformerWrapper(num_tokens=17, max_seq_len=STEPS + 1, attn_layers=decoder)
        self.net = AutoregressiveWrapper(net)

    def loss(self, tokens: Tensor) -> Tensor:
        return self.net(F.pad(tokens, (1, 0), value=VOCABULARY))

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        start = torch.full((n, 1), VOCABULARY)
        return self.net.generate(start, STEPS, cache_kv=True, temperature=1.0)


class HuggingFace(nn.Module):
    """The ImageGPT of transformers at the same size; it computes a loss, and is not drawn from."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import ImageGPTConfig, ImageGPTForCausalImageModeling

        made: Any = ImageGPTConfig(
            vocab_size=VOCABULARY + 1, n_positions=STEPS, n_embd=WIDTH, n_layer=LAYERS,
            n_head=HEADS, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False,
        )  # fmt: skip
        self.net = ImageGPTForCausalImageModeling(made)

    def loss(self, tokens: Tensor) -> Tensor:
        read = F.pad(tokens[:, :-1], (1, 0), value=VOCABULARY)
        logits = self.net(input_ids=read).logits
        return F.cross_entropy(logits.transpose(1, 2), tokens)


def our_step(model: ImageGPT, x: Tensor) -> Callable[[], object]:
    """One step of the book's trainer."""
    recipe = image_gpt()
    [player] = recipe.players.values()
    ours = Player(model, player.loss, player.optimizer, player.schedule)
    state = State(replace(recipe, model=model, players={"model": ours}, precision="no"))
    return lambda: state.update("model", (x, torch.zeros(len(x))), 0, 0.5)


def main() -> None:
    """Measure, print, and write the section."""
    torch.manual_seed(0)
    ours = ImageGPT(WIDTH, LAYERS, HEADS, side=SIDE, factorised=False)
    rivals: dict[str, Any] = {"minGPT-style, no cache": MinGPT(False)}
    rivals["the same, fused attention"] = MinGPT(True)
    others = {"x-transformers": Theirs, "transformers": HuggingFace}
    missing = away(*others)
    rivals |= {f"{n} {version(n)}": of() for n, of in others.items() if n not in missing}
    x = torch.bernoulli(torch.full((BATCH, 1, SIDE, SIDE), 0.2))
    tokens = ours.tokens(x)
    lines = [
        TITLE, "",
        f"Width {WIDTH}, {LAYERS} layers, {STEPS} tokens, {count(ours):,} weights; "
        f"{machine()}, torch {torch.__version__}. "
        f"Drawing {DRAWN} images, and one training step of {BATCH}; medians of {TURNS} turns."
        + "".join(f" {n} was not installed." for n in missing),
        "", "| case | rival | ours, s | rival, s | ratio |", "| :-- | :-- | --: | --: | --: |",
    ]  # fmt: skip
    learn = our_step(ours, x)
    for name, rival in rivals.items():
        cases = {
            "drawing": (lambda: ours.sample(DRAWN), lambda r=rival: r.sample(DRAWN)),
            "a step of training": (
                learn,
                step_of(rival, lambda r=rival: r.loss(tokens), clip=1.0, lr=1e-3),
            ),
        }
        if not hasattr(rival, "sample"):
            del cases["drawing"]
        for case, (mine, theirs) in cases.items():
            a, b, ratio = duel(mine, theirs, TURNS)
            lines.append(f"| {case} | {name} | {a:.2f} | {b:.2f} | {ratio:.2f} |")
            print(lines[-1], flush=True)
    put("\n".join(lines) + "\n", TITLE)


if __name__ == "__main__":
    main()
