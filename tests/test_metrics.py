"""Metrics: against closed forms, other libraries and the bootstrap."""

import numpy as np
import pytest
import scipy.linalg
import torch
from linear_gaussian import LinearVAE, images, log_evidence
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional as F

from companion.metrics import (
    Frechet,
    accuracy,
    active_units,
    elbo_terms,
    fgsm,
    frechet,
    frechet_distance,
    importance_weighted_nll,
    linear_probe,
    mean_of,
    radial_spectrum,
    robust_accuracy,
)
from companion.metrics.codes import codes
from companion.models.classifier import extractor_network


def test_error_of_a_mean_is_that_of_the_bootstrap():
    """The bootstrap's own error with 4,000 resamples is about 1 %."""
    draw = np.random.default_rng(0)
    x = draw.exponential(size=500)
    means = draw.choice(x, (4000, 500)).mean(1)
    found = mean_of(torch.from_numpy(x), "nats")
    assert found.error == pytest.approx(means.std(), rel=0.05)
    assert (found.value, found.n, found.unit) == (pytest.approx(x.mean()), 500, "nats")


def test_importance_weighted_nll_falls_to_the_exact_one():
    model, x = LinearVAE(), images(400)
    exact = -log_evidence(model, x).mean().item()
    torch.manual_seed(0)
    found = {k: importance_weighted_nll(model, x, samples=k, batch=50) for k in (1, 5, 3000)}
    values = [estimate.value for estimate in found.values()]
    assert values == sorted(values, reverse=True) and values[0] - exact > 0.1
    assert values[-1] == pytest.approx(exact, abs=0.01)  # a gap of variance / (2 * 3000) nats
    bound = elbo_terms(model, x)["elbo"]
    assert abs(values[0] + bound.value) < 4 * (found[1].error + bound.error)


def test_every_draw_counts_once_however_they_are_grouped(monkeypatch):
    """10 draws in groups of 4, 4 and 2 have the mean weight of 10, not the mean of three means."""
    model, x, seen = LinearVAE(), images(3), []
    whole = model.log_weights

    def counted(part, samples):
        seen.append(whole(part, samples))
        return seen[-1]

    monkeypatch.setattr(model, "log_weights", counted)
    monkeypatch.setattr("companion.metrics.likelihood.ROWS", 12)
    found = importance_weighted_nll(model, x, samples=10, batch=3)
    assert [len(part) for part in seen] == [4, 4, 2]
    by_hand = -torch.cat(seen).exp().mean(0).log()
    assert found.value == pytest.approx(by_hand.mean().item(), abs=1e-9)


def test_one_importance_sample_suffices_at_the_posterior():
    model, x = LinearVAE(), images(50)
    model.exact = True
    found = importance_weighted_nll(model, x, samples=1, batch=7)
    exact = mean_of(-log_evidence(model, x))
    assert found.value == pytest.approx(exact.value) and found.error == pytest.approx(exact.error)


def test_bound_is_minus_distortion_minus_rate():
    terms = elbo_terms(LinearVAE(), images(60), batch=16)
    parts = terms["distortion"].value + terms["rate"].value
    assert terms["elbo"].value == pytest.approx(-parts)
    assert {estimate.n for estimate in terms.values()} == {60}


