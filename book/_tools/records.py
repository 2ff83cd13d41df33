"""Read the records of the published runs, and combine the seeds of one configuration."""

import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from companion.estimate import with_error

ASKED = ("experiment", "choices", "subset", "epochs", "data")


class RecordError(ValueError):
    """A record or the file of published numbers is not what it must be."""


Record = tuple[dict[str, Any], dict[str, dict[str, Any]]]  # config, metrics


@dataclass(frozen=True)
class Result:
    """One number of one configuration: its value, standard error, and what it is over."""

    value: float
    error: float
    over: str
    unit: str

    def __str__(self) -> str:
        return f"{with_error(self.value, self.error)} {self.unit}".strip()


@dataclass(frozen=True)
class Group:
    """The runs that differ in their seed only."""

    runs: tuple[dict[str, Any], ...]
    metrics: dict[str, Result]

    @property
    def config(self) -> dict[str, Any]:
        """The record of the first seed."""
        return self.runs[0]


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises RecordError that names the file."""
    try:
        return json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: {error}") from None


def question(config: dict[str, Any]) -> str:
    """Return what a run was asked, all but its seed, as text that can be compared."""
    return json.dumps({name: config[name] for name in ASKED}, sort_keys=True)


def result(measures: list[dict[str, Any]]) -> Result:
    """Combine one number over its seeds; a single seed keeps its own error. Shares become %."""
    values = [float(measure["value"]) for measure in measures]
    units = sorted({measure["unit"] for measure in measures})
    if len(units) > 1:
        raise RecordError(f"one number has several units: {units}")
    error, over = float(measures[0]["error"]), f"1 seed, n = {measures[0]['n']:,}"
    if len(values) > 1:
        error = statistics.stdev(values) / math.sqrt(len(values))
        over = f"{len(values)} seeds"
    scale, unit = (100, "%") if units[0] == "accuracy" else (1, units[0])
    return Result(scale * statistics.fmean(values), scale * error, over, unit)


def read_record(path: Path) -> Record:
    """Read a run's config and metrics. Raises RecordError that names what is missing or wrong."""
    config, metrics = read_json(path), read_json(path.with_name("metrics.json"))
    for name in (*ASKED, "seed", "wall_seconds", "hardware", "commit"):
        if name not in config:
            raise RecordError(f"{path} lacks {name!r}")
    for name, measure in metrics.items():
        for part in ("value", "error", "n", "unit"):
            if part not in measure:
                raise RecordError(f"{path.with_name('metrics.json')}: {name!r} lacks {part!r}")
        if not (math.isfinite(measure["value"]) and math.isfinite(measure["error"])):
            raise RecordError(f"{path.with_name('metrics.json')}: {name!r} is not a finite number")
    return config, metrics


def read_groups(folder: Path) -> list[Group]:
    """Read every record below a folder, grouped by what was asked, in a fixed order."""
    asked: dict[str, list[Record]] = {}
    for path in sorted(folder.glob("*/config.json")):
        record = read_record(path)
        asked.setdefault(question(record[0]), []).append(record)
    groups = []
    for _, records in sorted(asked.items()):
        seeds = [config["seed"] for config, _ in records]
        if len(seeds) != len(set(seeds)):
            name = records[0][0]["experiment"]
            raise RecordError(f"{name}: one configuration has two runs of one seed: {seeds}")
        names = {name: None for _, metrics in records for name in metrics}
        combined = {n: result([m[n] for _, m in records if n in m]) for n in names}
        runs = sorted((config for config, _ in records), key=lambda config: config["seed"])
        groups.append(Group(tuple(runs), combined))
    return groups
