"""Chapters `diffusion/ddpm` and `diffusion/ddim`: diffusion models of small grey images."""

from functools import partial
from itertools import product

import torch
from torch import Tensor, nn

from companion.data import Dataset, load
from companion.experiments.images import images
from companion.maths import cosine, nearest
from companion.metrics import Estimate, Frechet, mean_of
from companion.metrics.diffusion import bits_per_dimension
from companion.models.diffusion import PREDICTS, SCHEDULES, Diffusion
from companion.nets.unet import CHANNELS, UNet
from companion.objectives.diffusion import WEIGHTS, denoising_loss
from companion.players import Player, Recipe, fast_precision
from companion.samplers import sample

WHOLE = 10_000  # test images
DRAWN = 5000  # images that a finished model is judged by
BUDGETS = (50, 10)  # steps with which they are drawn
COMPARED = 1000  # images of each way of drawing, where many ways are compared
WAYS = {0.0: (5, 10, 20, 50, 100), 0.5: (5, 10, 20, 50, 100), 1.0: (5, 10, 20, 50, 100, 1000)}
GUIDANCES = (0.0, 1.0, 2.0, 4.0)  # each in 20 steps
SHOWN = 30  # images that each watched epoch leaves in the run
BOUND = 200  # test images whose bits are counted
CLASSES = 10


@torch.no_grad()
def drawn(model: Diffusion, n: int, steps: int = 50, size: int = 28, **choices: object) -> Tensor:
    """Images of n fixed noises, classes in turn: (n, 1, size, size) in [0, 1], on the CPU.

    The network runs in the machine's fastest precision, the sampler in float32.
    """
    generator = torch.Generator().manual_seed(0)
    device = next(model.net.parameters()).device
    fresh = torch.Generator(device).manual_seed(1)
    fast = torch.autocast(device.type, torch.bfloat16, enabled=fast_precision() == "bf16")
    found = []
    for begin in range(0, n, 250):
        noise = torch.randn(min(250, n - begin), 1, size, size, generator=generator)
        y = torch.arange(begin, begin + len(noise), device=device) % CLASSES
        given = {"y": y} if model.classes else {}
        with fast:
            x = sample(
                model, noise.to(device), steps, clip=1.0, generator=fresh, **given, **choices
            )
        found.append(((x + 1) / 2).clamp(0, 1).cpu())
    return torch.cat(found)


def shown(model: Diffusion) -> Tensor:
    """Images of the first fixed noises, as they are kept: uint8 (30, 1, 28, 28)."""
    return (255 * drawn(model, SHOWN, steps=25)).round().to(torch.uint8)


@torch.no_grad()
def of_noise(model: Diffusion, data: Dataset) -> dict[str, Estimate]:
    """Squared error of the noise on 1,000 test images, each at one time, always the same ones."""
    x = 2 * images(data, 1000)[0] - 1
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(x.shape, generator=generator).to(x)
    t = (torch.arange(len(x), device=x.device) % model.steps) + 1
    t = t[torch.randperm(len(t), generator=generator)]
    y = data.test[1][: len(x)].to(x.device) if model.classes else None
    noisy = model.noised(x, t, noise)
    found = [
        (model.predict(noisy[k], t[k], None if y is None else y[k]).noise - noise[k])
        .square()
        .flatten(1)
        .mean(1)
        for k in torch.arange(len(x)).split(250)
    ]
    return {"noise": mean_of(torch.cat(found), "squared error per pixel")}


def asked(model: Diffusion, x: Tensor) -> Tensor | None:
    """Classes that `drawn` asked the images x for, on the CPU: in turn; None without labels."""
    return torch.arange(len(x)) % CLASSES if model.classes else None


def recognised(frechet: Frechet, x: Tensor) -> Estimate:
    """Share of drawn images that the pinned classifier reads as the class they were asked for."""
    with torch.no_grad():
        read = torch.cat([frechet.network.classify(part).argmax(1) for part in x.split(500)])
    return mean_of((read == torch.arange(len(x)) % CLASSES).double(), "of the images")


def of_images(model: Diffusion, data: Dataset, thorough: bool) -> dict[str, Estimate]:
    """Fréchet distances of images drawn in 50 and in 10 steps, and bits per dimension.

    Each without fresh noise (eta 0) and with it (eta 1). thorough: also of each of `WAYS` and
    `GUIDANCES`. With fewer than all 10,000 test images only few are drawn and no ways are
    compared, so that a quick trial stays quick.
    """
    real = images(data, WHOLE)[0].cpu()
    whole, found = len(real) == WHOLE, {}
    frechet, n = Frechet(real, data.name), DRAWN if whole else max(len(real) // 8, 10)
    for steps, (eta, how) in product(BUDGETS, ((0.0, ""), (1.0, ", fresh noise"))):
        x = drawn(model, n, steps, eta=eta)
        found[f"frechet, {steps} steps{how}"] = frechet.distance(x, asked(model, x))
        if model.classes:
            found[f"recognised, {steps} steps{how}"] = recognised(frechet, x)
    x, y = images(data, min(BOUND, max(n // 10, 2)))
    found["bits"] = bits_per_dimension(model, x, y if model.classes else None)
    return found | compared(model, frechet) if thorough and whole else found


def compared(model: Diffusion, frechet: Frechet) -> dict[str, Estimate]:
    """Fréchet distances of 1,000 images by steps and eta, and by guidance, all from one noise."""
    found = {}
    for eta, counts in WAYS.items():
        for steps in counts:
            x = drawn(model, COMPARED, steps, eta=eta)
            found[f"frechet, eta {eta:g}, {steps} steps"] = frechet.distance(x, asked(model, x))
    for w in GUIDANCES if model.classes else ():
        x = drawn(model, COMPARED, 20, guidance=w)
        found[f"frechet, guidance {w:g}"] = frechet.distance(x, asked(model, x))
        found[f"recognised, guidance {w:g}"] = recognised(frechet, x)
    return found


def ddpm(
    data: str = "mnist",
    predicts: str = "velocity",
    weighting: str = "velocity",
    schedule: str = "cosine",
    steps: int = 1000,
    channels: tuple[int, ...] = CHANNELS,
    labels: bool = True,
    horizon: int = 20,
    ema: float = 0.999,
    thorough: bool = True,
) -> Recipe:
    """Train a U-Net of 1.8 million weights to undo noise; Adam 1e-3, falling along `horizon`.

    predicts: what the network's output means. weighting: of the noise's squared error, see
    `weight_of_noise`. labels: give it the class, withheld from every tenth image. ema: decay of
    the averaged weights that are measured and kept. thorough: measure many ways of drawing, too.
    Raises ValueError for a value that cannot be.
    """
    for name, known in ((predicts, PREDICTS), (weighting, WEIGHTS), (schedule, SCHEDULES)):
        if name not in known:
            raise ValueError(f"nothing is called {name!r} here {nearest(name, known)}")
    classes = CLASSES if labels else 0
    net: nn.Module = UNet(1, tuple(channels), classes)
    model = Diffusion(net, SCHEDULES[schedule](steps), predicts, classes)
    loss = partial(denoising_loss, weighting=weighting)
    pace = partial(torch.optim.Adam, lr=1e-3, betas=(0.9, 0.99), fused=True)
    player = Player(model.net, loss, pace, cosine(horizon, 0.2, 0.01))
    return Recipe(
        model, {"denoiser": player}, partial(load, data), 128, ema=ema, clip=1.0,
        watch=of_noise, watch_every=2, measure=partial(of_images, thorough=thorough), keep=shown,
    )  # fmt: skip
