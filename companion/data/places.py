"""Where data may lie on this machine: the reader's own folder first, then the cache.

One rule for all sets: the files of a set lie together in a home, or at most two folders below
it, whatever these are called. Of a file's name, neither case nor what stands between its words
counts, so `train-images.idx3-ubyte` is `train-images-idx3-ubyte`. What is found is checked.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pooch

from companion.environment import named_folder

DEEP = 2  # folders below a home in which files are looked for
SAME = str.maketrans(" _.", "---")


class Place(NamedTuple):
    """A folder that has files of a set: whose it is, and the files of each name, if any."""

    kind: str  # "COMPANION_DATA" or "cache"
    folder: Path
    files: tuple[tuple[Path, ...], ...]

    @property
    def whole(self) -> bool:
        """Whether no name is without a file."""
        return all(self.files)


def cache() -> Path:
    """The folder of downloads: COMPANION_CACHE, or the platform's cache of this user."""
    return named_folder("COMPANION_CACHE") or Path(pooch.os_cache("companion"))


def homes() -> list[tuple[str, Path]]:
    """Name the folders to look in, each with whose it is: "COMPANION_DATA" or "cache"."""
    own = named_folder("COMPANION_DATA")
    return [*([("COMPANION_DATA", own)] if own else []), ("cache", cache())]


def below(home: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield a folder and those at most DEEP below it, each with the names of its files."""
    level = [home]
    for depth in range(DEEP + 1):
        after: list[Path] = []
        for place in level:
            try:
                with os.scandir(place) as found:
                    entries = sorted(found, key=lambda entry: entry.name)
            except OSError:  # it is not there, no folder, or not ours to read
                continue
            yield place, [entry.name for entry in entries if not entry.is_dir()]
            if depth < DEEP:
                inner = (e.path for e in entries if e.is_dir() and not e.name.startswith("."))
                after += map(Path, inner)
        level = after


def plain(name: str) -> str:
    """A file's name without what does not count."""
    return name.lower().translate(SAME)


def located(*names: str, packed: bool = False) -> Iterator[Place]:
    """Yield the folders that have a file of one of these names, the reader's own first.

    packed: a name may also end in .gz.
    """
    wanted = [{plain(name), *([plain(f"{name}.gz")] if packed else [])} for name in names]
    for kind, home in homes():
        for place, present in below(home):
            known = [(name, plain(name)) for name in present]
            files = tuple(
                tuple(place / name for name, word in known if word in words) for words in wanted
            )
            if any(files):
                yield Place(kind, place, files)


def looked_for(*names: str, packed: bool = False) -> str:
    """Say which names were looked for in which folders, and which of them lie there alone."""
    own = named_folder("COMPANION_DATA")
    where = f"{cache()} (the cache)"
    if own:
        no = "" if own.is_dir() else ", which is no folder"
        where = f"{own} (COMPANION_DATA{no}) and {where}"
    alone = [
        str(path)
        for place in located(*names, packed=packed)
        for some in place.files
        for path in some
        if not place.whole
    ]
    return (
        f"looked for {', '.join(names)}{', each plain or .gz,' if packed else ''} together in "
        f"{where}, and at most {DEEP} folders below"
        + ("" if own else "; COMPANION_DATA is not set")
        + (f"; only {', '.join(alone)} {'is' if len(alone) == 1 else 'are'} here" if alone else "")
    )
