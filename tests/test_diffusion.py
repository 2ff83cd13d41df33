"""Diffusion: schedules, the three names of one guess, samplers and bound, on an exact world."""

import math
import weakref
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence

from companion.metrics.diffusion import bits_per_dimension, decoded_log_prob
from companion.models.diffusion import (
    PREDICTS,
    Diffusion,
    cosine_schedule,
    linear_schedule,
    translate,
)
from companion.objectives.diffusion import denoising_loss, weight_of_noise
from companion.samplers import ancestral_variance, invert, sample, times
from companion.worlds.mixture import NoisedMixture

WORLD = NoisedMixture(
    torch.tensor([0.5, 0.3, 0.2]).double(),
    torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.2, -1.0]]).double(),
    torch.tensor([0.2, 0.1, 0.3]).double(),
    cosine_schedule(),
)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


class Constant(nn.Module):
    """A network that always says the same number."""

    def __init__(self, value: float):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        return self.value + 0 * x


@pytest.mark.parametrize("make", [linear_schedule, cosine_schedule])
def test_a_schedule_falls_from_an_image_to_noise(make):
    for steps in (25, 50, 1000):
        kept = make(steps)
        assert len(kept) == steps + 1 and kept[0] == 1
        assert (kept.diff() < 0).all() and 0 < kept[-1] < 5e-3


def test_the_linear_schedule_is_the_published_one():
    kept = linear_schedule()
    beta = 1 - kept[1:] / kept[:-1]
    assert beta[0].item() == pytest.approx(1e-4) and beta[-1].item() == pytest.approx(0.02)
    assert beta.diff().std() < 1e-12


def test_the_cosine_schedule_keeps_half_of_the_variance_half_way():
    assert cosine_schedule()[500].item() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("kind", PREDICTS)
def test_three_names_of_one_guess(kind):
    clean, noise = torch.randn(2, 5, 3).double()
    angle = torch.rand(5, 1).double() + 0.1
    signal, scale = angle.cos(), angle.sin()
    truth = {"noise": noise, "clean": clean, "velocity": signal * noise - scale * clean}
    found = translate(kind, truth[kind], signal * clean + scale * noise, signal, scale)
    for name, value in truth.items():
        torch.testing.assert_close(getattr(found, name), value)


def test_the_world_s_score_is_the_gradient_of_its_density():
    x = torch.randn(6, 2).double().requires_grad_()
    t = torch.tensor([1, 50, 200, 500, 900, 1000])
    (gradient,) = torch.autograd.grad(WORLD.log_prob(x, t).sum(), x)
    torch.testing.assert_close(WORLD.score(x, t), gradient)


def test_the_world_s_guess_is_tweedie_s():
    x, t = torch.randn(6, 2).double(), torch.tensor([1, 50, 200, 500, 900, 1000])
    scale = (1 - WORLD.alpha_bar[t]).sqrt()[:, None]
    torch.testing.assert_close(WORLD.predict(x, t).noise, -scale * WORLD.score(x, t))


def test_the_world_s_guess_is_the_mean_of_what_was_drawn():
    """Of 400,000 pairs (x_0, x_t), those that land near a point have its posterior's mean."""
    clean = WORLD.sample(400_000)
    t = torch.full((len(clean),), 400)
    kept = WORLD.alpha_bar[400]
    noisy = kept.sqrt() * clean + (1 - kept).sqrt() * torch.randn_like(clean)
    point = torch.tensor([[0.1, 0.1]]).double()
    near = (noisy - point).norm(dim=1) < 0.1
    error = clean[near].std(0) / near.sum().sqrt()
    gap = clean[near].mean(0) - WORLD.predict(noisy[near], t[near]).clean.mean(0)
    assert near.sum() > 500 and (gap.abs() < 4 * error).all()


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_every_sampler_finds_the_mixture(eta):
    """At 100 steps the bias is below the noise of 2,000 draws: four standard errors."""
    found = sample(WORLD, torch.randn(2000, 2).double(), 100, eta=eta)
    truth = WORLD.sample(2000)
    for function in (lambda x: x, torch.square, torch.abs):
        a, b = function(found), function(truth)
        error = ((a.var(0) + b.var(0)) / 2000).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() < 4 * error).all()


def test_too_few_steps_lose_spread():
    coarse = sample(WORLD, torch.randn(5000, 2).double(), 5)
    assert coarse.var(0).sum() < 0.97 * WORLD.sample(20_000).var(0).sum()


def test_the_way_back_closes_at_first_order():
    start = WORLD.sample(40)
    steps = torch.tensor([25.0, 50, 100, 200]).double()
    gaps = [
        (sample(WORLD, invert(WORLD, start, int(n)), int(n)) - start).abs().mean() for n in steps
    ]
    slope = torch.stack(gaps).log().diff() / steps.log().diff()
    assert ((slope < -0.7) & (slope > -1.2)).all()


@pytest.mark.parametrize("steps", [1, 2, 7, 50, 999, 1000])
def test_strides_begin_at_noise_and_end_at_the_image(steps):
    found = times(steps, 1000)
    assert found[0] == 1000 and found[-1] == 0 and len(found) == steps + 1
    gaps = {a - b for a, b in pairwise(found)}
    assert max(gaps) - min(gaps) <= 1 and min(gaps) >= 1


