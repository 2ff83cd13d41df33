"""Losses of autoencoders, variational autoencoders and classifiers, in nats per image."""

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from companion.models.classifier import Classifier, Reader
from companion.models.vae import VAE, Autoencoder

Batch = tuple[Tensor, ...]
Terms = dict[str, Tensor]


def reconstruction(model: Autoencoder, batch: Batch, step: int) -> Terms:
    """Negative log-likelihood of an image given its own code."""
    x = batch[0]
    distortion = -model.decode(model.code(x)).log_prob(x).mean()
    return {"loss": distortion, "distortion": distortion}


def negative_elbo(model: VAE, batch: Batch, step: int, beta: float = 1.0) -> Terms:
    """-E_q log p(x | z) + beta KL(q(z | x) || p(z)); Kingma and Welling 2014, eq. 10.

    Raises ValueError if beta is negative.
    """
    if beta < 0:
        raise ValueError(f"beta must be 0 or above, got {beta}")
    x = batch[0]
    q = model.encode(x)
    distortion = -model.decode(q.rsample()).log_prob(x).mean()
    rate = kl_divergence(q, model.prior()).mean()
    return {"loss": distortion + beta * rate, "distortion": distortion, "rate": rate}


def log_aggregate(z: Tensor, mean: Tensor, scale: Tensor, n: int) -> tuple[Tensor, Tensor]:
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
    """-E_q log p(x | z) + KL(q(z | x) || p(z)) + (beta - 1) TC(q(z)).

    The beta-TCVAE of Chen et al. 2018, eq. 4, on n training images: of the rate's three parts,
    mutual information, total correlation and dimension-wise KL, only the second is weighted.
    Raises ValueError if beta is negative.
    """
    if beta < 0:
        raise ValueError(f"beta must be 0 or above, got {beta}")
    x = batch[0]
    q = model.encode(x)
    z = q.rsample()
    distortion = -model.decode(z).log_prob(x).mean()
    rate = kl_divergence(q, model.prior()).mean()
    joint, product = log_aggregate(z, q.base_dist.loc, q.base_dist.scale, n)
    correlation = (joint - product).mean()
    terms = {"distortion": distortion, "rate": rate, "total correlation": correlation}
    return {"loss": distortion + rate + (beta - 1) * correlation, **terms}


def cross_entropy(model: Classifier, batch: Batch, step: int) -> Terms:
    """Negative log-probability of the label."""
    x, y = batch
    logits = model.classify(x)
    error = (logits.argmax(1) != y).float().mean()
    loss = F.cross_entropy(logits, y)
    return {"loss": loss, "cross_entropy": loss, "error": error}


def attribute_error(model: Reader, batch: Batch, step: int) -> Terms:
    """Squared error of continuous attributes plus cross-entropy of binary ones, means of each."""
    x, truth = batch
    raw, binary = model.raw(x), torch.tensor(model.binary, device=x.device)
    continuous = F.mse_loss(raw[:, ~binary], truth[:, ~binary])
    entropy = F.binary_cross_entropy_with_logits(raw[:, binary], truth[:, binary])
    return {"loss": continuous + entropy, "squared error": continuous, "cross-entropy": entropy}


def joint(model: VAE, batch: Batch, step: int, weight: float, beta: float = 1.0) -> Terms:
    """Negative ELBO and `weight` times the head's cross-entropy, on one sampled code."""
    x, y = batch
    q = model.encode(x)
    z = q.rsample()
    distortion = -model.decode(z).log_prob(x).mean()
    rate = kl_divergence(q, model.prior()).mean()
    if model.head is None:
        raise ValueError("the joint loss needs a model with a classifier head")
    logits = model.head(z)
    label = F.cross_entropy(logits, y)
    error = (logits.argmax(1) != y).float().mean()
    loss = distortion + beta * rate + weight * label
    terms = {"distortion": distortion, "rate": rate, "cross_entropy": label, "error": error}
    return {"loss": loss, **terms}
