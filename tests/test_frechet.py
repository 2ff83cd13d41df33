"""Fréchet distance and coverage: closed forms, scipy, loops by hand, known bias."""

import math
from functools import partial

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy.stats import entropy
from torch import Tensor

from companion.metrics import (
    class_histogram,
    effective_classes,
    extrapolated_distance,
    frechet_distance,
    gaussian_distance,
    imbalance,
    overlap,
)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def features(n: int, d: int) -> Tensor:
    """Correlated features (n, d) of which the last is dead, as a ReLU's may be."""
    found = torch.randn(n, d, dtype=torch.double) @ torch.randn(d, d, dtype=torch.double)
    found[:, -1] = 0
    return found


def by_root(a: Tensor, b: Tensor) -> float:
    """The distance as libraries find it: by scipy's root of the product of the covariances."""
    cov_a, cov_b = (np.cov(x.numpy(), rowvar=False) for x in (a, b))
    cross = scipy.linalg.sqrtm(cov_a @ cov_b).real
    difference = (a.mean(0) - b.mean(0)).square().sum().item()
    return difference + np.trace(cov_a + cov_b - 2 * cross)


@pytest.mark.filterwarnings("ignore:Matrix is singular")  # scipy's word on a dead feature
@pytest.mark.parametrize("d", [3, 64])
@pytest.mark.parametrize("dead", [False, True])
def test_the_distance_is_that_of_the_matrix_root(d, dead):
    """1e-4 is what is promised; without a dead feature both are good to 1e-9."""
    a, b = features(500, d + 1), 2 * features(400, d + 1) + 1
    a, b = (a, b) if dead else (a[:, :-1], b[:, :-1])
    close = 1e-4 if dead else 1e-9
    assert frechet_distance(a, b).item() == pytest.approx(by_root(a, b), rel=close)


def test_the_distance_of_independent_coordinates_is_that_of_means_and_scales():
    """Where covariances commute, it is |m_a - m_b|^2 + |s_a - s_b|^2."""
    mean_a, mean_b, scale_a, scale_b = torch.rand(4, 7, dtype=torch.double)
    cov_a, cov_b = (scale.square().diag() for scale in (scale_a, scale_b))
    turn = torch.linalg.qr(torch.randn(7, 7, dtype=torch.double)).Q  # changes nothing
    found = gaussian_distance(
        turn @ mean_a, turn @ cov_a @ turn.T, turn @ mean_b, turn @ cov_b @ turn.T
    )
    expected = (mean_a - mean_b).square().sum() + (scale_a - scale_b).square().sum()
    torch.testing.assert_close(found, expected)
    assert gaussian_distance(mean_a, cov_a, mean_a, cov_a).abs() < 1e-12


@pytest.mark.parametrize(("n", "d"), [(50, 64), (10, 2048), (3, 64)])
def test_a_set_is_at_no_distance_below_zero_from_itself(n, d):
    """With no more points than dimensions, rounding made it as low as -7e-5."""
    same = torch.randn(n, d)
    assert 0 <= frechet_distance(same, same) < 1e-8 * d
    assert 0 <= frechet_distance(same, same + 1e-9) < 1e-8 * d


def test_the_distance_of_one_feature_is_that_of_mean_and_scale():
    a, b = torch.randn(50, 1), 2 * torch.randn(70, 1) + 3
    wanted = (a.mean() - b.mean()).square() + (a.std() - b.std()).square()
    torch.testing.assert_close(frechet_distance(a, b).float(), wanted)
    found = extrapolated_distance(a, torch.randn(2000, 1))
    assert abs(found.value - frechet_distance(a, torch.randn(100_000, 1))) < 0.05


def test_extrapolation_takes_the_bias_of_few_images_away():
    """Both sets are of one distribution, at distance 0; a line of 40 draws, 12 times over."""
    real = torch.randn(40_000, 16)
    plain, free = [], []
    for _ in range(12):
        fake = torch.randn(1000, 16)
        plain.append(frechet_distance(real, fake).item())
        free.append(extrapolated_distance(real, fake, draws=4).value)
    mean, error = np.mean(free), np.std(free, ddof=1) / 12**0.5
    assert np.mean(plain) > 0.03 and abs(mean) < 0.1 * np.mean(plain) + 4 * error
    assert error < 0.1 * np.mean(plain)


def test_extrapolation_finds_a_known_distance():
    """The fakes are the real points, moved by 3: at distance 9, whatever the points are."""
    real = torch.randn(3000, 4)
    shifted = real + torch.tensor([3.0, 0, 0, 0])
    found = extrapolated_distance(real, shifted, sizes=(600, 1000, 3000), draws=20)
    assert found.value == pytest.approx(9, abs=4 * found.error) and found.error < 0.2
    assert (found.n, found.unit) == (3000, "squared distance")


