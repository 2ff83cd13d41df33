"""The trainer: what it computes, and that going on is the same as never having stopped."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import Hidden, denoiser, denoising, ebm, energy_distance, mlp, wgan

from companion.maths import cosine
from companion.metrics import Estimate
from companion.recipes import Batch, Player, Recipe, Terms
from companion.runs import Run
from companion.tensors import load_tensors
from companion.train import train
from companion.train.loop import batches
from companion.train.state import State, follow
from companion.worlds.gaussians import eight_gaussians

POINTS = eight_gaussians(1000)


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """Give a function that opens a new, empty folder of runs."""

    def fresh(name: str) -> Path:
        monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / name))
        return tmp_path / name

    fresh("runs")
    return fresh


def timeless(run: Run) -> list[dict[str, float]]:
    """History without what the clock says."""
    clock = {"examples/s", "seconds"}
    return [{k: v for k, v in row.items() if k not in clock} for row in run.history]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether two states agree in every bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def state_of(recipe: Recipe) -> tuple[State, Batch]:
    """Seat the players, and cut a batch of 64 for them."""
    return State(recipe), (recipe.data().train[0][:64],)


@pytest.mark.parametrize(
    ("experiment", "choices"),
    [(denoiser, {"ema": 0.9}), (wgan, {}), (ebm, {})],
    ids=["EMA", "WGAN-GP", "EBM with memory"],
)
def test_two_and_two_epochs_are_four_bit_for_bit(experiment, choices, runs):
    train(experiment, 2, seed=3, **choices)
    halves = train(experiment, 4, seed=3, **choices)
    halved, _ = load_tensors(halves.state)
    runs("again")
    whole = train(experiment, 4, seed=3, **choices)
    assert same(halved, load_tensors(whole.state)[0])
    assert same(halves.model.state_dict(), whole.model.state_dict())
    assert timeless(halves) == timeless(whole)
    assert any(name.startswith("optimizer/") for name in halved)
    other = train(experiment, 4, seed=4, **choices)  # the comparison can fail
    assert not same(halved, load_tensors(other.state)[0])


@pytest.mark.parametrize(
    ("experiment", "points", "epochs", "draw"),
    [
        (wgan, 3840, 12, lambda model: model.sample(1000)),
        (ebm, 2560, 6, lambda model: model.walk(2 * torch.randn(1000, 2), 200)),
    ],
    ids=["WGAN-GP", "EBM"],
)
def test_samples_come_three_times_closer_to_the_data(experiment, points, epochs, draw, runs):
    """Over five seeds the distance fell to a sixth or better; a third is far from both ends."""
    torch.manual_seed(0)
    before = experiment(points).model
    after = train(experiment, epochs, points=points).model
    apart = [energy_distance(draw(model).detach(), POINTS.test[0]) for model in (before, after)]
    assert apart[1] < apart[0] / 3


@pytest.mark.parametrize("mover", ["critic", "generator"])
def test_who_does_not_play_is_held_still(mover):
    state, batch = state_of(wgan())
    before = {name: p.clone() for name, p in state.model.named_parameters()}
    state.update(mover, batch, 0, 0.0)
    for name, p in state.model.named_parameters():
        if name.endswith("weight"):
            assert torch.equal(p, before[name]) != name.startswith(mover)
        assert p.grad is None
        assert p.requires_grad


def test_a_loss_sees_gradients_only_for_its_own_player(runs):
    def watched(game: Any, batch: Batch, step: int) -> Terms:
        asked = {name for name, p in game.named_parameters() if p.requires_grad}
        assert asked == {name for name, _ in game.named_parameters() if name.startswith("gen")}
        return {"loss": game.generator(batch[0]).square().mean()}

    recipe = wgan()
    state, batch = state_of(
        replace(recipe, players={"one": Player(recipe.model.generator, watched)})
    )
    assert state.update("one", batch, 0, 0.0)["loss"].isfinite()


def test_schedule_follows_the_epochs_and_not_how_they_were_reached(runs, monkeypatch):
    asked: list[float] = []
    monkeypatch.setattr("companion.train.built.EPOCHS", ())

    def scheduled() -> Recipe:
        model, noted = mlp(2, 2), Hidden(asked)

        def schedule(epoch: float) -> float:
            noted().append(epoch)
            return cosine(4)(epoch)

        players = {"one": Player(model, denoising, schedule=schedule)}
        return Recipe(model, players, partial(eight_gaussians, 256), 64)

    train(scheduled, 1)
    train(scheduled, 3)
    assert asked == [k / 4 for k in range(12)]  # four batches an epoch


def test_each_player_has_its_own_rate():
    recipe = wgan()
    slow = replace(recipe.players["generator"], schedule=cosine(2))
    state, batch = state_of(replace(recipe, players={**recipe.players, "generator": slow}))
    for name in recipe.players:
        state.update(name, batch, 0, 1.0)
    rates = {name: o.param_groups[0]["lr"] for name, o in state.optimizers.items()}
    assert rates == pytest.approx({"critic": 3e-3, "generator": 0.5e-3})  # cosine at half


@pytest.mark.parametrize("clip", [0.1, 1e9])
def test_clipping_bounds_the_update(clip):
    model = mlp(2, 2)
    player = Player(model, lambda m, b, s: {"loss": 1e3 * m(b[0]).square().sum()})
    player = replace(player, optimizer=partial(torch.optim.SGD, lr=1.0))
    state, batch = state_of(Recipe(model, {"one": player}, lambda: POINTS, clip=clip))
    before = nn.utils.parameters_to_vector(model.parameters())
    state.update("one", batch, 0, 0.0)
    moved = (nn.utils.parameters_to_vector(model.parameters()) - before).norm()
    assert (moved <= clip * (1 + 1e-4)) and (clip > 1 or moved > 0.99 * clip)  # float32
    assert clip == 0.1 or moved > 1


def test_an_average_soon_forgets_the_weights_it_began_with():
    average, weights = [torch.ones(3)], [torch.zeros(3)]
    for k in range(1, 101):
        follow(average, weights, torch.tensor(k), decay=0.999)
    left = math.factorial(10) / math.prod(range(102, 111))  # the product of (1 + k) / (10 + k)
    torch.testing.assert_close(average[0], torch.full((3,), left), rtol=1e-4, atol=0)  # float32


def test_average_is_its_recursion(runs):
    seen: list[Tensor] = []

    def averaged() -> Recipe:
        recipe = denoiser(ema=0.9)

        def loss(model: nn.Module, batch: Batch, step: int) -> Terms:
            seen.append(nn.utils.parameters_to_vector(model.parameters()).detach().clone())
            return denoising(model, batch, step)

        return replace(recipe, players={"one": Player(recipe.model, loss)})

    run = train(averaged, 3)
    state, _ = load_tensors(run.state)
    last = [state[f"model/{name}"].flatten() for name, _ in run.model.named_parameters()]
    weights = [*seen[1:], torch.cat(last)]  # after each step
    mean = weights[0]
    for k, w in enumerate(weights[1:], 1):
        decay = min(0.9, (1 + k) / (10 + k))
        mean = decay * mean + (1 - decay) * w
    found = nn.utils.parameters_to_vector(run.model.parameters())
    torch.testing.assert_close(found, mean, atol=1e-6, rtol=1e-5)  # float32, 11 roundings
    assert not torch.allclose(found, weights[-1], atol=1e-4)


def test_watching_leaves_no_trace(runs):
    calls: list[nn.Module] = []

    def loud(model: nn.Module, data: Any) -> dict[str, Estimate]:
        assert not model.training
        calls.append(model)
        return {"noise": Estimate(torch.randn(7).sum().item(), 0.0, 7)}

    def quiet_denoiser() -> Recipe:
        return replace(denoiser(), watch=lambda model, data: {})

    def loud_denoiser() -> Recipe:
        return replace(denoiser(), watch=loud, watch_every=2)

    torch.manual_seed(5)
    noisy = train(loud_denoiser, 5)
    after = torch.rand(3)
    assert same(noisy.model.state_dict(), train(quiet_denoiser, 5).model.state_dict())
    assert [row["epoch"] for row in noisy.history if "test/noise" in row] == [2, 4, 5]
    assert len(calls) == 1 + 3  # a rehearsal; and what was watched last is not measured anew
    assert noisy.metrics["noise"]["value"] == noisy.history[-1]["test/noise"]
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(3))  # nor does training, in the caller's numbers


@pytest.mark.parametrize(("n", "size", "world"), [(100, 8, 1), (101, 8, 3), (64, 16, 4)])
def test_an_epoch_shows_no_example_twice(n, size, world):
    steps = n // (size * world)
    streams = [batches(n, size, 7, 2, rank, world) for rank in range(world)]
    shown = [torch.cat([next(stream) for _ in range(steps)]) for stream in streams]
    together = torch.cat(shown)
    assert len(together.unique()) == len(together) == steps * size * world
    first, again = next(batches(n, size, 7, 3, 0, world)), next(batches(n, size, 7, 3, 0, world))
    assert torch.equal(first, again) and not torch.equal(first, shown[0][:size])


def test_bf16_trains_float32_weights_to_nearly_the_same_place(runs):
    def brief() -> Recipe:
        return replace(denoiser(), precision="bf16")

    fast, exact = train(brief, 5), train(denoiser, 5)
    assert fast.config["precision"] == "bf16"
    assert {p.dtype for p in fast.model.parameters()} == {torch.float32}
    losses = [run.history[-1]["denoiser/loss"] for run in (fast, exact)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)  # 8 bits of mantissa: 0.4 % a value
    assert losses[0] != losses[1]
