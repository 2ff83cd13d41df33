"""Train every model of the book: one question, one run."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from companion.data import Dataset
from companion.files import RunError
from companion.recipes import Recipe
from companion.runs import Absent, Run, ask, begin, find_published, local_runs, standing
from companion.runs.provenance import made_otherwise
from companion.runs.states import load_state, unmeasured
from companion.tensors import load_weights
from companion.train.built import differing, fingerprint, moved_on
from companion.train.loop import play
from companion.train.meter import Diverged
from companion.train.state import State

__all__ = ["Diverged", "begin_data", "compare", "fingerprint", "measure", "recall", "train"]


def resume(state: State, run: Run, epochs: int) -> None:
    """Go on from the furthest state that is not past what is asked, if there is one.

    Raises DamagedFile if it is not as it was saved, or not of this training.
    """
    if (found := load_state(run, epochs)) is not None:
        tensors, record = found
        state.restore(tensors, record["path"])
        run.config["epochs"], run.history = record["epochs"], record["history"]


def begin_data(recipe: Recipe, subset: int = 0) -> tuple[Dataset, dict[str, str]]:
    """Load what the recipe trains on, in its form, cut to the subset, and say what it is."""
    data = recipe.data().seen_as(recipe.form).cut(subset)
    return data, {k: getattr(data, k) for k in ("name", "split", "source", "sha256")}


def compare(run: Run, recipe: Recipe) -> Run:
    """Warn, in one line, if a run that is recalled was made by other code than today's.

    Of a published one the code may be any that builds the same: a test holds that it does. Of one
    of this machine its versions and its commit are compared, too.
    """
    local = run.folder.parents[1] == local_runs()
    if told := moved_on(run, recipe) or (local and made_otherwise(run.config)):
        warnings.warn(f"{run.name} {told}", stacklevel=3)
    return run


def recall(run: Run, model: nn.Module) -> Run:
    """Put a run's weights into the model, in evaluation mode, as far as they are there."""
    if run.config.get("record_only"):
        return replace(run, model=Absent(run))
    weights, _ = run.load("weights")
    saved = run.config.get("saved", "")
    if saved and all(name.startswith(f"{saved}.") for name in weights):
        load_weights(model, weights, run.weights, only=saved)
        for name, _ in list(model.named_children()):
            if name != saved:
                setattr(model, name, Absent(run, saved))
    else:
        load_weights(model, weights, run.weights)
    run.model = model.eval()
    return run


def train(
    experiment: Callable[..., Recipe], epochs: int = 0, seed: int = 0, subset: int = 0,
    **choices: Any,
) -> Run:  # fmt: skip
    """Answer one question: recall its run, resume it if it was begun, or train it.

    epochs: 0 recalls the published run; n trains until n epochs are done on this machine.
    subset: train and measure on the first n examples; 0: all. choices: the experiment's arguments,
    among them runs that it stands on. Returns the run, its model in evaluation mode: on the CPU
    if it was recalled, else on the device that it was trained on. An interrupt (Ctrl-C) returns
    the run so far. Raises ValueError or TypeError for choices that cannot be, or whose run could
    not be measured; RunError if a run was never published, or cannot be saved or measured;
    DamagedFile if a saved file is not as written, and Diverged if a number is not finite.
    """
    for name, value in {"epochs": epochs, "seed": seed, "subset": subset}.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError(f"{name} must be a whole number, 0 or above, got {value!r}")
    if seed >= 2**63:
        raise ValueError(f"seed must be below 2 ** 63, got {seed}")
    question = ask(experiment, seed, subset, choices)
    with torch.random.fork_rng():
        recipe = recipe_of(experiment, seed, choices)
        if epochs == 0:
            return recall(compare(find_published(question), recipe), recipe.model)
        run, data = opened(recipe, question, epochs)
        if run.complete:
            return recall(compare(run, recipe), recipe.model)
        proceed(run, recipe, data, epochs)
    return run


def measure(experiment: Callable[..., Recipe], name: str, choices: dict[str, Any]) -> Run:
    """Measure a run of this machine that is trained, and complete it.

    name: of the run; choices: of its question, runs among them. Raises RunError if it is not
    trained, or if today's code and data would make another run.
    """
    asked, epochs = unmeasured(name)
    question = ask(experiment, asked["seed"], asked["subset"], choices)
    with torch.random.fork_rng():
        recipe = recipe_of(experiment, asked["seed"], choices)
        run, data = opened(recipe, question, epochs)
        if run.name != name:
            changed = differing(asked.get("fingerprint", {}), question["fingerprint"]) or "data"
            raise RunError(f"{name} is not what would be made today, that has another {changed}")
        proceed(run, recipe, data, epochs)
    return run


def recipe_of(experiment: Callable[..., Recipe], seed: int, choices: dict[str, Any]) -> Recipe:
    """Let an experiment make its recipe, from the numbers of a seed."""
    torch.manual_seed(seed)
    if not isinstance(recipe := experiment(**choices), Recipe):
        raise TypeError(f"an experiment must return a Recipe, got {recipe!r}")
    return recipe


def opened(recipe: Recipe, question: dict[str, Any], epochs: int) -> tuple[Run, Dataset]:
    """Complete a question by what is built and by the data; open its run."""
    question["fingerprint"] = fingerprint(recipe)
    data, about = begin_data(recipe, question["subset"])
    return begin(question, about, epochs), data


def proceed(run: Run, recipe: Recipe, data: Dataset, epochs: int) -> None:
    """Train a run from where it stands, measure it and complete it."""
    if recipe.stands_on:
        run.config["stands_on"] = standing(recipe.stands_on)
    state = State(recipe)
    resume(state, run, epochs)
    play(state, data.on(state.accelerator.device), run, epochs)
    run.model = state.measured.eval()
