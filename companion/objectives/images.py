"""Losses of autoencoders, variational autoencoders and classifiers, in nats per image."""

from torch import Tensor
from torch.distributions import kl_divergence
from torch.nn import functional as F

from companion.models.classifier import Classifier
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


def cross_entropy(model: Classifier, batch: Batch, step: int) -> Terms:
    """Negative log-probability of the label."""
    x, y = batch
    logits = model.classify(x)
    error = (logits.argmax(1) != y).float().mean()
    loss = F.cross_entropy(logits, y)
    return {"loss": loss, "cross_entropy": loss, "error": error}


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
