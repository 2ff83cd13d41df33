"""Losses of variational autoencoders and classifiers: terms per image, in nats."""

import torch
from torch import Tensor
from torch.distributions import Normal
from torch.nn import functional as F

from companion.models.classifier import Classifier, Reader
from companion.models.vae import VAE
from companion.recipes import Batch, Terms


def check_beta(beta: float) -> None:
    """Raise ValueError for a weight of the rate that cannot be."""
    if not beta >= 0:
        raise ValueError(f"beta must be 0 or above, got {beta}")


def negative_elbo(model: VAE, batch: Batch, step: int, beta: float = 1.0) -> Terms:
    """-log p(x | z) + beta KL(q(z | x) || p(z)), z from q; Kingma and Welling 2014, eq. 10.

    beta weighs every term but the distortion. Raises ValueError if it is negative.
    """
    check_beta(beta)
    terms = model.terms(batch[0])
    rate = torch.stack([v for name, v in terms.items() if name != "distortion"]).sum(0)
    return {"loss": terms["distortion"] + beta * rate, **terms}


def log_aggregate_of_batch(
    z: Tensor, mean: Tensor, scale: Tensor, n: int
) -> tuple[Tensor, Tensor]:
    """Estimate log q(z) and the sum of log q(z_k) at codes z (B, K) of one batch, each (B,).

    q(z) is the mean of q(z | x) over n images, of which the batch holds B: an image's own
    posterior counts 1 / n, each other one of the batch (n - 1) / (n (B - 1)). Chen et al. 2018,
    appendix C.2, "minibatch stratified sampling", with the weights that make q(z) unbiased.
    """
    each = Normal(mean, scale, validate_args=False).log_prob(z[:, None])  # (B, B, K)
    b = len(z)
    weight = torch.full((b, b), (n - 1) / (n * max(b - 1, 1)), device=z.device)
    log_weight = weight.fill_diagonal_(1 / n).log()
    joint = torch.logsumexp(each.sum(2) + log_weight, 1)
    return joint, torch.logsumexp(each + log_weight[..., None], 1).sum(1)


def negative_tc_elbo(model: VAE, batch: Batch, step: int, n: int, beta: float = 1.0) -> Terms:
    """-log p(x | z) + KL(q(z | x) || p(z)) + (beta - 1) log q(z) / prod q(z_k), z from q.

    The beta-TCVAE of Chen et al. 2018, eq. 4, on n training images: of the rate's three parts,
    mutual information, total correlation and dimension-wise KL, only the second is weighted.
    Raises ValueError if beta is negative.
    """
    check_beta(beta)
    x = batch[0]
    q = model.encode(x)
    z = q.rsample()
    terms = model.terms_at(x, q, z)
    joint, product = log_aggregate_of_batch(z, q.base_dist.loc, q.base_dist.scale, n)
    terms["total correlation"] = joint - product
    weighted = (beta - 1) * terms["total correlation"]
    return {"loss": terms["distortion"] + terms["rate"] + weighted, **terms}


def cross_entropy(model: Classifier, batch: Batch, step: int) -> Terms:
    """Negative log-probability of the label."""
    return of_label(model.classify(batch[0]), batch[1])


def of_label(logits: Tensor, y: Tensor) -> Terms:
    """Cross-entropy of logits (B, classes), in nats, and whether the largest one is wrong."""
    loss = F.cross_entropy(logits, y, reduction="none")
    return {"loss": loss, "cross_entropy": loss, "error": (logits.argmax(1) != y).float()}


def attribute_error(model: Reader, batch: Batch, step: int) -> Terms:
    """Squared error of continuous attributes plus cross-entropy of binary ones, means of each."""
    x, truth = batch
    raw, binary = model.raw(x), torch.tensor(model.binary, device=x.device)
    continuous = (raw[:, ~binary] - truth[:, ~binary]).square().mean(1)
    logits, said = raw[:, binary], truth[:, binary]
    entropy = F.binary_cross_entropy_with_logits(logits, said, reduction="none").mean(1)
    return {"loss": continuous + entropy, "squared error": continuous, "cross-entropy": entropy}


def joint(model: VAE, batch: Batch, step: int, weight: float, beta: float = 1.0) -> Terms:
    """Negative ELBO and `weight` times the head's cross-entropy, on one sampled code."""
    check_beta(beta)
    x, y = batch
    q = model.encode(x)
    z = q.rsample()
    terms, label = model.terms_at(x, q, z), of_label(model.labels(z), y)
    bound = terms["distortion"] + beta * terms["rate"]
    return {**label, **terms, "loss": bound + weight * label["loss"]}
