"""Files that are whole or absent."""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


class RunError(RuntimeError):
    """A run cannot be saved, recalled or published; the message is one sentence."""


class DamagedFile(RunError):
    """A saved file is truncated, altered, or does not belong to this model."""


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; put it in place only once it is written and synced.

    Raises RunError, in one sentence, when the disk is full or not writable; whatever happens
    before the end leaves the file that was there byte for byte.
    """
    draft = None
    sweep(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        os.close(handle)
        draft = Path(name)
        yield draft
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        draft.chmod(0o644)
        os.replace(draft, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(f"cannot write {path}: {reason}; what was there before is kept") from error
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Delete the drafts of `path` that killed processes left an hour ago or earlier."""
    for draft in path.parent.glob(f".{path.name}-*"):
        with suppress(OSError):
            if time.time() - draft.stat().st_mtime > 3600:
                draft.unlink()


def check_writable(folder: Path) -> None:
    """Raise RunError now, rather than after hours of training, if `folder` takes no files."""
    with write_atomically(folder / ".trial"):
        pass
    (folder / ".trial").unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write one JSON file atomically."""
    with write_atomically(path) as draft:
        draft.write_text(json.dumps(content, indent=1) + "\n")
