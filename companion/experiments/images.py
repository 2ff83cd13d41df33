"""Chapter `latent/vae`: autoencoders, VAEs and classifiers on small grey images."""

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import nn

from companion.data import load, small
from companion.data.augment import flip_and_shift, shift
from companion.data.forms import stored
from companion.maths import cosine
from companion.measures.images import OfVAE, of_attack, of_bound, of_code, of_labels
from companion.models.classifier import Classifier, extractor_network
from companion.models.likelihoods import likelihood as pixels_named
from companion.models.vae import VAE, Autoencoder
from companion.nets import channels_last, image_decoder, image_encoder
from companion.objectives import cross_entropy, joint, negative_elbo
from companion.recipes import Player, Recipe, own_terms
from companion.runs import Run, all_runs
from companion.train import recall
from companion.words import nearest

ADAM = partial(torch.optim.Adam, lr=2e-3)
DIGITS = ("mnist", "persian")  # data whose mirror images are others


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
    if not (beta >= 0 and head >= 0):  # nor nan
        raise ValueError(f"beta and head must be 0 or above, got beta={beta}, head={head}")
    if latent < 1:
        raise ValueError(f"latent must be at least 1 dimension, got {latent}")
    classes = nn.Linear(latent, 10) if head else None
    encoder, decoder = image_encoder(2 * latent), image_decoder(latent)
    model = VAE(encoder, decoder, latent, pixels_named(likelihood), classes)
    weighted = partial(joint, weight=head, beta=beta)
    loss = weighted if head else partial(negative_elbo, beta=beta)
    player = Player(channels_last(model), loss, ADAM, cosine(horizon, warmup=0.2, floor=0.01))
    judge = extractor_of(data)
    return Recipe(
        model, {"vae": player}, partial(load, data, split),
        augment=flip_and_shift if head else stored,
        watch=of_bound, measure=OfVAE(judge.model), stands_on=(judge,),
    )  # fmt: skip


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
    player = Player(channels_last(model), own_terms, ADAM, cosine(horizon, 0.2, 0.01))
    source = partial(load, small(data), split)
    return Recipe(model, {"ae": player}, source, measure=of_code)


def classifier(data: str = "fashion-mnist", split: str = "official", horizon: int = 25) -> Recipe:
    """Train the encoder of `vae` as a plain classifier: 32 features, then a linear layer."""
    model = Classifier(image_encoder(32), 32)
    player = Player(channels_last(model), cross_entropy, ADAM, cosine(horizon, 0.2, 0.01))
    return Recipe(
        model, {"classifier": player}, partial(load, small(data), split),
        augment=flip_and_shift, watch=of_labels, measure=of_attack,
    )  # fmt: skip


def extractor(data: str = "fashion-mnist", horizon: int = 20) -> Recipe:
    """Train the network whose features measure every Fréchet distance of the book."""
    model = extractor_network()
    player = Player(channels_last(model), cross_entropy, ADAM, cosine(horizon, 0.2, 0.01))
    moved = shift if data in DIGITS else flip_and_shift
    source = partial(load, small(data))
    return Recipe(model, {"extractor": player}, source, augment=moved, watch=of_labels)


def extractor_of(data: str = "fashion-mnist") -> Run:
    """Recall the published extractor of a data set. Raises ValueError where there is none."""
    return pinned(extractor, data)


@cache
def pinned(experiment: Callable[..., Recipe], data: str) -> Run:
    """Recall the published run of an experiment on a data set, for others to stand on.

    Raises ValueError where there is none.
    """
    kind = experiment.__name__
    runs = [run for run in all_runs(starts=kind) if run.config["experiment"] == kind]
    known = {run.config["choices"]["data"]: run for run in runs}
    if data not in known:
        raise ValueError(f"no pinned {kind} for {data!r} {nearest(data, known)}")
    with torch.random.fork_rng():  # found or remembered, it draws no number of the caller's
        return recall(known[data], experiment(**known[data].config["choices"]).model)
