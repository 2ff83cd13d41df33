"""What an estimator of a gradient must not depend on, and what its baseline must."""

import torch

from companion.inference.black_box import (
    leave_one_out_gradients,
    reparameterised_gradients,
    score_gradients,
)

MEAN, LOG_STD = torch.tensor([0.3, -1.0]).double(), torch.tensor([-0.5, 0.2]).double()
NOISE = torch.randn(6, 2, dtype=torch.double, generator=torch.Generator().manual_seed(0))


def f(z: torch.Tensor) -> torch.Tensor:
    return z.square().sum(1) + z.prod(1)


def test_a_constant_added_to_the_function_moves_no_gradient_that_has_a_baseline():
    """The mean of the others moves by the same constant; without a baseline the score remains."""
    for estimate in (leave_one_out_gradients, reparameterised_gradients):
        found = estimate(lambda z: f(z) + 100, MEAN, LOG_STD, NOISE)
        torch.testing.assert_close(found, estimate(f, MEAN, LOG_STD, NOISE))
    moved = score_gradients(lambda z: f(z) + 100, MEAN, LOG_STD, NOISE)
    torch.testing.assert_close(moved, score_gradients(f, MEAN, LOG_STD, NOISE, baseline=-100.0))


def test_the_baseline_of_a_draw_is_the_mean_of_all_others():
    value = f(MEAN + LOG_STD.exp() * NOISE)
    for i in range(6):
        others = torch.cat([value[:i], value[i + 1 :]]).mean()
        alone = score_gradients(f, MEAN, LOG_STD, NOISE, baseline=others.item())[i]
        found = leave_one_out_gradients(f, MEAN, LOG_STD, NOISE)[i]
        torch.testing.assert_close(found, alone)
