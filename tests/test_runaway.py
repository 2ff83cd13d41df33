"""A number that has run away stops the training, wherever it stands, and keeps what was whole."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from toys import Hidden, denoiser, denoising

from companion.recipes import ADAM, Batch, Player, Recipe, Terms
from companion.train import Diverged, train
from companion.train.state import State, unfinite

STEPS = 4  # an epoch of `denoiser`


@pytest.fixture(autouse=True)
def runs(monkeypatch, tmp_path):
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


class Watched(nn.Module):
    """A network with running statistics, and a mask whose -inf is meant."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))

    def forward(self, x):
        return self.one(x)


def spoiled(at: int, how: Callable[[Any, Terms], Terms], optimizer: Any = ADAM) -> Recipe:
    """Train on points, with something done to the model or the terms at one step."""
    model, hidden = Watched(), Hidden(at, how)

    def loss(model: nn.Module, batch: Batch, step: int) -> Terms:
        terms, (at, how) = denoising(model, batch, step), hidden()
        return how(model, terms) if step == at else terms

    def watch(model: nn.Module, data: Any) -> dict[str, Any]:
        assert not set(unfinite(dict(model.named_buffers()))) - {"mask"}  # it would break there
        return {}

    player = Player(model.one, loss, optimizer)
    players = {"one": player}
    return replace(denoiser(), model=model, players=players, watch=watch, clip=torch.inf)


def louder(model: nn.Module, terms: Terms) -> Terms:
    """A finite loss with finite gradients, whose squares are not."""
    return terms | {"loss": 1e25 * terms["loss"]}


def colder(model: nn.Module, terms: Terms) -> Terms:
    model.one[1].running_var = model.one[1].running_var * torch.nan
    return terms


def larger(model: nn.Module, terms: Terms) -> Terms:
    return terms | {"size": terms["size"] * 0 + 3e38}


def experiment(*words: Any) -> Callable[[], Recipe]:
    """Give it one name: what it was trained on before is gone on from."""

    def spoilt() -> Recipe:
        return spoiled(*words)

    return spoilt


CASES = {
    "second moments": (louder, ADAM, r"^one/exp_avg_sq of one\.\d\.\w+ is no longer finite by"),
    "running statistics": (colder, ADAM, r"^one/one\.1\.running_var is no longer finite by"),
}


@pytest.mark.parametrize(("how", "optimizer", "sentence"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("step", [STEPS, 2 * STEPS - 1])
def test_what_runs_away_stops_at_the_epochs_end(how, optimizer, sentence, step):
    kept = train(experiment(-1, how, optimizer), 1)
    before = kept.state.read_bytes()
    end = r" step 7, the end of epoch 2; the state after epoch 1 is kept$"
    with pytest.raises(Diverged, match=sentence + end):
        train(experiment(step, how, optimizer), 3)
    assert kept.state.read_bytes() == before
    assert train(experiment(-1, how, optimizer), 3).complete


def test_a_finite_term_whose_mean_is_not_stops_too():
    def at_each_step() -> Recipe:
        recipe = denoiser()
        loss = lambda model, batch, step: larger(model, denoising(model, batch, step))  # noqa: E731
        return replace(recipe, players={"one": Player(recipe.model, loss)})

    with pytest.raises(Diverged, match=r"^the mean of one/size over epoch 1 is inf; no state is"):
        train(at_each_step, 1)


def test_a_moment_that_runs_away_is_no_loss_of_a_weight():
    """What is caught here shows in no weight: they are all finite, and frozen for ever."""
    state = State(spoiled(0, louder))
    for step in range(STEPS):
        state.update("one", (torch.randn(64, 2),), step, 0.0)
    assert all(weight.isfinite().all() for weight in state.model.parameters())
    before = state.model.one[2].weight.clone()
    state.update("one", (torch.randn(64, 2),), STEPS, 1.0)
    assert state.model.one[2].weight.equal(before) and "exp_avg_sq" in state.runaway()


def test_a_mask_of_minus_infinity_is_meant():
    run = train(experiment(-1, louder), 1)
    assert run.complete and run.model.mask.isinf().any()


def test_a_whole_epoch_is_judged_once(monkeypatch):
    judged = []
    monkeypatch.setattr(State, "runaway", lambda state: judged.append(1) or "")
    train(experiment(-1, louder), 3)
    assert len(judged) == 3


def test_large_numbers_are_no_runaways():
    large = torch.full((4,), 3e38)
    assert unfinite({"large": large, "whole": torch.ones(2).long(), "empty": torch.ones(0)}) == []
    assert unfinite({"both": torch.tensor([torch.inf, -torch.inf]), "large": large}) == ["both"]
