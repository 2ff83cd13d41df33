"""The record of one training: a folder that can be resumed, recalled, published and read."""

import hashlib
import inspect
import json
import math
import os
import platform
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from companion import __version__
from companion.files import (
    LARGE,
    RunError,
    load_tensors,
    pack,
    save_tensors,
    thinned,
    unpressed,
    write_atomically,
    write_json,
)
from companion.maths import nearest

KEYS = ("name", "experiment", "choices", "seed", "subset", "data", "epochs", "complete")
PEOPLE = ("olivetti", "celeba")  # data that are photographs of people
PUBLISHED = Path(__file__).parent / "published"


def local_runs() -> Path:
    """Name the folder of local runs: COMPANION_RUNS, else `runs` beside the package's project."""
    project = Path(__file__).parent.parent
    home = project if (project / "pyproject.toml").exists() else Path.cwd()
    return Path(os.environ.get("COMPANION_RUNS") or home / "runs")


@dataclass
class Run:
    """One training: what was asked (config), what happened (history), what came out (model).

    `config`: experiment, choices, seed, subset, data, epochs, complete, and the provenance.
    `history`: scalars by epoch, means of the loss terms and what was watched.
    `metrics`: final numbers, name -> value, standard error, n and unit.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    history: list[dict[str, float]] = field(default_factory=list, repr=False)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    model: nn.Module = field(default_factory=nn.Identity, repr=False)

    @property
    def epochs(self) -> int:
        """Whole epochs behind the weights of this run."""
        return self.config["epochs"]

    @property
    def complete(self) -> bool:
        """False if the training was interrupted before the last epoch that was asked for."""
        return self.config["complete"]

    @property
    def source(self) -> str:
        """Where its data came from: "original", "stand-in" or "exact"."""
        return self.config["data"]["source"]

    @property
    def weights(self) -> Path:
        """The file that holds this run's final weights."""
        return self.folder / "weights.safetensors"

    @property
    def snapshots(self) -> dict[int, Tensor]:
        """Images that the recipe kept, by epoch: uint8 (N, C, H, W). RunError if none."""
        kept, _ = load_tensors(self.folder / "snapshots.safetensors")
        return {int(epoch): unpressed(kept[epoch]) for epoch in sorted(kept)}

    @property
    def state(self) -> Path:
        """The file from which a training resumes: weights, optimizers, epochs, history."""
        return self.folder.parent / "state.safetensors"

    def __str__(self) -> str:
        state = "" if self.complete else ", interrupted"
        return f"{self.name}: {self.epochs} epochs on {self.source} data{state}"


def read(folder: Path) -> Run:
    """Read a run's record, without its weights. Raises RunError if it is not whole."""
    try:
        config = json.loads((folder / "config.json").read_text())
        if missing := [key for key in KEYS if key not in config]:
            raise KeyError(*missing)
        metrics = dict(json.loads((folder / "metrics.json").read_text()))
        rows = (folder / "history.jsonl").read_text().splitlines()
        history = [dict(json.loads(row)) for row in rows]
        return Run(config["name"], folder, config, history, metrics)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder} holds no whole run ({type(error).__name__})") from error


def write(
    run: Run, folder: Path, weights: dict[str, Tensor], kept: dict[str, Tensor] | None = None
) -> Run:
    """Write a finished run; its config.json comes last and says that the rest is whole."""
    for name, tensors in {"weights": weights, "snapshots": kept}.items():
        if tensors:
            save_tensors(folder / f"{name}.safetensors", tensors, epochs=run.epochs)
    write_json(folder / "metrics.json", run.metrics)
    with write_atomically(folder / "history.jsonl") as draft:
        draft.write_text("".join(json.dumps(row) + "\n" for row in run.history))
    write_json(folder / "config.json", run.config)
    return replace(run, folder=folder)


def ask(
    experiment: Callable[..., Any], seed: int, subset: int, choices: dict[str, Any]
) -> dict[str, Any]:
    """Turn a call into the question that names its run; every default written out.

    Raises TypeError, in one sentence, for a choice that the experiment does not have, or of
    another type than its default.
    """
    if not callable(experiment):
        raise TypeError(f"an experiment is a function that returns a Recipe, got {experiment!r}")
    signature = inspect.signature(experiment)
    for name in choices:
        if name not in signature.parameters:
            hint = nearest(name, signature.parameters)
            raise TypeError(f"{experiment.__name__} has no choice {name!r} {hint}")
    bound = signature.bind(**choices)
    bound.apply_defaults()
    for name, value in bound.arguments.items():
        same_kind(name, value, signature.parameters[name].default)
    changed = {k: v for k, v in bound.arguments.items() if v != signature.parameters[k].default}
    title = "-".join([experiment.__name__, *(f"{k}{v}" for k, v in changed.items())])
    defaults = {k: p.default for k, p in signature.parameters.items()}
    kept = json.loads(json.dumps({"choices": bound.arguments, "defaults": defaults}))
    config = {"experiment": experiment.__name__, **kept}  # as kept: a tuple becomes a list
    title = re.sub(r"[^\w.-]+", "_", title)
    return {**config, "seed": seed, "subset": subset, "title": title}


