"""Chapter `latent/quantized`: images as grids of symbols, a prior over them, clusters."""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from companion.data import Dataset, load, small
from companion.data.augment import redrawn
from companion.data.binary import fixed, load_binary
from companion.data.dataset import fingerprint
from companion.data.forms import Batch, stored, unit
from companion.experiments.images import extractor_of
from companion.maths import cosine
from companion.measures.quantized import (
    OfCodes,
    OfPrior,
    clusters_of,
    in_parts,
    of_annotated,
    of_flat,
    of_usage,
)
from companion.metrics.clusters import contingency, matched
from companion.models.classifier import Classifier
from companion.models.code_prior import CodePrior
from companion.models.quantized import Coded, DiscreteVAE, FiniteScalars, VectorQuantised
from companion.models.vae import VAE
from companion.nets import channels_last, image_decoder, image_encoder
from companion.nets.grids import grid_decoder, grid_encoder
from companion.objectives import cross_entropy, negative_elbo
from companion.objectives.quantized import finite_scalars, gumbel_softmax, vector_quantised
from companion.recipes import Loss, Player, Recipe, first_phase, own_terms
from companion.runs import Run, all_runs
from companion.train import train

BINARY = ("mnist", "persian")  # greys are probabilities of ink; other images stay grey
ANNOTATED, STARTS = 10_000, 4  # training images that k-means sees, and how often it begins


def pictures(data: str) -> Dataset:
    """Load what is coded: digits black or white, anything else grey."""
    return load_binary(data) if data in BINARY else load(small(data))


def coded(model: Coded, loss: Loss, data: str, rate: float, horizon: int) -> Recipe:
    """Train a model of codes: Adam, the rate rising within a fifth of an epoch, then falling."""
    pace = partial(torch.optim.Adam, lr=rate)
    player = Player(channels_last(model), loss, pace, cosine(horizon, 0.2, 0.01))
    judge = extractor_of(data)
    clustered = isinstance(model, VectorQuantised) and horizon > 1  # it takes minutes
    asked = OfCodes(judge.model, partial(load, data), clustered)
    return Recipe(
        model, {"codes": player}, partial(pictures, data),
        augment=redrawn if data in BINARY else stored,
        watch=of_usage, measure=asked, stands_on=(judge,),
    )  # fmt: skip


def vq_vae(
    data: str = "mnist", codes: int = 64, depth: int = 16, width: int = 48,
    commitment: float = 0.25, decay: float = 0.99, revive: bool = True, rate: float = 2e-3,
    horizon: int = 6,
) -> Recipe:  # fmt: skip
    """Train a VQ-VAE of 7 x 7 places; revive: dead codes begin anew."""
    encoder, decoder = grid_encoder(depth, width), grid_decoder(depth, width)
    model = VectorQuantised(encoder, decoder, codes, depth, decay, revive)
    return coded(model, partial(vector_quantised, commitment=commitment), data, rate, horizon)


def discrete_vae(
    data: str = "mnist", codes: int = 64, depth: int = 16, width: int = 48, hot: float = 1.0,
    cold: float = 0.5, rate: float = 2e-3, horizon: int = 1,
) -> Recipe:  # fmt: skip
    """Train a discrete VAE by Gumbel-softmax, whose temperature falls from hot to cold."""
    model = DiscreteVAE(grid_encoder(codes, width), grid_decoder(depth, width), codes, depth)
    return coded(model, partial(gumbel_softmax, hot=hot, cold=cold), data, rate, horizon)


def fsq_vae(
    data: str = "mnist", levels: tuple[int, ...] = (4, 4, 4), width: int = 48,
    rate: float = 2e-3, horizon: int = 1,
) -> Recipe:  # fmt: skip
    """Train an autoencoder whose few numbers at each place are rounded to levels."""
    encoder, decoder = grid_encoder(len(levels), width), grid_decoder(len(levels), width)
    return coded(FiniteScalars(encoder, decoder, levels), finite_scalars, data, rate, horizon)


def flat_vae(
    data: str = "mnist", latent: int = 32, rate: float = 2e-3, horizon: int = 2
) -> Recipe:
    """Train the VAE of chapter `latent/vae` on the same black or white digits."""
    model = VAE(image_encoder(2 * latent), image_decoder(latent), latent)
    pace = partial(torch.optim.Adam, lr=rate)
    player = Player(channels_last(model), negative_elbo, pace, cosine(horizon, 0.2, 0.01))
    return Recipe(
        model, {"vae": player}, partial(pictures, data),
        augment=redrawn if data in BINARY else stored, measure=of_flat,
    )  # fmt: skip


