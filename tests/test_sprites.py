"""The VAEs of sprites and faces: networks, the total correlation of a batch, and bad input."""

from functools import partial
from itertools import product
from math import log
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from companion.data import Dataset, dsprites
from companion.data.forms import IMAGES
from companion.experiments import beta_tcvae, beta_vae, face_reader, face_vae, two_layer_face_vae
from companion.measures.faces import of_reader
from companion.measures.sprites import of_code, of_factors, posteriors
from companion.metrics import Estimate, kl_decomposition
from companion.models.classifier import Reader
from companion.models.vae import VAE
from companion.nets import (
    face_decoder,
    face_encoder,
    sprite_decoder,
    sprite_encoder,
    two_layer_decoder,
    two_layer_encoder,
)
from companion.objectives import (
    attribute_error,
    log_aggregate_of_batch,
    negative_elbo,
    negative_tc_elbo,
)

PAIRS = {
    "sprite": (sprite_encoder, sprite_decoder, 64),
    "face": (partial(face_encoder, width=4), partial(face_decoder, width=4), 128),
    "two layers": (two_layer_encoder, two_layer_decoder, 128),
}


@pytest.mark.parametrize("name", PAIRS)
def test_decoder_gives_back_the_shape_that_the_encoder_took(name):
    encoder, decoder, side = PAIRS[name]
    x = torch.rand(2, 1, side, side)
    assert encoder(6)(x).shape == (2, 6) and decoder(6)(torch.rand(2, 6)).shape == x.shape


@pytest.mark.parametrize("name", PAIRS)
def test_every_pixel_is_seen_and_every_pixel_is_written(name):
    """A network that skips rows or columns would have a zero gradient there."""
    encoder, decoder, side = PAIRS[name]
    torch.manual_seed(0)
    x = torch.rand(4, 1, side, side, requires_grad=True)
    (slope,) = torch.autograd.grad(encoder(6)(x).square().sum(), x)
    assert slope.abs().amax((0, 1)).min() > 0
    pictures = decoder(6)(torch.randn(16, 6))
    assert pictures.std(0).min() > 0


def test_sprite_networks_are_of_the_size_of_their_source():
    """Burgess et al. 2018 with 10 latents: 32 channels, 256 units; ours has 2 stems of 4 x 4."""
    theirs = 2 * 3 * (32 * 32 * 16 + 32) + (16 * 32 + 32) + (16 * 32 + 1)  # convolutions
    theirs += (512 * 256 + 256) + (256 * 256 + 256) + (256 * 20 + 20)
    theirs += (10 * 256 + 256) + (256 * 256 + 256) + (256 * 512 + 512)
    ours = sum(
        p.numel() for net in (sprite_encoder(20), sprite_decoder(10)) for p in net.parameters()
    )
    assert 0.9 < ours / theirs < 1.0


def world(n: int) -> tuple[Tensor, Tensor]:
    """Posteriors of n images in two dimensions, mean and scale (n, 2)."""
    draw = torch.Generator().manual_seed(1)
    mean = torch.randn(n, 2, generator=draw, dtype=torch.float64)
    return mean, 0.3 + torch.rand(n, 2, generator=draw, dtype=torch.float64)


def test_the_batch_estimate_of_the_aggregate_is_unbiased():
    """All batches of 3 of 5 images that hold image 0 first, in equal number: by enumeration."""
    mean, scale = world(5)
    z = torch.tensor([[0.3, -0.8]], dtype=torch.float64)
    found = []
    for others in product(range(1, 5), repeat=2):
        if others[0] != others[1]:
            rows = [0, *others]
            joint, _ = log_aggregate_of_batch(z.expand(3, 2), mean[rows], scale[rows], n=5)
            found.append(joint[0].exp())
    exact = Normal(mean, scale).log_prob(z).sum(1).exp().mean()
    torch.testing.assert_close(torch.stack(found).mean(), exact)


def test_the_aggregate_of_the_whole_data_set_is_exact():
    mean, scale = world(6)
    z = torch.randn(6, 2, dtype=torch.float64)
    joint, product_of = log_aggregate_of_batch(z, mean, scale, n=6)
    each = Normal(mean, scale).log_prob(z[:, None])
    torch.testing.assert_close(joint, each.sum(2).logsumexp(1) - log(6))
    torch.testing.assert_close(product_of, (each.logsumexp(1) - log(6)).sum(1))


class Fixed(VAE):
    """Posteriors that are given, and a decoder that does not look at its code."""

    def __init__(self, mean: Tensor, scale: Tensor):
        super().__init__(torch.nn.Identity(), torch.nn.Linear(2, 1), 2)
        self.mean, self.scale = mean, scale

    def encode(self, x: Tensor) -> Independent:
        return Independent(Normal(self.mean, self.scale), 1)

    def decode(self, z: Tensor):
        return Independent(Normal(torch.zeros(len(z), 1), 1.0), 1)


def test_total_correlation_in_a_batch_is_that_of_the_aggregate():
    """Against the decomposition over all posteriors, itself tested against closed forms."""
    mean, scale = (part.float() for part in world(40))
    mean[:, 1] += mean[:, 0]  # correlated
    model, x = Fixed(mean, scale), torch.zeros(40, 1)
    torch.manual_seed(0)
    found = torch.stack(
        [negative_tc_elbo(model, (x,), 0, n=40)["total correlation"].mean() for _ in range(400)]
    )
    truth = kl_decomposition(mean, 2 * scale.log(), samples=20_000).total_correlation
    error = (found.std() / 20).item()
    assert abs(found.mean().item() - truth.value) < 4 * (error + truth.error)


