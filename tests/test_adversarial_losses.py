"""Adversarial losses: against closed forms, cross-entropy and the published slips."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from companion.models.gan import GAN
from companion.nets import homework_generator, homework_judge, image_critic
from companion.objectives import (
    ClippedRMSprop,
    critic_loss,
    discriminator_loss,
    fooling_loss,
    generator_loss,
    gradient_penalty,
    hinge_loss,
    slopes,
)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


class Fixed(nn.Module):
    """A critic of the mean pixel: scale * mean + shift, so that all is known by hand."""

    def __init__(self, scale: float = 3.0, shift: float = -1.0):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.tensor(scale)), shift

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x.flatten(1).mean(1) + self.shift


class Repeat(nn.Module):
    """A generator that always draws the same images, one for each code."""

    def __init__(self, images: Tensor):
        super().__init__()
        self.images = nn.Parameter(images)

    def forward(self, z: Tensor) -> Tensor:
        return self.images[: len(z)]


def game() -> tuple[GAN, Tensor, Tensor]:
    """A model whose critic and fakes are known, with real images and fakes (8, 1, 3, 3)."""
    real, fake = torch.rand(8, 1, 3, 3), torch.rand(8, 1, 3, 3) / 2
    return GAN(Repeat(fake), Fixed(), 2), real, fake


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_discriminator_minimises_the_cross_entropy_of_real_and_fake(smoothing):
    model, real, fake = game()
    found = discriminator_loss(model, (real,), 0, smoothing)
    labels = torch.cat([torch.full((8,), 1 - smoothing), torch.zeros(8)])
    logits = model.critic(torch.cat([real, fake]))
    expected = 2 * F.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(found["loss"].mean(), expected)
    assert found["accuracy"].mean().item() == ((logits > 0) == (labels > 0.5)).float().mean()


@pytest.mark.parametrize(
    ("kind", "reaches"),
    [("minimax", lambda d: d), ("non-saturating", lambda d: 1 - d)],
)
def test_a_losing_generator_keeps_its_gradient_only_if_it_does_not_saturate(kind, reaches):
    """d/ds log(1 - sigmoid(s)) = -D and d/ds -log sigmoid(s) = -(1 - D)."""
    model, real, fake = game()
    model.critic.shift = -20.0  # the discriminator is sure
    found = generator_loss(model, (real,), 0, kind)
    (gradient,) = torch.autograd.grad(found["loss"].mean(), model.generator.images)
    d = model.critic(fake).sigmoid().detach()
    expected = -reaches(d)[:, None] * 3.0 / 9 / 8  # the critic's slope in a pixel, of 8 images
    torch.testing.assert_close(gradient.flatten(1), expected.expand(8, 9))
    torch.testing.assert_close(found["slope"], reaches(d))
    assert (found["slope"].min() > 0.99) == (kind == "non-saturating")


def test_a_critic_and_its_generator_play_for_one_number():
    model, real, fake = game()
    gap = model.critic(real) - model.critic(fake)
    found = critic_loss(model, (real,), 0)
    torch.testing.assert_close(-found["loss"], gap)
    torch.testing.assert_close(found["wasserstein"], gap)
    margins = (1 - model.critic(real)).clamp(min=0) + (1 + model.critic(fake)).clamp(min=0)
    torch.testing.assert_close(hinge_loss(model, (real,), 0)["loss"], margins)
    fooled = fooling_loss(model, (real,), 0)["loss"]
    torch.testing.assert_close(fooled, -model.critic(fake))  # it wants to be taken for real


def bowl(x: Tensor) -> Tensor:
    """A critic whose gradient at x is x: |x|^2 / 2."""
    return x.flatten(1).square().sum(1) / 2


def penalty_along(axis: int, x: Tensor) -> Tensor:
    """The published slip: the norm of `gradients.norm(2, dim=axis)` over one axis of NCHW."""
    return (x.norm(2, dim=axis) - 1).square().mean()


def test_the_penalty_takes_the_norm_over_all_pixels_of_each_image():
    x = torch.rand(6, 2, 5, 5)
    found = gradient_penalty(bowl, x, x)
    torch.testing.assert_close(found, (x.flatten(1).norm(dim=1) - 1).square())
    found = found.mean()
    slips = [penalty_along(axis, x) for axis in range(4)]
    slips.append((x.norm() - 1).square())  # of the whole batch at once
    assert all((found - slip).abs() > 0.1 * found for slip in slips)


def test_each_image_has_a_point_of_its_own_on_the_way_to_its_fake():
    """From black to white: a point's grey is its share, one in an image, uniform over images."""
    seen: list[Tensor] = []

    def judge(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return bowl(x)

    gradient_penalty(judge, torch.zeros(4000, 1, 2, 2), torch.ones(4000, 1, 2, 2))
    grey = seen[0].flatten(1)
    assert (grey == grey[:, :1]).all()
    share = grey[:, 0]
    moments = torch.stack([share.mean(), share.square().mean(), (share < 0.1).float().mean()])
    errors = torch.tensor([12**-0.5, (4 / 45) ** 0.5, 0.3]) / 4000**0.5
    assert ((moments - torch.tensor([1 / 2, 1 / 3, 0.1])).abs() < 4 * errors).all()


def test_the_penalty_can_be_descended():
    """Of a linear critic w x it is (|w| - 1)^2, whose gradient is 2 (|w| - 1) w / |w|."""
    w = torch.randn(9, requires_grad=True)
    real, fake = torch.rand(2, 7, 1, 3, 3)
    found = gradient_penalty(lambda x: x.flatten(1) @ w, real, fake)
    (gradient,) = torch.autograd.grad(found.mean(), w)
    torch.testing.assert_close(gradient, (2 * (w.norm() - 1) * w / w.norm()).detach())


def test_slopes_are_in_single_precision_inside_of_a_half_precise_pass():
    critic, x = image_critic((4, 4, 4)), torch.rand(3, 1, 28, 28)
    with torch.autocast("cpu", torch.bfloat16):
        inside = slopes(critic, x)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, slopes(critic, x))


