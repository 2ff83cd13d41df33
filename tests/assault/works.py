"""What is killed, and how each is judged: trainings, publications, chapters, data caches."""

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nbformat
import torch
from accelerate.state import AcceleratorState, PartialState
from mirrors import Server, Tiny, send

from assault.truth import drafts, furthest, home, said, snapped
from companion import __main__ as command
from companion import chapters
from companion.data import dsprites, fetch
from companion.data.originals import ARCHIVES
from companion.runs import all_runs, local_runs, read, record
from companion.tensors import load_tensors
from companion.train import train

CELL = "answer = sum(range(10))\nprint(answer)"
FEW = 640  # images of the prepared set


class Work:
    """Something to be killed in, in a folder of runs of two epochs; and its judge."""

    timed = False  # killed after a while, rather than at one of the points of its writes

    def do(self) -> None:
        """In a child: the work."""
        raise NotImplementedError

    def judge(self, root: Path) -> tuple[str, str]:
        """Afterwards: what is lost, and what is believed though it is not so."""
        raise NotImplementedError


class Training(Work):
    """A training of some epochs after two, in one process."""

    def __init__(self, epochs: int, truths: dict[int, str]):
        self.epochs, self.truths = epochs, truths

    def do(self) -> None:
        train(snapped, self.epochs)

    def finish(self) -> None:
        """Train to the end, undisturbed."""
        for epochs in self.truths:
            train(snapped, epochs)

    def judge(self, root: Path) -> tuple[str, str]:
        lost = f"from 2 to {furthest(root)}" if furthest(root) < 2 else ""
        for state in root.rglob("state-*"):
            load_tensors(state)
        self.finish()
        for epochs, truth in self.truths.items():
            if said(train(snapped, epochs)) != truth:
                return lost, f"{epochs} epochs differ"
        return lost, f"{drafts(root)} left" if drafts(root) else ""


class Pair(Training):
    """A training by two processes on the CPU, as a launcher starts them; the first one is killed.

    Each process is told its rank as `accelerate launch` and torchrun tell it.
    """

    def do(self) -> None:
        port = free_port()
        second = self.started(1, port, self.epochs)
        try:
            self.rank(0, port, self.epochs)
        except BaseException:
            os.kill(second, signal.SIGKILL)
            raise
        finally:
            os.waitpid(second, 0)

    def rank(self, rank: int, port: int, epochs: int) -> None:
        """Be one of two processes, and train."""
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2",
                          MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
                          ACCELERATE_USE_CPU="true")  # fmt: skip
        AcceleratorState._reset_state(reset_partial_state=True)
        PartialState._reset_state()
        train(snapped, epochs)

    def started(self, rank: int, port: int, epochs: int) -> int:
        """Fork one of two processes."""
        if (pid := os.fork()) == 0:
            try:
                self.rank(rank, port, epochs)
            finally:
                os._exit(0)
        return pid

    def finish(self) -> None:
        for epochs in self.truths:
            port = free_port()
            for pid in [self.started(rank, port, epochs) for rank in (0, 1)]:
                os.waitpid(pid, 0)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Publication(Work):
    """`python -m companion publish`."""

    def do(self) -> None:
        [run] = [run for run in all_runs(local_runs()) if run.epochs == 2]
        with patch.object(record, "PUBLISHED", local_runs().parent / "published"):
            command.main(["publish", run.name])

    def judge(self, root: Path) -> tuple[str, str]:
        for config in (root.parent / "published").rglob("config.json"):
            run = read(config.parent)
            run.load("weights")
            run.load("snapshots")
        self.do()  # and again, undisturbed
        [run] = all_runs(root.parent / "published")
        left = drafts(root.parent / "published")
        shutil.rmtree(root.parent / "published")
        return "" if run.complete else "not complete", f"{left} left" if left else ""