def coded_by(first: Run | None, data: str) -> Run:
    """The first phase: the given one, or the VQ-VAE of a data set that was trained longest.

    Raises ValueError where none is published.
    """
    if first is not None:
        return first
    runs = [run for run in all_runs(starts="vq_vae") if run.config["choices"]["data"] == data]
    if not runs:
        raise ValueError(f"no VQ-VAE of {data!r} is published: train one, and give it as first")
    longest = max(runs, key=lambda run: run.epochs)
    return train(vq_vae, **longest.config["choices"])


def tokens_and_images(model: Coded, data: str) -> Dataset:
    """The symbols of all images (N, 49), bytes, beside the images; greys are drawn once."""
    source = pictures(data)
    parts: list[tuple[Tensor, Tensor]] = []
    for x, _ in (source.train, source.test):
        images = fixed(x) if data in BINARY else x
        tokens = in_parts(lambda part: model.tokens(unit(part)), images)
        parts.append((tokens.to(torch.uint8), images))
    sha256 = fingerprint(*parts[0], *parts[1])
    forms = {"codes": shown}
    return replace(source, train=parts[0], test=parts[1], sha256=sha256, forms=forms)


def shown(batch: Batch) -> Batch:
    """Symbols as they are, and pixels in [0, 1]."""
    return (batch[0], unit(batch[1]), *batch[2:])


def code_prior(
    first: Run | None = None, data: str = "mnist", width: int = 48, layers: int = 2,
    rate: float = 3e-3, horizon: int = 3,
) -> Recipe:  # fmt: skip
    """Train an autoregressive prior on the symbols of a first run, which is held still."""
    first, judge = coded_by(first, data), extractor_of(data)
    before = first_phase(first, "vq_vae", "discrete_vae", "fsq_vae")
    assert isinstance(before, Coded)
    model = CodePrior(before.vocabulary, width, layers)
    pace = partial(torch.optim.Adam, lr=rate, betas=(0.9, 0.99))
    player = Player(model, own_terms, pace, cosine(horizon, 0.05, 0.01))
    return Recipe(
        model, {"prior": player}, partial(tokens_and_images, before, data), 64, clip=1.0,
        measure=OfPrior(before, judge.model, partial(load, data)), stands_on=(first, judge),
    )  # fmt: skip


def annotated(model: Coded, data: str, clusters: int, pseudo: bool) -> Dataset:
    """Grey images, what is taught of them, and their true labels; both parts.

    pseudo: the name of the cluster of an image's codes, by k-means on training images, matched
    with the true labels of these. Else the truth is taught.
    """
    source, seen = load(small(data)), pictures(data)
    codes = [in_parts(lambda part: model.code(unit(part)), fixed(x) if data in BINARY else x)
             for x, _ in (seen.train, seen.test)]  # fmt: skip
    found = clusters_of(codes[0][:ANNOTATED], min(clusters, len(codes[0])), 0, STARTS)
    groups = [torch.from_numpy(found.predict(c.numpy())).long() for c in codes]
    truth = [source.train[1], source.test[1]]
    names = matched(contingency(groups[0][:ANNOTATED], truth[0][:ANNOTATED].cpu()))
    taught = [names[g] for g in groups] if pseudo else truth
    parts = [(x, t, y) for (x, y), t in zip((source.train, source.test), taught, strict=True)]
    return replace(source, train=parts[0], test=parts[1], sha256=fingerprint(*parts[0], *parts[1]))


def cluster_classifier(
    first: Run | None = None, data: str = "mnist", pseudo: bool = True, clusters: int = 10,
    horizon: int = 1,
) -> Recipe:  # fmt: skip
    """Train a classifier on the names of clusters of codes; without pseudo, on the truth."""
    first = coded_by(first, data)
    before = first_phase(first, "vq_vae", "discrete_vae", "fsq_vae")
    assert isinstance(before, Coded)
    model = Classifier(image_encoder(32), 32)
    pace = partial(torch.optim.Adam, lr=2e-3)
    player = Player(channels_last(model), cross_entropy, pace, cosine(horizon, 0.2, 0.01))
    return Recipe(
        model, {"classifier": player}, partial(annotated, before, data, clusters, pseudo),
        watch=of_annotated, stands_on=(first,),
    )  # fmt: skip
