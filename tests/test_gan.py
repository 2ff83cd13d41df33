"""Adversarial models: networks, losses against closed forms, constraints, what a run keeps."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from toys import wgan as toy_wgan

from companion import experiments
from companion.models.gan import GAN
from companion.nets import (
    homework_generator,
    homework_judge,
    image_critic,
    image_generator,
)
from companion.recipes import Recipe
from companion.runs import publish
from companion.tensors import load_tensors
from companion.train import train
from companion.train.state import State


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_all_convolutions_are_four_by_four_between_28_14_7_4_and_1_pixels():
    x, sides = torch.rand(2, 100), []
    for layer in image_generator():
        x = layer(x)
        if isinstance(layer, nn.ConvTranspose2d):
            assert layer.kernel_size == (4, 4)
            sides.append(x.shape[-1])
    assert sides == [4, 7, 14, 28] and x.shape == (2, 1, 28, 28)
    assert x.min() >= 0 and x.max() <= 1
    for layer in image_critic():
        x = layer(x)
        if isinstance(layer, nn.Conv2d):
            assert layer.kernel_size == (4, 4)
            sides.append(x.shape[-1])
    assert sides[4:] == [14, 7, 4, 1] and x.shape == (2,)


def test_both_networks_have_nine_tenths_of_a_million_parameters():
    both = [*image_generator().parameters(), *image_critic().parameters()]
    assert sum(p.numel() for p in both) == pytest.approx(0.9e6, rel=0.02)


def rows(network: nn.Module, x: Tensor) -> list[tuple[int, ...]]:
    """Channels, kernel, stride, padding and pixels of each convolution, as a table has them."""
    found = []
    for layer in network:
        x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            sides = layer.kernel_size[0], layer.stride[0], layer.padding[0]
            found.append((layer.out_channels, *sides, x.shape[-1]))
    return found


def test_the_homeworks_networks_are_its_table():
    """Kernels of 7, 4 and 4 up; 64-128-256-512 down, normalised in three, with a dense end."""
    up, down = homework_generator(), homework_judge()
    assert rows(up, torch.randn(2, 100)) == [
        (128, 7, 1, 0, 7),
        (64, 4, 2, 1, 14),
        (1, 4, 2, 1, 28),
    ]
    assert rows(down, torch.rand(2, 1, 28, 28)) == [
        (64, 4, 2, 1, 14), (128, 4, 2, 1, 7), (256, 4, 2, 1, 3), (512, 3, 1, 0, 1),
    ]  # fmt: skip
    kinds = [type(layer).__name__ for layer in down]
    head = ["Conv2d", "LeakyReLU"] + ["Conv2d", "BatchNorm2d", "LeakyReLU"] * 3
    assert kinds == [*head, "Flatten", "Linear", "Flatten"]
    assert [type(layer).__name__ for layer in up] == [
        "Unflatten", *["ConvTranspose2d", "BatchNorm2d", "ReLU"] * 2, "ConvTranspose2d", "Sigmoid",
    ]  # fmt: skip
    slopes = [layer.negative_slope for layer in down if isinstance(layer, nn.LeakyReLU)]
    assert slopes == [0.2] * 4 and down(torch.rand(3, 1, 28, 28)).shape == (3,)
    bare = [type(layer).__name__ for layer in homework_judge(normalise=False)]
    assert bare == [kind for kind in kinds if kind != "BatchNorm2d"]


def test_the_homeworks_judge_sees_a_batch_and_the_bare_one_single_images():
    x = torch.rand(5, 1, 28, 28, requires_grad=True)
    for judge, alone in ((homework_judge(), False), (homework_judge(False), True)):
        (gradient,) = torch.autograd.grad(judge(x)[2], x)
        assert (gradient[[0, 1, 3, 4]].abs().max() == 0) == alone


def test_weights_begin_as_dcgan_draws_them():
    """Of 229,376 draws the standard deviation is known to 0.15 %: four errors are 0.6 %."""
    for network in (image_generator(), image_critic()):
        large = max(network.parameters(), key=lambda p: p.numel())
        assert large.std().item() == pytest.approx(0.02, rel=0.006)
    assert all(p.abs().max() == 0 for n, p in image_critic().named_parameters() if "bias" in n)


def test_a_critic_judges_each_image_alone():
    x = torch.rand(5, 1, 28, 28, requires_grad=True)
    (gradient,) = torch.autograd.grad(image_critic()(x)[2], x)
    assert gradient[2].abs().max() > 0
    assert gradient[[0, 1, 3, 4]].abs().max() == 0


def test_an_image_depends_on_its_own_code_only_once_trained():
    """Batch normalisation mixes a batch while training, and no longer in evaluation mode."""
    model = GAN(image_generator(widths=(4, 4, 4)), image_critic((4, 4, 4)), 100)
    z = model.codes(4)
    alone = lambda: model.generate(z[:1])  # noqa: E731
    model.train()
    model.generate(z)
    model.eval()
    torch.testing.assert_close(model.generate(z)[:1], alone())
    model.train()
    assert (model.generate(z)[:1] - model.generate(z[:2])[:1]).abs().max() > 1e-4


def test_spectral_norm_makes_every_largest_singular_value_one():
    """Power iteration has found it after 300 passes, to a hundredth."""
    critic = image_critic((4, 6, 8), spectral=True)
    for _ in range(300):
        critic(torch.rand(1, 1, 28, 28))
    for layer in critic.eval():
        if isinstance(layer, nn.Conv2d):
            top = torch.linalg.svdvals(layer.weight.detach().flatten(1))[0]
            assert top.item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("constraint", ["clipping", "gradient-penalty", "spectral-norm"])
def test_each_turn_moves_one_player_and_keeps_the_constraint(constraint):
    """Batch normalisation's running statistics are no parameters: every pass moves them."""
    recipe = experiments.wgan(constraint)
    state, batch = State(recipe), (torch.rand(4, 1, 28, 28),)
    for name in ("critic", "generator"):
        before = {k: p.clone() for k, p in state.model.named_parameters()}
        terms = state.update(name, batch, 0, 0.0)
        moved = {
            k.split(".")[0] for k, p in state.model.named_parameters() if (p != before[k]).any()
        }
        assert moved == {name} and all(value.isfinite() for value in terms.values())
    box = max(p.abs().max().item() for p in state.model.critic.parameters())
    assert (box <= 0.0100001) == (constraint == "clipping")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: experiments.gan("nonsaturating"), "did you mean 'non-saturating'?"),
        (lambda: experiments.wgan("weight-clipping"), "did you mean 'clipping'?"),
        (lambda: experiments.gan(data="fashion"), "no pinned extractor for 'fashion'"),
        (lambda: experiments.gan(smoothing=0.7), r"smoothing must be in \[0, 0.5\)"),
        (lambda: experiments.gan(rate=0.0), "must be above 0, got 0.0"),
        (lambda: experiments.gan(net="home"), "did you mean 'homework'?"),
        (lambda: experiments.gan(net="homework", normalise=False), "of the compact networks only"),
        (
            lambda: experiments.gan(net="homework", r1=1.0),
            "judge of single images, the homework's has batches",
        ),
        (lambda: experiments.wgan(c=0.0), "needs c and penalty above 0"),
        (lambda: experiments.wgan(critic_updates=0), "updates must be at least 1, got 0"),
        (lambda: image_generator(0), "latent must be at least 1 dimension, got 0"),
        (lambda: image_critic((4, 4)), r"three numbers of channels, .* got \(4, 4\)"),
        (lambda: GAN(nn.Identity(), nn.Identity(), 0), "a whole number, got 0"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(wrong, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        wrong()
    assert "\n" not in str(caught.value)


def keeping(points: int = 384) -> Recipe:
    """The toy WGAN, of which eight drawn points are kept at every second epoch."""

    def eight(model: nn.Module) -> Tensor:
        assert not model.training and not torch.is_grad_enabled()
        points = model.generator(torch.linspace(-1, 1, 16).view(8, 2))
        return (points * 20 + 128).clamp(0, 255).to(torch.uint8)

    return replace(toy_wgan(points), keep=eight, watch_every=2)


def test_what_a_run_keeps_survives_a_restart_and_is_published(monkeypatch, tmp_path):
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "whole"))
    whole = train(keeping, 4)
    assert list(whole.snapshots) == [2, 4]
    assert not torch.equal(whole.snapshots[2], whole.snapshots[4])
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "halves"))
    train(keeping, 2)
    again = train(keeping, 4)
    assert all(torch.equal(again.snapshots[k], v) for k, v in whole.snapshots.items())
    light, record = (
        publish(whole, tmp_path / "a"),
        publish(whole, tmp_path / "b", record_only=True),
    )
    for published in (light, record):
        assert torch.equal(published.snapshots[4], whole.snapshots[4])
    assert light.weights.exists() and not record.weights.exists()
    whole.config["data"]["name"] = "celeba"
    people = publish(whole, tmp_path / "c")  # of whom not even drawn faces are kept
    assert not (people.folder / "snapshots.safetensors").exists()
    assert load_tensors(light.folder / "snapshots.safetensors")[1]["epochs"] == 4


def test_a_critic_ends_in_a_convolution():
    """A logit, or a Wasserstein critic's number, is not bent."""
    for spectral in (False, True):
        last, flat = [*image_critic((4, 4, 4), spectral)][-2:]
        assert isinstance(last, nn.Conv2d) and isinstance(flat, nn.Flatten)


def test_codes_are_drawn_from_the_standard_normal():
    """Of 200,000 numbers, each moment and share within 4 standard errors."""
    z = GAN(nn.Linear(1, 1), nn.Identity(), 100).codes(2000).flatten().double()
    for value, mean, variance in (
        (z, 0, 1), (z.square(), 1, 2), (z.abs() < 1, 0.68269, 0.2166), (z > 2, 0.02275, 0.0222),
    ):  # fmt: skip
        assert abs(value.double().mean().item() - mean) < 4 * (variance / 200_000) ** 0.5
