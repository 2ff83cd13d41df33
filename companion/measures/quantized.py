"""What chapter `latent/quantized` asks of codes: usage, clusters, and nats with a prior."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from companion.data import Dataset
from companion.estimate import Estimate, mean_of
from companion.metrics import Frechet, accuracy
from companion.metrics.clusters import agreement, distances, perplexity, silhouette
from companion.metrics.likelihood import elbo_terms, importance_weighted_nll
from companion.models.classifier import Classifier
from companion.models.code_prior import CodePrior
from companion.models.quantized import SIDE, Coded
from companion.models.vae import VAE

CLUSTERED, TRIAL = 3000, 1000  # training images in clusters; with fewer images it is a trial
KINDS, FEW_KINDS = tuple(range(2, 31)), (2, 5, 10)  # numbers of clusters; of a trial
AT_ONCE = 500


@torch.no_grad()
def in_parts(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a function to 500 images at a time; the result on the CPU."""
    return torch.cat([function(part).cpu() for part in x.split(AT_ONCE)])


@torch.no_grad()
def of_usage(model: Coded, data: Dataset) -> Mapping[str, Estimate]:
    """The bound under the uniform prior and its terms on all test images; how codes are used."""
    x = data.examples("test")[0]
    tokens = in_parts(model.tokens, x)
    bound = elbo_terms(model, x, AT_ONCE)  # type: ignore[arg-type]
    used = Estimate(float(len(tokens.unique())), 0.0, len(tokens), "codes")
    found = {"nats": Estimate(-bound["elbo"].value, bound["elbo"].error, len(x), "nats")}
    found |= {name: bound[name] for name in ("distortion", "rate")}
    return found | {"perplexity": perplexity(tokens, model.vocabulary), "used": used}


def clusters_of(points: Tensor, k: int, seed: int = 0, starts: int = 1) -> Any:
    """Fit k-means to points (N, D) in single precision: scikit-learn's own object."""
    from sklearn.cluster import KMeans

    how: Any = {"n_init": starts, "random_state": seed}
    return KMeans(k, **how).fit(points.float().numpy())


def of_clusters(points: Tensor, labels: Tensor, name: str) -> dict[str, Estimate]:
    """Silhouettes and agreement with labels (N,) of k-means on points (N, D), by k."""
    found = {}
    apart, n = distances(points), len(points)
    for k in (k for k in (KINDS if n >= TRIAL else FEW_KINDS) if k <= n):
        clusters = torch.from_numpy(clusters_of(points, k).labels_).long()
        found[f"{name}, {k} clusters: silhouette"] = silhouette(apart, clusters)
        if k in (10, 20, 30):
            for what, value in agreement(clusters, labels).items():
                found[f"{name}, {k} clusters: {what}"] = Estimate(value, 0.0, n)
    return found


@dataclass(frozen=True)
class OfCodes:
    """Reconstructions, samples of the uniform prior, and clusters of codes.

    network: whose features measure Fréchet distances to the grey test images that `real` gives.
    """

    network: Classifier
    real: Callable[[], Dataset]
    clustered: bool = False

    @torch.no_grad()
    def __call__(self, model: Coded, data: Dataset) -> dict[str, Estimate]:
        x = data.examples("test")[0]
        judge = Frechet(self.real().cut(len(x)).examples("test")[0], self.network)
        copies = in_parts(lambda part: model.seen(model.tokens(part)).mean, x)
        drawn = torch.cat([model.sample(len(part)).cpu() for part in x.split(AT_ONCE)])
        found = {"copies, frechet": judge.distance(copies)}
        found |= {"uniform prior, frechet": judge.distance(drawn)}
        if self.clustered:
            x, y = data.examples("train", CLUSTERED)[:2]
            latents = in_parts(lambda part: model.raw(part).flatten(1), x)
            found |= of_clusters(latents, y.cpu(), "latents")
            found |= of_clusters(in_parts(model.code, x), y.cpu(), "codes")
        return found


