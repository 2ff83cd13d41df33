"""Kill processes at every point of every write; what they go on to must be as if undisturbed.

usage: kills.py [KILLS [WORKS]]. WORKS: of trainings in one and in two processes, publications,
chapters, downloads, prepared data; by the names of their classes.
"""

import itertools
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
import torch._dynamo  # what the first step of an optimizer imports: once, for all children

from assault.faults import found_at
from assault.truth import Totals, drafts, home
from assault.works import (
    Chapter,
    Download,
    Pair,
    Prepared,
    Publication,
    Training,
    WholeChapter,
    Work,
    killed_after,
    undisturbed,
)

POINTS = (
    "os.replace", "os.fsync", "tempfile.mkstemp", "pathlib.Path.chmod", "pathlib.Path.unlink",
    "pathlib.Path.write_bytes", "pathlib.Path.write_text", "companion.data.downloads.stream",
)  # fmt: skip


def killing(original: Callable[..., Any], tick: Callable[[], None]) -> Callable[..., Any]:
    """A function before, after and, if it writes, in the middle of which a kill may come."""

    def call(*words: Any, **named: Any) -> Any:
        tick()
        if original.__name__.startswith("write_"):
            original(words[0], words[1][: len(words[1]) // 2], **named)
            tick()
        result = original(*words, **named)
        tick()
        return result

    return call


def child(work: Work, at: int) -> bool:
    """Do some work in a child that is killed at its n-th point; return whether it was."""
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        counted = itertools.count()

        def tick() -> None:
            if next(counted) == at and not work.timed:
                os.kill(os.getpid(), signal.SIGKILL)

        patches = [patch(point, killing(found_at(point), tick)) for point in POINTS]
        try:
            for one in patches:
                one.start()
            work.do()
        finally:
            os._exit(0)
    if work.timed:
        return killed_after(pid, at / 8)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    os.killpg(pid, signal.SIGKILL)  # whom it has left behind, while its number is its own
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def works(place: Path, wanted: list[str]) -> list[Work]:
    """Everything that is killed, or what is wanted of it, each with the runs that it finds."""
    kinds = (Training, Pair, Publication, Chapter, WholeChapter, Download, Prepared)
    found: list[Work] = []
    for kind in kinds:
        if wanted and kind.__name__ not in wanted:
            continue
        if issubclass(kind, Training):
            truths = undisturbed(kind, place / kind.__name__)
            found += [kind(epochs, truths) for epochs in (3, 1)]
        else:
            found.append(kind())
    for kind in {type(work) for work in found} | {Training}:
        with home(place / f"begun-{kind.__name__}"):
            (kind if issubclass(kind, Training) else Training)(2, {2: ""}).finish()
    return found


def plan(found: list[Work], draw: random.Random) -> list[tuple[Work, int]]:
    """Each work in turn, at each of its points in a random order."""
    ways = [draw.sample(range(60), 60) for _ in found]
    return [
        (work, at)
        for several in zip(*ways, strict=True)
        for work, at in zip(found, several, strict=True)
    ]


def assault(kills: int, seed: int = 0, wanted: list[str] | None = None) -> Totals:
    """Kill as often as is asked."""
    totals, draw = Totals("kills"), random.Random(seed)
    with TemporaryDirectory() as folder:
        place = Path(folder)
        for work, at in plan(works(place, wanted or []), draw):
            if totals.tried >= kills:
                break
            root = place / "now/runs"
            shutil.copytree(place / f"begun-{type(work).__name__}", root)
            with home(root):
                if child(work, at):
                    attack(totals, f"{type(work).__name__} at {at}", root, work)
            shutil.rmtree(root.parent)
    return totals


def attack(totals: Totals, title: str, root: Path, work: Work) -> None:
    """Count what came of one kill."""
    totals.tried += 1
    if not drafts(root.parent):
        totals.harmless += 1
    try:
        lost, believed = work.judge(root)
        totals.lost += [f"{title}: {lost}"] if lost else []
        totals.believed += [f"{title}: {believed}"] if believed else []
    except Exception as error:
        totals.foreign.append(f"{title}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = assault(int(sys.argv[1]) if len(sys.argv) > 1 else 180, wanted=sys.argv[2:])
    print(found)
    sys.exit(bool(found.failures))
