"""Losses: against closed forms where all is linear and Gaussian, and against each other."""

import math
from functools import partial
from math import log, pi

import pytest
import torch
from linear_gaussian import LinearVAE, images, log_evidence
from torch import Tensor, nn
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    Normal,
    kl_divergence,
)
from torch.nn import functional as F

from companion.data import Dataset
from companion.metrics import mean_of
from companion.models.classifier import Classifier
from companion.models.likelihoods import Bernoulli
from companion.models.vae import VAE, Autoencoder
from companion.nets import image_decoder, image_encoder
from companion.objectives import cross_entropy, joint, negative_elbo
from companion.recipes import of_terms, own_terms


def vae(latent: int = 3) -> VAE:
    """A small VAE of 12 x 12 images with a head of 4 classes."""
    encoder, decoder = image_encoder(2 * latent, size=12, width=4), image_decoder(latent, 1, 12, 4)
    return VAE(encoder, decoder, latent, Bernoulli, nn.Linear(latent, 4))


def batch() -> tuple[Tensor, Tensor]:
    """Eight images and their labels."""
    torch.manual_seed(1)
    return torch.rand(8, 1, 12, 12), torch.randint(4, (8,))


def seeded(loss, *words) -> dict[str, Tensor]:
    """The means of a loss's terms, from the same random numbers each time."""
    torch.manual_seed(2)
    return {name: values.mean() for name, values in loss(*words).items()}


def test_negative_elbo_is_its_closed_form_where_all_is_gaussian():
    """E_q |x - W z - b|^2 = |x - W m - b|^2 + tr(W S W'), and the KL of two normals."""
    model, x = LinearVAE(), images(40)
    q, s = model.encode(x), model.scale
    left = (x.flatten(1) - model.map(q.mean)).square().sum(1)
    blur = (model.weight.square() * q.variance[:, None]).sum((1, 2))
    distortion = ((left + blur) / (2 * s**2) + x[0].numel() * (log(s) + log(2 * pi) / 2)).mean()
    rate = (q.mean.square() + q.variance - 1 - q.variance.log()).sum(1).mean() / 2
    torch.manual_seed(0)
    terms = [negative_elbo(model, (x,), 0) for _ in range(2000)]
    found = mean_of(torch.stack([t["loss"].mean() for t in terms]))
    assert abs(found.value - (distortion + rate).item()) < 4 * found.error
    torch.testing.assert_close(terms[0]["rate"].mean(), rate)


def test_negative_elbo_bounds_the_evidence_and_meets_it_at_the_posterior():
    x, model = images(40), LinearVAE()
    torch.manual_seed(0)
    for posterior, tight in ((True, True), (False, False)):
        model.exact = posterior
        losses = torch.stack([negative_elbo(model, (x,), 0)["loss"].mean() for _ in range(1000)])
        gap = mean_of(losses + log_evidence(model, x).mean())
        assert (abs(gap.value) < 4 * gap.error) if tight else (gap.value > 10 * gap.error)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 4.0])
def test_beta_weighs_the_rate_alone(beta):
    terms = seeded(negative_elbo, vae(), batch(), 0, beta)
    torch.testing.assert_close(terms["loss"], terms["distortion"] + beta * terms["rate"])
    assert (terms["rate"] > 0) and (beta != 0 or terms["loss"] == terms["distortion"])


def test_reconstruction_is_the_distortion_of_a_code_without_noise():
    torch.manual_seed(0)
    model = Autoencoder(image_encoder(3, size=12, width=4), image_decoder(3, 1, 12, 4), 3)
    x = batch()[0].round()
    terms = own_terms(model, (x,), 0)
    per_pixel = F.binary_cross_entropy(model.decode(model.code(x)).mean, x, reduction="none")
    torch.testing.assert_close(terms["loss"], per_pixel.flatten(1).sum(1))
    assert terms["loss"].equal(terms["distortion"])


