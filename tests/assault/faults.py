"""Let the system fail at each call of each write: one sentence, and nothing that was is lost.

usage: faults.py [FAULTS]
"""

import errno
import itertools
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from assault.truth import Totals, drafts, furthest, home, said, snapped, undisturbed
from companion.files import RunError
from companion.train import train

STEPS = (
    "os.replace", "os.fsync", "tempfile.mkstemp", "pathlib.Path.write_bytes",
    "pathlib.Path.write_text", "pathlib.Path.chmod", "companion.tensors.save",
)  # fmt: skip
CODES = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EPERM)
FAULTS: list[BaseException] = [OSError(code, os.strerror(code)) for code in CODES]
FAULTS += [MemoryError(), KeyboardInterrupt()]


def failing(original: Callable[..., Any], at: int, fault: BaseException) -> Callable[..., Any]:
    """A function that fails from its n-th call on; what writes has written half by then."""
    calls = itertools.count()

    def call(*words: Any, **named: Any) -> Any:
        if next(calls) < at:
            return original(*words, **named)
        if original.__name__.startswith("write_"):
            original(words[0], words[1][: len(words[1]) // 2], **named)
        raise fault

    return call


def found_at(step: str) -> Callable[..., Any]:
    """The function that a dotted name means."""
    from pkgutil import resolve_name

    module, _, name = step.rpartition(".")
    return getattr(resolve_name(module), name)


def cases(draw: random.Random) -> Iterator[tuple[str, int, BaseException]]:
    """Every step, call and fault, in a random order."""
    every = list(itertools.product(STEPS, range(6), FAULTS))
    draw.shuffle(every)
    return iter(every)


def assault(faults: int, seed: int = 0) -> Totals:
    """Go on from one epoch to three, with a fault on the way; then without."""
    totals = Totals("faults while saving")
    with TemporaryDirectory() as place:
        truth, begun = undisturbed(Path(place) / "truth", 3), Path(place) / "begun"
        with home(begun):
            train(snapped, 1)
        for step, at, fault in itertools.islice(cases(random.Random(seed)), faults):
            root = Path(place) / "runs"
            shutil.copytree(begun, root)
            judge(totals, f"{step} call {at}: {fault!r}", root, truth, step, at, fault)
            shutil.rmtree(root)
    return totals


def judge(
    totals: Totals, title: str, root: Path, truth: str, step: str, at: int, fault: BaseException
) -> None:
    """Train under one fault and again without, and count what came."""
    totals.tried += 1
    with home(root):
        try:
            with patch(step, failing(found_at(step), at, fault)):
                run = train(snapped, 3)
            if run.complete and not isinstance(fault, KeyboardInterrupt):
                totals.harmless += 1
        except RunError as error:
            if "\n" in str(error) or str(root) not in str(error):
                totals.foreign.append(f"{title}: {error}")
        except (KeyboardInterrupt, MemoryError) as error:
            if not isinstance(error, type(fault)):
                totals.foreign.append(f"{title}: {error!r}")
        except Exception as error:
            totals.foreign.append(f"{title}: {error!r}")
        if furthest(root) < 1 or (drafts(root) and not step.endswith("unlink")):
            totals.lost.append(f"{title}: {furthest(root)} epochs, drafts {drafts(root)}")
        train(snapped, 3)
        if said(train(snapped, 3)) != truth:
            totals.believed.append(title)


if __name__ == "__main__":
    found = assault(int(sys.argv[1]) if len(sys.argv) > 1 else 120)
    print(found)
    sys.exit(bool(found.failures))
