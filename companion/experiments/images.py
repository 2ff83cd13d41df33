"""Chapter `latent/vae`: autoencoders, VAEs and classifiers on small grey images."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from companion.data import Dataset, load, unit
from companion.maths import cosine
from companion.metrics import (
    Estimate,
    Frechet,
    accuracy,
    active_units,
    elbo_terms,
    importance_weighted_nll,
    linear_probe,
    robust_accuracy,
)
from companion.metrics.codes import codes
from companion.metrics.likelihood import distortion
from companion.models.classifier import Classifier, extractor_network
from companion.models.likelihoods import likelihood as pixels_named
from companion.models.vae import VAE, Autoencoder
from companion.nets import image_decoder, image_encoder
from companion.objectives import cross_entropy, joint, negative_elbo, reconstruction
from companion.players import Batch, Player, Recipe, as_unit

ADAM = partial(torch.optim.Adam, lr=2e-3)
EPSILONS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)  # of FGSM, in units of the pixel range
DIGITS = ("mnist", "persian")  # data whose mirror images are others


def images(data: Dataset, n: int = 0) -> tuple[Tensor, Tensor]:
    """Test images in [0, 1] and labels; the first n, or all."""
    x, y = data.test
    return unit(x[: n or len(x)]), y[: n or len(y)]


def fast(model: nn.Module) -> nn.Module:
    """Keep weights channel by channel innermost, the order in which convolutions run fastest."""
    return model.to(memory_format=torch.channels_last)


def flip_and_shift(batch: Batch) -> Batch:
    """Mirror half of the images and move each by up to 2 pixels: (B, 1, 28, 28) in [0, 1]."""
    x, *rest = as_unit(batch)
    mirrored = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    return (shifted(torch.where(mirrored, x.flip(3), x)), *rest)


def shift(batch: Batch) -> Batch:
    """Move each image by up to 2 pixels, for digits, which no mirror leaves what they are."""
    x, *rest = as_unit(batch)
    return (shifted(x), *rest)


def shifted(x: Tensor) -> Tensor:
    """Move each of (B, 1, H, W) by up to 2 pixels down or up, right or left."""
    n, _, height, width = x.shape
    x = F.pad(x, (2, 2, 2, 2))
    down, right = torch.randint(0, 5, (2, n, 1), device=x.device)
    rows = torch.arange(height, device=x.device) + down  # (B, H)
    columns = torch.arange(width, device=x.device) + right  # (B, W)
    each = torch.arange(n, device=x.device)[:, None, None]
    return x.transpose(0, 1)[:, each, rows[:, :, None], columns[:, None, :]].transpose(0, 1)


class Probe:
    """A model's frozen code with the linear head that fits it best."""

    def __init__(self, model: nn.Module, data: Dataset):
        self.model = model
        code = [codes(model, unit(x)) for x in (data.train[0], data.test[0])]
        labels = [y.cpu() for y in (data.train[1], data.test[1])]
        self.head, self.accuracy = linear_probe((code[0], labels[0]), (code[1], labels[1]))
        self.head.to(data.test[0].device)
        self.active = Estimate(active_units(code[1]), 0.0, len(code[1]), "dimensions")

    def classify(self, x: Tensor) -> Tensor:
        """Class logits of images: (B, 1, 28, 28) in [0, 1] -> (B, 10)."""
        return self.head(self.model.code(x))  # type: ignore[operator]


def under_attack(classify: Callable[[Tensor], Tensor], data: Dataset) -> dict[str, Estimate]:
    """Accuracy on the first 2,000 test images under FGSM at each strength."""
    x, y = images(data, 2000)
    return {f"robust accuracy at {e:g}": robust_accuracy(classify, x, y, e) for e in EPSILONS}


def of_code(model: nn.Module, data: Dataset) -> dict[str, Estimate]:
    """What a frozen code tells: a linear probe's accuracy, also under attack; active units."""
    probe = Probe(model, data)
    attacked = {f"probe, {k}": v for k, v in under_attack(probe.classify, data).items()}
    return {"probe accuracy": probe.accuracy, "active units": probe.active, **attacked}


def of_samples(model: VAE, data: Dataset) -> dict[str, Estimate]:
    """Fréchet distance to the test images of as many samples, on the pinned extractor."""
    x = images(data)[0].cpu()
    with torch.no_grad():
        samples = [model.sample(len(part)).cpu() for part in x.split(1000)]
    return {"frechet": Frechet(x, data.name).distance(torch.cat(samples))}