def test_even_classes_are_balanced_and_one_class_is_not():
    assert imbalance(torch.full((10,), 0.1, dtype=torch.double), 100).value == pytest.approx(0)
    one = torch.zeros(10)
    one[3] = 1
    alone = imbalance(one, 100)
    assert alone.value == pytest.approx(math.log(10)) and alone.error == 0
    four = torch.cat([torch.full((4,), 0.25), torch.zeros(6)])
    assert effective_classes(four, 100).value == pytest.approx(4)


def test_imbalance_is_the_divergence_and_its_error_that_of_the_bootstrap():
    """The bootstrap's own error with 1,000 resamples is about 2 %, four of which are 9 %."""
    p, draw = np.array([0.5, 0.3, 0.15, 0.05]), np.random.default_rng(0)
    found = imbalance(torch.from_numpy(p), 2000)
    assert found.value == pytest.approx(entropy(p, np.full(4, 0.25)))
    again = draw.multinomial(2000, p, 1000) / 2000
    assert found.error == pytest.approx(
        entropy(again, np.full((1, 4), 0.25), axis=1).std(), rel=0.09
    )


def test_a_histogram_counts_the_largest_logit():
    logits = torch.tensor([[0.0, 2, 1], [0, 1, 2], [0, 3, 1], [1, 5, 2]])
    torch.testing.assert_close(class_histogram(logits), torch.tensor([0, 0.75, 0.25]).double())


def counted(real: Tensor, fake: Tensor, k: int) -> list[float]:
    """Precision, recall, density and coverage, ball by ball."""

    def ball(i: int, x: Tensor) -> float:
        return sorted((x[i] - y).norm().item() for y in x)[k]

    inside = [[(f - r).norm().item() <= ball(i, real) for f in fake] for i, r in enumerate(real)]
    caught = [[(f - r).norm().item() <= ball(j, fake) for j, f in enumerate(fake)] for r in real]
    held = np.array(inside)
    shares = held.any(0).mean(), np.array(caught).any(1).mean(), held.sum() / (k * len(fake))
    return [*map(float, shares), float(held.any(1).mean())]


def test_overlap_counts_balls():
    real, fake = torch.randn(14, 2), torch.randn(11, 2) + 0.7
    assert [found.value for found in overlap(real, fake, 2)] == pytest.approx(
        counted(real, fake, 2)
    )


def test_overlap_of_one_distribution_has_the_expected_density_and_coverage():
    """E density = 1; E coverage = 1 - prod_i (N - i) / (2 N - i), i = 1 .. k: Naeem et al. 2020.
    Draws of 12 pairs of sets give the standard error."""
    k, n = 3, 300
    found = [overlap(torch.randn(n, 5), torch.randn(n, 5), k) for _ in range(12)]
    hidden = math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
    for name, expected in {"density": 1.0, "coverage": 1 - hidden}.items():
        values = [getattr(one, name).value for one in found]
        assert abs(np.mean(values) - expected) < 4 * np.std(values, ddof=1) / 12**0.5


def test_a_lost_mode_costs_recall_and_coverage_but_no_precision():
    far = torch.tensor([100.0, 0.0])
    real = torch.cat([torch.randn(400, 2), torch.randn(400, 2) + far])
    found = overlap(real, torch.randn(400, 2))
    assert found.precision.value > 0.95 and found.density.value > 0.8
    assert found.recall.value == pytest.approx(0.5, abs=0.03) and found.coverage.value < 0.51
    apart = overlap(real, torch.randn(400, 2) - far)
    assert [float(value) for value in apart] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            partial(extrapolated_distance, torch.rand(9, 2), torch.rand(9, 2), (3, 9)),
            "three or more",
        ),
        (partial(extrapolated_distance, torch.rand(9, 2), torch.rand(9, 2), (3, 4, 10)), "2 to 9"),
        (
            partial(frechet_distance, torch.full((5, 4), math.nan), torch.rand(5, 4)),
            "features must be finite, got 20 values that are not",
        ),
        (partial(frechet_distance, torch.rand(5, 2), torch.rand(5, 2) / 0), "got 10 values"),
        (partial(extrapolated_distance, torch.rand(9, 2), torch.rand(9, 2) / 0), "must be finite"),
        (partial(class_histogram, torch.rand(5)), r"logits \(N, C\)"),
        (partial(imbalance, torch.ones(3), 10), "sum to 1"),
        (partial(overlap, torch.rand(9, 2), torch.rand(9, 3)), "needs features"),
        (partial(overlap, torch.rand(9, 2), torch.rand(5, 2)), "k must be from 1 to 4, got 5"),
    ],
)
def test_what_cannot_be_is_refused(wrong, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        wrong()
    assert "\n" not in str(caught.value)
