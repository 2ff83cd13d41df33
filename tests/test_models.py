"""Models: their likelihoods against another library, their networks, their contracts."""

import math

import pytest
import torch
from numpy.polynomial.legendre import leggauss
from torch import Tensor, distributions, nn

from companion.metrics import Estimate, mean_of
from companion.models.classifier import Classifier, extractor_network
from companion.models.likelihoods import (
    LIKELIHOODS,
    Bernoulli,
    ContinuousBernoulli,
    Gaussian,
    GaussianHead,
    likelihood,
)
from companion.models.vae import VAE, Autoencoder, calibrated, second_moments
from companion.nets import (
    four_layer_decoder,
    four_layer_encoder,
    image_decoder,
    image_encoder,
)

LOGITS = torch.tensor(
    [-700.0, -90, -30, -5, -1, -0.02, -9e-3, -1e-4, 0, 1e-6, 5e-3, 0.011, 0.5, 2, 20, 89, 700],
    dtype=torch.float64,
)
GREY = torch.linspace(0, 1, 11, dtype=torch.float64)


def pixels(values: Tensor) -> Tensor:
    """Let every value be an image of one pixel: (N,) -> (N, 1, 1, 1)."""
    return values.reshape(-1, 1, 1, 1)


def grid(xs: Tensor) -> tuple[Tensor, Tensor]:
    """Every logit with every pixel, as images."""
    logits, x = torch.cartesian_prod(LOGITS, xs).T
    return pixels(logits), pixels(x)


def test_bernoulli_agrees_with_torch():
    logits, x = grid(torch.tensor([0.0, 1.0], dtype=torch.float64))
    expected = distributions.Bernoulli(logits=logits).log_prob(x).flatten()
    torch.testing.assert_close(Bernoulli(logits).log_prob(x), expected)
    torch.testing.assert_close(Bernoulli(logits).mean, distributions.Bernoulli(logits=logits).mean)


def test_continuous_bernoulli_agrees_with_torch_where_torch_is_exact():
    """torch's own keeps lambda in (1e-7, 1 - 1e-7) and is a Taylor series near one half."""
    logits, x = grid(GREY)
    oracle = distributions.ContinuousBernoulli(logits=logits, lims=(0.49, 0.51))
    exact = (logits.abs().flatten() < 30) & (logits.abs().flatten() > 1)
    ours = ContinuousBernoulli(logits)
    torch.testing.assert_close(ours.log_prob(x)[exact], oracle.log_prob(x).flatten()[exact])
    torch.testing.assert_close(ours.mean.flatten()[exact], oracle.mean.flatten()[exact])


def test_gaussian_agrees_with_torch():
    mean, x = torch.rand(2, 7, 1, 3, 3, dtype=torch.float64)
    scale = torch.tensor(-1.3, dtype=torch.float64)
    expected = distributions.Normal(mean, scale.exp()).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(Gaussian(mean, scale).log_prob(x), expected)


@pytest.mark.parametrize("eta", LOGITS.tolist())
def test_continuous_bernoulli_is_a_density_with_its_mean(eta):
    """Gauss and Legendre's rule on cells that shrink towards both ends, where the mass may sit."""
    nodes, weights = (torch.from_numpy(array) for array in leggauss(20))
    edges = torch.cat([torch.zeros(1), torch.logspace(-6, -0.31, 60)]).double()
    edges = torch.cat([edges, 0.5 + 0 * edges[:1], (1 - edges).flip(0)])
    middle, half = (edges[1:] + edges[:-1]) / 2, edges.diff() / 2
    x = (middle[:, None] + half[:, None] * nodes).flatten()
    w = (half[:, None] * weights).flatten()
    p = ContinuousBernoulli(torch.full((len(x), 1, 1, 1), eta, dtype=torch.float64))
    density = p.log_prob(pixels(x)).exp()
    assert (w * density).sum().item() == pytest.approx(1, abs=1e-9)
    assert (w * density * x).sum().item() == pytest.approx(p.mean[0].item(), abs=1e-9)


@pytest.mark.parametrize("kind", [Bernoulli, ContinuousBernoulli])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_stay_finite_at_zero_and_at_large_logits(kind, dtype):
    extremes = torch.tensor([-3e4, -1e4, -1e3, -1e-8, 0.0, 1e-8, 1e3, 1e4, 3e4])
    logits, x = torch.cartesian_prod(extremes, GREY.float()).T.to(dtype)
    logits.requires_grad_()
    p = kind(pixels(logits))
    for values in (p.log_prob(pixels(x)), p.mean):
        (slope,) = torch.autograd.grad(values.sum(), logits)
        assert values.isfinite().all() and slope.isfinite().all()


def test_gradient_of_the_continuous_normaliser_agrees_with_finite_differences():
    logits, x = grid(GREY[:3])
    logits = logits[logits.abs().flatten() < 30].requires_grad_()
    x = pixels(GREY[3].expand(len(logits)))
    assert torch.autograd.gradcheck(lambda eta: ContinuousBernoulli(eta).log_prob(x), logits)


