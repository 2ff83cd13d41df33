"""A little of `make assault`: kills, faults and damaged files, drawn with a seed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WORKS = ["Training", "Pair", "Publication", "Chapter", "Download", "Prepared"]  # no kernels


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "number", "of"), [("kills", 8, WORKS), ("faults", 8, []), ("damage", 60, [])]
)
def test_nothing_is_lost_or_believed_and_no_error_is_foreign(script, number, of):
    paths = os.pathsep.join([str(HERE.parent), str(HERE)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / f"assault/{script}.py"), str(number), *of]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert f": {number} (" in done.stdout and "lost 0, believed 0, foreign 0" in done.stdout
