"""What an attack is held against: a run as it is when nobody disturbs it, and the totals."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from toys import denoiser

from companion.recipes import Recipe
from companion.runs import Run, local_runs
from companion.runs.record import epoch_of
from companion.tensors import digest
from companion.train import train


def snapped() -> Recipe:
    """A denoiser with an average, which keeps a small picture of every epoch."""

    def keep(model: Any) -> torch.Tensor:
        return (255 * model[0].weight.detach().sigmoid()).to(torch.uint8).reshape(1, 1, -1, 2)

    return replace(denoiser(ema=0.9), keep=keep)


def said(run: Run) -> str:
    """A hash of all that a finished run says, but for what the clock and git say."""
    clock = ("examples/s", "seconds")
    rows = [sorted((k, v) for k, v in row.items() if k not in clock) for row in run.history]
    config = {k: v for k, v in run.config.items() if k not in ("wall_seconds", "commit")}
    pictures = {str(k): v for k, v in run.snapshots.items()}
    parts = [repr((run.name, sorted(config.items()), sorted(run.metrics.items()), rows))]
    parts += [digest(run.model.state_dict(), ""), digest(pictures, "")]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def furthest(root: Path) -> int:
    """The epoch of the furthest state below a folder of runs."""
    return max((epoch_of(path) for path in root.rglob("state-*")), default=0)


def drafts(root: Path) -> list[Path]:
    return [path for path in root.rglob(".*") if path.is_file()]


@contextmanager
def home(folder: Path) -> Iterator[Path]:
    """Let runs be kept in a folder for a while, in silence."""
    before = os.environ.get("COMPANION_RUNS")
    os.environ["COMPANION_RUNS"] = str(folder)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            yield local_runs()
    finally:
        os.environ.pop("COMPANION_RUNS")
        if before is not None:
            os.environ["COMPANION_RUNS"] = before


def undisturbed(folder: Path, epochs: int) -> str:
    """What a run says that nothing happened to."""
    with home(folder):
        train(snapped, epochs)
        return said(train(snapped, epochs))


@dataclass
class Totals:
    """What came of the attacks: nothing may be lost or believed, no error may be foreign."""

    title: str
    tried: int = 0
    harmless: int = 0
    lost: list[str] = field(default_factory=list)
    believed: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        return [*self.lost, *self.believed, *self.foreign]

    def __str__(self) -> str:
        counts = f"lost {len(self.lost)}, believed {len(self.believed)}"
        lines = [f"{self.title}: {self.tried} ({self.harmless} without any trace); {counts}"]
        lines[0] += f", foreign {len(self.foreign)}"
        return "\n".join([*lines, *(f"  {line}" for line in self.failures)])
