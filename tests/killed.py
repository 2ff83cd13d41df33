"""Train in child processes and kill them; run by test_reliability.py, prints what it saw.

usage: killed.py FOLDER EPOCHS KILLS. Every second kill comes at a random instant, every other
one while a file is being written.
"""

import json
import os
import random
import signal
import sys
import time
from contextlib import redirect_stderr
from pathlib import Path

import torch
import torch._dynamo  # what the first step of an optimizer imports: once, for all children
from toys import denoiser

from companion.tensors import load_tensors
from companion.train import train

CHOICES = {"ema": 0.9, "width": 512}
WHOLE = 4_000_000  # bytes; the state has a little more, so that saving takes a while


def drafts(folder: Path) -> set[Path]:
    """Files that are not in place yet, of a child that lives or of one that was killed."""
    return set(folder.glob("*/*/.state-*"))


def being_written(folder: Path, left: set[Path]) -> bool:
    """Whether a state is there in part; not counting the drafts that killed children left."""
    for file in (drafts(folder) - left) | set(folder.glob("*/*/state-*")):
        try:
            if file.stat().st_size < WHOLE:
                return True
        except FileNotFoundError:
            continue
    return False


def wait(folder: Path, anywhere: bool) -> None:
    """Wait for a random while, or until a file is being written and a moment more."""
    if anywhere:
        time.sleep(random.uniform(0.0, 1.5))
        return
    left, end = drafts(folder), time.monotonic() + 30
    while not being_written(folder, left) and time.monotonic() < end:
        time.sleep(1e-4)
    time.sleep(random.uniform(0.0, 0.02))


def start(epochs: int) -> int:
    """Train in a child, from its beginning to its end or to a kill."""
    child = os.fork()
    if child == 0:
        try:
            with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):  # no progress bars
                train(denoiser, epochs, **CHOICES)
        finally:
            os._exit(0)
    return child


def main(folder: Path, epochs: int, kills: int) -> None:
    """Kill, look, and begin again."""
    torch.set_num_threads(1)
    random.seed(0)
    for kill in range(kills):
        child = start(epochs)
        wait(folder, anywhere=kill % 2 == 0)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        states = [load_tensors(state)[1]["epochs"] for state in folder.glob("*/*/state-*")]
        done = max(states, default=0)  # a kill may come before the state before is removed
        row = {"killed": os.WIFSIGNALED(status), "epochs": done, "drafts": len(drafts(folder))}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