def same_kind(name: str, value: Any, default: Any) -> None:
    """Raise TypeError if a choice is not of its default's type; a whole number is a float, too."""
    kind = type(default)
    if default is inspect.Parameter.empty or type(value) is kind:
        return
    if isinstance(value, bool) or not isinstance(value, (float, int) if kind is float else kind):
        raise TypeError(f"{name} must be {kind.__name__}, as {default!r} is, got {value!r}")


def begin(question: dict[str, Any], data: dict[str, str], epochs: int) -> Run:
    """Open the run of a question on these data: finished, if it was answered before."""
    config = {k: question[k] for k in ("experiment", "choices", "seed", "subset")}
    text = json.dumps({**config, "data": data}, sort_keys=True)
    code = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = f"{question['title']}-seed{question['seed']}-{code}"
    folder = local_runs() / name / f"epochs-{epochs}"
    if (folder / "config.json").exists():
        return read(folder)
    return Run(
        name, folder, {"name": name, **config, "data": data, "epochs": 0, "complete": False}
    )


def all_runs(root: Path = PUBLISHED) -> list[Run]:
    """Read every run below a folder, by name and length; the published ones by default."""
    runs = [read(path.parent) for path in root.rglob("config.json")]
    return sorted(runs, key=lambda run: (run.name, run.epochs))


def find_published(question: dict[str, Any]) -> Run:
    """Find the published answer. Raises RunError that lists the published choices if none."""
    same = [r for r in all_runs() if r.config["experiment"] == question["experiment"]]
    for run in same:
        choices = {**question["defaults"], **run.config["choices"]}
        if choices == question["choices"] and run.config["seed"] == question["seed"]:
            return run
    offered = "; ".join(run.name for run in same) or "none yet"
    asked = f"{question['title']} with seed {question['seed']}"
    raise RunError(
        f"{asked} was never published: train it with epochs above 0, or ask for one of: {offered}"
    )


class Absent(nn.Module):
    """Stand where a model would be whose weights are not published; say so when it is used."""

    def __init__(self, run: Run):
        super().__init__()
        why = "its weights are not published; to have them, train with epochs above 0"
        self.reason = f"{run.name} is a record of numbers: {why}"

    def __getattr__(self, name: str) -> Any:
        raise RunError(self.reason)

    def forward(self, *inputs: Any) -> Any:
        """Raise RunError."""
        raise RunError(self.reason)


def publish(
    run: Run, root: Path = PUBLISHED, *, record_only: bool = False, half: bool = False
) -> Run:
    """Copy the light part of a complete run: packed weights, nine of its snapshots.

    record_only: numbers only, and so always of photographs of people. half: weights in half
    precision, not in bytes. Raises RunError for a run that no result may rest on.
    """
    if not run.complete:
        raise RunError(f"{run.name} is not complete: only a finished run can be published")
    if run.config["subset"] or run.source == "stand-in":
        what = f"{run.config['subset'] or 'all'} of the {run.source} data"
        raise RunError(f"{run.name} saw {what}; to publish it, train on all of the original")
    weights, pictures = load_tensors(run.weights)[0], run.folder / "snapshots.safetensors"
    kept = load_tensors(pictures)[0] if pictures.exists() else {}
    if record_only or run.config["data"]["name"] in PEOPLE:
        weights, kept, run = {}, {}, replace(run, config={**run.config, "record_only": True})
    return write(run, root / run.name, pack(weights, math.inf if half else LARGE), thinned(kept))


def provenance() -> dict[str, Any]:
    """Tell with what a run is made: package versions, commit (+ if altered), hardware."""
    names = ("torch", "torchvision", "accelerate", "numpy")
    processor = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    hardware = torch.cuda.get_device_name() if torch.cuda.is_available() else processor
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        status = [*git, "status", "--porcelain", "--untracked-files=no", "."]
        commit += "+" * bool(subprocess.run(status, capture_output=True, text=True).stdout)
    except (OSError, subprocess.CalledProcessError):
        commit = "unknown"
    versions = {"companion": __version__, **{name: version(name) for name in names}}
    return {"versions": versions, "commit": commit, "hardware": hardware}
