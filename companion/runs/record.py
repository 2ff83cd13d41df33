"""The record of one training: a folder that can be resumed, recalled, published and read."""

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from companion.files import RunError, write_atomically, write_json
from companion.tensors import load_tensors, save_tensors, unpressed

KEYS = ("name", "experiment", "choices", "seed", "subset", "data", "epochs", "complete")
PUBLISHED = Path(__file__).parents[1] / "published"


def local_runs() -> Path:
    """Name the folder of local runs: COMPANION_RUNS, else `runs` beside the package's project."""
    project = Path(__file__).parents[2]
    home = project if (project / "pyproject.toml").exists() else Path.cwd()
    return Path(os.environ.get("COMPANION_RUNS") or home / "runs")


@dataclass
class Run:
    """One training: what was asked (config), what happened (history), what came out (model).

    `config`: experiment, choices, seed, subset, data, epochs, complete, what it stands on, and
    the provenance.
    `history`: scalars by epoch, means of the loss terms and what was watched.
    `metrics`: final numbers, name -> value, standard error, n and unit.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    history: list[dict[str, float]] = field(default_factory=list, repr=False)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    model: Any = field(default_factory=nn.Identity, repr=False)  # a module of its own kind

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
        """Where its data came from: "original", "procedural", "exact" or "stand-in"."""
        return self.config["data"]["source"]

    @property
    def weights(self) -> Path:
        """The file that holds this run's final weights."""
        return self.folder / "weights.safetensors"

    @property
    def snapshots(self) -> dict[int, Tensor]:
        """What the recipe kept of each watched epoch, as images (N, C, H, W). RunError if none."""
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


def all_runs(root: Path | None = None) -> list[Run]:
    """Read every run below a folder, by name and length; the published ones by default."""
    runs = [read(path.parent) for path in (root or PUBLISHED).rglob("config.json")]
    return sorted(runs, key=lambda run: (run.name, run.epochs))
