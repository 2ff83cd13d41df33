"""A run is a legal choice: what a second phase stands on is recorded, found and checked."""

import os
from dataclasses import replace
from functools import partial

import pytest
import torch
from toys import denoiser, denoising, mlp

from companion.__main__ import main
from companion.experiments import EXPERIMENTS, asked_of
from companion.files import RunError
from companion.recipes import Player, Recipe, first_phase
from companion.runs import Run, find, publish, standing
from companion.tensors import load_tensors
from companion.train import recall, train
from companion.worlds.gaussians import eight_gaussians


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """New, empty folders of runs, here and published."""
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr("companion.runs.record.PUBLISHED", tmp_path / "published")


def second(first: Run, scale: float = 1.0) -> Recipe:
    """Train a network on what the first one says."""
    before, model = first_phase(first, "denoiser"), mlp(2, 2)

    def loss(model, batch, step):
        return denoising(model, (scale * before(batch[0]).detach(),), step)

    return Recipe(model, {"one": Player(model, loss)}, partial(eight_gaussians, 64), 64)


def test_the_record_names_the_first_run_and_the_hash_of_its_weights():
    first = train(denoiser, 1)
    run = train(second, 1, first=first)
    sha256 = load_tensors(first.weights)[1]["sha256"]
    assert run.config["choices"]["first"] == {"run": first.name, "weights": sha256}
    assert first.name in run.name and run.complete
    assert train(second, 1, first=first).history == run.history  # recalled
    again = find(first.name, sha256)
    assert again.weights == first.weights
    other = train(denoiser, 1, seed=1)
    assert train(second, 1, first=other).name != run.name


def test_a_second_phase_is_published_and_recalled():
    first = train(denoiser, 1)
    publish(first)
    run = train(second, 1, first=first)
    record = publish(run)
    assert train(second, first=first).folder == record.folder


def test_what_cannot_be_stood_on_is_refused_before_any_training(tmp_path):
    first = train(denoiser, 1)
    with pytest.raises(TypeError, match="second needs the choice 'first': it has no default"):
        train(second, 1)
    with pytest.raises(TypeError, match="first must be Run, got 'denoiser'"):
        train(second, 1, first="denoiser")
    with pytest.raises(ValueError, match=r"needs a run of denoiser, got .* of second$"):
        train(second, 1, first=train(second, 1, first=first))
    interrupted = replace(first, config={**first.config, "complete": False})
    with pytest.raises(RunError, match="it was interrupted after 1 epochs"):
        train(second, 1, first=interrupted)
    numbers = publish(train(denoiser, 1, seed=1), record_only=True)
    with pytest.raises(RunError, match="it has no weights"):
        train(second, 1, first=numbers)
    assert len([*(tmp_path / "runs").glob("second*")]) == 1


def test_a_run_is_found_by_name_or_not_at_all():
    first = train(denoiser, 1)
    with pytest.raises(RunError, match=r"no finished run is called .* \(did you mean 'denoiser-"):
        find(first.name[:-1])
    with pytest.raises(RunError, match="has other weights now"):
        find(first.name, "0" * 64)
    longer = train(denoiser, 2)
    assert find(first.name).epochs == longer.epochs == 2  # the longest


def test_the_command_line_takes_the_name_of_a_run(monkeypatch, capsys):
    first = train(denoiser, 1)
    monkeypatch.setitem(EXPERIMENTS, "second", second)
    monkeypatch.setitem(EXPERIMENTS, "denoiser", denoiser)
    assert main(["train", "second", "--epochs", "1", "-p", f"first={first.name}"]) == 0
    assert "second-first" in capsys.readouterr().out
    typed = [row["one/loss"] for row in train(second, 1, first=first).history]  # recalled
    monkeypatch.setenv("COMPANION_RUNS", os.environ["COMPANION_RUNS"] + "-again")
    assert typed == [row["one/loss"] for row in train(second, 1, first=first).history]
    monkeypatch.delitem(EXPERIMENTS, "denoiser")
    monkeypatch.setenv("COMPANION_RUNS", os.environ["COMPANION_RUNS"].removesuffix("-again"))
    assert main(["train", "second", "--epochs", "2", "-p", f"first={first.name}"]) == 2
    assert "is of the experiment 'denoiser', which is not known" in capsys.readouterr().err
    assert main(["train", "second", "--epochs", "1", "-p", "first", "none"]) == 2
    assert "no finished run is called 'none'" in capsys.readouterr().err


class Pair(torch.nn.Module):
    """A part that is read again and a part that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn, self.judge = mlp(2, 2), mlp(2, 1)

    def forward(self, x):
        return self.drawn(x)


def pair() -> Recipe:
    model = Pair()
    players = {"one": Player(model, denoising)}
    return Recipe(model, players, partial(eight_gaussians, 64), 64, saved="drawn")


def test_only_the_saved_part_is_published_and_the_other_says_that_it_is_not_there():
    run = train(pair, 1)
    assert {name.split(".")[0] for name in load_tensors(run.weights)[0]} == {"drawn", "judge"}
    record = publish(run)
    assert {name.split(".")[0] for name in load_tensors(record.weights)[0]} == {"drawn"}
    model, x = train(pair).model, torch.randn(5, 2)
    torch.testing.assert_close(model(x), run.model(x), atol=2e-2, rtol=2e-2)  # half precision
    with pytest.raises(RunError, match="only its drawn is published; to have more, train"):
        model.judge(x)
    whole = publish(run, whole=True)
    found = recall(whole, pair().model).model
    torch.testing.assert_close(found.judge(x), run.model.judge(x), atol=2e-2, rtol=2e-2)


def test_a_recipe_may_stand_on_runs_that_only_its_measures_use():
    first = train(denoiser, 1)

    def judged() -> Recipe:
        return replace(denoiser(), stands_on=(first,))

    assert train(judged, 1).config["stands_on"] == standing([first])


def test_a_choice_of_several_numbers_comes_back_as_it_was_asked():
    """JSON keeps a list of it, which is another value than the experiment's own tuple."""
    usual = {"blocks": [8, 8], "width": 16}
    experiment, choices = asked_of("r", {"experiment": "residual_digits", "choices": usual})
    assert experiment is EXPERIMENTS["residual_digits"]
    assert choices == {"blocks": (8, 8), "width": 16} and usual["blocks"] == [8, 8]