def test_a_judge_with_batches_is_shown_one_kind_at_a_time():
    """Else the batch's statistics give away its mixture, which the generator's turn never has."""
    torch.manual_seed(1)
    model, real = GAN(homework_generator(), homework_judge(), 100), torch.rand(8, 1, 28, 28)
    torch.manual_seed(2)
    found = discriminator_loss(model, (real,), 0, apart=True)["loss"]
    torch.manual_seed(2)
    mixed = discriminator_loss(model, (real,), 0)["loss"]
    torch.manual_seed(2)
    fake = model.sample(8)
    expected = F.softplus(-model.judge(real)) + F.softplus(model.judge(fake))
    torch.testing.assert_close(found, expected)
    assert (mixed - expected).abs().max() > 0.05


def test_r1_is_half_the_squared_slope_at_real_images():
    model, real, _ = game()
    plain = discriminator_loss(model, (real,), 0)["loss"]
    found = discriminator_loss(model, (real,), 0, r1=4.0)
    torch.testing.assert_close(found["penalty"], torch.full((8,), 9 * (3.0 / 9) ** 2))
    torch.testing.assert_close(found["loss"] - plain, 2 * found["penalty"])


def test_clipped_rmsprop_is_rmsprop_and_then_the_box():
    ours, plain = (nn.Linear(30, 1) for _ in range(2))
    plain.load_state_dict(ours.state_dict())
    clipped = ClippedRMSprop(ours.parameters(), lr=5e-3, c=0.01)
    rmsprop = torch.optim.RMSprop(plain.parameters(), lr=5e-3)
    for _ in range(5):
        x = torch.randn(8, 30)
        for model, optimizer in ((ours, clipped), (plain, rmsprop)):
            optimizer.zero_grad()
            model(x).mean().backward()
            optimizer.step()
        with torch.no_grad():
            for p in plain.parameters():
                p.copy_(p.clamp(-0.01, 0.01))
    assert all(
        torch.equal(a, b) for a, b in zip(ours.parameters(), plain.parameters(), strict=True)
    )
    assert ours.weight.abs().max() == torch.tensor(0.01)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: game()[0].generate(torch.zeros(2, 3)), r"codes must be \(B, 2\), got shape"),
        (lambda: game()[0].sample(0), "n must be at least 1 image, got 0"),
        (lambda: generator_loss(game()[0], (torch.rand(1, 1, 3, 3),), 0, "max"), "known: minimax"),
        (lambda: gradient_penalty(bowl, torch.rand(2, 3), torch.rand(3, 3)), "of one shape"),
        (lambda: ClippedRMSprop(nn.Linear(1, 1).parameters(), c=0.0), "c must be above 0"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(wrong, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        wrong()
    assert "\n" not in str(caught.value)
