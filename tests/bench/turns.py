"""What all benches share: ours and the rival take turns in one process; under 1.25 is noise."""

import importlib
import importlib.util
import platform
import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from companion.data import Dataset
from companion.data.forms import IMAGES, Decode
from companion.recipes import Recipe
from companion.runs import Run
from companion.train.loop import one_epoch
from companion.train.meter import Meter
from companion.train.state import State

Work = Callable[[], object]
Row = dict[str, Any]  # of a table


class Duel(NamedTuple):
    """Median seconds of both sides, and the median of theirs / ours of neighbours."""

    ours: float
    theirs: float
    ratio: float


def seconds(work: Work, times: int = 1) -> float:
    """Time one call: the mean of `times`."""
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times


def duel(ours: Work, theirs: Work, turns: int, least: float = 0.0) -> Duel:
    """Warm both up by one call, then let them take turns.

    A turn repeats its side until it takes about `least` seconds.
    """
    sides = [(work, max(1, round(least / seconds(work)))) for work in (ours, theirs)]
    pairs = [[seconds(*side) for side in sides] for _ in range(turns)]
    mine, other = (median(column) for column in zip(*pairs, strict=True))
    return Duel(mine, other, median(b / a for a, b in pairs))


def module(name: str) -> Any:
    """Import a rival by name, since types of these packages cannot be checked here."""
    return importlib.import_module(name)


def away(*names: str) -> list[str]:
    """The rivals that are not installed: their rows are left out, and the section says so."""
    return [n for n in names if importlib.util.find_spec(n.replace("-", "_")) is None]


def machine() -> str:
    """This machine, in words."""
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def peak() -> float:
    """Largest memory of this process so far, in GB."""
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found / (1e9 if platform.system() == "Darwin" else 1e6)


def count(net: nn.Module) -> int:
    """Number of weights."""
    return sum(p.numel() for p in net.parameters())


def step_of(
    model: nn.Module, loss: Callable[[], Tensor], clip: float = 0.0, **adam: Any
) -> Callable[[], None]:
    """One step of a plain loop; clip: the largest norm of the gradient, 0 for any."""
    optimizer = torch.optim.Adam(model.parameters(), **adam)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()

    return step


def epoch_of(
    recipe: Recipe, images: Tensor, forms: Mapping[str, Decode] = IMAGES
) -> Callable[[], None]:
    """One epoch of the book's trainer on images as they are stored."""
    data = Dataset("bench", (images,), (images,), (), "exact", "", forms=forms)
    state, run = State(recipe), Run("bench", Path(), {"epochs": 0})

    def epoch() -> None:
        one_epoch(state, data, 0, 0, Meter(run, 1, len(images), show=True))

    return epoch