def linear_classifier() -> nn.Module:
    """Two classes of 3 x 3 images."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 2))


@pytest.mark.parametrize("epsilon", [0.0, 0.01, 0.2])
def test_fgsm_moves_each_pixel_by_epsilon_along_the_weights(epsilon):
    """For two classes the gradient's sign is that of the difference of the weights' rows."""
    model, x, y = linear_classifier(), torch.rand(50, 1, 3, 3), torch.randint(2, (50,))
    attacked = fgsm(model, x, y, epsilon)
    rows = model[1].weight.detach()
    up = torch.where(y[:, None] == 0, rows[1] - rows[0], rows[0] - rows[1]).view_as(x).sign()
    torch.testing.assert_close(attacked, (x + epsilon * up).clamp(0, 1))
    inside = (attacked > 0) & (attacked < 1)
    moved = (attacked - x).abs()
    torch.testing.assert_close(moved[inside], torch.full_like(moved[inside], epsilon))
    assert not attacked.requires_grad and not x.requires_grad
    assert model[1].weight.grad is None


def test_fgsm_is_the_strongest_of_all_corners():
    """On a linear classifier no other choice of signs costs more: all 2^9 are tried."""
    model, x, y = linear_classifier(), torch.full((1, 1, 3, 3), 0.5), torch.tensor([1])
    corners = torch.cartesian_prod(*[torch.tensor([-0.1, 0.1])] * 9).view(-1, 1, 3, 3)
    losses = F.cross_entropy(model(x + corners), y.expand(512), reduction="none")
    found = F.cross_entropy(model(fgsm(model, x, y, 0.1)), y)
    torch.testing.assert_close(found, losses.max())
    assert found > F.cross_entropy(model(x), y)


def test_accuracy_counts_and_falls_under_attack():
    model, x = linear_classifier(), torch.rand(300, 1, 3, 3)
    y = model(x).argmax(1)
    y[:30] = 1 - y[:30]
    plain = accuracy(model, x, y, batch=64)
    assert plain.value == pytest.approx(0.9) and plain.n == 300
    assert plain.error == pytest.approx((0.09 / 299) ** 0.5)
    under = [robust_accuracy(model, x, y, e, batch=64).value for e in (0.0, 0.05, 0.3)]
    assert under[0] == plain.value and under[0] > under[1] > under[2]


def gaussian_features(n: int, d: int, seed: int) -> Tensor:
    """Correlated features (n, d), in double precision."""
    draw = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=draw, dtype=torch.float64)
    return torch.randn(n, d, generator=draw, dtype=torch.float64) @ mix


def test_frechet_distance_has_its_closed_forms():
    a = gaussian_features(500, 6, seed=0)
    shift = torch.arange(6.0).double()
    variance = a.var(0).sum()
    for b, expected in [(a, 0.0), (a + shift, shift.square().sum()), (a[:, :3], None)]:
        if expected is not None:
            assert frechet_distance(a, b).item() == pytest.approx(float(expected), abs=1e-8)
    centred = a - a.mean(0)
    scaled = frechet_distance(centred, 3 * centred)  # (1 - 3)^2 tr S
    torch.testing.assert_close(scaled, 4 * variance)


def test_frechet_distance_is_that_of_the_matrix_root():
    """Heusel et al. 2017, eq. 6 with scipy's general root; also where covariances are singular."""
    for d, n in ((5, 300), (12, 9)):
        a, b = gaussian_features(300, d, seed=1), gaussian_features(n, d, seed=2)
        s, t = np.cov(a.numpy().T), np.cov(b.numpy().T)
        cross = np.trace(scipy.linalg.sqrtm(s @ t).real)
        gap = (a.mean(0) - b.mean(0)).square().sum().item()
        expected = gap + np.trace(s) + np.trace(t) - 2 * cross
        # where a covariance is singular, scipy's root of rounding errors is off by about 1e-6
        assert frechet_distance(a, b).item() == pytest.approx(expected, rel=1e-5)
        torch.testing.assert_close(frechet_distance(a, b), frechet_distance(b, a))


@pytest.fixture
def pinned() -> Frechet:
    """Distances on the features of a network with random weights."""
    torch.manual_seed(0)
    return Frechet(stripes(400, seed=0), extractor_network().eval())


def stripes(n: int, seed: int) -> Tensor:
    """Images (n, 1, 28, 28) in [0, 1] of one sharp bar each."""
    place = torch.randint(2, 26, (n,), generator=torch.Generator().manual_seed(seed))
    return F.one_hot(place, 28).float()[:, None, :, None].expand(-1, 1, 28, 28).clone()


def test_what_is_kept_of_the_real_images_changes_no_distance(pinned):
    """Their bootstrap is drawn once for each number of fakes, and is the one of a new judge."""
    some = [stripes(n, seed) for n, seed in ((60, 1), (40, 2), (60, 3))]
    kept = [pinned.distance(images) for images in some]
    assert kept == [Frechet(stripes(400, seed=0), pinned.network).distance(x) for x in some]
    draw, repeats, found = torch.Generator().manual_seed(0), [], pinned.embed(some[2])
    for _ in range(10):
        real, fake = (
            x[torch.randint(len(x), (len(x),), generator=draw)] for x in (pinned.features, found)
        )
        repeats.append(frechet_distance(real, fake))
    assert kept[2].error == torch.stack(repeats).std().item()


def test_brackets_rank_real_blurred_and_noise(pinned):
    assert pinned.distance(stripes(400, seed=0)).value == pytest.approx(0, abs=1e-6)
    found = list(pinned.brackets(stripes(400, seed=1)).values())
    assert found[0].value < found[1].value - 4 * found[1].error
    assert found[1].value < found[2].value - 4 * found[2].error
    other = stripes(300, seed=3)
    assert pinned.distance(other) == pinned.distance(other)  # one bootstrap


