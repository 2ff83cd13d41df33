"""With what a run is made, and whether it still is: package versions, commit, hardware."""

import hashlib
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from companion import __version__

PACKAGES = ("torch", "torchvision", "accelerate", "numpy")
CODE = ("--", ".", ":(exclude)published")  # of this package, for git


def git(*words: str) -> str | None:
    """Ask git about this package; None where there is none, or it says no."""
    command = ["git", "-C", str(Path(__file__).parents[1]), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def commit() -> str:
    """Name the commit of this package, + a hash of what was altered since; "unknown" if none."""
    head = (git("rev-parse", "--short", "HEAD") or "unknown").strip()
    altered = git("diff", "HEAD", *CODE)
    return head + (f"+{hashlib.sha256(altered.encode()).hexdigest()[:6]}" if altered else "")


def versions() -> dict[str, str]:
    """Name the packages that a run depends on, and their versions."""
    found = {"companion": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def provenance() -> dict[str, Any]:
    """Tell with what a run is made: package versions, commit, hardware."""
    import torch

    processor = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    hardware = torch.cuda.get_device_name() if torch.cuda.is_available() else processor
    return {"versions": versions(), "commit": commit(), "hardware": hardware}


def made_otherwise(config: dict[str, Any]) -> str:
    """Say with which other versions, or other code, a run was made than there are here; or "".

    A commit since which nothing of this package has changed counts as today's.
    """
    then, now = config.get("versions", {}), versions()
    others = [name for name in then if then[name] != now.get(name)]
    made, here = ([f"{name} {what.get(name)}" for name in others] for what in (then, now))
    before = config.get("commit", "unknown")
    if git("diff", "--quiet", before, *CODE) is None and before != (today := commit()):
        made.append(f"commit {before}")
        here.append(f"commit {today}")
    return f"was made with {', '.join(made)}; here: {', '.join(here)}" if made else ""
