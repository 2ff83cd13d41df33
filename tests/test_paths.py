"""Paths of noise and solvers: each word from each other, orders as slopes, exact worlds."""

import math

import pytest
import torch

from companion.paths import CIRCLE, KINDS, STRAIGHT, translate
from companion.samplers import euler, heun, runge_kutta, solve

TIMES = torch.linspace(0.05, 0.95, 40, dtype=torch.double)
PATHS = {"straight": STRAIGHT, "circle": CIRCLE}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PATHS)
def test_each_word_tells_all_the_others(name, kind):
    """On the straight path signal and scale do not keep the variance."""
    path = PATHS[name]
    clean, noise = torch.randn(2, 40, 3, dtype=torch.double)
    x = path.noised(clean, TIMES, noise)
    _, scale, (c, d) = path.rates(TIMES, x)
    words = {"noise": noise, "clean": clean, "score": -noise / scale}
    words["velocity"] = c * clean + d * noise
    found = path.translate(kind, words[kind], x, TIMES)
    for word, value in zip(found._fields, found, strict=True):
        torch.testing.assert_close(value, words[word])


@pytest.mark.parametrize("name", PATHS)
def test_slopes_are_those_of_the_path(name):
    path, t = PATHS[name], TIMES.clone().requires_grad_()
    for value, slope in ((path.signal, path.signal_slope), (path.scale, path.scale_slope)):
        (expected,) = torch.autograd.grad(value(t).sum(), t)
        torch.testing.assert_close(slope(t), expected)
    velocity = path.translate("velocity", torch.zeros(40, 1).double(), TIMES[:, None], TIMES)
    assert velocity.clean.isfinite().all()


def test_the_velocity_of_a_circle_by_its_angle_is_the_default():
    clean, noise = torch.randn(2, 50, 4, dtype=torch.double)
    a = torch.linspace(0.1, 1, 50, dtype=torch.double)[:, None]
    b = (1 - a**2).sqrt()
    found = translate("velocity", a * noise - b * clean, a * clean + b * noise, a, b)
    torch.testing.assert_close(found.noise, noise)
    torch.testing.assert_close(found.clean, clean)
    x = 0.4 * clean + 0.6 * noise  # where signal^2 + scale^2 is 0.52, not 1
    signal, scale = torch.tensor(0.4).double(), torch.tensor(0.6).double()
    guess = signal * noise - scale * clean
    torch.testing.assert_close(translate("velocity", guess, x, signal, scale).noise, noise)
    old = scale * x + signal * guess  # right on a circle only
    assert (old - noise).abs().mean() > 0.2


def test_what_one_guess_cannot_tell_is_not_finite():
    x, one, zero = torch.ones(3), torch.tensor(1.0), torch.tensor(0.0)
    assert not translate("noise", x, x, zero, one).clean.isfinite().any()
    assert not translate("clean", x, x, one, zero).noise.isfinite().any()


def test_another_word_is_refused():
    with pytest.raises(ValueError, match=r"'nois' \(did you mean 'noise'\? known: clean, noise"):
        translate("nois", *torch.ones(4, 1).unbind())


@pytest.mark.parametrize(("step", "order"), [(euler, 1), (heun, 2), (runge_kutta, 4)])
@pytest.mark.parametrize("backwards", [False, True])
def test_the_order_of_a_solver_is_its_slope(step, order, backwards):
    """dx/dt = -x + cos t from x(0) = 1: x = (cos t + sin t + e^-t) / 2."""

    def truth(t: float) -> float:
        return (math.cos(t) + math.sin(t) + math.exp(-t)) / 2

    begin, end = (2.0, 0.0) if backwards else (0.0, 2.0)
    x, errors, counts = torch.tensor([truth(begin)], dtype=torch.double), [], [10, 20, 40, 80]
    for n in counts:
        times = [begin + (end - begin) * k / n for k in range(n + 1)]
        found = solve(lambda x, t: -x + math.cos(t), x, times, step)
        errors.append(abs(found.item() - truth(end)))
    slopes = torch.tensor(errors).log().diff() / torch.tensor(counts).double().log().diff()
    assert ((slopes + order).abs() < 0.35).all()


def test_evaluations_are_as_many_as_are_said():
    asked: list[float] = []

    def still(x, t):
        asked.append(t)
        return torch.zeros_like(x)

    for step, each in ((euler, 1), (heun, 2), (runge_kutta, 4)):
        asked.clear()
        solve(still, torch.zeros(1), [0.0, 0.5, 1.0], step)
        assert len(asked) == 2 * each and min(asked) == 0.0
    with pytest.raises(ValueError, match=r"two or more times, got \[0.5\]"):
        solve(still, torch.zeros(1), [0.5])


def test_the_straight_velocity_carries_noise_to_one_point():
    """All data in one point m: the velocity (x - m) / t leads every x along a straight line."""
    m, x = torch.tensor([2.0, -1.0]).double(), torch.randn(20, 2).double()

    def velocity(x, t):
        guess = m.expand_as(x)
        return STRAIGHT.translate("clean", guess, x, torch.full((len(x),), t)).velocity

    found = solve(velocity, x, [1.0, 0.7, 0.2, 0.0], euler)
    torch.testing.assert_close(found, m.expand_as(x))
