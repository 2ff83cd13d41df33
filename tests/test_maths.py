"""Formulas, and those of their options that a default leaves out, against other libraries."""

import math

import pytest
import torch
from scipy.special import logsumexp
from torch.distributions import Independent, Normal, kl_divergence

from companion.maths import cosine, gaussian_kl, log_mean_exp


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_the_mean_in_log_space_is_the_mean_along_its_dimension(dim):
    """3 x 7, so that the numbers of rows and of columns cannot be taken for each other."""
    x = torch.randn(3, 7, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(log_mean_exp(x, dim), x.exp().mean(dim).log())
    far = log_mean_exp(x - 5000, dim) + math.log(x.shape[dim])  # e^-5000 is 0 in any float
    torch.testing.assert_close(far, torch.from_numpy(logsumexp(x - 5000, dim)))


@pytest.mark.parametrize(
    ("epoch", "factor"),
    [(0.5, 0.5), (1, 1.0), (2.9, 1.0), (6.5, 0.55), (10, 0.1), (12, 0.1)],
)
def test_a_rate_rises_stays_falls_along_half_a_cosine_and_rests(epoch, factor):
    """Warm-up 1, hold 2, floor 0.1: half way from 3 to 10 it is half way from 1 to 0.1."""
    schedule = cosine(10, warmup=1, floor=0.1, hold=2)
    assert schedule(epoch) == pytest.approx(factor, abs=1e-8)  # the warm-up begins at 1e-9


def test_a_rate_without_options_is_half_a_cosine():
    for epoch in (0.0, 1.0, 2.5, 4.0):
        expected = math.cos(math.pi * epoch / 8) ** 2  # (1 + cos 2 x) / 2
        assert cosine(4)(epoch) == pytest.approx(expected, abs=1e-12)


def test_the_rate_of_a_gaussian_is_torch_s_divergence():
    mean, log_variance = torch.randn(2, 5, 3, dtype=torch.double)
    q = Independent(Normal(mean, (log_variance / 2).exp()), 1)
    prior = Independent(Normal(torch.zeros(3).double(), torch.ones(3).double()), 1)
    torch.testing.assert_close(gaussian_kl(mean, log_variance), kl_divergence(q, prior))
