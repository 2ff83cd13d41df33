"""Measure diffusion beside other libraries, in this one process: training, drawing, and quality.

`make bench` runs it; every model has the same task (velocity, the cosine schedule of 1,000 steps,
no labels, Adam at 1e-3, batches of 128) and its own library's network of about the size of ours,
training step and sampler. It writes the section "Diffusion" of `book/benchmarks.md`.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import count as count_up
from itertools import cycle

import torch
from page import put
from torch import Tensor
from turns import count, duel, machine, peak, step_of

from companion.data import load, signed, unit
from companion.experiments import ddpm, extractor_of
from companion.metrics import Frechet
from companion.samplers.diffusion import from_fixed_noise as drawn
from companion.train.state import State

TITLE = "## Diffusion"
BATCH, STEPS, SIDE = 128, 50, 28
TURNS = 3
SECONDS = 300.0  # of processor time, that each is trained before its images are judged
JUDGED = 500
ADAM = {"clip": 1.0, "lr": 1e-3, "betas": (0.9, 0.99), "fused": True}  # as the book's recipe
DATA = load("mnist")
IMAGES = DATA.train[0]


@dataclass
class Entrant:
    """A model in training: `update` is one step, `draw` makes n images (n, 1, 28, 28)."""

    name: str
    weights: int
    update: Callable[[], None]
    draw: Callable[[int], Tensor]


def shuffled() -> Iterator[Tensor]:
    """Batches of stored images, again and again."""
    return cycle(IMAGES[torch.randperm(len(IMAGES))][: 300 * BATCH].split(BATCH))


def book(precision: str = "auto") -> Entrant:
    """The book's recipe in its trainer, without labels and without an average."""
    recipe = replace(ddpm(labels=False, ema=0.0), precision=precision)
    state, stream = State(recipe), shuffled()
    steps = count_up()

    def update() -> None:
        state.update("denoiser", (signed(next(stream)),), next(steps), 1.0)

    def draw(n: int) -> Tensor:
        found = drawn(state.model.eval(), n, STEPS)
        state.model.train()
        return found

    name = "ours" if precision == "auto" else "ours, float32"
    return Entrant(name, count(recipe.model.net), update, draw)


def lucidrains() -> Entrant:
    """denoising-diffusion-pytorch: its Unet and GaussianDiffusion."""
    import denoising_diffusion_pytorch.denoising_diffusion_pytorch as library

    library.tqdm = lambda steps, **_: steps  # no bar for every image
    net = library.Unet(dim=32, dim_mults=(1, 2, 4), channels=1, flash_attn=True)
    model = library.GaussianDiffusion(
        net, image_size=SIDE, sampling_timesteps=STEPS, objective="pred_v", beta_schedule="cosine"
    )
    stream = shuffled()
    update = step_of(net, lambda: model(unit(next(stream))), **ADAM)

    def draw(n: int) -> Tensor:
        return torch.cat([model.sample(min(250, n - k)) for k in range(0, n, 250)]).clamp(0, 1)

    name = "denoising-diffusion-pytorch"
    return Entrant(f"{name} {version(name)}", count(net), update, draw)


def huggingface() -> Entrant:
    """diffusers: UNet2DModel with attention at 7 x 7, DDPMScheduler, and DDIMScheduler to draw."""
    from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel

    net = UNet2DModel(
        sample_size=SIDE, in_channels=1, out_channels=1, block_out_channels=(32, 64, 128),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"), norm_num_groups=8,
    )  # fmt: skip
    task = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}
    noising, stream = DDPMScheduler(1000, **task), shuffled()

    def loss() -> Tensor:
        x = 2 * unit(next(stream)) - 1
        t, noise = torch.randint(0, 1000, (len(x),)), torch.randn_like(x)
        guess = net(noising.add_noise(x, noise, t), t).sample
        return (guess - noising.get_velocity(x, noise, t)).square().mean()

    @torch.no_grad()
    def draw(n: int) -> Tensor:
        sampler, x = DDIMScheduler(1000, **task), torch.randn(n, 1, SIDE, SIDE)
        sampler.set_timesteps(STEPS)
        for t in sampler.timesteps:
            guess = torch.cat([net(part, t).sample for part in x.split(250)])
            x = sampler.step(guess, t, x).prev_sample
        return ((x + 1) / 2).clamp(0, 1)

    return Entrant(
        f"diffusers {version('diffusers')}", count(net), step_of(net, loss, **ADAM), draw
    )


def quality(make: Callable[[], Entrant], frechet: Frechet) -> str:
    """Train anew for SECONDS of processor time and judge the images: a row of the table."""
    entrant = make()
    start, steps = time.process_time(), 0
    while time.process_time() - start < SECONDS:
        entrant.update()
        steps += 1
    found = frechet.distance(entrant.draw(JUDGED))
    row = f"| {entrant.name} | {entrant.weights / 1e6:.2f} | {steps * BATCH:,}"
    return f"{row} | {found.value:.1f} ± {found.error:.1f} |"


def main() -> None:
    """Measure, and put the section in its place on the page."""
    torch.manual_seed(0)
    ours = book()
    ours.update()
    memory, lines = peak(), []  # before anything else is loaded
    plain, rivals = book("no"), [lucidrains(), huggingface()]
    for rival in rivals:
        for mine, target in ((ours, "≥ 3"), (plain, "none")):
            a, b, ratio = duel(mine.update, rival.update, TURNS)
            row = f"| training, {mine.name} | {rival.name} | {BATCH / a:,.0f} images/s"
            lines.append(f"{row} | {BATCH / b:,.0f} images/s | {ratio:.2f} | {target} |")
        a, b, ratio = duel(lambda: ours.draw(16), lambda rival=rival: rival.draw(16), TURNS)
        row = f"| 16 images in {STEPS} steps | {rival.name} | {a:.2f} s | {b:.2f} s"
        lines.append(f"{row} | {ratio:.2f} | ≥ 3 |")
    frechet = Frechet(unit(DATA.test[0]), extractor_of("mnist").model)
    judged = [quality(make, frechet) for make in (book, lucidrains, huggingface)]
    text = page(lines, judged, memory)
    put(text, TITLE)
    print(text)


def page(lines: list[str], judged: list[str], memory: float) -> str:
    """Write the part of the page."""
    head = f"""{TITLE}

U-Nets on 28 × 28 images, batches of {BATCH}: each library's own network, step and sampler.
Measured on: {machine()}, one process, torch
{torch.__version__}; ours in bf16 where the hardware has it. Peak memory of our training, torch and
data included: {memory:.2f} GB (target: 1.2). Both sides took turns; ratios are medians of {TURNS}.

| case | rival | ours | rival's | ratio | target |
| :-- | :-- | --: | --: | --: | --: |
"""
    then = f"""
Trained for {SECONDS:.0f} seconds of processor time each, then judged by {JUDGED} images drawn in
{STEPS} steps: Fréchet distance to the test images of MNIST ({DATA.source} data), on the book's own
features.

| library | million weights | images seen | Fréchet distance |
| :-- | --: | --: | --: |
"""
    return head + "\n".join(lines) + "\n" + then + "\n".join(judged) + "\n"


if __name__ == "__main__":
    main()
