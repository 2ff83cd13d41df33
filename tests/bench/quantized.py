"""A training step of a VQ-VAE beside pythae's and vector-quantize-pytorch's.

python tests/bench/quantized.py    write the section of `book/benchmarks.md`

All have this book's encoder and decoder, a codebook that follows by averages, the same commitment
and Adam. A step is the loss, its gradient and the update of network and codebook. "codes alone"
leaves encoder and decoder out: what is timed is the choice, the update and its gradient.
"""

from collections.abc import Callable
from typing import Any

import torch
from page import put
from torch import Tensor, nn
from torch.nn import functional as F
from turns import away, duel, module, step_of

from companion.models.quantized import VectorQuantised
from companion.nets.grids import grid_decoder, grid_encoder
from companion.objectives.quantized import straight_through

TITLE = "## Quantised codes"
SIZES, DEPTH, BATCH, WEIGHT, TURNS = (64, 512), 16, 128, 0.25, 9
AIMS = {"pythae": 2.0, "vector-quantize-pytorch": 1.2}
Coder = Callable[[Tensor], tuple[Tensor, Tensor]]  # z (B, D, 7, 7) -> codes as z, commitment


class Ours(nn.Module):
    """The book's codebook."""

    def __init__(self, codes: int) -> None:
        super().__init__()
        self.book = VectorQuantised(nn.Identity(), nn.Identity(), codes, DEPTH)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        raw = self.book.raw(z)
        tokens = self.book.choose(raw)
        e = self.book.vectors(tokens)
        self.book.follow(raw.detach().flatten(0, 1), tokens.flatten())
        through = straight_through(raw, e).transpose(1, 2).unflatten(2, (7, 7))
        return through, (raw - e).square().mean()


class Pythae(nn.Module):
    """pythae's QuantizerEMA."""

    def __init__(self, codes: int) -> None:
        super().__init__()
        config = module("pythae.models").VQVAEConfig(
            input_dim=(1, 28, 28), latent_dim=DEPTH, num_embeddings=codes, use_ema=True,
            decay=0.99, commitment_loss_factor=1.0,
        )  # fmt: skip
        config.embedding_dim = DEPTH
        self.book = module("pythae.models.vq_vae.vq_vae_utils").QuantizerEMA(config)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        found = self.book(z.permute(0, 2, 3, 1))
        return found.quantized_vector, found.loss


class Lucid(nn.Module):
    """vector-quantize-pytorch's VectorQuantize, with dead codes that begin anew as ours do."""

    def __init__(self, codes: int) -> None:
        super().__init__()
        self.book = module("vector_quantize_pytorch").VectorQuantize(
            dim=DEPTH, codebook_size=codes, decay=0.99, threshold_ema_dead_code=1,
            commitment_weight=1.0, accept_image_fmap=True, rotation_trick=False,
        )  # fmt: skip

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        quantized, _, loss = self.book(z)
        return quantized, loss.sum()


RIVALS: dict[str, Callable[[int], nn.Module]] = {
    "pythae": Pythae,
    "vector-quantize-pytorch": Lucid,
}


def whole(coder: nn.Module) -> Callable[[], None]:
    """A step of encoder, codes and decoder."""
    torch.manual_seed(0)
    net = nn.ModuleList([grid_encoder(DEPTH), coder, grid_decoder(DEPTH)])
    net.to(memory_format=torch.channels_last)
    x = torch.rand(BATCH, 1, 28, 28).round()

    def loss() -> Tensor:
        codes, apart = net[1](net[0](x))
        fit = F.binary_cross_entropy_with_logits(net[2](codes), x, reduction="sum") / BATCH
        return fit + WEIGHT * apart

    return step_of(net, loss, lr=2e-3)


def alone(coder: nn.Module) -> Callable[[], None]:
    """A step of the codes, on vectors that the encoder might have said."""
    torch.manual_seed(0)
    z = torch.randn(BATCH, DEPTH, 7, 7, requires_grad=True)

    def step() -> None:
        codes, apart = coder(z)
        torch.autograd.grad(codes.sum() + WEIGHT * apart, z)

    return step


def main() -> None:
    """Measure, print, and write the section."""
    missing: Any = away("pythae", "vector-quantize-pytorch")
    lines = [
        TITLE, "",
        f"{BATCH} images, 49 places, vectors of {DEPTH} numbers; {torch.get_num_threads()} "
        f"threads, torch {torch.__version__}. Rivals: pythae 0.1.2 (`QuantizerEMA`) and "
        "vector-quantize-pytorch 1.32.0, in the book's encoder and decoder."
        + (f" Not installed here: {', '.join(missing)}." if missing else ""),
        "", "| step | rival | codes | ours, ms | rival, ms | ratio | aim |",
        "| :-- | :-- | --: | --: | --: | --: | --: |",
    ]  # fmt: skip
    for name, rival in RIVALS.items():
        for what, step in {"whole": whole, "codes alone": alone}.items():
            for codes in SIZES if name not in missing else ():
                fast, slow, ratio = duel(step(Ours(codes)), step(rival(codes)), TURNS, 0.1)
                lines.append(
                    f"| {what} | {name} | {codes} | {1000 * fast:.1f} | {1000 * slow:.1f} | "
                    f"{ratio:.2f} | {AIMS[name]} |"
                )
                print(lines[-1], flush=True)
    put("\n".join(lines) + "\n", TITLE)


if __name__ == "__main__":
    main()
