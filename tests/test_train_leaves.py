"""What a training leaves behind: rates, random numbers, frozen parts, means of an epoch."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import denoiser, mlp, wgan

from companion.estimate import Estimate
from companion.recipes import Batch, Player, Recipe, Terms
from companion.train import train
from companion.train.loop import play
from companion.train.state import State
from companion.worlds.gaussians import eight_gaussians


@pytest.fixture(autouse=True)
def runs(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path))


def two_steps(loss: Any, **options: Any) -> Recipe:
    """One player, two steps an epoch."""
    model = mlp(2, 2)
    data = partial(eight_gaussians, 128)
    return Recipe(model, {"one": Player(model, loss)}, data, 64, precision="no", **options)


def test_a_schedule_is_a_share_of_the_first_rate_and_does_not_compound():
    recipe = denoiser()
    half = replace(recipe.players["denoiser"], schedule=lambda epoch: 0.5)
    state = State(replace(recipe, players={"denoiser": half}))
    for step in range(3):
        state.update("denoiser", (eight_gaussians(64).train[0],), step, 0.0)
    [group] = state.optimizers["denoiser"].param_groups
    assert group["lr"] == 0.5 * 1e-3  # of Adam's 1e-3; compounding would leave an eighth


def test_every_step_of_every_epoch_draws_numbers_of_its_own_and_has_a_number_of_its_own():
    drawn: list[tuple[float, int]] = []

    def loss(model: nn.Module, batch: Batch, step: int) -> Terms:
        drawn.append((torch.rand(1).item(), step))
        return {"loss": model(batch[0]).square().mean()}

    def drawing() -> Recipe:
        return two_steps(loss)

    train(drawing, 2)
    assert len({number for number, _ in drawn}) == 4
    assert [step for _, step in drawn] == [0, 1, 2, 3]


def test_the_means_of_an_epoch_are_of_that_epoch_alone():
    def loss(model: nn.Module, batch: Batch, step: int) -> Terms:
        return {"loss": model(batch[0]).square().mean(), "step": torch.tensor(float(step))}

    def counting() -> Recipe:
        return two_steps(loss)

    run = train(counting, 3)
    assert [row["one/step"] for row in run.history] == [0.5, 2.5, 4.5]


def test_a_part_that_was_frozen_stays_frozen_after_the_turns_of_others():
    recipe = wgan()
    frozen = recipe.model.generator[0].requires_grad_(False)
    before: Tensor = frozen.weight.clone()
    state, batch = State(recipe), (eight_gaussians(64).train[0],)
    for name in ("critic", "generator", "critic"):
        state.update(name, batch, 0, 0.0)
    assert not any(p.requires_grad for p in frozen.parameters())
    assert all(p.requires_grad for p in recipe.model.generator[2].parameters())
    assert torch.equal(frozen.weight, before)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_what_is_measured_is_the_model_that_is_kept_in_evaluation_mode(ema):
    """The average is a copy: it has a mode of its own."""
    seen: list[tuple[bool, float]] = []

    def look(model: nn.Module, data: Any) -> dict[str, Estimate]:
        seen.append((model.training, model[0].weight.sum().item()))
        return {}

    def looked_at() -> Recipe:
        return two_steps(lambda m, b, s: {"loss": m(b[0]).square().mean()}, ema=ema, watch=look)

    run = train(looked_at, 2)
    assert not any(training for training, _ in seen)
    assert seen[-1][1] == run.model[0].weight.sum().item() != seen[0][1]


def test_a_finished_model_stays_on_the_device_that_it_was_trained_on(monkeypatch):
    """Whatever moves or copies the weights of a module goes through `_apply`."""
    trained, apply = [], nn.Module._apply

    def played(*words: Any) -> None:
        play(*words)
        trained.append(True)

    def moved(module: nn.Module, *words: Any, **named: Any) -> nn.Module:
        assert not trained, "it was moved after its training"
        return apply(module, *words, **named)

    monkeypatch.setattr("companion.train.play", played)
    monkeypatch.setattr(nn.Module, "_apply", moved)
    run = train(denoiser, 1)
    assert trained and run.complete and not run.model.training
    with pytest.raises(AssertionError, match="moved after"):
        run.model.cpu()
