"""Measure adversarial training and Fréchet statistics beside other programs, in this one process.

It writes the section "Adversarial models" of `book/benchmarks.md`.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from page import put
from torch import Tensor, nn
from torch.nn import functional as F
from turns import Row, duel, epoch_of, machine, peak

from companion.experiments import gan, wgan
from companion.metrics import gaussian_distance
from companion.nets import image_critic, image_generator

TITLE = "## Adversarial models"
BATCH = 64
IMAGES = 1920  # 15 steps of the GAN, 5 of the Wasserstein GAN
TURNS = 8
Side = Callable[[], None]


def pictures() -> Tensor:
    """Random grey images as they are stored: uint8 (IMAGES, 1, 28, 28)."""
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (IMAGES, 1, 28, 28), dtype=torch.uint8, generator=draw)


def trainer(critic_updates: int, fast: bool) -> Side:
    """One epoch of the book's trainer, as the chapter trains, or with the rival's arithmetic."""
    recipe = gan() if critic_updates == 1 else wgan(critic_updates=critic_updates)
    if not fast:
        recipe.model.to(memory_format=torch.contiguous_format)
        recipe = replace(recipe, precision="no")
    return epoch_of(recipe, pictures())


def players(rate: float, beta1: float, beta2: float) -> tuple[nn.Module, nn.Module, list]:
    """The networks of the chapter and their optimizers, as anybody would build them."""
    nets = image_generator(), image_critic()
    return *nets, [
        torch.optim.Adam(n.parameters(), rate, (beta1, beta2), fused=True) for n in nets
    ]


def batches(draws: int) -> list[tuple[Tensor, ...]]:
    """Shuffled batches of real images in [0, 1], `draws` for each step."""
    images = pictures()
    found = [images[i].float() / 255 for i in torch.randperm(IMAGES).split(BATCH)]
    return [tuple(found[i : i + draws]) for i in range(0, len(found), draws)]


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Move one player once."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def bare_gan() -> Side:
    """The loop of a GAN as tutorials write it: real and fake images apart, `detach`."""
    generator, critic, (g, d) = players(2e-4, 0.5, 0.999)

    def epoch() -> None:
        for real, _ in batches(2):
            one, zero = torch.ones(len(real)), torch.zeros(len(real))
            fake = generator(torch.randn(len(real), 100))
            entropy = F.binary_cross_entropy_with_logits(critic(real), one)
            other = F.binary_cross_entropy_with_logits(critic(fake.detach()), zero)
            descend(d, entropy + other)
            fake = generator(torch.randn(len(real), 100))
            descend(g, F.binary_cross_entropy_with_logits(critic(fake), one))

    return epoch


def bare_wgan() -> Side:
    """The loop of a Wasserstein GAN with gradient penalty, five critic updates in each step."""
    generator, critic, (g, d) = players(1e-4, 0.0, 0.9)

    def epoch() -> None:
        for *five, last in batches(6):
            for real in five:
                fake = generator(torch.randn(len(real), 100)).detach()
                share = torch.rand(len(real), 1, 1, 1)
                x = (share * real + (1 - share) * fake).requires_grad_()
                (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
                penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
                descend(d, critic(fake).mean() - critic(real).mean() + 10 * penalty)
            descend(g, -critic(generator(torch.randn(len(last), 100))).mean())

    return epoch


def torchgan_epoch(critic_updates: int) -> Side:
    """The same steps by torchgan's own trainer, with our networks; its losses and its logs."""
    from torchgan import losses
    from torchgan.models import Discriminator, Generator
    from torchgan.trainer import Trainer

    class Drawing(Generator):
        def __init__(self) -> None:
            super().__init__(100)
            self.network = image_generator()

        def forward(self, z: Tensor) -> Tensor:
            return self.network(z)

    class Judging(Discriminator):
        def __init__(self) -> None:
            super().__init__(1)
            self.network = image_critic()

        def forward(self, x: Tensor) -> Tensor:
            return self.network(x)

    rate, betas = (2e-4, (0.5, 0.999)) if critic_updates == 1 else (1e-4, (0.0, 0.9))
    adam = {"name": torch.optim.Adam, "args": {"lr": rate, "betas": betas, "fused": True}}
    nets = {"generator": Drawing, "discriminator": Judging}
    models = {key: {"name": kind, "optimizer": adam} for key, kind in nets.items()}
    kinds = ["MinimaxGeneratorLoss", "MinimaxDiscriminatorLoss"]
    if critic_updates > 1:
        kinds = ["WassersteinGeneratorLoss", "WassersteinDiscriminatorLoss"]
        kinds.append("WassersteinGradientPenalty")
    folder = tempfile.mkdtemp()
    theirs = Trainer(
        models, [getattr(losses, kind)() for kind in kinds], device=torch.device("cpu"),
        ncritic=critic_updates, checkpoints=f"{folder}/m/", recon=f"{folder}/r",
    )  # fmt: skip
    theirs.batch_size = BATCH

    def epoch() -> None:
        for step in batches(critic_updates + 1):
            for real in step[:critic_updates]:
                theirs.real_inputs = real
                *_, d, g = theirs.train_iter()
                theirs.loss_information["discriminator_iters"] += d
                theirs.loss_information["generator_iters"] += g

    return epoch


