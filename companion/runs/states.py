"""From where a training resumes: each length of a run has states of its own; none goes back.

A state lies in the folder of the length that was asked for, and its name tells its epoch:
`epochs-50/state-20.safetensors`. A process only ever adds a later one, and removes earlier ones
of the same length; so neither a shorter question nor a second process can undo an epoch.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from companion.files import DamagedFile, RunError
from companion.runs import schema
from companion.runs.record import Run, epoch_of, local_runs
from companion.words import nearest

if TYPE_CHECKING:
    from torch import Tensor

QUESTION = ("experiment", "choices", "seed", "subset", "fingerprint")


def states(run: Run) -> dict[Path, int]:
    """Find every state of a run, of whatever length, and the epoch after which it was saved."""
    found = {path: epoch_of(path) for path in run.folder.parent.glob("epochs-*/state-*")}
    return {path: epoch for path, epoch in found.items() if epoch}


def shared(run: Run) -> Path:
    """The one state of all lengths that older versions wrote; read, and never written."""
    return run.folder.parent / "state.safetensors"


def load_state(run: Run, epochs: int) -> "tuple[dict[str, Tensor], dict[str, Any]] | None":
    """Read the furthest state that is not past `epochs`, if there is one.

    Raises DamagedFile if it is not as it was saved, or not of this run.
    """
    while found := {path: epoch for path, epoch in reachable(run).items() if epoch <= epochs}:
        path = max(found, key=found.__getitem__)
        try:
            return read_state(path, run, found[path])
        except RunError:
            if path.exists():  # else a process that trains beside this one has gone on meanwhile
                raise
    return None


def reachable(run: Run) -> dict[Path, int]:
    """Find the states of this version, and the older one."""
    from companion.tensors import record_of

    found, old = states(run), shared(run)
    if old.exists():
        epoch = record_of(old).get("epochs")
        found[old] = epoch if isinstance(epoch, int) else 0  # 0: read it, and be told
    return found


def read_state(path: Path, run: Run, epoch: int) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """Read one state. Raises DamagedFile if it is damaged, of another run or of another epoch."""
    from companion.tensors import load_tensors

    tensors, record = load_tensors(path, run=run.name, epochs=epoch)
    rows = record.get("history")
    whole = isinstance(rows, list) and not schema.amiss_in_history(rows, epoch)
    if record.get("epochs") != epoch or not whole:
        raise DamagedFile(f"{path} is no state of a training; delete it to start anew")
    return tensors, {**record, "path": path}


def save_state(run: Run, tensors: "dict[str, Tensor]", history: list[dict[str, float]]) -> None:
    """Save the state after as many epochs as the history has, unless a later one is there."""
    from companion.tensors import save_tensors

    epoch = len(history)
    if epoch_of(run.state) < epoch:
        path = run.folder / f"state-{epoch}.safetensors"
        asked = {key: run.config[key] for key in QUESTION if key in run.config}
        about = {"run": run.name, "epochs": epoch, "history": history, "question": asked}
        save_tensors(path, tensors, **about)
        forget(
            {old: k for old, k in states(run).items() if old.parent == run.folder and k < epoch}
        )


def beyond(run: Run, epochs: int) -> int:
    """The epoch of the furthest state of a run, if that is past `epochs`; else 0."""
    furthest = max(states(run).values(), default=0)
    return furthest if furthest > epochs else 0


def tidy(run: Run) -> None:
    """Keep, of all lengths that are finished, the furthest state only.

    A finished run needs its own no more if there is one beyond it.
    """
    if beyond(run, run.epochs):
        forget({path: k for path, k in states(run).items() if path.parent == run.folder})
        return
    forget(
        {
            path: k
            for path, k in states(run).items()
            if path.parent != run.folder and k <= run.epochs
            and (path.parent / "config.json").exists()
        }
    )  # fmt: skip


def unmeasured(name: str) -> tuple[dict[str, Any], int]:
    """Find a run of this machine that is trained, but not measured: its question, its epochs.

    Raises RunError if there is none, or if it was interrupted, or measured.
    """
    from companion.tensors import record_of

    home = local_runs()
    known = [path.name for path in home.glob("*") if path.is_dir()]
    if name not in known:
        raise RunError(f"no run here is called {name!r} {nearest(name, known)}")
    found = {path: epoch_of(path) for path in (home / name).glob("epochs-*/state-*")}
    for path, epoch in sorted(found.items(), key=lambda pair: -pair[1]):
        if path.parent.name != f"epochs-{epoch}" or (path.parent / "config.json").exists():
            continue
        question = record_of(path).get("question")
        if not isinstance(question, dict) or not set(QUESTION[:4]) <= question.keys():
            raise RunError(f"{path} does not say of what it is: train it with the same choices")
        return question, epoch
    if any((home / name).glob("epochs-*/config.json")):
        raise RunError(f"{name} is measured: python -m companion runs lists its numbers")
    last = max(found.values(), default=0)
    raise RunError(f"{name} was interrupted after {last} epochs: train it to the end")


def forget(old: dict[Path, int]) -> None:
    """Remove states that are not needed any more."""
    for path in old:
        path.unlink(missing_ok=True)
