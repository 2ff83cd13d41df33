"""What chapter `energy/jem` asks of classifiers that are energies, and of plain ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from companion.data import Dataset
from companion.data.forms import unsigned
from companion.estimate import Estimate, mean_of
from companion.measures.energy import WATCHED, ages, energies
from companion.metrics import (
    Frechet,
    accuracy,
    binning_bias,
    calibration_error,
    outlier_area,
    pgd,
)
from companion.models.classifier import Classifier
from companion.models.jem import JointEnergy
from companion.samplers.energy import from_noise, walked

DRAWN = 1000  # images that a finished model is judged by, and strangers of each kind
ATTACKED = 300  # test images, the first ones
EPSILONS = (0.1, 0.2)  # of the attack, in units of the pixel range
REFINED = 5  # moves of a walk that begins at an attacked image


@torch.no_grad()
def logits_of(model: JointEnergy, x: Tensor) -> Tensor:
    """Class logits of images (N, ...) in [0, 1]: (N, classes), on the CPU."""
    return torch.cat([model.classify(part).cpu() for part in x.split(500)])


def refined(model: JointEnergy, x: Tensor, moves: int = REFINED) -> Tensor:
    """Walk from images (N, ...) in [0, 1] a few moves down E(x): the same shape and range."""
    return unsigned(walked(model, 2 * x - 1, walk=replace(model.walk, steps=moves)))


def refining(model: JointEnergy, moves: int = REFINED) -> Callable[[Tensor], Tensor]:
    """Classify what a walk makes of an image; to its slope in x the walk is the identity.

    So an attacker who knows of the walk sees the slope at its end (Athalye et al. 2018).
    """
    return lambda x: model.classify(x + (refined(model, x.detach(), moves) - x).detach())


@dataclass(frozen=True)
class OfJEM:
    """Accuracy and energies while training; calibration, outliers, attacks and samples at the end.

    network: whose features measure Fréchet distances; None: none are measured. strangers: images
    of other kinds, the first kind's energies are watched. With fewer than 1,000 test images only
    a few are attacked and drawn, so that a quick trial stays quick.
    """

    network: Classifier | None
    strangers: Mapping[str, Callable[[], Dataset]]

    def watch(self, model: JointEnergy, data: Dataset) -> Mapping[str, Estimate]:
        """Accuracy and cross-entropy of all test images; mean energies of some, and of others."""
        x, y = data.seen_as("unit").examples("test")
        logits = logits_of(model, x)
        nats = F.cross_entropy(logits, y.cpu(), reduction="none").double()
        found = {"accuracy": accuracy(model.classify, x, y), "cross-entropy": mean_of(nats)}
        name, load = next(iter(self.strangers.items()))
        n = min(WATCHED, len(x))
        sets = {
            "test images": 2 * x[:n] - 1,
            name: load().seen_as("signed").examples("test", n)[0],
        }
        sets["noise"] = model.noise(n, torch.Generator().manual_seed(0))
        return found | {f"E of {k}": mean_of(energies(model, part)) for k, part in sets.items()}

    def measure(self, model: JointEnergy, data: Dataset) -> Mapping[str, Estimate]:
        """Calibration, strangers, attacks, samples, and the step at which a training ran away."""
        x, y = data.seen_as("unit").examples("test")
        p = logits_of(model, x).softmax(1).max(1)
        found = {"ece": calibration_error(p.values, p.indices == y.cpu())}
        found["ece, bias"] = binning_bias(p.values)
        found |= self.told_apart(model, x) | attacked(model, x, y)
        found["diverged at step"] = Estimate(int(model.diverged), 0.0, 1)
        return found | self.of_samples(model, x.cpu()) | ages(model)

    def told_apart(self, model: JointEnergy, x: Tensor) -> dict[str, Estimate]:
        """Areas under the curve of two scores: -log p(x), up to a constant, and -max p(y | x)."""
        known, found = logits_of(model, x[:DRAWN]), {}
        for name, load in self.strangers.items():
            other = load().seen_as("unit").examples("test", len(known))[0]
            strange = logits_of(model, other)
            for sign, score in (("E", energy_of), ("max p", doubt_of)):
                area = outlier_area(score(known), score(strange))
                found[f"auroc of {sign}, {name}"] = area
        return found

    def of_samples(self, model: JointEnergy, x: Tensor) -> dict[str, Estimate]:
        """Fréchet distances to the test images: where chains begin, of short walks, of memory."""
        if self.network is None or model.memory is None:
            return {}
        n = DRAWN if len(x) >= DRAWN else max(len(x) // 32, 10)
        old = model.memory.age.topk(min(n, len(model.memory.age))).indices
        drawn = {"memory": model.memory.read(old).cpu(), "short walks": from_noise(model, n)}
        drawn["starts"] = model.fresh(n, torch.Generator().manual_seed(0)).cpu()
        frechet = Frechet(x, self.network)
        return {f"frechet, {k}": frechet.distance(unsigned(part)) for k, part in drawn.items()}


def energy_of(logits: Tensor) -> Tensor:
    """E(x) of logits (N, classes): -log p(x), up to a constant."""
    return -logits.logsumexp(1)


def doubt_of(logits: Tensor) -> Tensor:
    """-log max_y p(y | x), of logits (N, classes), where 1 - p would be rounded to 0."""
    return -logits.log_softmax(1).max(1).values


def attacked(model: JointEnergy, x: Tensor, y: Tensor) -> dict[str, Estimate]:
    """Accuracy under an attack of each strength: plain, after a walk, and if the attacker knows.

    Ten steps of PGD. The second attacker attacks the logits; the third one the walk's end.
    """
    n = ATTACKED if len(x) >= DRAWN else 10
    x, y, walking = x[:n], y[:n], refining(model)
    found = {"walked, 0": accuracy(walking, x, y, n)}
    for epsilon in EPSILONS:
        moved = pgd(model.classify, x, y, epsilon)
        found[f"pgd, {epsilon:g}"] = accuracy(model.classify, moved, y, n)
        found[f"pgd, walked, {epsilon:g}"] = accuracy(walking, moved, y, n)
        known = pgd(walking, x, y, epsilon)
        found[f"pgd, known, {epsilon:g}"] = accuracy(walking, known, y, n)
    return found
