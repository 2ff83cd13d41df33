"""What chapter `latent/vae` asks of autoencoders, VAEs and classifiers of small grey images."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from companion.data import Dataset
from companion.estimate import Estimate
from companion.metrics import (
    Frechet,
    accuracy,
    active_units,
    elbo_terms,
    importance_weighted_nll,
    linear_probe,
    robust_accuracies,
)
from companion.metrics.codes import codes
from companion.models.classifier import Classifier
from companion.models.vae import VAE, Autoencoder

EPSILONS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)  # of FGSM, in units of the pixel range
ATTACKED = 2000  # test images, the first ones


class Probe:
    """A model's frozen code with the linear head that fits it best."""

    def __init__(self, model: nn.Module, data: Dataset):
        self.model = model
        code, labels = [], []
        for part in ("train", "test"):
            x, y = data.examples(part)[:2]
            code.append(codes(model, x))
            labels.append(y.cpu())
        self.head, self.accuracy = linear_probe((code[0], labels[0]), (code[1], labels[1]))
        self.head.to(data.device)
        self.active = Estimate(active_units(code[1]), 0.0, len(code[1]), "dimensions")

    def classify(self, x: Tensor) -> Tensor:
        """Class logits of images: (B, 1, 28, 28) in [0, 1] -> (B, 10)."""
        return self.head(self.model.code(x))  # type: ignore[operator]


def under_attack(classify: Callable[[Tensor], Tensor], data: Dataset) -> dict[str, Estimate]:
    """Accuracy on the first 2,000 test images under FGSM at each strength."""
    x, y = data.examples("test", ATTACKED)
    found = robust_accuracies(classify, x, y, EPSILONS)
    return {f"robust accuracy at {e:g}": one for e, one in zip(EPSILONS, found, strict=True)}


def of_attack(model: Classifier, data: Dataset) -> dict[str, Estimate]:
    """Accuracy of a classifier under attack."""
    return under_attack(model.classify, data)


def of_code(model: nn.Module, data: Dataset) -> dict[str, Estimate]:
    """What a frozen code tells: a linear probe's accuracy, also under attack; active units."""
    probe = Probe(model, data)
    attacked = {f"probe, {k}": v for k, v in under_attack(probe.classify, data).items()}
    return {"probe accuracy": probe.accuracy, "active units": probe.active, **attacked}


def of_labels(model: Classifier | Autoencoder, data: Dataset) -> dict[str, Estimate]:
    """Accuracy of a model's own head on all test images."""
    x, y = data.examples("test")
    return {"accuracy": accuracy(model.classify, x, y)}


def of_bound(model: VAE, data: Dataset) -> dict[str, Estimate]:
    """Evidence lower bound and its terms on all test images, in nats."""
    return elbo_terms(model, data.examples("test")[0])


@dataclass(frozen=True)
class OfVAE:
    """All that chapter `latent/vae` asks of a VAE, once it is trained.

    network: whose features measure the Fréchet distance of its samples. Importance weights are
    costly: of fewer than 1,000 test images a fiftieth is weighted, so that a trial stays short.
    """

    network: Classifier

    def __call__(self, model: VAE, data: Dataset) -> dict[str, Estimate]:
        n = len(data.test[0])
        x = data.examples("test", 1000 if n >= 1000 else max(n // 50, 2))[0]
        found = {"nll": importance_weighted_nll(model, x, samples=100), **of_code(model, data)}
        if model.head is not None:
            found |= {**of_labels(model, data), **under_attack(model.classify, data)}
        return found | self.of_samples(model, data)

    def of_samples(self, model: VAE, data: Dataset) -> dict[str, Estimate]:
        """Squared Fréchet distance to the test images of as many samples."""
        x = data.examples("test")[0].cpu()
        with torch.no_grad():
            samples = [model.sample(len(part)).cpu() for part in x.split(1000)]
        return {"frechet": Frechet(x, self.network).distance(torch.cat(samples))}
