"""What chapter `energy/energy` asks of energy-based models of grey images and of points."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.distributions import Distribution

from companion.data import Dataset
from companion.data.forms import unsigned
from companion.estimate import Estimate, mean_of
from companion.metrics import Frechet, outlier_area
from companion.models.classifier import Classifier
from companion.models.energy import EnergyModel
from companion.samplers.energy import from_noise

WATCHED = 500  # images of each kind whose energies are watched
DRAWN = 1000  # images that a finished model is judged by
LONG = 10  # times as many moves as in training
AGES = (1, 2, 5, 10, 20, 50)  # walks; the last bin is open
GRID, EDGE = 256, 4.0  # points a side of the plane's quadrature, and where it ends


@torch.no_grad()
def energies(model: EnergyModel, x: Tensor, y: Tensor | None = None) -> Tensor:
    """E(x), or E(x, y), or without y of a model with classes the least one: (N,), on the CPU."""
    place, found = next(model.network.parameters()).device, []
    for k in torch.arange(len(x)).split(250):
        part = x[k].to(place)
        if y is None and model.classes:
            found.append(model.network(part).float().min(1).values)
        else:
            found.append(model.energy(part, None if y is None else y[k].to(place)))
    return torch.cat(found).cpu()


@dataclass(frozen=True)
class OfEnergy:
    """Energies while training, and Fréchet distances of short and long walks at the end.

    With fewer than 1,000 test images only few are drawn, by shorter walks, so that a quick
    trial stays quick. network: whose features are compared.
    outliers: images of another kind, for their energies.
    """

    network: Classifier
    outliers: Callable[[], Dataset]

    def watch(self, model: EnergyModel, data: Dataset) -> Mapping[str, Estimate]:
        """Mean energies of test images, outliers, noise, and of walks from noise."""
        x, n = data.examples("test", WATCHED)[0], min(WATCHED, len(data.test[0]))
        other = self.outliers().seen_as(data.form).examples("test", n)[0]
        sets = {"test images": x, "outliers": other}
        sets["noise"] = model.noise(n, torch.Generator().manual_seed(0))
        sets["short walks"] = from_noise(model, min(n, max(n // 4, 2)))
        return {f"E of {name}": mean_of(energies(model, part)) for name, part in sets.items()}

    def measure(self, model: EnergyModel, data: Dataset) -> Mapping[str, Estimate]:
        """Fréchet distances of walks and of the memory, ages, and how energies tell outliers."""
        real = data.seen_as("unit").examples("test", 10_000)[0].cpu()
        n = DRAWN if len(real) >= DRAWN else max(len(real) // 32, 10)
        frechet = Frechet(real, self.network)
        times = LONG if len(real) >= DRAWN else 2
        long = replace(model.walk, steps=times * model.walk.steps)
        drawn = {"short walks": from_noise(model, n)}
        drawn["long walks"] = from_noise(model, max(n // 4, 10), long)
        if model.memory is not None:
            old = model.memory.age.topk(min(n, len(model.memory.age))).indices
            drawn["memory"] = model.memory.read(old).cpu()
        found = {f"frechet, {k}": frechet.distance(unsigned(x)) for k, x in drawn.items()}
        if model.classes:
            read = frechet.read(unsigned(drawn["short walks"]))
            right = read == torch.arange(n) % model.classes
            found["recognised"] = mean_of(right.double(), "of the images")
        return found | ages(model) | self.told_apart(model, data)

    def told_apart(self, model: EnergyModel, data: Dataset) -> dict[str, Estimate]:
        """Area under the curve of the energy as a sign of outliers; error of a bootstrap."""
        x = data.examples("test", 2 * DRAWN)[0]
        other = self.outliers().seen_as(data.form).examples("test", len(x))[0]
        x = x[: len(other)]
        area = outlier_area(energies(model, x), energies(model, other))
        return {"auroc of outliers": area}


def ages(model: EnergyModel) -> dict[str, Estimate]:
    """Shares of the memory's slots that have been visited so often since they were noise."""
    if model.memory is None:
        return {}
    age = model.memory.age.cpu()
    age, found = age[age > 0], {}
    for low, high in zip(AGES, (*AGES[1:], 2**31), strict=True):
        within = ((age >= low) & (age < high)).double()
        if len(within) > 1:
            found[f"age from {low}"] = mean_of(within, "of the slots")
    return found


@dataclass(frozen=True)
class OfPoints:
    """The exact divergence of a law from exp(-E / T) / Z in the plane, Z by quadrature."""

    law: Distribution

    @torch.no_grad()
    def __call__(self, model: EnergyModel, data: Dataset) -> Mapping[str, Estimate]:
        """Mean of log p(x) - log q(x) over test points, in nats; energies of data and of noise."""
        x = data.examples("test")[0]
        tick = torch.linspace(-EDGE, EDGE, GRID + 1)[:-1] + EDGE / GRID
        area, T = (2 * EDGE / GRID) ** 2, model.walk.temperature
        log_z = (-energies(model, torch.cartesian_prod(tick, tick)) / T).double().logsumexp(0)
        log_q = -energies(model, x).double() / T - log_z - torch.tensor(area).log()
        kl = mean_of(self.law.log_prob(x.cpu()) - log_q, "nats")
        noise = model.noise(len(x), torch.Generator().manual_seed(0))
        found = {"kl": kl, "E of test points": mean_of(energies(model, x))}
        return found | {"E of noise": mean_of(energies(model, noise))}
