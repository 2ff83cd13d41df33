"""Kill processes at every point of every write; what they go on to must be as if undisturbed.

usage: kills.py [KILLS]
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

from assault.truth import Totals, drafts, furthest, home, said, snapped, undisturbed
from companion import chapters
from companion.runs import all_runs, publish, read
from companion.tensors import load_tensors
from companion.train import train

POINTS = (
    "os.replace", "os.fsync", "tempfile.mkstemp", "pathlib.Path.chmod", "pathlib.Path.unlink",
    "pathlib.Path.write_bytes", "pathlib.Path.write_text",
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


def child(work: Callable[[], Any], at: int) -> bool:
    """Do some work in a child that is killed at its n-th point; return whether it was."""
    pid = os.fork()
    if pid == 0:
        counted = itertools.count()

        def tick() -> None:
            if next(counted) == at:
                os.kill(os.getpid(), signal.SIGKILL)

        from assault.faults import found_at

        patches = [patch(point, killing(found_at(point), tick)) for point in POINTS]
        try:
            for one in patches:
                one.start()
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def longer() -> None:
    train(snapped, 3)


def shorter() -> None:
    train(snapped, 1)


def to_publish() -> None:
    [run] = [run for run in all_runs(Path(os.environ["COMPANION_RUNS"])) if run.epochs == 2]
    run.config["data"]["source"] = "original"
    publish(run, Path(os.environ["COMPANION_RUNS"]) / "published")


def to_run() -> None:
    """Execute a chapter, but for its execution."""
    executed = lambda source, target, **named: Path(target).write_text("whole")  # noqa: E731
    with patch("papermill.execute_notebook", executed):
        name = min(chapters.chapters())
        chapters.run(name, {}, Path(os.environ["COMPANION_RUNS"]) / "chapter.ipynb")


def judge_training(root: Path, before: int, truths: dict[int, str]) -> tuple[str, str]:
    """Tell what was lost, and what is believed, of the trainings."""
    lost = f"from {before} to {furthest(root)}" if furthest(root) < before else ""
    for state in root.rglob("state-*"):
        load_tensors(state)
    for epochs, truth in truths.items():
        train(snapped, epochs)
        if said(train(snapped, epochs)) != truth:
            return lost, f"{epochs} epochs differ"
    return lost, f"{drafts(root)} left" if drafts(root) else ""


def judge_copy(root: Path, before: int, truths: dict[int, str]) -> tuple[str, str]:
    """Tell whether what was published or executed is whole, or absent."""
    notebook = root / "chapter.ipynb"
    if notebook.exists() and notebook.read_text() != "whole":
        return "", "half a notebook"
    for config in (root / "published").rglob("config.json"):
        read(config.parent).load("weights")
    return "", ""


WORKS = {longer: judge_training, shorter: judge_training, to_publish: judge_copy,
         to_run: judge_copy}  # fmt: skip


def assault(kills: int, seed: int = 0) -> Totals:
    """Kill each work at each of its points in turn, a random choice of them if they are many."""
    totals, draw = Totals("kills"), random.Random(seed)
    with TemporaryDirectory() as place:
        truths = {n: undisturbed(Path(place) / "truth", n) for n in (1, 3)}
        begun = Path(place) / "begun"
        with home(begun):
            train(snapped, 2)
        plan = list(itertools.product(WORKS, range(60)))
        draw.shuffle(plan)
        for work, at in plan:
            if totals.tried >= kills:
                break
            root = Path(place) / "runs"
            shutil.copytree(begun, root)
            with home(root):
                if child(work, at):
                    attack(totals, f"{work.__name__} at {at}", root, WORKS[work], truths)
            shutil.rmtree(root)
    return totals


def attack(totals: Totals, title: str, root: Path, judge: Any, truths: dict[int, str]) -> None:
    """Count what came of one kill."""
    totals.tried += 1
    if not drafts(root):
        totals.harmless += 1
    try:
        lost, believed = judge(root, 2, truths)
        totals.lost += [f"{title}: {lost}"] if lost else []
        totals.believed += [f"{title}: {believed}"] if believed else []
    except Exception as error:
        totals.foreign.append(f"{title}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = assault(int(sys.argv[1]) if len(sys.argv) > 1 else 180)
    print(found)
    sys.exit(bool(found.failures))