class Chapter(Work):
    """`python -m companion run` on a notebook of one cell; its execution is skipped."""

    def do(self) -> None:
        def executed(source: str, target: str, **named: Any) -> None:
            shutil.copy(source, target)

        with patch("papermill.execute_notebook", executed):
            self.run()

    def run(self) -> None:
        """Run the chapter by the command line."""
        source = local_runs() / "tiny.ipynb"
        cell = nbformat.v4.new_code_cell(CELL)
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), source)
        with patch.object(chapters, "chapters", lambda: {"tiny": source}):
            command.main(["run", "tiny", "-o", str(local_runs() / "chapter.ipynb")])

    def judge(self, root: Path) -> tuple[str, str]:
        notebook = root / "chapter.ipynb"
        if notebook.exists():
            cells = json.loads(notebook.read_text())["cells"]
            if CELL not in ["".join(cell["source"]) for cell in cells]:
                return "", "half a notebook"
        self.do()
        left = drafts(root)
        return "" if notebook.exists() else "no notebook", f"{left} left" if left else ""


class WholeChapter(Chapter):
    """The same with its kernel: killed while it starts, executes, is written."""

    timed = True

    def do(self) -> None:
        self.run()

    def judge(self, root: Path) -> tuple[str, str]:
        notebook = root / "chapter.ipynb"
        if notebook.exists() and "45" not in notebook.read_text():
            return "", "a notebook that was not executed"
        return "", ""


class Download(Work):
    """`python -m companion data get` from a mirror on this machine."""

    def __init__(self) -> None:
        self.tiny = Tiny()
        self.server = Server(
            lambda handler, packed, release: send(handler, packed), self.tiny.packed
        )

    @contextmanager
    def place(self) -> Iterator[Path]:
        """Let the mirror have the data set, and a folder of runs be the cache."""
        folder = local_runs() / "cache"
        asked = {"COMPANION_CACHE": str(folder), "NO_PROXY": "127.0.0.1", "COMPANION_OFFLINE": ""}
        with (
            patch.dict(os.environ, asked),
            patch.dict(ARCHIVES, mnist=self.tiny.archive(self.server)),
        ):
            yield folder / "MNIST/raw"

    def do(self) -> None:
        with self.place():
            fetch("mnist")

    def judge(self, root: Path) -> tuple[str, str]:
        with self.place() as folder:
            there = {path.name: path.read_bytes() for path in folder.glob("*.gz")}
            wrong = [name for name in there if there[name] != self.tiny.packed[name]]
            fetch("mnist")
            found = {path.name: path.read_bytes() for path in folder.iterdir()}
            lost = "" if self.tiny.packed.items() <= found.items() else "a file is missing"
            left = sorted(found.keys() - self.tiny.packed.keys())
        return lost, f"{wrong} unverified, {left} left" if wrong or left else ""


class Prepared(Work):
    """The images that are drawn once and kept in the cache."""

    def do(self) -> None:
        with patch.object(dsprites, "ROWS", FEW):
            dsprites.drawn(local_runs() / "cache/drawn.bin")

    @staticmethod
    @cache
    def truth() -> torch.Tensor:
        return dsprites.pack(dsprites.draw(dsprites.factors_of(torch.arange(FEW))))

    def judge(self, root: Path) -> tuple[str, str]:
        with patch.object(dsprites, "ROWS", FEW):
            for _ in range(2):  # drawn anew, if need be, and then recalled
                if not torch.equal(dsprites.drawn(root / "cache/drawn.bin"), self.truth()):
                    return "", "other images"
        left = drafts(root / "cache")
        return "", f"{left} left" if left else ""


def undisturbed(kind: type[Training], folder: Path) -> dict[int, str]:
    """What runs of one and three epochs say that nothing happened to."""
    with home(folder):
        kind(3, {1: "", 3: ""}).finish()
        return {epochs: said(train(snapped, epochs)) for epochs in (1, 3)}


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    found, parents = [], {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            fields = stat.read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    waiting = [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def killed_after(pid: int, seconds: float) -> bool:
    """Kill a process and all that it started, if it still lives after a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.WIFSIGNALED(status)
        time.sleep(0.01)
    for one in [pid, *descendants(pid)]:
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])
