"""Files that are whole or absent, and one error for those that are neither."""

import hashlib
import json
import os
import platform
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

DAY = 24 * 3600  # seconds after which a draft is swept of whose process nothing is known
OURS = re.compile(r"\..+-[0-9a-f]{6}\.\d+\.\w{8}")  # of a file: .NAME-MACHINE.PROCESS.RANDOM
WRITING: set[str] = set()  # the drafts that this process is writing


class RunError(RuntimeError):
    """A run cannot be saved, recalled or published; the message is one sentence."""


class DamagedFile(RunError):
    """A saved file is truncated, altered, or does not belong to this model."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong while `path` is read into one sentence that names it.

    Raises RunError if it cannot be read, DamagedFile if its content is not what we write.
    """
    try:
        yield
    except RunError:
        raise
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise RunError(f"cannot read {path}: there is not enough memory") from error
    except Exception as error:  # a damaged file may break its reader in any way
        raise DamagedFile(
            f"{path} is damaged or no file of ours ({type(error).__name__}); "
            "delete it to start anew"
        ) from error


@cache
def here() -> str:
    """Name this machine and, on Linux, the space in which its process ids count."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:6]


def lives(pid: int) -> bool:
    """Whether a process of this machine is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def abandoned(draft: Path) -> bool:
    """Whether nobody writes a draft any more: its process is gone.

    A draft of another machine, or of an older version, counts as abandoned after a day.
    """
    host, _, rest = draft.name.rpartition("-")[2].partition(".")
    pid = rest.partition(".")[0]
    if host == here() and pid.isdigit() and os.name == "posix":
        mine = int(pid) == os.getpid()
        return draft.name not in WRITING if mine else not lives(int(pid))
    return time.time() - draft.stat().st_mtime > DAY


def sweep(path: Path) -> None:
    """Delete the drafts that killed processes left beside `path`."""
    with suppress(OSError):
        for draft in path.parent.iterdir():
            if OURS.fullmatch(draft.name) or draft.name.startswith(f".{path.name}-"):
                with suppress(OSError):
                    if abandoned(draft):
                        draft.unlink()


def settle(folder: Path) -> None:
    """Write down which files a folder holds, where its file system can: a rename is in it.

    A fault here raises nothing: the file is in place, and who is told that it is not would lie.
    """
    with suppress(OSError, MemoryError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; put it in place once it is written and synced.

    The draft's name tells its process, so that others know whether it is still written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    prefix = f".{path.name}-{here()}.{os.getpid()}."
    handle, name = tempfile.mkstemp(prefix=prefix, dir=path.parent)
    os.close(handle)
    draft = Path(name)
    WRITING.add(draft.name)
    try:
        yield draft
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        draft.chmod(0o644)
        os.replace(draft, path)
        settle(path.parent)
    finally:
        WRITING.discard(draft.name)
        with suppress(OSError):  # or it would hide the first reason
            draft.unlink(missing_ok=True)


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; put it in place only once it is written and synced.

    Raises RunError, in one sentence, when the disk is full or not writable; whatever happens
    before the end leaves the file that was there byte for byte.
    """
    kept = "what was there before is kept"
    try:
        with drafted(path) as draft:
            yield draft
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(f"cannot write {path}: {reason}; {kept}") from error
    except MemoryError as error:
        raise RunError(f"cannot write {path}: there is not enough memory; {kept}") from error


def check_writable(folder: Path) -> None:
    """Raise RunError now, rather than after hours of work, if `folder` takes no files."""
    trial = folder / ".trial"
    try:
        with write_atomically(trial):
            pass
    finally:
        with suppress(OSError):
            trial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> str:
    """Write one text file atomically; return its hash."""
    with write_atomically(path) as draft:
        draft.write_text(text, encoding="utf8")
    return hash_of(text)


def write_json(path: Path, content: Any) -> str:
    """Write one JSON file atomically; return its hash."""
    return write_text(path, json.dumps(content, indent=1) + "\n")


def hash_of(text: str) -> str:
    """The sha256 of a text as it is read: how its lines end on this machine is no part of it."""
    return hashlib.sha256(text.encode()).hexdigest()
