"""What chapters `diffusion/ddpm` and `diffusion/ddim` ask of a diffusion model of grey images."""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from companion.data import Dataset
from companion.estimate import Estimate, mean_of
from companion.metrics import Frechet
from companion.metrics.diffusion import bits_per_dimension
from companion.models.classifier import Classifier
from companion.models.diffusion import Diffusion
from companion.samplers.diffusion import from_fixed_noise

WHOLE = 10_000  # test images
DRAWN = 5000  # images that a finished model is judged by
BUDGETS = (50, 10)  # steps with which they are drawn
COMPARED = 1000  # images of each way of drawing, where many ways are compared
WAYS = {0.0: (5, 10, 20, 50, 100), 0.5: (5, 10, 20, 50, 100), 1.0: (5, 10, 20, 50, 100, 1000)}
GUIDANCES = (0.0, 1.0, 2.0, 4.0)  # each in 20 steps
BOUND = 200  # test images whose bits are counted


def in_turn(model: Diffusion, n: int) -> Tensor | None:
    """Classes that `from_fixed_noise` asks n images for, on the CPU; None without labels."""
    return torch.arange(n) % model.classes if model.classes else None


@torch.no_grad()
def of_noise(model: Diffusion, data: Dataset) -> dict[str, Estimate]:
    """Squared error of the noise on 1,000 test images, each at one time, always the same ones."""
    x, labels = data.examples("test", 1000)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(x.shape, generator=generator).to(x)
    t = (torch.arange(len(x), device=x.device) % model.steps) + 1
    t = t[torch.randperm(len(t), generator=generator)]
    noisy, found = model.noised(x, t, noise), []
    for k in torch.arange(len(x), device=x.device).split(250):
        guess = model.predict(noisy[k], t[k], labels[k] if model.classes else None)
        found.append((guess.noise - noise[k]).square().flatten(1).mean(1))
    return {"noise": mean_of(torch.cat(found), "squared error per pixel")}


@dataclass(frozen=True)
class OfDrawing:
    """Fréchet distances of images drawn in 50 and in 10 steps, and bits per dimension.

    Each without fresh noise (eta 0) and with it (eta 1). thorough: also of each of `WAYS` and
    `GUIDANCES`. With fewer than all 10,000 test images only few are drawn and no ways are
    compared, so that a quick trial stays quick. network: whose features are compared, and who
    reads the images that were asked for by class.
    """

    network: Classifier
    thorough: bool

    def __call__(self, model: Diffusion, data: Dataset) -> dict[str, Estimate]:
        real = data.seen_as("unit").examples("test", WHOLE)[0].cpu()
        whole, found = len(real) == WHOLE, {}
        frechet, n = Frechet(real, self.network), DRAWN if whole else max(len(real) // 32, 10)
        x, y = data.examples("test", min(BOUND, max(n // 10, 2)))
        bits = bits_per_dimension(model, x, y if model.classes else None)  # soon done, so first
        for steps, (eta, how) in product(BUDGETS, ((0.0, ""), (1.0, ", fresh noise"))):
            found |= judged(model, frechet, f"{steps} steps{how}", n, steps=steps, eta=eta)
        found["bits"] = bits
        return found | compared(model, frechet) if self.thorough and whole else found


def judged(
    model: Diffusion, frechet: Frechet, how: str, n: int, **choices: float
) -> dict[str, Estimate]:
    """Distance of n drawn images, and the share that is read as the class it was asked for."""
    x, asked = from_fixed_noise(model, n, **choices), in_turn(model, n)  # type: ignore[arg-type]
    features = frechet.embed(x)
    found = {f"frechet, {how}": frechet.distance_of(features, asked)}
    if asked is not None:
        right = frechet.network.head(features).argmax(1) == asked
        found[f"recognised, {how}"] = mean_of(right.double(), "of the images")
    return found


def compared(model: Diffusion, frechet: Frechet) -> dict[str, Estimate]:
    """Fréchet distances of 1,000 images by steps and eta, and by guidance, all from one noise.

    Of the numbers of steps, those that the model has.
    """
    found = {}
    ways = ((eta, steps) for eta, counts in WAYS.items() for steps in counts)
    for eta, steps in ((eta, steps) for eta, steps in ways if steps <= model.steps):
        row = judged(model, frechet, f"eta {eta:g}, {steps} steps", COMPARED, steps=steps, eta=eta)
        found |= dict([*row.items()][:1])
    for w in GUIDANCES if model.classes else ():
        found |= judged(model, frechet, f"guidance {w:g}", COMPARED, steps=20, guidance=w)
    return found
