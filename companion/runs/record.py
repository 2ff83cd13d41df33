"""The record of one training: a folder that can be resumed, recalled, published and read."""

# Nothing here loads torch before tensors are read or written: a list of runs is not to wait.
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from companion.environment import named_folder
from companion.files import DamagedFile, RunError, hash_of, reading, write_json, write_text
from companion.runs import schema

if TYPE_CHECKING:
    from torch import Tensor

PUBLISHED = Path(__file__).parents[1] / "published"
TENSORS = ("weights", "snapshots")


def local_runs() -> Path:
    """Name the folder of local runs: COMPANION_RUNS, else `runs` beside the package's project."""
    project = Path(__file__).parents[2]
    home = project if (project / "pyproject.toml").exists() else Path.cwd()
    return named_folder("COMPANION_RUNS") or home / "runs"


@dataclass
class Run:
    """One training: what was asked (config), what happened (history), what came out (model).

    `config`: experiment, choices, seed, subset, the fingerprint of what is built, data, epochs,
    complete, what it stands on, and the provenance.
    `history`: scalars by epoch, means of the loss terms and what was watched.
    `metrics`: final numbers, name -> value, standard error, n and unit.
    `files`: the hash of each file that belongs to it, by name; older records have none.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    history: list[dict[str, float]] = field(default_factory=list, repr=False)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    model: Any = field(default=None, repr=False)  # a module of its own kind, once recalled
    files: dict[str, str] = field(default_factory=dict, repr=False)

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
        """Where its data came from, as `Dataset.source` says it: "original", "stand-in", ..."""
        return self.config["data"]["source"]

    @property
    def weights(self) -> Path:
        """The file that holds this run's final weights."""
        return self.folder / "weights.safetensors"

    @property
    def snapshots(self) -> "dict[int, Tensor]":
        """What the recipe kept of each watched epoch, as images (N, C, H, W). RunError if none."""
        from companion.tensors import unpressed

        kept, _ = self.load("snapshots")
        with reading(self.folder / "snapshots.safetensors"):
            return {int(epoch): unpressed(kept[epoch]) for epoch in sorted(kept)}

    @property
    def state(self) -> Path:
        """Its furthest state, from which a training resumes: weights, optimizers, history."""
        none = self.folder / "state-0.safetensors"  # never written
        return max(self.folder.glob("state-*"), key=epoch_of, default=none)

    def load(self, kind: str) -> "tuple[dict[str, Tensor], dict[str, Any]]":
        """Read this run's own "weights" or "snapshots", and what is said of them.

        Raises DamagedFile if the file is damaged or of another run, RunError if there is none.
        """
        from companion.tensors import load_tensors

        file = f"{kind}.safetensors"
        expected = {"run": self.name, "epochs": self.epochs}
        if self.files:
            expected["sha256"] = self.files.get(file, "none")
        return load_tensors(self.folder / file, **expected)

    def __str__(self) -> str:
        state = "" if self.complete else ", interrupted"
        return f"{self.name}: {self.epochs} epochs on {self.source} data{state}"


def epoch_of(state: Path) -> int:
    """The epoch that a state's name tells; 0 if it is no state's name."""
    word = state.name.removeprefix("state-").removesuffix(".safetensors")
    return int(word) if state.name == f"state-{word}.safetensors" and word.isdecimal() else 0


def read_config(folder: Path) -> Run:
    """Read what a run is, without its numbers. Raises RunError if that is not whole."""
    path = folder / "config.json"
    with reading(path):
        config = json.loads(path.read_text(encoding="utf8"))
        refuse(path, schema.amiss_in_config(config, folder))
        files = {key: str(value) for key, value in config.pop("files", {}).items()}
        config.pop("sha256", None)
        return Run(config["name"], folder, config, files=files)


def read(folder: Path) -> Run:
    """Read a run's record, without its weights. Raises RunError if it is not whole."""
    return read_rest(read_config(folder))