@pytest.mark.parametrize(("weight", "beta"), [(0.0, 1.0), (3.0, 1.0), (0.0, 2.5)])
def test_joint_is_the_bound_and_the_labels_cost(weight, beta):
    torch.manual_seed(0)
    model = vae()
    both = seeded(joint, model, batch(), 0, weight, beta)
    bound = seeded(negative_elbo, model, batch(), 0, beta)
    torch.testing.assert_close(both["loss"], bound["loss"] + weight * both["cross_entropy"])
    assert 0 <= both["error"] <= 1


def test_joint_needs_a_head():
    model = VAE(image_encoder(6, size=12, width=4), image_decoder(3, 1, 12, 4), 3)
    with pytest.raises(ValueError, match="no classifier head"):
        joint(model, batch(), 0, 1.0)


def test_cross_entropy_is_minus_the_mean_log_probability_of_the_label():
    model, (x, y) = Classifier(nn.Flatten(), 144, classes=4), batch()
    terms = cross_entropy(model, (x, y), 0)
    prob = model.classify(x).softmax(1)
    torch.testing.assert_close(terms["loss"], -prob[range(8), y].log())
    assert terms["error"].equal((prob.argmax(1) != y).float())


@pytest.mark.parametrize("loss", [negative_elbo, partial(joint, weight=1.0)])
def test_losses_reach_the_encoder_through_the_sampled_code(loss):
    model = vae()
    loss(model, batch(), 0)["distortion"].sum().backward()
    gradients = [weight.grad for weight in model.encoder.parameters()]
    assert all(gradient is not None and gradient.any() for gradient in gradients)


def test_the_label_reaches_the_encoder_through_the_head():
    """Were the code detached, the head alone would learn, and every term would look healthy."""
    model = vae()
    joint(model, batch(), 0, 3.0)["cross_entropy"].sum().backward()
    assert all(weight.grad.any() for weight in model.encoder.parameters())
    assert all(weight.grad is None for weight in model.decoder.parameters())


class TwoPeaks(VAE):
    """A prior without a closed-form KL: two normals, as a mixture prior would have."""

    def prior(self) -> MixtureSameFamily:
        centres = torch.tensor([[-1.0] * 3, [1.0] * 3])
        rounds = Independent(Normal(centres, torch.ones_like(centres)), 1)
        return MixtureSameFamily(Categorical(torch.ones(2)), rounds)


def test_a_rate_without_closed_form_is_that_of_the_draw():
    """Its mean is that of log q - log p with both densities written out."""
    model, (x, _) = vae(), batch()
    other = TwoPeaks(model.encoder.eval(), model.decoder, 3)
    q = other.encode(x)
    torch.manual_seed(0)
    found = torch.stack([other.terms(x)["rate"] for _ in range(600)])
    z = q.sample(torch.Size([4000]))
    normal = [Normal(m, 1.0).log_prob(z).sum(-1) for m in (-1.0, 1.0)]
    log_p = torch.logaddexp(*normal) - log(2)
    log_q = Normal(q.mean, q.stddev).log_prob(z).sum(-1)
    a, b = mean_of(found.mean(1)), mean_of((log_q - log_p).mean(1))
    assert abs(a.value - b.value) < 4 * math.hypot(a.error, b.error) and found.std(0).min() > 0
    torch.testing.assert_close(model.terms(x)["rate"], kl_divergence(q, model.prior()))


def test_a_likelihood_model_with_classes_is_told_the_labels_in_training_and_in_measuring():
    class Tilted(nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.classes = classes

        def terms(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
            return {"nll": x.flatten(1).sum(1) + (0 if y is None else 100 * y)}

    x, y = batch()
    plain = x.flatten(1).sum(1)
    data = Dataset("few", (x, y), (x, y), (), "exact", "")
    for classes, expected in ((0, plain), (4, plain + 100 * y)):
        torch.testing.assert_close(own_terms(Tilted(classes), (x, y), 0)["loss"], expected)
        measured = of_terms(Tilted(classes), data)["nll"].value
        assert measured == pytest.approx(expected.mean().item(), rel=1e-5)  # float32
