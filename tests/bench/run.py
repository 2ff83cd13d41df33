"""Measure speed and memory: every case against a rival in this one process, as a ratio.

`make bench` runs it on a quiet machine and writes `book/benchmarks.md`. Ours and the rival take
turns, so that what else the machine does hits both; under 1.25 times is noise.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from images import BATCH, rows
from page import put
from turns import machine

ROOT = Path(__file__).parents[2]


PEAK = """import resource, subprocess, sys
quiet = subprocess.DEVNULL
subprocess.run(sys.argv[1:], check=True, stdout=quiet, stderr=quiet)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""  # in a process of its own: the peak is that of all children so far


def chapter_memory(chapter: str) -> float:
    """Peak resident memory of executing a chapter on its published runs, in GB."""
    notebook = ROOT / "book" / f"{chapter}.ipynb"
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "papermill", str(notebook), f"{folder}/out.ipynb", "-k", "python3"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        measure = [sys.executable, "-c", PEAK, sys.executable, *words]
        found = subprocess.run(measure, check=True, env=environment, stdout=subprocess.PIPE)
    return int(found.stdout) / (1e9 if platform.system() == "Darwin" else 1e6)


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    scripts = sorted((ROOT / "book").glob("[a-z]*/*.py"))
    written = [path.relative_to(ROOT / "book").with_suffix("").as_posix() for path in scripts]
    parser.add_argument("--chapters", nargs="*", default=written)
    chapters = parser.parse_args().chapters
    memory = {chapter: chapter_memory(chapter) for chapter in chapters}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else machine()
    lines = [
        "# Speed and memory",
        "",
        "`make bench` measures all of this anew.",
        f"Measured on: {device}, torch {torch.__version__}, batches of {BATCH}, one process.",
        "Ours and the rival took turns; the ratio is the median over eight pairs of turns.",
        "Ratios can be compared between machines, images per second cannot; "
        "under 1.25 times is noise.",
        "",
        "| case | rival | ours, images/s | rival, images/s | ratio | target |",
        "| :-- | :-- | --: | --: | --: | --: |",
    ]
    for r in rows():
        speeds = f"{r.ours:,.0f} | {r.theirs:,.0f}"
        lines.append(f"| {r.case} | {r.rival} | {speeds} | {r.ratio:.2f} | {r.target} |")
    lines += ["", "| chapter | peak memory, GB |", "| :-- | --: |"]
    lines += [f"| `{chapter}` | {gigabytes:.2f} |" for chapter, gigabytes in memory.items()]
    put("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
