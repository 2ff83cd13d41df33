"""Plant wrong versions of the package, one at a time, and ask whether any test notices.

usage: python tests/mutants.py [--check] [--list] [WHICH ...]. WHICH is a number, or a part of a
file's name, of a kind or of a text; all, if not said. --check only looks whether each old text
still stands exactly once in its file. The list is mutants.json: for each file of `companion` the
tests nearest to it, and rows of kind, old text and new text. A planted version stands in a copy
of the repository, never here. First the tests run on the copy as it is: they must pass. Exits
with 1 if a version survives.
"""

import argparse
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
OPTIONS = ["-x", "-q", "-m", "not browser and not slow", "-p", "no:cacheprovider"]
HEAVY = (
    "accelerate", "hypothesis", "networkx", "scipy.stats", "sklearn.linear_model", "torch._dynamo",
    "torchvision",
)  # fmt: skip
LONGEST = 1200  # seconds; a wrong version that makes the tests wait so long is noticed, too
VERDICTS = {0: "survived", 1: "killed", -signal.SIGALRM: "killed"}  # anything else is no verdict


class Mutant(NamedTuple):
    """One wrong version."""

    number: int
    file: str  # below companion/
    tests: tuple[str, ...]  # files to run, nearest first
    kind: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.number:4d}  {self.file}: {self.kind}: {self.new.strip()[:60]!r}"


def mutants() -> list[Mutant]:
    """Read the list, numbered from 1."""
    groups = json.loads((ROOT / "tests/mutants.json").read_text(encoding="utf8"))
    rows = [(g["file"], (*g["tests"],), *row) for g in groups for row in g["wrong"]]
    return [Mutant(k, *row) for k, row in enumerate(rows, 1)]


def faults() -> list[str]:
    """Say of each mutant that cannot be planted, or whose tests are not there, what is wrong."""
    found = []
    for one in mutants():
        times = (ROOT / "companion" / one.file).read_text(encoding="utf8").count(one.old)
        if times != 1 or one.old == one.new:
            found.append(f"{one}: {one.old!r} stands there {times} times")
        absent = [name for name in one.tests if not (ROOT / f"tests/test_{name}.py").exists()]
        found += [f"{one}: there is no tests/test_{name}.py" for name in absent]
    return found


def copied(to: Path) -> Path:
    """Copy what git knows or would add, as it stands."""
    listed = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, to / name)
    return to


def pytested(copy: Path, tests: tuple[str, ...], said: Path) -> None:
    """Be a child that runs test files on the copy, writes what pytest says, and ends."""
    os.chdir(copy)
    sys.path[:0] = [str(copy)]
    os.environ["PYTHONPATH"] = str(copy)  # for processes that tests start
    for stream in (1, 2):
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    signal.alarm(LONGEST)
    code = pytest.main([*OPTIONS, *(f"tests/test_{name}.py" for name in tests)])
    sys.stdout.flush()
    os._exit(code)


def verdict(copy: Path, tests: tuple[str, ...]) -> str:
    """Run test files on the copy: survived or killed, the seconds, and the test that noticed.

    In a child of this process, so that what takes long to import is imported once.
    """
    said, start = copy / "said.txt", time.monotonic()
    said.write_text("")
    if (child := os.fork()) == 0:
        pytested(copy, tests, said)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found = VERDICTS.get(code, f"broken ({code})")
    by = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(\S+)", said.read_text(), re.MULTILINE)
    return f"{found:8}  {time.monotonic() - start:5.1f} s  {by[1] if by else ''}".rstrip()


def asked(which: list[str]) -> list[Mutant]:
    """Select by number, or by what is written in a row."""
    numbers = {int(word) for word in which if word.isdigit()}
    words = [word for word in which if not word.isdigit()]
    return [
        one
        for one in mutants()
        if not which
        or one.number in numbers
        or any(w in "|".join(one[1:2] + one[3:]) for w in words)
    ]


def campaign(chosen: list[Mutant], copy: Path) -> int:
    """Plant one after the other and print what came of it; return how many were not killed."""
    nearest = tuple(dict.fromkeys(name for one in chosen for name in one.tests))
    print("   0  nothing is planted:", plain := verdict(copy, nearest), flush=True)
    if not plain.startswith("survived"):
        return len(chosen)
    killed = 0
    for one in chosen:
        file = copy / "companion" / one.file
        right = file.read_text(encoding="utf8")
        file.write_text(right.replace(one.old, one.new), encoding="utf8")
        found = verdict(copy, one.tests)
        file.write_text(right, encoding="utf8")
        killed += found.startswith("killed")
        print(f"{one}\n      {found}", flush=True)
    print(f"killed {killed} of {len(chosen)} planted")
    return len(chosen) - killed


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("which", nargs="*", help="numbers, or parts of what is written in a row")
    parser.add_argument(
        "--check", action="store_true", help="only look whether each can be planted"
    )
    parser.add_argument("--list", action="store_true", help="only name them")
    given = parser.parse_args()
    if bad := faults():
        print(*bad, sep="\n")
        return 1
    if given.list:
        print(*asked(given.which), sep="\n")
    if given.list or given.check:
        return 0
    os.environ["OMP_NUM_THREADS"] = "1"  # other threads would not live on in a child
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # ten seconds each time, and none is needed
    sys.dont_write_bytecode = True  # a file is changed twice in a second
    for name in HEAVY:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        return min(1, campaign(asked(given.which), copied(Path(folder))))


if __name__ == "__main__":
    sys.exit(main())