@dataclass(frozen=True)
class OfPrior:
    """Nats of images with the prior's rate in them, and how far its samples are from images."""

    first: Coded
    network: Classifier
    real: Callable[[], Dataset]

    @torch.no_grad()
    def __call__(self, model: CodePrior, data: Dataset) -> dict[str, Estimate]:
        tokens, x = data.examples("test")[:2]
        parts = list(zip(tokens.split(AT_ONCE), x.float().split(AT_ONCE), strict=True))
        rate = torch.cat([model.terms(t)["nll"] for t, _ in parts])
        fit = torch.cat([-self.first.seen(t.long()).log_prob(image) for t, image in parts])
        uniform = torch.full_like(rate, SIDE**2 * math.log(self.first.vocabulary))
        size = x[0].numel() * math.log(2)
        ways = {
            "": rate,
            "independent places, ": self.independent(data),
            "uniform prior, ": uniform,
        }
        found = {"distortion": mean_of(fit, "nats")}
        for name, nats in ways.items():
            found[f"{name}rate"] = mean_of(nats, "nats")
            found[f"{name}nats"] = mean_of(nats + fit, "nats")
            found[f"{name}bits"] = mean_of((nats + fit) / size, "bits/dim")
        return found | self.of_samples(model, data)

    def law(self, data: Dataset) -> Tensor:
        """How often each place has each symbol among the training images, plus one: (49, K)."""
        tokens = data.examples("train")[0].long()
        seen = torch.nn.functional.one_hot(tokens, self.first.vocabulary).sum(0) + 1.0
        return seen / seen.sum(1, keepdim=True)

    def independent(self, data: Dataset) -> Tensor:
        """Rate of the test images if places were independent: (N,) nats."""
        tokens, law = data.examples("test")[0].long(), self.law(data)
        return -law.log()[torch.arange(law.shape[0]), tokens].sum(1)

    def of_samples(self, model: CodePrior, data: Dataset) -> dict[str, Estimate]:
        """Squared Fréchet distances of as many samples as there are test images, by prior."""
        n, law, found = len(data.test[0]), self.law(data), {}
        judge = Frechet(self.real().cut(n).examples("test")[0], self.network)
        ways = {
            "": model.sample(n),
            "independent places, ": torch.multinomial(law, n, replacement=True).T,
            "uniform prior, ": torch.randint(self.first.vocabulary, (n, SIDE**2)),
        }
        for name, tokens in ways.items():
            pictures = in_parts(lambda part: self.first.seen(part).mean, tokens)
            found[f"{name}frechet"] = judge.distance(pictures)
        return found


def of_flat(model: VAE, data: Dataset) -> dict[str, Estimate]:
    """Nats and bits per dimension of a VAE: its bound, and by importance weights."""
    x = data.examples("test")[0]
    few = x[:1000] if len(x) >= TRIAL else x[: max(len(x) // 50, 2)]
    nll = importance_weighted_nll(model, few, samples=100)
    bound = -elbo_terms(model, x)["elbo"].value
    size, error = x[0].numel() * math.log(2), elbo_terms(model, x)["elbo"].error
    return {
        "nll": nll,
        "bits": Estimate(nll.value / size, nll.error / size, nll.n, "bits/dim"),
        "bound, bits": Estimate(bound / size, error / size, len(x), "bits/dim"),
    }


def of_annotated(model: Classifier, data: Dataset) -> dict[str, Estimate]:
    """Accuracy on the truth, and what the labels it was taught agree with; (x, label, truth)."""
    x, said, truth = data.examples("test")
    taught, known = data.train[1], data.train[2]
    right = torch.cat([taught == known, data.test[1] == data.test[2]]).double()
    return {
        "accuracy": accuracy(model.classify, x, truth),
        "accuracy on what it was taught": accuracy(model.classify, x, said),
        "right labels among all images": mean_of(right.cpu(), "accuracy"),
        "right labels among test images": mean_of((said == truth).double().cpu(), "accuracy"),
    }
