"""Black-box gradients against exact ones, and ascent to a posterior that is known."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from companion.inference.black_box import (
    black_box_ascent,
    leave_one_out_gradients,
    reparameterised_gradients,
    score_gradients,
)

D, DRAWS = 3, 200_000
ESTIMATORS = [score_gradients, leave_one_out_gradients, reparameterised_gradients]


def exact_gradient(f, mean: Tensor, log_std: Tensor) -> Tensor:
    """Differentiate E_q f by Gauss-Hermite quadrature on 20^3 nodes: exact for polynomials."""
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(20))
    grid = torch.cartesian_prod(nodes, nodes, nodes)
    mass = torch.cartesian_prod(weights, weights, weights).prod(1)
    mean, log_std = mean.clone().requires_grad_(), log_std.clone().requires_grad_()
    average = (mass * f(mean + log_std.exp() * grid)).sum() / mass.sum()
    return torch.stack(torch.autograd.grad(average, (mean, log_std)))


def cubic(z: Tensor) -> Tensor:
    return z[:, 0] * z[:, 1] - z[:, 2] ** 3 / 3 + z.sum(1)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_gradients_are_unbiased(estimator) -> None:
    torch.manual_seed(0)
    mean, log_std = (
        torch.tensor([0.5, -1.0, 0.3]).double(),
        torch.tensor([0.0, -0.5, 0.2]).double(),
    )
    noise = torch.randn(DRAWS, D, dtype=torch.float64)
    if estimator is leave_one_out_gradients:  # draws of one set share values: sets are i.i.d.
        sets = noise[:40_000].view(-1, 4, D)
        samples = torch.stack([estimator(cubic, mean, log_std, n).mean(0) for n in sets])
    else:
        samples = estimator(cubic, mean, log_std, noise)
    error = samples.std(0) / len(samples) ** 0.5
    assert ((samples.mean(0) - exact_gradient(cubic, mean, log_std)).abs() < 4.5 * error).all()


def test_score_is_the_derivative_of_the_log_density() -> None:
    mean, log_std = torch.randn(2, D, dtype=torch.float64).requires_grad_()
    noise = torch.randn(5, D, dtype=torch.float64)
    found = score_gradients(lambda z: torch.ones(len(z)).double(), mean, log_std, noise)
    for k in range(5):
        z = (mean + log_std.exp() * noise[k]).detach()
        log_q = Normal(mean, log_std.exp()).log_prob(z).sum()
        slope = torch.stack(torch.autograd.grad(log_q, (mean, log_std)))
        torch.testing.assert_close(found[k], slope)


def test_a_good_baseline_lowers_the_variance() -> None:
    torch.manual_seed(1)
    mean, log_std = torch.zeros(2, D, dtype=torch.float64)
    noise = torch.randn(20_000, D, dtype=torch.float64)

    def f(z: Tensor) -> Tensor:
        return 10 - (z**2).sum(1) / 2

    plain = score_gradients(f, mean, log_std, noise).var(0)
    centred = score_gradients(f, mean, log_std, noise, baseline=8.5).var(0)
    assert (centred < plain / 5).all()


@pytest.mark.parametrize(
    ("estimator", "error"), [(leave_one_out_gradients, 0.15), (reparameterised_gradients, 0.05)]
)
def test_ascent_finds_the_best_factorised_gaussian(estimator, error: float) -> None:
    """For a Gaussian posterior that is its mean, with variances 1 / Lambda_jj."""
    torch.manual_seed(2)
    root = torch.randn(D, D, dtype=torch.float64)
    precision = root @ root.T + torch.eye(D)
    target = MultivariateNormal(
        torch.tensor([1.0, -2.0, 0.5]).double(), precision_matrix=precision
    )
    start = torch.zeros(D, dtype=torch.float64)
    path = black_box_ascent(target.log_prob, start, start, estimator, 2000, 20, 0.05)
    assert path.mean.shape == (2001, D)
    torch.testing.assert_close(path.mean[-1], target.mean, atol=error / 2, rtol=0)
    variances = (2 * path.log_std[-1]).exp()
    torch.testing.assert_close(variances, 1 / precision.diagonal(), atol=0, rtol=error)


def test_ascent_is_adam_with_a_cosine() -> None:
    start = torch.tensor([0.3, -0.2, 1.0], dtype=torch.float64)
    path = black_box_ascent(cubic, start, 0 * start, steps=50, generator=torch.Generator())
    parameters = torch.stack([start, 0 * start]).requires_grad_()
    adam = torch.optim.Adam([parameters], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 50)
    generator = torch.Generator()
    for _ in range(50):
        noise = torch.randn(10, D, generator=generator, dtype=torch.float64)
        mean, log_std = parameters.detach()
        parameters.grad = -reparameterised_gradients(cubic, mean, log_std, noise).mean(0)
        parameters.grad[1] -= 1  # the entropy
        adam.step()
        schedule.step()
    torch.testing.assert_close(torch.stack([path.mean[-1], path.log_std[-1]]), parameters.detach())


def test_same_generator_same_path() -> None:
    start = torch.zeros(D, dtype=torch.float64)
    paths = [
        black_box_ascent(cubic, start, start, steps=3, generator=torch.Generator().manual_seed(0))
        for _ in range(2)
    ]
    assert torch.equal(paths[0].mean, paths[1].mean)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("f", "shape", "message"),
    [
        (cubic, (2, D + 1), r"noise \(S, D\), got shapes"),
        (lambda z: z, (2, D), r"one number for each draw, got shape \(2, 3\)"),
        (lambda z: z.sum(1).log() * torch.nan, (2, D), "finite where q draws"),
    ],
)
def test_bad_functions_and_draws_are_refused(estimator, f, shape, message: str) -> None:
    start = torch.zeros(D, dtype=torch.float64)
    with pytest.raises(ValueError, match=message):
        estimator(f, start, start, torch.ones(shape, dtype=torch.float64))


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"samples": 0}, {"rate": -0.1}])
def test_counts_below_one_are_refused(wrong: dict) -> None:
    start = torch.zeros(D, dtype=torch.float64)
    with pytest.raises(ValueError, match="must be at least 1 and the rate above 0, got"):
        black_box_ascent(cubic, start, start, **wrong)


def test_leaving_one_out_needs_two_draws() -> None:
    start = torch.zeros(D, dtype=torch.float64)
    with pytest.raises(ValueError, match="at least 2, got 1"):
        leave_one_out_gradients(cubic, start, start, start[None])