def read_rest(run: Run) -> Run:
    """Add its numbers and its history to a run of which only the config was read."""
    metrics = part_of(run, "metrics.json", json.loads)
    refuse(run.folder / "metrics.json", schema.amiss_in_metrics(metrics))
    history = part_of(run, "history.jsonl", rows_of)
    refuse(run.folder / "history.jsonl", schema.amiss_in_history(history, run.epochs))
    return replace(run, metrics=metrics, history=history)


def rows_of(text: str) -> list[Any]:
    """Read JSON, one value a line."""
    return json.loads(f"[{','.join(text.splitlines())}]")


def part_of(run: Run, file: str, parse: Callable[[str], Any]) -> Any:
    """Read one text file of a run, and hold it against the hash that the run has of it."""
    path = run.folder / file
    with reading(path):
        text = path.read_text(encoding="utf8")
        if run.files and run.files.get(file) != hash_of(text):
            refuse(path, "its checksum differs")
        return parse(text)


def refuse(path: Path, why: str) -> None:
    """Raise DamagedFile if there is a reason to."""
    if why:
        raise DamagedFile(f"{path} is damaged: {why}; delete {path.parent} to start anew")


def write(
    run: Run, folder: Path, weights: "dict[str, Tensor]", kept: "dict[str, Tensor] | None" = None
) -> Run:
    """Write a finished run; its config.json comes last, says that the rest is whole and seals it.

    Tensors of an earlier record in this folder that are no longer part of it are removed.
    """
    from companion.tensors import save_tensors

    files, given = {}, {"weights": weights, "snapshots": kept}
    for kind, tensors in given.items():
        if tensors:
            path = folder / f"{kind}.safetensors"
            files[path.name] = save_tensors(path, tensors, run=run.name, epochs=run.epochs)
    files["metrics.json"] = write_json(folder / "metrics.json", run.metrics)
    rows = "".join(json.dumps(row) + "\n" for row in run.history)
    files["history.jsonl"] = write_text(folder / "history.jsonl", rows)
    write_sealed(folder, run.config, files)
    for kind, tensors in given.items():
        if not tensors:
            (folder / f"{kind}.safetensors").unlink(missing_ok=True)
    return replace(run, folder=folder, files=files)


def write_sealed(folder: Path, config: dict[str, Any], files: dict[str, str]) -> None:
    """Write a config with the hashes of its run's files and one of its own."""
    sealed = {**config, "files": dict(sorted(files.items()))}
    write_json(folder / "config.json", {**sealed, "sha256": schema.checksum(sealed)})


def seal(folder: Path) -> Run:
    """Add to a whole record the hashes that prove it; nothing else in it changes.

    Raises RunError if the record, or a file of tensors beside it, is not whole.
    """
    run, files = read(folder), {}
    for kind in TENSORS:
        if (folder / f"{kind}.safetensors").exists():
            files[f"{kind}.safetensors"] = run.load(kind)[1]["sha256"]
    for file in ("metrics.json", "history.jsonl"):
        files[file] = hash_of((folder / file).read_text(encoding="utf8"))
    write_sealed(folder, run.config, files)
    return replace(run, files=files)


def survey(root: Path | None = None) -> tuple[list[Run], list[RunError]]:
    """Read every run below a folder, by name and length, and say of each damaged one why."""
    return gathered(root or PUBLISHED, read)


def gathered(
    root: Path, how: Callable[[Path], Run], starts: str = ""
) -> tuple[list[Run], list[RunError]]:
    """Read the runs below a folder whose names start so; list the damaged ones and go on."""
    runs, damaged = [], []
    for top in sorted(root.glob(f"{starts}*")):
        for path in sorted(top.rglob("config.json")):
            try:
                runs.append(how(path.parent))
            except RunError as error:
                damaged.append(error)
    return sorted(runs, key=lambda run: (run.name, run.epochs)), damaged


def all_runs(root: Path | None = None, starts: str = "") -> list[Run]:
    """Read every whole run below a folder, by name and length; the published ones by default.

    starts: with what their names start.
    """
    return gathered(root or PUBLISHED, read, starts)[0]