def sampled(p: Bernoulli | ContinuousBernoulli | Gaussian, k: int) -> list[Estimate]:
    """Mean of many samples in each of k pixels."""
    return [mean_of(column) for column in p.sample().flatten(1).T[:k]]


@pytest.mark.parametrize("kind", [Bernoulli, ContinuousBernoulli])
def test_samples_have_the_mean(kind):
    torch.manual_seed(0)
    values = torch.tensor([-200.0, -90, -8, -1, -5e-4, 0, 5e-4, 1, 8, 90, 200])
    p = kind(values.expand(20_000, 1, 1, 11))
    for found, mean in zip(sampled(p, 11), p.mean[0].flatten().tolist(), strict=True):
        slack = 2e-4 if kind is ContinuousBernoulli else 1e-30  # near 0, a uniform stands in
        assert abs(found.value - mean) <= 4 * found.error + slack
    assert p.sample().min() >= 0 and p.sample().max() <= 1


def test_samples_of_the_continuous_bernoulli_follow_its_distribution():
    """Kolmogorov and Smirnov: sqrt(n) D is above 2.2 with probability 1e-4."""
    torch.manual_seed(0)
    for eta in (-3.0, 0.7, 12.0):
        x = ContinuousBernoulli(torch.full((10_000, 1, 1, 1), eta)).sample().flatten().double()
        below = torch.special.expm1(eta * x.sort().values) / math.expm1(eta)
        steps = torch.linspace(0, 1, 10_001, dtype=torch.float64)
        apart = torch.maximum((below - steps[1:]).abs(), (below - steps[:-1]).abs()).max()
        assert math.sqrt(10_000) * apart < 2.2


def test_samples_of_the_gaussian_have_its_mean_and_scale():
    torch.manual_seed(0)
    p = Gaussian(torch.full((20_000, 1, 1, 1), 0.3), torch.tensor(-2.0))
    x = p.sample().flatten()
    spread = mean_of((x - 0.3).square())
    assert abs(x.mean().item() - 0.3) < 4 * math.exp(-2) / math.sqrt(20_000)
    assert abs(spread.value - math.exp(-4)) < 4 * spread.error


def test_the_learned_scale_stays_between_its_bounds():
    head = GaussianHead()
    for log_scale, kept in ((-9.0, -4.0), (-1.5, -1.5), (3.0, 0.0)):
        nn.init.constant_(head.log_scale, log_scale)
        assert head(torch.zeros(1, 1, 2, 2)).log_scale.item() == kept


