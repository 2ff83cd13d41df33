"""With what a run is made: package versions, commit, hardware."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from companion import __version__


def provenance() -> dict[str, Any]:
    """Tell with what a run is made: package versions, commit (+ if altered), hardware."""
    import torch

    names = ("torch", "torchvision", "accelerate", "numpy")
    processor = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    hardware = torch.cuda.get_device_name() if torch.cuda.is_available() else processor
    git = ["git", "-C", str(Path(__file__).parents[1])]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        status = [*git, "status", "--porcelain", "--untracked-files=no", "."]
        commit += "+" * bool(subprocess.run(status, capture_output=True, text=True).stdout)
    except (OSError, subprocess.CalledProcessError):
        commit = "unknown"
    versions = {"companion": __version__, **{name: version(name) for name in names}}
    return {"versions": versions, "commit": commit, "hardware": hardware}
