"""How near a picture comes to its original: closed forms and a second computation."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from companion.metrics import signal_to_noise, similarity


def noisy(n=6, size=40, scale=0.1, seed=0):
    """Smooth pictures and the same with noise, all in [0, 1]."""
    chance = torch.Generator().manual_seed(seed)
    wave = torch.linspace(0, 6, size)
    plain = 0.5 + 0.3 * torch.outer(wave.sin(), wave.cos())
    noise = scale * torch.randn(n, 1, size, size, generator=chance)
    return (plain + noise).clamp(0, 1), plain.expand(n, 1, size, size)


def ssim(x, y):
    """Wang et al. 2004, eq. 13: Gaussian weights of scale 1.5, 11 x 11; mirrored borders."""
    ramp = np.arange(-5, 6)
    weights = np.exp(-(ramp**2) / (2 * 1.5**2)) / np.exp(-(ramp**2) / (2 * 1.5**2)).sum()

    def blur(image):
        return correlate1d(
            correlate1d(image, weights, 0, mode="mirror"), weights, 1, mode="mirror"
        )

    mx, my = blur(x), blur(y)
    xx, yy, xy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    ratio = (2 * mx * my + c1) * (2 * xy + c2)
    return (ratio / ((mx**2 + my**2 + c1) * (xx + yy + c2))).mean()


@pytest.mark.parametrize("gap", [0.1, 0.01, 1.0])
def test_a_constant_error_has_a_known_ratio(gap):
    x = torch.zeros(3, 1, 16, 16)
    found = signal_to_noise(x + gap, x)
    assert found.value == pytest.approx(-20 * np.log10(gap), abs=1e-4)  # float32
    assert (found.error, found.n, found.unit) == (pytest.approx(0, abs=1e-6), 3, "dB")


def test_the_ratio_is_a_mean_over_images_of_decibels():
    x, like = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    x[0] += 0.1  # 20 dB
    x[1, 0, 0, 0] = 0.4  # a sixteenth of the pixels: mean square 0.01, so 20 dB as well
    assert signal_to_noise(x, like).value == pytest.approx(20, abs=1e-4)
    x[0] = 1.0  # 0 dB: the mean is 10, that of the errors together would be 2.97
    assert signal_to_noise(x, like).value == pytest.approx(10, abs=1e-4)


def test_similarity_is_that_of_a_second_computation():
    x, like = noisy()
    pairs = zip(x[:, 0].double().numpy(), like[:, 0].double().numpy(), strict=True)
    truth = [ssim(a, b) for a, b in pairs]
    found = similarity(x, like)
    # variances are differences of nearly equal float32 numbers, of which 5 digits stay
    assert found.value == pytest.approx(np.mean(truth), abs=1e-4)
    assert found.error == pytest.approx(np.std(truth, ddof=1) / 6**0.5, rel=0.05)


def test_similarity_of_flat_pictures_compares_their_greys():
    x = torch.full((2, 1, 16, 16), 0.2)
    truth = (2 * 0.2 * 0.8 + 1e-4) / (0.2**2 + 0.8**2 + 1e-4)
    assert similarity(x, x + 0.6).value == pytest.approx(truth, abs=1e-3)  # 0 variance, float32
    assert similarity(x, x).value == pytest.approx(1, abs=1e-6)


def test_more_noise_is_further_away_in_both_measures():
    steps = [noisy(scale=scale) for scale in (0.02, 0.05, 0.1, 0.2)]
    for measure in (signal_to_noise, similarity):
        values = [measure(*pair).value for pair in steps]
        assert values == sorted(values, reverse=True)


def test_many_pictures_are_measured_in_parts():
    x, like = noisy(n=230, size=16)
    found = similarity(x, like)
    halves = [similarity(x[:100], like[:100]).value, similarity(x[100:], like[100:]).value]
    assert found.n == 230
    assert found.value == pytest.approx((100 * halves[0] + 130 * halves[1]) / 230, abs=1e-5)


@pytest.mark.parametrize("measure", [signal_to_noise, similarity])
@pytest.mark.parametrize(
    ("x", "like", "message"),
    [
        (torch.zeros(2, 1, 16, 16), torch.zeros(2, 1, 16, 15), "of one shape"),
        (torch.zeros(2, 16, 16), torch.zeros(2, 16, 16), "N, C, H, W"),
        (torch.zeros(2, 1, 16, 16), torch.full((2, 1, 16, 16), 255.0), "0 to 255"),
        (torch.full((2, 1, 16, 16), -0.5), torch.zeros(2, 1, 16, 16), "-0.5 to 0"),
    ],
)
def test_other_shapes_and_ranges_are_refused(measure, x, like, message):
    with pytest.raises(ValueError, match=message):
        measure(x, like)


def test_equal_images_have_no_finite_ratio():
    x, like = noisy(n=2)
    x[1] = like[1]
    with pytest.raises(ValueError, match="infinite"):
        signal_to_noise(x, like)