@pytest.mark.parametrize("steps", [2.5, 2.0, "5", None])
def test_a_number_of_strides_is_whole(steps):
    with pytest.raises(ValueError, match=f"steps must be a whole number, got {steps}"):
        times(steps, 1000)


@pytest.mark.parametrize(("total", "steps"), [(1000, 0), (1000, 1001)])
def test_impossible_strides_are_refused(total, steps):
    with pytest.raises(ValueError, match=f"steps must be from 1 to {total}, got {steps}"):
        times(steps, total)


def test_the_bound_s_weight_is_the_divergence_of_two_steps():
    """KL(q(x_s | x_t, x_0) || the same with a guessed x_0), by torch's own formula."""
    kept = linear_schedule(50)
    t = torch.arange(2, 51)
    now, then = kept[t], kept[t - 1]
    clean, noise, guess = torch.randn(3, 49).double()
    x = now.sqrt() * clean + (1 - now).sqrt() * noise
    variance = ancestral_variance(now, then)

    def law(noise: Tensor) -> Independent:
        clean = (x - (1 - now).sqrt() * noise) / now.sqrt()
        rest = (x - now.sqrt() * clean) / (1 - now).sqrt() * (1 - then - variance).sqrt()
        return Independent(Normal(then.sqrt() * clean + rest, variance.sqrt()), 0)

    expected = kl_divergence(law(noise), law(guess))
    found = weight_of_noise("bound", kept, t) * (noise - guess).square()
    torch.testing.assert_close(found, expected)


def test_a_velocity_s_error_is_the_weighted_error_of_the_noise():
    model = Diffusion(Constant(0.3), cosine_schedule(100), "velocity")
    batch = (2 * torch.rand(64, 1, 4, 4) - 1,)
    torch.manual_seed(1)
    direct = denoising_loss(model, batch, 0, "velocity")["loss"]
    torch.manual_seed(1)
    t = torch.randint(1, 101, (64,))
    noise = torch.randn_like(batch[0])
    guess = model.predict(model.noised(batch[0], t, noise), t)
    error = (guess.noise - noise).square().flatten(1).mean(1)
    weighted = weight_of_noise("velocity", model.alpha_bar, t) * error
    torch.testing.assert_close(direct, weighted.float(), rtol=1e-3, atol=1e-6)


def test_guidance_goes_beyond_the_label():
    class Labelled(Constant):
        def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
            return 0 * x + (0.0 if y is None else 1.0)

    model = Diffusion(Labelled(0.0), cosine_schedule(100), "noise", classes=10)
    x, t, y = torch.randn(3, 1, 4, 4), torch.full((3,), 50), torch.zeros(3, dtype=torch.long)
    for w in (0.0, 1.0, 3.0):
        assert model.predict(x, t, y, guidance=w).noise.mean().item() == pytest.approx(w)


def test_decoded_bins_are_a_distribution():
    levels = torch.linspace(-1, 1, 256, dtype=torch.double).reshape(256, 1, 1, 1)
    mean, variance = torch.full((256, 1, 1, 1), 0.3), torch.full((256, 1, 1, 1), 0.05)
    total = decoded_log_prob(levels, mean, variance).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-9)


def test_a_model_that_always_says_zero_pays_for_its_ignorance():
    """With the clean guess 0 of black images the terms are Gaussian sums: a closed form."""
    model = Diffusion(Constant(0.0), linear_schedule(40), "clean")
    x = torch.zeros(4, 1, 2, 2)  # the guess is right, all steps are free
    kept = model.alpha_bar
    last = kept[-1]
    start = 0.5 * ((1 - last) - 1 - (1 - last).log())  # x_T has mean 0
    scale = (1 - kept[1]).sqrt()
    decoded = -math.log(math.erf((1 / 255 / scale / math.sqrt(2)).item()))
    found = bits_per_dimension(model, x, strata=39)
    assert found.value == pytest.approx((start.item() + decoded) / math.log(2), rel=1e-6)


@pytest.mark.parametrize(
    "broken", [torch.ones(3), torch.tensor([0.9, 0.5]), torch.tensor([1.0, 0.0]), torch.ones(2, 2)]
)
def test_a_schedule_that_does_not_fall_is_refused(broken):
    with pytest.raises(ValueError, match=r"alpha_bar must be \(T \+ 1,\)"):
        Diffusion(Constant(0.0), broken)


def test_sampling_keeps_nothing_of_its_way():
    class Watched:
        def __init__(self):
            self.alpha_bar, self.guesses = WORLD.alpha_bar, []

        def predict(self, x: Tensor, t: Tensor):
            alive = sum(guess() is not None for guess in self.guesses)
            assert alive <= 1  # the last one; no cycle keeps the others
            found = WORLD.predict(x, t)
            self.guesses.append(weakref.ref(found.clean))
            return found

    sample(world := Watched(), torch.randn(4, 2).double(), steps=20)
    assert len(world.guesses) == 20
