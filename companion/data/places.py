"""Where data may lie on this machine: the reader's own folder first, then the cache."""

import os
from pathlib import Path

import pooch


def cache() -> Path:
    """The folder of downloads: COMPANION_CACHE, or the platform's cache of this user."""
    chosen = os.environ.get("COMPANION_CACHE")
    return Path(chosen).expanduser() if chosen else Path(pooch.os_cache("companion"))


def homes(*below: str) -> list[tuple[str, Path]]:
    """Name the folders to look in, each with whose it is: "COMPANION_DATA" or "cache".

    below: the folders in each home, the most likely first; "" is the home itself.
    """
    own = os.environ.get("COMPANION_DATA")
    found = [("COMPANION_DATA", Path(own).expanduser())] if own else []
    return [(kind, home / name) for kind, home in [*found, ("cache", cache())] for name in below]