def training_rows() -> list[Row]:
    """Both kinds of training against a loop by hand and against a library."""
    found = []
    for case, updates, bare in (("GAN step", 1, bare_gan), ("WGAN-GP step", 5, bare_wgan)):
        seen = IMAGES * updates / (updates + 1)  # real images that the critic saw
        rivals: list[tuple[str, bool, Side, str]] = [
            ("hand-written loop, same arithmetic", False, bare(), "≥ 0.95"),
            ("hand-written float32 loop; ours as the chapter trains", True, bare(), "> 1"),
        ]
        try:
            rival = torchgan_epoch(updates)
            rivals.append(("torchgan 0.1.0, same arithmetic", False, rival, "> 1"))
        except ImportError:
            print("torchgan is not installed: its rows are left out")
        for name, fast, theirs, target in rivals:
            a, b, ratio = duel(trainer(updates, fast), theirs, TURNS)
            row = {"case": case, "rival": name, "ratio": ratio, "target": target}
            found.append({**row, "ours": f"{seen / a:,.0f}/s", "theirs": f"{seen / b:,.0f}/s"})
    return found


def moments(seed: int, n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of n correlated features of d dimensions."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) / d**0.5 + 0.1
    return x.mean(0), np.cov(x, rowvar=False)


def distance_rows() -> list[Row]:
    """The distance of known moments in Inception's 2,048 dimensions, where pytorch-fid is."""
    try:
        from pytorch_fid.fid_score import calculate_frechet_distance
    except ImportError:
        return []
    four = [part for seed in (0, 1) for part in moments(seed, 4096, 2048)]
    ours = partial(gaussian_distance, *map(torch.from_numpy, four))
    theirs = partial(calculate_frechet_distance, *four)
    apart = abs(ours().item() / theirs() - 1)
    assert apart < 1e-4, f"pytorch-fid differs by {apart}"
    a, b, ratio = duel(ours, theirs, TURNS)
    row = {"case": f"Fréchet distance, 2,048 dimensions (apart: {apart:.0e})", "ratio": ratio}
    row |= {"ours": f"{a:.1f} s", "theirs": f"{b:.1f} s", "rival": "pytorch-fid 0.3.0"}
    return [{**row, "target": "≥ 4"}]


def section(found: list[Row], gigabytes: float) -> str:
    """Write the part of the page."""
    lines = [
        TITLE,
        "",
        f"The chapters' networks on 28 × 28 images, batches of {BATCH}; real images a second that",
        "the critic saw, which moved once (GAN) or five times for each move of the generator.",
        f"Measured on: {machine()}, one process,",
        f"torch {torch.__version__}; peak memory of all that training: {gigabytes:.2f} GB.",
        f"Both sides took turns; the ratio is the median over {TURNS} pairs of turns.",
        "",
        "| case | rival | ours | rival's | ratio | target |",
        "| :-- | :-- | --: | --: | --: | --: |",
    ]
    for r in found:
        both = f"{r['ours']} | {r['theirs']}"
        lines.append(f"| {r['case']} | {r['rival']} | {both} | {r['ratio']:.2f} | {r['target']} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and put the section in its place on the page."""
    found = training_rows()
    gigabytes = peak()
    text = section([*found, *distance_rows()], gigabytes)
    put(text, TITLE)
    print(text)


if __name__ == "__main__":
    main()
