"""What several tests share: the book, built once and strictly."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STRICT = ["--all", "-q", "-W", "--keep-going", "-n"]


def build(output: Path) -> str:
    """Build the book from nothing below `output`; return what the builder complained of."""
    builder = Path(sys.executable).parent / "jupyter-book"
    command = [str(builder), "build", str(ROOT), "--path-output", str(output), *STRICT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return the folder of the built pages; processes that test side by side build it once."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared if worker_id == "master" else shared.parent
    complaint = shared / "complaint.txt"
    with open(shared / "book.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complaint.exists():
            complaint.write_text(build(shared / "book"))
    if text := complaint.read_text():
        pytest.fail(f"the strict build of the book failed:\n{text[-3000:]}", pytrace=False)
    return shared / "book/_build/html"
