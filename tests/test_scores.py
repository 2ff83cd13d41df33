"""Score matching and Langevin walks, against Jacobians, exact mixtures and closed forms."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from companion.objectives.scores import (
    denoising_score_loss,
    implicit_score_loss,
    sliced_score_loss,
)
from companion.samplers.langevin import annealed_langevin, langevin, langevin_path
from companion.worlds.mixture import NoisedMixture

SIGMA = 0.6
WORLD = NoisedMixture(
    torch.tensor([0.5, 0.3, 0.2]).double(),
    torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.2, -1.0]]).double(),
    torch.tensor([0.2, 0.1, 0.3]).double(),
    torch.tensor([1.0, 1 / (1 + SIGMA**2)], dtype=torch.double),
)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


class Field:
    """A smooth random map of D dimensions to as many, with parameters to differentiate by."""

    def __init__(self, D: int):
        self.parts = [part.requires_grad_() for part in torch.randn(2, D, D).double()]

    def __call__(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.parts[0]) @ self.parts[1]

    def gradient(self, loss: Tensor) -> Tensor:
        return torch.cat(torch.autograd.grad(loss.sum(), self.parts))


def jacobians(s: Field, x: Tensor) -> Tensor:
    return torch.func.vmap(torch.func.jacrev(s))(x)


def test_implicit_loss_is_half_a_square_plus_the_trace_of_the_jacobian():
    s, x = Field(4), torch.randn(7, 4).double()
    trace = jacobians(s, x).diagonal(dim1=1, dim2=2).sum(1)
    expected = s(x).square().sum(1) / 2 + trace
    torch.testing.assert_close(implicit_score_loss(s, x), expected)
    stacked = implicit_score_loss(s, x.view(7, 1, 4).expand(7, 3, 4))
    torch.testing.assert_close(stacked, expected[:, None].expand(7, 3))


def test_implicit_loss_of_the_exact_score_is_minus_half_the_fisher_information():
    tick = torch.linspace(-4, 4, 401).double()  # of a density that vanishes at the border
    plane, now = torch.cartesian_prod(tick, tick), torch.zeros(401**2).long()
    p = WORLD.log_prob(plane, now).exp() * (tick[1] - tick[0]) ** 2
    loss = p @ implicit_score_loss(lambda x: WORLD.score(x, now), plane)
    fisher = p @ WORLD.score(plane, now).square().sum(1)
    torch.testing.assert_close(loss, -fisher / 2, rtol=1e-6, atol=0)  # the grid's error


@pytest.mark.parametrize("reduced", [True, False])
def test_sliced_loss_over_all_signs_is_the_implicit_loss(reduced):
    s, x = Field(3), torch.randn(5, 1, 3).double()
    v = torch.tensor(list(product((-1.0, 1.0), repeat=3))).double()
    loss = sliced_score_loss(s, x.expand(5, 8, 3), v.expand(5, 8, 3), reduced)
    torch.testing.assert_close(loss.mean(1), implicit_score_loss(s, x)[:, 0])
    assert loss.std(1).min() > 0.01


def test_sliced_loss_of_one_direction_is_its_quadratic_form():
    s, x, v = Field(3), *torch.randn(2, 6, 3).double()
    form = torch.einsum("bi,bij,bj->b", v, jacobians(s, x), v)
    along = (s(x) * v).sum(1)
    torch.testing.assert_close(sliced_score_loss(s, x, v, False), form + along**2 / 2)


def test_denoising_loss_of_the_exact_score_is_the_error_of_the_exact_denoiser():
    x, noise, once = WORLD.sample(50), torch.randn(50, 2).double(), torch.ones(50).long()
    kept = WORLD.alpha_bar[1].sqrt()
    loss = denoising_score_loss(lambda y: kept * WORLD.score(kept * y, once), x, noise, SIGMA)
    clean = WORLD.predict(kept * (x + SIGMA * noise), once).clean
    torch.testing.assert_close(loss, (clean - x).square().sum(1) / (2 * SIGMA**4))


def test_a_noise_level_for_each_point_is_one_loss_for_each():
    s, x, noise = Field(2), *torch.randn(2, 5, 2).double()
    sigma = torch.rand(5, 1).double() + 0.1
    for paired in (False, True):
        together = denoising_score_loss(s, x, noise, sigma, paired)
        for k in range(5):
            one = denoising_score_loss(s, x[k], noise[k], sigma[k].item(), paired)
            torch.testing.assert_close(one, together[k])


def test_paired_denoising_becomes_a_slice_and_a_single_one_explodes():
    s, x, noise = Field(3), *torch.randn(2, 9, 3).double()
    slice_ = s.gradient(sliced_score_loss(s, x, noise))
    gaps, sizes = [], []
    for sigma in (1e-2, 1e-3):
        pair = s.gradient(denoising_score_loss(s, x, noise, sigma, paired=True))
        gaps.append((pair - slice_).norm().item())
        sizes.append(s.gradient(denoising_score_loss(s, x, noise, sigma)).norm().item())
    assert gaps[0] / gaps[1] == pytest.approx(100, rel=0.05)  # order sigma^2
    assert sizes[1] / sizes[0] == pytest.approx(10, rel=0.2)  # order 1 / sigma


def test_each_loss_has_the_slope_that_finite_differences_see():
    s, x, noise = Field(2), *torch.randn(2, 4, 2).double()
    losses = (
        lambda: implicit_score_loss(s, x).sum(),
        lambda: sliced_score_loss(s, x, noise).sum(),
        lambda: denoising_score_loss(s, x, noise, 0.5).sum(),
    )
    for loss in losses:
        slope, sides = s.gradient(loss())[0, 1], []
        for h in (1e-5, -2e-5):
            with torch.no_grad():
                s.parts[0][0, 1] += h
            sides.append(loss().item())
        with torch.no_grad():
            s.parts[0][0, 1] += 1e-5
        assert slope.item() == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-5)


def test_a_walk_has_the_variance_of_its_closed_form():
    n, step, variance = 40_000, 1.2, 0.7
    x = langevin(lambda x: -(x - 1) / variance, torch.zeros(n, 1).double(), step, 30)
    limit = variance / (1 - step / (4 * variance))
    rho = 1 - step / (2 * variance)
    expected = limit * (1 - rho**60)
    error = expected * math.sqrt(2 / n)
    assert abs(x.var().item() - expected) < 4 * error
    assert expected - variance > 20 * error  # too wide, and visibly so
    assert abs(x.mean().item() - (1 - rho**30)) < 4 * math.sqrt(expected / n)


def test_without_a_slope_the_walk_adds_the_step_to_the_variance():
    moves = list(langevin_path(torch.zeros_like, torch.zeros(20_000).double(), 0.3, 4))
    for k, x in enumerate(moves, 1):
        assert abs(x.var().item() - 0.3 * k) < 4 * 0.3 * k * math.sqrt(2 / 20_000)


def test_an_annealed_walk_is_one_walk_after_another():
    def score(x: Tensor, sigma: float) -> Tensor:
        return -x / (1 + sigma**2)

    draw, again = (torch.Generator().manual_seed(1) for _ in range(2))
    x = start = torch.randn(6, 2)
    for sigma, step in ((4.0, 0.1 * 64), (1.0, 0.1 * 4), (0.5, 0.1)):
        x = langevin(lambda x, at=sigma: score(x, at), x, step, 5, draw)
    state = torch.get_rng_state()
    found = annealed_langevin(score, start, (4.0, 1.0, 0.5), 0.1, 5, again)
    torch.testing.assert_close(found, x)
    assert torch.equal(torch.get_rng_state(), state)  # all chance is the generator's


def test_levels_of_noise_find_the_weights_that_one_level_loses():
    def score(x: Tensor, sigma: float = 0.0) -> Tensor:  # 0.8 N(6, 1) + 0.2 N(-6, 1)
        v = 1 + sigma**2
        return (6 * torch.tanh(6 * x / v + math.log(4) / 2) - x) / v

    start = torch.full((4_000,), -6.0)
    sigmas = torch.logspace(math.log10(15), math.log10(0.5), 10).tolist()
    stuck = langevin(score, start, 0.1, 1_000)
    found = annealed_langevin(score, start, sigmas, 0.1, 100)
    assert (stuck > 0).float().mean() == 0
    # 4 standard errors of 0.006, and 0.02 for a ladder of finite steps
    assert abs((found > 0).float().mean().item() - 0.8) < 0.045


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: implicit_score_loss(lambda x: x.sum(1), x), r"one vector for each point"),
        (lambda x: sliced_score_loss(torch.sin, x, x[:1]), r"\(1, 2\) for points of shape"),
        (lambda x: denoising_score_loss(torch.sin, x, x[0], 1.0), r"needs noise for each point"),
        (lambda x: denoising_score_loss(torch.sin, x, x, 0.0), r"above 0, got 0.0"),
        (lambda x: denoising_score_loss(torch.sin, x, x, x[:, :1]), r"sigma must be above 0"),
        (lambda x: langevin(torch.sin, x, 0.0, 3), r"step above 0 and 1 or more steps, got 0.0"),
        (lambda x: langevin(torch.sin, x, 0.1, 0), r"got 0.1 and 0"),
        (lambda x: annealed_langevin(torch.mul, x, (1, 2), 0.1, 1), r"fall .* got \[1.0, 2.0\]"),
        (lambda x: annealed_langevin(torch.mul, x, (1, 0), 0.1, 1), r"stay above 0"),
        (lambda x: annealed_langevin(torch.mul, x, (), 0.1, 1), r"got \[\]"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.randn(3, 2))