def test_the_error_of_images_with_labels_is_that_of_another_drawing(pinned):
    """Features with two far classes: 40 other drawings, each with 100 of each, tell the truth."""
    labels, rng = torch.arange(200) % 2, torch.Generator().manual_seed(1)

    def drawn() -> Tensor:
        return torch.randn(200, 64, generator=rng) + 9.0 * labels[:, None]

    values = torch.tensor([pinned.distance_of(drawn()).value for _ in range(40)])
    found = drawn()
    kept, free = pinned.distance_of(found, labels, 40), pinned.distance_of(found, None, 40)
    assert kept.value == free.value and kept.n == free.n == 200
    assert kept.error == pytest.approx(values.std().item(), rel=0.45)  # of 40 each: 11 % each
    assert free.error > 3 * kept.error


def test_the_floor_is_the_mean_of_draws_with_as_many_of_each_class(pinned):
    images, labels = stripes(90, seed=2), torch.tensor([0] * 30 + [1] * 60)
    x = pinned.embed(images)
    whole = pinned.floor(images, labels, 60, draws=6)  # class 0 is always whole
    again = torch.Generator().manual_seed(0)
    values = []
    for _ in range(6):
        a, b = (torch.randperm(n, generator=again)[:30] for n in (30, 60))
        some = torch.cat([x[:30][a], x[30:][b]])
        values.append(frechet.frechet_distance(pinned.features, some).item())
    assert whole.value == pytest.approx(np.mean(values)) and whole.n == 60
    assert whole.error == pytest.approx(np.std(values, ddof=1))
    for n in (62, 61, 0):
        with pytest.raises(ValueError, match=f"^{n} is not 2 times 1 to 30, images of a class"):
            pinned.floor(images, labels, n)


def test_active_units_are_those_that_vary():
    draw = torch.Generator().manual_seed(0)
    means = torch.randn(1000, 4, generator=draw) * torch.tensor([1.0, 0.2, 0.05, 0.0])
    assert active_units(means) == 2  # variances 1, 0.04, 0.0025, 0
    assert active_units(means, threshold=0.001) == 3


def clusters(labels: list[int], apart: float, seed: int) -> tuple[Tensor, Tensor]:
    """Codes (600, 3) around one centre a label, and the labels; the last dimension is dead."""
    draw = torch.Generator().manual_seed(seed)
    centres = apart * torch.randn(max(labels) + 1, 3, generator=torch.Generator().manual_seed(9))
    y = torch.tensor(labels)[torch.randint(len(labels), (600,), generator=draw)]
    codes = 5 + (centres[y] + torch.randn(600, 3, generator=draw)) * torch.tensor([1.0, 30.0, 0])
    return codes, y


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 1], [1, 4, 6]], ids=str)
def test_linear_probe_says_what_the_regression_says(labels):
    """Also of two classes, and where labels are missing."""
    train, test = clusters(labels, 2.0, seed=0), clusters(labels, 2.0, seed=1)
    layer, found = linear_probe(train, test)
    mean, scale = train[0].mean(0), train[0].std(0).clamp_min(1e-6)
    oracle = LogisticRegression(C=10.0, max_iter=1000)
    oracle.fit((train[0] - mean) / scale, train[1])
    said = torch.from_numpy(oracle.predict((test[0] - mean) / scale))
    agree = (layer(test[0]).argmax(1) == said).float().mean()
    assert agree > 0.99  # two solvers, each to its tolerance, differ at the border
    assert found.value == (layer(test[0]).argmax(1) == test[1]).float().mean()
    assert 0.6 < found.value < 1 and layer.weight.shape == (max(labels) + 1, 3)


def test_linear_probe_solves_what_is_separable():
    train, test = clusters([0, 1, 2], 60.0, seed=0), clusters([0, 1, 2], 60.0, seed=1)
    assert linear_probe(train, test)[1].value == 1


def test_codes_are_those_of_the_model_whatever_the_batch():
    model, x = extractor_network().eval(), torch.rand(10, 1, 28, 28)
    torch.testing.assert_close(codes(model, x, batch=3), model.code(x))
    assert not codes(model, x).requires_grad


@pytest.mark.parametrize("cycles", [2, 5, 9])
def test_a_grating_has_all_its_power_in_its_own_ring(cycles: int) -> None:
    phase = torch.rand(64, 1, 1, 1, dtype=torch.float64)
    along = torch.arange(28, dtype=torch.float64) / 28
    wave = torch.cos(2 * torch.pi * (cycles * along + phase)).expand(64, 1, 28, 28)
    power = radial_spectrum(wave)
    assert power.argmax() == cycles - 1
    assert power.sum() - power.max() < 1e-9 * power.max()  # rounding alone


def test_adding_one_image_to_all_images_changes_no_spectrum() -> None:
    x, one = torch.rand(9, 1, 16, 16).double(), 5 * torch.rand(1, 1, 16, 16).double()
    torch.testing.assert_close(radial_spectrum(x + one), radial_spectrum(x))