def of_labels(model: Classifier | Autoencoder, data: Dataset) -> dict[str, Estimate]:
    """Accuracy of a model's own head on all test images."""
    return {"accuracy": accuracy(model.classify, *images(data))}


def of_bound(model: VAE, data: Dataset) -> dict[str, Estimate]:
    """Evidence lower bound and its two terms on all test images."""
    return elbo_terms(model, images(data)[0])


def of_vae(model: VAE, data: Dataset) -> dict[str, Estimate]:
    """All that chapter `latent/vae` asks of a VAE, once it is trained."""
    x = images(data, 1000)[0]
    found = {"nll": importance_weighted_nll(model, x, samples=100), **of_code(model, data)}
    if model.head is not None:
        found |= {**of_labels(model, data), **under_attack(model.classify, data)}
    return found | of_samples(model, data)


def vae(
    latent: int = 32,
    beta: float = 1.0,
    likelihood: str = "bernoulli",
    head: float = 0.0,
    data: str = "fashion-mnist",
    split: str = "official",
    horizon: int = 15,
) -> Recipe:
    """Train a convolutional VAE; with `head` above 0, jointly with a linear classifier.

    beta: weight of the rate. likelihood: of a pixel. head: weight of the cross-entropy, in nats.
    horizon: epochs in which the learning rate falls from 2e-3 to a hundredth of it.
    Raises ValueError for a value that cannot be.
    """
    if beta < 0 or head < 0:
        raise ValueError(f"beta and head must be 0 or above, got beta={beta}, head={head}")
    if latent < 1:
        raise ValueError(f"latent must be at least 1 dimension, got {latent}")
    classes = nn.Linear(latent, 10) if head else None
    encoder, decoder = image_encoder(2 * latent), image_decoder(latent)
    model = VAE(encoder, decoder, latent, pixels_named(likelihood), classes)
    weighted = partial(joint, weight=head, beta=beta)
    loss = weighted if head else partial(negative_elbo, beta=beta)
    player = Player(fast(model), loss, ADAM, cosine(horizon, warmup=0.2, floor=0.01))
    prepare = flip_and_shift if head else as_unit
    source = partial(load, data, split)
    return Recipe(model, {"vae": player}, source, 128, prepare, watch=of_bound, measure=of_vae)


def autoencoder(
    latent: int = 32,
    likelihood: str = "bernoulli",
    data: str = "fashion-mnist",
    split: str = "official",
    horizon: int = 15,
) -> Recipe:
    """Train the same networks as `vae`, without noise, prior or rate."""
    if latent < 1:
        raise ValueError(f"latent must be at least 1 dimension, got {latent}")
    encoder, decoder = image_encoder(latent), image_decoder(latent)
    model = Autoencoder(encoder, decoder, latent, pixels_named(likelihood))
    player = Player(fast(model), reconstruction, ADAM, cosine(horizon, 0.2, 0.01))

    def watch(model: Autoencoder, data: Dataset) -> dict[str, Estimate]:
        return {"distortion": distortion(model, images(data)[0])}

    source = partial(load, data, split)
    return Recipe(model, {"ae": player}, source, watch=watch, measure=of_code)


def classifier(data: str = "fashion-mnist", split: str = "official", horizon: int = 25) -> Recipe:
    """Train the encoder of `vae` as a plain classifier: 32 features, then a linear layer."""
    model = Classifier(image_encoder(32), 32)
    player = Player(fast(model), cross_entropy, ADAM, cosine(horizon, 0.2, 0.01))

    def measure(model: Classifier, data: Dataset) -> dict[str, Estimate]:
        return under_attack(model.classify, data)

    source = partial(load, data, split)
    players = {"classifier": player}
    return Recipe(model, players, source, 128, flip_and_shift, watch=of_labels, measure=measure)


def extractor(data: str = "fashion-mnist", horizon: int = 20) -> Recipe:
    """Train the network whose features measure every Fréchet distance of the book."""
    model = extractor_network()
    player = Player(fast(model), cross_entropy, ADAM, cosine(horizon, 0.2, 0.01))
    source, moved = partial(load, data), shift if data in DIGITS else flip_and_shift
    return Recipe(model, {"extractor": player}, source, 128, moved, watch=of_labels)