def test_weight_one_is_the_plain_bound():
    model, x = Fixed(*(part.float() for part in world(8))), torch.zeros(8, 1)
    losses = []
    for loss in (negative_elbo, partial(negative_tc_elbo, n=1000)):
        torch.manual_seed(0)
        losses.append(loss(model, (x,), 0)["loss"])
    torch.testing.assert_close(*losses)
    torch.manual_seed(0)
    heavier = negative_tc_elbo(model, (x,), 0, n=1000, beta=3.0)
    extra = heavier["loss"] - losses[0]
    torch.testing.assert_close(extra, 2 * heavier["total correlation"])


def sprites(n: int) -> Dataset:
    """A few sprites for training and testing."""
    factors = dsprites.factors_of(torch.randint(dsprites.ROWS, (n,)))
    part = dsprites.pack(dsprites.draw(factors)), factors
    forms = dsprites.FORMS
    return Dataset("dsprites", part, part, dsprites.FACTORS, "procedural", "", "", forms)


def test_measures_of_a_sprite_model_are_those_of_its_posteriors():
    torch.manual_seed(0)
    model, data = beta_vae().model, sprites(64)
    found = {**of_factors(model, data), **of_code(model, data)}
    mean, log_variance = posteriors(model, dsprites.unpack(data.test[0]), batch=7)
    assert mean.shape == log_variance.shape == (64, 10)
    rate = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean()
    parts = ("mutual information", "total correlation", "dimension-wise KL")
    assert sum(found[part].value for part in parts) == pytest.approx(rate.item(), rel=1e-4)
    assert found["rate"].value == pytest.approx(rate.item(), rel=1e-4)
    assert {"MIG", "SAP", "disentanglement", "completeness", "informativeness"} < found.keys()


def test_pruning_forgets_only_collapsed_dimensions():
    """A code of one true factor and one faint copy of it: the copy hides the gap, until pruned."""
    data = sprites(400)
    model = beta_vae().model
    code = torch.zeros(400, 20)
    code[:, 0] = data.test[1][:, 4].float()
    code[:, 1] = 2**-10 * code[:, 0]
    model.encoder.forward = lambda x: code[: len(x)]
    found = of_factors(model, data)
    entropy_share = found["MIG, collapsed pruned"].value
    assert found["MIG"].value == pytest.approx(0, abs=1e-6) and entropy_share > 0.15


def test_stored_sprites_become_pictures():
    data = sprites(3)
    x, factors = data.examples("train")
    assert x.shape == (3, 1, 64, 64) and set(x.unique().tolist()) == {0.0, 1.0}
    assert factors.equal(data.train[1])


def test_a_reader_gives_numbers_and_probabilities():
    torch.manual_seed(0)
    features = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    model, x = Reader(features, ("continuous", "binary", "continuous")), torch.rand(50, 1, 4, 4)
    raw, read = model.raw(x), model.read(x)
    torch.testing.assert_close(read[:, [0, 2]], raw[:, [0, 2]])
    torch.testing.assert_close(read[:, 1], raw[:, 1].sigmoid())
    truth = torch.stack([raw[:, 0], (raw[:, 1] > 0).float(), raw[:, 2] + 0.5], 1).detach()
    terms = attribute_error(model, (x, truth), 0)
    torch.testing.assert_close(terms["squared error"], torch.full((50,), 0.125))
    expected = torch.nn.functional.binary_cross_entropy(read[:, 1], truth[:, 1])
    torch.testing.assert_close(terms["cross-entropy"].mean(), expected)
    x = (x * 255).round().byte()
    data = Dataset("", (), (x, truth), (), "procedural", "", "", IMAGES)
    assert of_reader(model, data)["accuracy"].value == 1


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: beta_vae(beta=-1.0), "beta must be 0 or above, got -1.0"),
        (lambda: beta_vae(latent=1), "latent must be at least 2 dimensions, got 1"),
        (lambda: beta_tcvae(images=10**6), r"images must be 0 \(all\) to 727,280, got 1000000"),
        (lambda: face_vae(beta=-1.0), "beta >= 0, got latent=64 and beta=-1.0"),
        (lambda: two_layer_face_vae(latent=0), "latent >= 1 and .* got latent=0"),
        (lambda: face_reader(horizon=0), "horizon must be above 0 epochs, got 0"),
        (
            lambda: negative_tc_elbo(Fixed(*world(2)), (torch.zeros(2, 1),), 0, n=2, beta=-1.0),
            "beta must be 0 or above, got -1.0",
        ),
    ],
)
def test_wrong_choices_are_answered_in_one_sentence(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_scores_of_a_code_are_taken_where_it_was_not_fitted(monkeypatch):
    """A random code tells nothing of factors; deep trees remember their own half all the same."""
    patched = SimpleNamespace(score=Estimate(0.0, 0.0, 1))  # fifty machines that take long to fit
    monkeypatch.setattr("companion.measures.sprites.separated_predictability", lambda *a: patched)
    torch.manual_seed(0)
    data, model = sprites(200), beta_vae().model
    code = torch.randn(200, 20)
    model.encoder.forward = lambda x: code[: len(x)]
    guess = sum(1 / k for k in dsprites.SIZES) / 5  # right answers without knowing anything
    assert of_code(model, data)["informativeness"].value < guess + 0.1
