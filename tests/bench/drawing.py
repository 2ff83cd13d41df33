"""Measure training on sprites and the drawing of data, in this one process.

`make bench` runs it after `run.py`. It writes the section "Drawn data" of `book/benchmarks.md`.
"""

from collections.abc import Callable
from functools import partial

import torch
from images import BATCH, IMAGES, Row, compare, step
from page import put
from torch import Tensor, nn
from turns import epoch_of, machine, seconds

from companion.data import dsprites
from companion.data.drawing.faces import draw as draw_faces
from companion.experiments import beta_vae
from companion.models.vae import VAE
from companion.nets import sprite_decoder, sprite_encoder
from companion.objectives import negative_elbo
from companion.recipes import Player, Recipe

TITLE = "## Drawn data"


def sprites() -> Tensor:
    """The first packed training images."""
    return dsprites.pack(dsprites.draw(dsprites.factors_of(dsprites.shuffle()[0][:IMAGES])))


def trainer(fast: bool) -> Callable[[], None]:
    """One epoch of the book's trainer, as the chapter trains, or with the rival's arithmetic."""
    recipe = beta_vae()
    if not fast:
        model = network()
        players = {"vae": Player(model, negative_elbo)}
        recipe = Recipe(model, players, recipe.data, BATCH, precision="no")
    return epoch_of(recipe, sprites(), dsprites.FORMS)


def network() -> VAE:
    """The chapter's VAE, as anybody would build it."""
    torch.manual_seed(0)
    return VAE(sprite_encoder(20), sprite_decoder(10), 10)


def published_network() -> VAE:
    """The VAE of Burgess et al. 2018: four convolutions each way."""
    dense = [nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 20)]
    down, up = [], []
    for before in (1, 32, 32, 32):
        down += [nn.Conv2d(before, 32, 4, stride=2, padding=1), nn.ReLU()]
    for after in (32, 32, 32, 1):
        up += [nn.ReLU(), nn.ConvTranspose2d(32, after, 4, stride=2, padding=1)]
    back = [nn.Linear(10, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 512)]
    encoder = nn.Sequential(*down, nn.Flatten(), *dense)
    return VAE(encoder, nn.Sequential(*back, nn.Unflatten(1, (32, 4, 4)), *up), 10)


def bare_loop(model: VAE) -> Callable[[], None]:
    """A hand-written float32 loop over the same images, held as floats in memory."""
    images = dsprites.unpack(sprites())
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def epoch() -> None:
        for index in torch.randperm(IMAGES).split(BATCH):
            step(model, optimizer, images[index])

    return epoch


def rate(draw: Callable[[int], object], n: int) -> float:
    """Pictures drawn in a second, the best of three times."""
    return n / min(seconds(partial(draw, n)) for _ in range(3))


def rows() -> list[Row]:
    """Measure a training step on sprites."""
    beside = partial(compare, "β-VAE on dSprites, 1 × 64 × 64")
    same = "hand-written loop, same arithmetic"
    plain = "plain float32 loop; ours channels last, bf16 where the hardware has it"
    theirs = "the same with the network of Burgess et al. 2018 in the plain loop"
    return [
        beside(same, trainer(fast=False), bare_loop(network()), "≥ 0.95"),
        beside(plain, trainer(fast=True), bare_loop(network()), "≥ 1.25"),
        beside(theirs, trainer(fast=True), bare_loop(published_network()), "≥ 1.25"),
    ]


def main() -> None:
    """Measure, and put the section in its place on the page."""
    lines = [
        TITLE,
        "",
        f"Measured on: {machine()}, torch {torch.__version__}, batches of {BATCH}, one process.",
        "In the first table both sides took turns; the ratio is the median over eight pairs.",
        "",
        "| case | rival | ours, images/s | rival, images/s | ratio | target |",
        "| :-- | :-- | --: | --: | --: | --: |",
    ]
    for r in rows():
        speeds = f"{r.ours:,.0f} | {r.theirs:,.0f} | {r.ratio:.2f}"
        lines.append(f"| {r.case} | {r.rival} | {speeds} | {r.target} |")
    factors = dsprites.factors_of(dsprites.shuffle()[0])
    drawn = {
        ("dSprites", dsprites.ROWS, 120): rate(lambda n: dsprites.draw(factors[:n]), 40_960),
        ("faces, 128 × 128", 20_000, 60): rate(draw_faces, 1000),
    }
    lines += [
        "",
        "Seconds for all are those of a part, scaled up.",
        "",
        "| drawing | images/s | all | seconds for all | target |",
        "| :-- | --: | --: | --: | --: |",
    ]
    for (name, n, target), speed in drawn.items():
        lines.append(f"| {name} | {speed:,.0f} | {n:,} | {n / speed:.0f} | ≤ {target} |")
    text = "\n".join(lines) + "\n"
    put(text, TITLE)
    print(text)


if __name__ == "__main__":
    main()
