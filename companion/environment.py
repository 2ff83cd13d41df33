"""What the environment says to this package: every variable, read here and nowhere else."""

import os
from pathlib import Path

VARIABLES = {
    "COMPANION_DATA": "the folder of your own data files",
    "COMPANION_CACHE": "where downloads are kept, in place of this user's cache",
    "COMPANION_RUNS": "where new runs are written, in place of `runs`",
    "COMPANION_OFFLINE": "no network is used, unless this is empty, 0, false, no or off",
    "RANK": "the number of this process, set by `accelerate launch`; of several, 0 speaks",
}
NO = ("", "0", "false", "no", "off")


def named_folder(variable: str) -> Path | None:
    """The folder that a variable names, ~ and ~user being homes; None if it names none."""
    named = os.environ.get(variable, "").strip()
    return Path(named).expanduser() if named else None


def offline() -> bool:
    """Whether COMPANION_OFFLINE forbids every use of the network."""
    return os.environ.get("COMPANION_OFFLINE", "").strip().lower() not in NO


def speaks() -> bool:
    """Whether this process prints: the only one, or the first of several."""
    return os.environ.get("RANK", "0") == "0"
