"""The question that names a run: an experiment, its choices, a seed, data."""

import hashlib
import inspect
import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from companion.files import RunError
from companion.runs import record
from companion.runs.record import Run, gathered, local_runs, read, read_config, read_rest
from companion.words import kind_of, matches, named, nearest


def ask(
    experiment: Callable[..., Any], seed: int, subset: int, choices: dict[str, Any]
) -> dict[str, Any]:
    """Turn a call into the question that names its run; every default written out.

    A run that is chosen is written as its name and the hash of its weights. Raises TypeError, in
    one sentence, for a choice that the experiment does not have, that is missing or of another
    type; RunError for a chosen run that is not finished.
    """
    if not callable(experiment):
        raise TypeError(f"an experiment is a function that returns a Recipe, got {experiment!r}")
    parameters = inspect.signature(experiment).parameters
    title = experiment.__name__
    for name in choices:
        if name not in parameters:
            raise TypeError(f"{title} has no choice {name!r} {nearest(name, parameters)}")
    defaults = {k: p.default for k, p in parameters.items() if p.default is not p.empty}
    for name in parameters:
        if name not in choices and name not in defaults:
            raise TypeError(f"{title} needs the choice {name!r}: it has no default")
    bound = {name: choices.get(name, defaults.get(name)) for name in parameters}
    for name, value in bound.items():
        kind = kind_of(experiment, name)
        if not matches(value, kind):
            like = f", as {defaults[name]!r} is" if name in defaults else ""
            raise TypeError(f"{name} must be {named(kind)}{like}, got {value!r}")
        if isinstance(value, Run):
            bound[name] = standing([value])[0]
    changed = {k: v for k, v in bound.items() if k not in defaults or v != defaults[k]}
    words = [k + (v["run"] if isinstance(v, dict) else str(v)) for k, v in changed.items()]
    kept = json.loads(json.dumps({"choices": bound, "defaults": defaults}))
    config = {"experiment": title, **kept}  # as kept: a tuple becomes a list
    title = re.sub(r"[^\w.-]+", "_", "-".join([title, *words]))
    return {**config, "seed": seed, "subset": subset, "title": title}


def standing(runs: Iterable[Run]) -> list[dict[str, str]]:
    """Name runs that another one stands on, each with the hash of its weights.

    Raises RunError for a run that is not finished or has no weights.
    """
    found = []
    for run in runs:
        if not run.complete or run.config.get("record_only"):
            why = (
                "has no weights" if run.complete else f"was interrupted after {run.epochs} epochs"
            )
            raise RunError(f"nothing can stand on {run.name}: it {why}")
        found.append({"run": run.name, "weights": run.load("weights")[1]["sha256"]})
    return found


def begin(question: dict[str, Any], data: dict[str, str], epochs: int) -> Run:
    """Open the run of a question on these data: finished, if it was answered before.

    Raises DamagedFile if its record is not whole, or not of this run.
    """
    config = {k: question[k] for k in ("experiment", "choices", "seed", "subset")}
    text = json.dumps({**config, "data": data}, sort_keys=True)
    code = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = f"{question['title']}-seed{question['seed']}-{code}"
    folder = local_runs() / name / f"epochs-{epochs}"
    if os.path.exists(folder / "config.json"):  # False, too, where nobody may look
        return read(folder)
    return Run(
        name, folder, {"name": name, **config, "data": data, "epochs": 0, "complete": False}
    )


def find(name: str, weights: str = "") -> Run:
    """Find a finished run by name, here or published; the longest if there are several.

    weights: the hash that its weights must have. Raises RunError, with the nearest name and what
    is damaged, if there is none.
    """
    from torch import nn

    places = [gathered(root, read) for root in (record.PUBLISHED, local_runs())]
    runs = [run for found, _ in places for run in found]
    same = [run for run in runs if run.name == name and run.complete]
    for run in reversed(same):
        if not weights or standing([run])[0]["weights"] == weights:
            return replace(run, model=nn.Identity())  # its own comes with `recall`
    if same:
        raise RunError(f"{name} has other weights now than those that were stood on: train anew")
    damaged = also_damaged([why for _, some in places for why in some if name in str(why)])
    hint = nearest(name, {run.name for run in runs})
    raise RunError(f"no finished run is called {name!r} {hint}{damaged}")


def also_damaged(errors: list[RunError]) -> str:
    """End an error message with the records that could not be read, which may be the missing."""
    return "".join(f"; {error}" for error in errors)


def answers(question: dict[str, Any]) -> tuple[list[Run], str]:
    """Find the published runs of these choices, of any seed; and how to say that none fits."""
    experiment = question["experiment"]
    found, damaged = gathered(record.PUBLISHED, read_config, experiment)  # a name starts with it
    same = [run for run in found if run.config["experiment"] == experiment]
    offered = "; ".join(run.name for run in same) or "none yet"
    fitting = [
        run
        for run in same
        if {**question["defaults"], **run.config["choices"]} == question["choices"]
    ]
    return fitting, (
        "was never published: train it with epochs above 0, or ask for one of: "
        f"{offered}{also_damaged(damaged)}"
    )


def find_published(question: dict[str, Any]) -> Run:
    """Find the published answer.

    Raises RunError that lists the published choices, and what is damaged, if there is none;
    DamagedFile if its own record is not whole.
    """
    found, why = answers(question)
    for run in found:
        if run.config["seed"] == question["seed"]:
            return read_rest(run)
    raise RunError(f"{question['title']} with seed {question['seed']} {why}")


def published_seed(
    experiment: Callable[..., Any], seed: int, epochs: int = 0, many: int = 1, **choices: Any
) -> int:
    """Answer from which seed on a page can recall `many`: the one asked for, or the published.

    A page that trains (epochs > 0) gets what it asked for. A single seed must be published with
    weights; of several the records are enough. Where that is not so, one printed line says which
    seeds stand in. Raises ValueError for more seeds than there are, RunError if there are none.
    """
    if epochs:
        return seed
    question = ask(experiment, seed, 0, choices)
    found, why = answers(question)
    whole = [run for run in found if many > 1 or not run.config.get("record_only")]
    known = {run.config["seed"] for run in whole}
    firsts = [s for s in sorted(known) if known.issuperset(range(s, s + many))]
    if not known:
        raise RunError(f"{question['title']} {why}")
    if not firsts:
        raise ValueError(
            f"{question['title']} is published with seeds {sorted(known)}, not {many} in a row"
        )
    if seed in firsts:
        return seed

    def seeds(first: int) -> str:
        return f"seed {first}" if many == 1 else f"seeds {first} to {first + many - 1}"

    print(
        f"{question['title']} is not published with {seeds(seed)}: this page shows "
        f"{seeds(firsts[0])}; to have your own, train with epochs above 0."
    )
    return firsts[0]
