"""How a training ends: by its last epoch, by Ctrl-C, by a loss that is no number, or at once."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest
import torch
from torch import nn
from toys import Hidden, denoiser, denoising, wasserstein, wgan

from companion.recipes import Batch, Player, Recipe, Terms
from companion.runs import read
from companion.tensors import load_tensors
from companion.train import Diverged, train

STEPS = 4  # an epoch of `denoiser`


@pytest.fixture(autouse=True)
def runs(monkeypatch, tmp_path):
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


class Meddled:
    """The experiment `denoiser`, with something done to its loss at each step."""

    __name__ = "meddled"
    __signature__ = inspect.Signature()

    def __init__(self, meddle: Callable[[nn.Module, Terms, int], Terms]):
        self.meddle, self.steps = Hidden(meddle), Hidden([])

    def __call__(self) -> Recipe:
        recipe = denoiser()

        def loss(model: nn.Module, batch: Batch, step: int) -> Terms:
            self.steps().append(step)
            return self.meddle()(model, denoising(model, batch, step), step)

        return replace(recipe, players={"one": Player(recipe.model, loss)})


untouched = Meddled(lambda model, terms, step: terms)


def state(run: Any) -> dict[str, torch.Tensor]:
    """What a run has saved."""
    return load_tensors(run.state)[0]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("step", [4, 6, 7])
@pytest.mark.parametrize(("term", "value"), [("loss", nan), ("size", inf), ("loss", -inf)])
def test_a_term_that_is_no_number_stops_within_a_step(step, term, value):
    def poison(model: nn.Module, terms: Terms, now: int) -> Terms:
        return terms | ({term: terms[term] * 0 + value} if now == step else {})

    kept = state(train(untouched, 1))
    poisoned = Meddled(poison)
    sentence = rf"^one/{term} became {value} at step {step}; the state after epoch 1 is kept$"
    with pytest.raises(Diverged, match=sentence):
        train(poisoned, 3)
    assert poisoned.steps()[-1] <= step + 1
    assert same(state(train(untouched, 1)), kept)


def test_a_term_that_is_no_number_in_the_first_epoch_leaves_no_state(runs):
    def poison(model: nn.Module, terms: Terms, now: int) -> Terms:
        return terms | {"loss": terms["loss"] * nan}

    with pytest.raises(Diverged, match="became nan at step 0; no state is kept"):
        train(Meddled(poison), 1)
    assert not list(runs.rglob("*.safetensors"))


def test_a_gradient_that_is_no_number_never_reaches_the_state():
    """The loss of the epoch's last update is finite, and nothing judges the weights after it."""

    def poison(model: Any, terms: Terms, now: int) -> Terms:
        if now < 2 * STEPS - 1:
            return terms
        root = (0 * model[0].weight.sum()).sqrt()  # it is 0, of slope 0 / 0
        return terms | {"loss": terms["loss"] + root}

    kept = state(train(untouched, 1))
    sentence = r"^one/\S+ is no longer finite by step 7, the end of epoch 2; .* epoch 1 is kept$"
    with pytest.raises(Diverged, match=sentence):
        train(Meddled(poison), 3)
    assert same(state(train(untouched, 1)), kept)


@pytest.mark.parametrize("step", [1, STEPS, 2 * STEPS + 1])
def test_an_interrupt_returns_the_run_so_far_and_a_later_call_goes_on(step, monkeypatch, tmp_path):
    def interrupt(model: nn.Module, terms: Terms, now: int) -> Terms:
        if now == step:
            raise KeyboardInterrupt
        return terms

    run = train(Meddled(interrupt), 4)
    assert (run.complete, run.epochs, len(run.history)) == (False, step // STEPS, step // STEPS)
    assert not run.model.training and "interrupted" in str(run)
    assert run.model(torch.zeros(1, 2)).isfinite().all()
    assert all(p.requires_grad for p in run.model.parameters())
    assert not run.weights.exists()
    again = Meddled(lambda model, terms, now: terms)
    resumed = train(again, 4)
    assert resumed.complete and again.steps()[0] == step // STEPS * STEPS
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "undisturbed"))
    assert same(state(resumed), state(train(untouched, 4)))


def test_an_interrupt_in_the_last_save_leaves_a_run_that_is_not_complete(monkeypatch):
    def interrupt(*words: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("companion.train.loop.write", interrupt)
        run = train(untouched, 1)
    assert not run.complete and run.epochs == 1
    again = Meddled(lambda model, terms, now: terms)
    assert train(again, 1).complete and not again.steps()  # only the last save was missing


def test_an_interrupt_in_a_critics_turn_frees_the_generator():
    def interrupted() -> Recipe:
        recipe = wgan()

        def loss(game: Any, batch: Batch, step: int) -> Terms:
            if step == 1:
                raise KeyboardInterrupt
            return wasserstein(game, batch, step)

        critic = replace(recipe.players["critic"], loss=loss)
        return replace(recipe, players={**recipe.players, "critic": critic})

    run = train(interrupted, 1)
    assert not run.complete
    assert all(p.requires_grad for p in run.model.parameters())


def test_a_finished_run_is_recalled_and_not_trained_again():
    first, again = (Meddled(lambda model, terms, now: terms) for _ in range(2))
    trained = train(first, 2)
    written = trained.weights.stat().st_mtime_ns
    recalled = train(again, 2)
    assert first.steps() and not again.steps()
    assert trained.weights.stat().st_mtime_ns == written  # nor measured and written again
    assert same(trained.model.state_dict(), recalled.model.state_dict())
    assert not recalled.model.training
    assert (trained.history, trained.metrics) == (recalled.history, recalled.metrics)
    assert trained.config == recalled.config == read(trained.folder).config


def test_fewer_epochs_are_their_own_run_and_spoil_no_longer_one(monkeypatch, tmp_path):
    longer = train(untouched, 3)
    shorter = train(untouched, 1)
    assert (shorter.epochs, len(shorter.history)) == (1, 1)
    recall = Meddled(lambda model, terms, now: terms)
    recalled = train(recall, 3)
    assert not recall.steps()
    assert same(recalled.model.state_dict(), longer.model.state_dict())
    on = train(untouched, 4)
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "undisturbed"))
    assert same(shorter.model.state_dict(), train(untouched, 1).model.state_dict())
    assert same(state(on), state(train(untouched, 4)))


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        (lambda terms: terms["loss"], "'loss' among them, got Tensor"),
        (lambda terms: {"size": terms["size"]}, r"'loss' among them, got \['size'\]"),
        (
            lambda terms: terms | {"size": torch.ones(3, 2)},
            r"'size' must be a tensor \(B,\) or \(\), got shape \(3, 2\)",
        ),
        (lambda terms: terms | {"size": 1.0}, r"'size' must be a tensor \(B,\) or \(\), got 1.0"),
    ],
)
def test_a_loss_that_returns_something_else_is_told_so(returned, sentence):
    with pytest.raises(TypeError, match=sentence):
        train(Meddled(lambda model, terms, step: returned(terms)), 1)