@pytest.mark.parametrize("size", [5, 13, 27, 28, 32, 33, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_decoder_gives_back_the_shape_that_the_encoder_took(size, channels):
    x = torch.rand(2, channels, size, size)
    z = image_encoder(6, channels, size, width=4)(x)
    assert z.shape == (2, 6)
    assert image_decoder(6, channels, size, width=4)(z).shape == x.shape


def small(kind: type[Autoencoder], name: str, latent: int = 3) -> Autoencoder:
    """A model of 12 x 12 images with a head."""
    encoder = image_encoder(2 * latent if kind is VAE else latent, size=12, width=4)
    decoder = image_decoder(latent, size=12, width=4)
    return kind(encoder, decoder, latent, likelihood(name), nn.Linear(latent, 10))


FAMILY = [(kind, name) for kind in (Autoencoder, VAE) for name in LIKELIHOODS]


@pytest.mark.parametrize(("kind", "name"), FAMILY)
def test_an_autoencoder_keeps_its_contract(kind, name):
    torch.manual_seed(0)
    model, x = small(kind, name), torch.rand(8, 1, 12, 12)
    z, p = model.code(x), model.decode(model.code(x))
    assert z.shape == (8, 3) and model.classify(x).shape == (8, 10)
    assert p.mean.shape == p.sample().shape == x.shape
    assert (p.mean >= 0).all() and (p.mean <= 1).all()
    assert p.log_prob(x).shape == (8,)
    draw = model.encode(x).rsample() if isinstance(model, VAE) else z
    (model.decode(draw).log_prob(x).sum() + model.classify(x).sum()).backward()
    assert [n for n, w in model.named_parameters() if w.grad is None or not w.grad.any()] == []
    with pytest.raises(ValueError, match=r"^codes must have 3 dimensions, got 4$"):
        model.decode(torch.zeros(2, 4))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_vae_is_a_joint_distribution(name):
    torch.manual_seed(0)
    model, x = small(VAE, name).eval(), torch.rand(8, 1, 12, 12)
    assert isinstance(model, VAE)
    q = model.encode(x)
    assert q.batch_shape == (8,) and q.event_shape == (3,)
    torch.testing.assert_close(q.mean, model.code(x))
    zeros = distributions.MultivariateNormal(torch.zeros(3), torch.eye(3))
    z = torch.randn(5, 3)
    torch.testing.assert_close(model.prior().log_prob(z), zeros.log_prob(z))
    images = model.sample(6)
    assert images.shape == (6, 1, 12, 12) and images.min() >= 0 and images.max() <= 1


@pytest.mark.parametrize("latent", [0, -1])
def test_a_code_without_dimensions_is_refused(latent):
    with pytest.raises(
        ValueError, match=f"^latent must be at least 1 dimension, .* got {latent}$"
    ):
        VAE(nn.Identity(), nn.Identity(), latent)


def test_a_classifier_is_linear_in_its_features():
    model, x = extractor_network().eval(), torch.rand(4, 1, 28, 28)
    assert model.code(x).shape == (4, 64) and (model.code(x) >= 0).all()
    torch.testing.assert_close(model.classify(x), model.head(model.code(x)))
    assert Classifier(nn.Flatten(), 784, classes=3).classify(x).shape == (4, 3)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_vae_s_images_are_means_of_codes_from_the_prior(name):
    """Not draws of pixels: no noise, and no image of black and white."""
    torch.manual_seed(0)
    model = small(VAE, name).eval()
    torch.manual_seed(1)
    images = model.sample(5)
    torch.manual_seed(1)
    torch.testing.assert_close(images, model.decode(torch.randn(5, 3)).mean)


def test_the_second_half_of_a_code_is_the_logarithm_of_its_variance():
    model, x = VAE(nn.Flatten(), nn.Identity(), 2), torch.rand(4, 1, 2, 2)
    q = model.encode(x)
    torch.testing.assert_close(q.mean, x.flatten(1)[:, :2])
    torch.testing.assert_close(q.variance.log(), x.flatten(1)[:, 2:])


def test_a_decoder_writes_numbers_of_either_sign():
    """Logits, or what a sigmoid makes means of: nothing bends them after the last layer."""
    torch.manual_seed(0)
    for size in (12, 28):
        raw = image_decoder(6, size=size, width=4)(9 * torch.randn(200, 6))
        assert raw.min() < 0 < raw.max()


def test_a_calibrated_vae_draws_the_same_and_pays_as_little_as_a_move_and_a_scale_can():
    torch.manual_seed(0)
    model = VAE(image_encoder(8), image_decoder(4), 4).eval()
    model.encoder[-1].weight.data *= 30
    x = torch.rand(64, 1, 28, 28)
    mean, square = second_moments(model, x)
    assert (mean.abs() > 1e-3).all()  # there is something to mend
    fitted = calibrated(model, x)
    new_mean, new_square = second_moments(fitted, x)
    torch.testing.assert_close(new_mean, 0 * mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(new_square, 0 * mean + 1, atol=1e-5, rtol=0)
    noise = torch.randn(64, 4)  # the same draw of both, in units of its own law
    laws = [m.encode(x).base_dist for m in (model, fitted)]
    drawn = [
        m.decoder(q.mean + q.stddev * noise) for m, q in zip((model, fitted), laws, strict=True)
    ]
    torch.testing.assert_close(*drawn, atol=1e-4, rtol=1e-3)
    rates = [distributions.kl_divergence(m.encode(x), m.prior()).mean() for m in (model, fitted)]
    saved = (square - 1 - (square - mean**2).log()).sum() / 2
    torch.testing.assert_close(rates[0] - rates[1], saved, atol=1e-4, rtol=1e-4)
    assert saved > 0.1
    torch.testing.assert_close(second_moments(model, x)[0], mean)  # the model itself is as it was


def test_what_has_no_linear_layers_beside_its_code_cannot_be_calibrated():
    model = VAE(
        nn.Sequential(nn.Flatten(), nn.Linear(784, 4), nn.Tanh()),
        nn.Sequential(nn.Linear(2, 784)),
        2,
    )
    with pytest.raises(ValueError, match="needs linear layers beside the code, got Tanh"):
        calibrated(model, torch.rand(8, 1, 28, 28))


def test_the_homework_s_table_of_layers_is_the_network():
    """Convolutions 3-32-64-64-64, 4,096 numbers, its mirror; normalised, with dropout."""
    encoder, decoder = four_layer_encoder(20), four_layer_decoder(10)
    widths = {
        net: [
            (layer.in_channels, layer.out_channels)
            for layer in net
            if isinstance(layer, nn.Conv2d)
        ]
        for net in (encoder, decoder)
    }
    assert widths[encoder] == [(3, 32), (32, 64), (64, 64), (64, 64)]
    assert widths[decoder] == [(b, a) for a, b in reversed(widths[encoder])]
    assert encoder[-1].in_features == decoder[0].out_features == 4096
    for net, normalised in ((encoder, 4), (decoder, 3)):
        for kind in (nn.BatchNorm2d, nn.Dropout):
            assert sum(isinstance(layer, kind) for layer in net) == normalised
    x = torch.rand(2, 3, 128, 128)
    assert encoder(x).shape == (2, 20) and encoder(x).min() < 0  # no ReLU on mean and variance
    drawn = decoder(torch.randn(2, 10))
    assert drawn.shape == x.shape and drawn.min() < 0
