"""Options of diffusion that a default leaves out: clipping, coarse strata, times in between."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from companion.metrics.diffusion import bits_per_dimension, decoded_log_prob
from companion.models.diffusion import Diffusion, cosine_schedule, linear_schedule
from companion.objectives.diffusion import denoising_loss, weight_of_noise
from companion.paths import Prediction
from companion.samplers import invert, sample
from companion.samplers.diffusion import path
from companion.worlds.mixture import NoisedMixture

WORLD = NoisedMixture(
    torch.tensor([0.6, 0.4]).double(),
    torch.tensor([[-1.0, 0.3], [1.0, -0.5]]).double(),
    torch.tensor([0.2, 0.3]).double(),
    cosine_schedule(100),
)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_clipped_guess_still_adds_up_to_the_point_it_was_made_at(eta):
    """signal clean + scale noise = x, whatever the clean part was moved to."""
    x, t, held = torch.randn(50, 2).double(), 100, 0
    for s, after, guess in path(WORLD, x, 10, eta=eta, clip=0.5):
        signal, scale = WORLD.alpha_bar[t].sqrt(), (1 - WORLD.alpha_bar[t]).sqrt()
        torch.testing.assert_close(signal * guess.clean + scale * guess.noise, x)
        assert guess.clean.abs().max() <= 0.5
        held += int((guess.clean.abs() == 0.5).sum())
        x, t = after, s
    assert held > 100  # clipping was at work


def test_the_way_back_asks_at_the_time_it_comes_from():
    asked: list[int] = []

    def predict(x: Tensor, t: Tensor) -> Prediction:
        asked.extend(t.unique().tolist())
        return WORLD.predict(x, t)

    model = SimpleNamespace(alpha_bar=WORLD.alpha_bar, predict=predict)
    invert(model, WORLD.sample(3), 4)
    assert asked == [1, 25, 50, 75]


class Told(nn.Module):
    """A network that remembers which times and labels it was given, and says zero."""

    def __init__(self) -> None:
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        self.t, self.y = t, y
        return self.zero * x


def test_a_tenth_of_the_labels_is_withheld_and_no_other_is_changed():
    net, n = Told(), 20_000
    y = torch.randint(10, (n,))
    denoising_loss(
        Diffusion(net, cosine_schedule(50), "noise", 10), (torch.zeros(n, 1, 1, 1), y), 0
    )
    hidden = net.y == 10
    assert abs(hidden.double().mean().item() - 0.1) < 4 * (0.09 / n) ** 0.5
    assert net.y[~hidden].equal(y[~hidden])


def test_times_are_uniform_from_one_to_the_last():
    net, n = Told(), 20_000
    denoising_loss(Diffusion(net, cosine_schedule(50)), (torch.zeros(n, 1, 1, 1),), 0)
    counts = net.t.bincount(minlength=51)
    assert counts[0] == 0 and len(counts) == 51
    spread = (n * 0.02 * 0.98) ** 0.5
    assert (counts[1:] - n / 50).abs().max() < 4.5 * spread  # the largest of 50: 3e-4 by chance


def test_the_bound_s_weight_at_the_first_time_is_that_of_the_second():
    """SNR_0 is infinite: the first term is the decoder's, and has no weight of its own."""
    first, second = weight_of_noise("bound", linear_schedule(50), torch.tensor([1, 2]))
    assert first == second and first.isfinite()


def test_the_cosine_schedule_is_the_published_one():
    """Nichol and Dhariwal 2021, eq. 17: f(t) / f(0), until beta reaches 0.999."""

    def f(t: int) -> float:
        return math.cos((t / 100 + 0.008) / 1.008 * math.pi / 2) ** 2

    expected = torch.tensor([f(t) / f(0) for t in range(100)]).double()
    torch.testing.assert_close(cosine_schedule(100)[:100], expected)
    assert cosine_schedule(100)[100] == pytest.approx(cosine_schedule(100)[99] * 0.001)


def exact_bits(model: Diffusion, x: Tensor) -> float:
    """The bound of a model that always guesses black, term by term, by torch's divergences."""
    kept, pixel = model.alpha_bar, x[0].double()
    prior = Normal(torch.zeros_like(pixel), 1.0)
    nats = kl_divergence(Normal(kept[-1].sqrt() * pixel, (1 - kept[-1]).sqrt()), prior).sum()
    for t in range(2, len(kept)):
        now, then = kept[t], kept[t - 1]
        pull = (
            then.sqrt() * (1 - now / then) / (1 - now)
        )  # of x_0 in the mean of q(x_s | x_t, x_0)
        sd = ((1 - then) / (1 - now) * (1 - now / then)).sqrt().expand_as(pixel)
        nats += kl_divergence(Normal(pull * pixel, sd), Normal(0 * pixel, sd)).sum()
    black = torch.zeros_like(x[:1]).double()
    nats -= decoded_log_prob(x[:1], black, (1 - kept[1]).expand(black.shape)).sum()
    return nats.item() / (pixel.numel() * math.log(2))


def test_the_bound_is_the_sum_of_its_divergences_from_all_steps_or_from_a_few():
    """All images are one, so the error over images is that of the steps that were drawn."""
    model = Diffusion(Told(), linear_schedule(40), "clean")
    x = torch.full((600, 1, 2, 2), 2 * 129 / 255 - 1)  # a little brighter than the guess
    expected = exact_bits(model, x)
    assert bits_per_dimension(model, x, strata=39).value == pytest.approx(expected, rel=1e-5)
    coarse = bits_per_dimension(model, x, strata=5)
    assert 0 < abs(coarse.value - expected) < 4 * coarse.error < 0.1 * expected


@pytest.mark.parametrize("t", [0, 30, 100])
def test_points_of_a_later_time_are_points_of_the_first_under_noise(t):
    kept, n = WORLD.alpha_bar[t], 20_000
    found = WORLD.sample(n, t)
    clean = WORLD.sample(n)
    truth = kept.sqrt() * clean + (1 - kept).sqrt() * torch.randn_like(clean)
    for function in (lambda x: x, torch.square, lambda x: x[:, :1] * x[:, 1:]):
        a, b = function(found), function(truth)
        error = ((a.var(0) + b.var(0)) / n).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() < 4 * error).all()


def test_labels_and_guidance_reach_every_guess_forwards_and_back():
    told: list[dict] = []

    def predict(x: Tensor, t: Tensor, **condition: object) -> Prediction:
        told.append(condition)
        return WORLD.predict(x, t)

    model, y = SimpleNamespace(alpha_bar=WORLD.alpha_bar, predict=predict), torch.tensor([3, 4])
    sample(model, torch.randn(2, 2).double(), 5, y=y, guidance=2.0)
    invert(model, torch.randn(2, 2).double(), 5, y=y)
    assert told == [{"y": y, "guidance": 2.0}] * 5 + [{"y": y}] * 5


def test_fresh_noise_comes_from_the_generator_that_was_given():
    x, found = torch.randn(4, 2).double(), []
    for seed in (1, 1, 2):
        torch.rand(3)  # whatever else is drawn
        draw = torch.Generator().manual_seed(seed)
        found.append(sample(WORLD, x, 10, eta=1.0, generator=draw))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_the_bound_is_told_the_labels():
    net, y = Told(), torch.tensor([1, 7, 7])
    model = Diffusion(net, cosine_schedule(50), "noise", classes=10)
    x = torch.zeros(3, 1, 2, 2)
    for labels in (y, None):
        bits_per_dimension(model, x, labels, strata=3)
        assert net.y is labels
