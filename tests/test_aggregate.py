"""The parts of the KL to the prior, and the MIG of posteriors, against quadrature and limits."""

from itertools import product
from math import log, pi

import numpy as np
import pytest
import torch
from torch import Tensor

from companion.maths import gaussian_kl
from companion.metrics.aggregate import kl_decomposition, mutual_information_gap_of_posteriors

EXACT = 1e-10  # sums of a few thousand float64 terms of size 1


def all_values(*sizes: int) -> Tensor:
    """Every combination of the factors' values once."""
    return torch.tensor(list(product(*map(range, sizes))))


def by_quadrature(mean: Tensor, log_variance: Tensor) -> list[float]:
    """The three parts of the KL of posteriors in the plane, by sums over a fine grid."""
    axis = torch.linspace(-9, 9, 601, dtype=torch.float64)
    step = (axis[1] - axis[0]).item()
    deviation = (0.5 * log_variance).exp()
    each = torch.distributions.Normal(mean[..., None], deviation[..., None]).log_prob(axis).exp()
    q = torch.einsum("na,nb->ab", each[:, 0], each[:, 1]) / len(mean)  # N posteriors: (A, A)
    one, two = each.mean(0)
    prior = torch.exp(-(axis**2) / 2) / (2 * pi) ** 0.5

    def entropy(p: Tensor, width: float) -> float:
        return -(p.xlogy(p).sum() * width).item()

    of_z = entropy(q, step**2)
    of_z_given_x = (0.5 * (log_variance + log(2 * pi) + 1)).sum(1).mean().item()
    apart = entropy(one, step) + entropy(two, step)
    wise = sum((p * (p / prior).log()).sum().item() * step for p in (one, two))
    return [of_z - of_z_given_x, apart - of_z, wise]


def test_the_parts_of_the_kl_agree_with_quadrature():
    mean = torch.tensor([[1.0, 1.0], [-1.0, -0.5], [0.0, 0.3], [0.8, -0.2]]).double()
    log_variance = torch.tensor([[-1.0, 0.0], [-2.0, -1.0], [0.1, -3.0], [-0.5, -0.5]]).double()
    truth = by_quadrature(mean, log_variance)
    assert sum(truth) == pytest.approx(gaussian_kl(mean, log_variance).mean().item(), abs=1e-9)
    runs = [kl_decomposition(mean, log_variance, 2000, seed) for seed in range(20)]
    for name, exact in zip(
        ("mutual_information", "total_correlation", "dimension_wise"), truth, strict=True
    ):
        found = [getattr(run, name) for run in runs]
        away = [(part.value - exact) / part.error for part in found]
        assert max(map(abs, away)) < 4.5  # 60 draws in all: one above it in 2,500 such tests
        assert 0.5 < np.std(away) < 1.6  # so the errors are neither too large nor too small


def test_the_parts_sum_to_the_mean_kl_exactly():
    draw = torch.Generator().manual_seed(0)
    mean, log_variance = (torch.randn(200, 5, generator=draw) for _ in range(2))
    found = kl_decomposition(mean, log_variance, samples=100)
    parts = (found.mutual_information, found.total_correlation, found.dimension_wise)
    exact = gaussian_kl(mean.double(), log_variance.double()).mean().item()
    assert sum(part.value for part in parts) == pytest.approx(exact, abs=EXACT)
    assert found.rate == pytest.approx(exact, abs=EXACT)
    assert found.per_dimension.sum().item() == pytest.approx(exact, abs=EXACT)


def test_equal_posteriors_tell_nothing():
    mean, log_variance = torch.tensor([[0.5, -1, 2]]), torch.tensor([[0.2, -1, 0]])
    found = kl_decomposition(mean.repeat(50, 1), log_variance.repeat(50, 1), samples=100)
    assert abs(found.mutual_information.value) < EXACT
    assert abs(found.total_correlation.value) < EXACT
    assert found.dimension_wise.value == pytest.approx(found.rate, abs=EXACT)
    prior = kl_decomposition(torch.zeros(50, 3), torch.zeros(50, 3), samples=100)
    assert abs(prior.mutual_information.value) < EXACT and abs(prior.rate) < EXACT


def test_posteriors_far_apart_saturate_at_log_n():
    corners = 40.0 * torch.tensor([[1.0, 1.0], [-1.0, -1.0]])  # one bit, held in both dimensions
    found = kl_decomposition(corners, torch.zeros(2, 2), samples=100)
    assert found.mutual_information.value == pytest.approx(log(2), abs=EXACT)
    assert found.total_correlation.value == pytest.approx(log(2), abs=EXACT)
    grid = 40.0 * all_values(5, 7).double()  # independent dimensions: only the information
    found = kl_decomposition(grid, torch.zeros(35, 2), samples=100)
    assert found.mutual_information.value == pytest.approx(log(35), abs=EXACT)
    assert abs(found.total_correlation.value) < EXACT


def test_the_gap_of_posteriors_is_the_information_of_their_mixtures():
    v = all_values(2, 2).repeat(250, 1)
    mean, log_variance = 2.0 * v - 1, torch.zeros(1000, 2)
    found = mutual_information_gap_of_posteriors((mean, log_variance), v)
    axis = torch.linspace(-9, 9, 2001, dtype=torch.float64)
    p = torch.distributions.Normal(1.0, 1.0).log_prob(axis).exp()
    mixture = (p + p.flip(0)) / 2
    shared = (p * (p / mixture).log()).sum().item() * (axis[1] - axis[0]).item()
    assert abs(found.score.value - shared / log(2)) < 4 * found.score.error
    assert found.score.error < 0.05


def test_a_reshape_in_place_of_a_transpose_hides_a_perfect_code():
    v = all_values(5, 8).repeat(20, 1)
    mean, log_variance = v / torch.tensor([5.0, 8.0]), torch.full((800, 2), -9.0)
    right = mutual_information_gap_of_posteriors((mean, log_variance), v)
    wrong = mutual_information_gap_of_posteriors((mean, log_variance), v, reshaped=True)
    assert right.score.value > 0.99  # deviation e^-4.5 = 0.011 between steps of 0.125 and 0.2
    assert wrong.score.value < 0.05


def test_wrong_posteriors_are_refused():
    z, v = torch.randn(50, 4), torch.arange(50)[:, None]
    with pytest.raises(ValueError, match=r"N at least 2, got \(50, 4\) and \(50, 3\)"):
        kl_decomposition(z, z[:, :3])
    with pytest.raises(ValueError, match="at least 3 samples, got 2"):
        kl_decomposition(z, z, samples=2)
    with pytest.raises(ValueError, match="means must be finite floats, got values that are not"):
        kl_decomposition(z / 0, z)
    with pytest.raises(ValueError, match=r"got \(50, 4\) and \(40, 1\)"):
        mutual_information_gap_of_posteriors((z, z), v[:40])
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        mutual_information_gap_of_posteriors((z, z), v, samples=1)
