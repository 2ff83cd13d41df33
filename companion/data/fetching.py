"""Which files a data set has, and where they go: `fetch`, once or in vain."""

from pathlib import Path

from companion.data.downloads import DataError, Packed, gather, has_sum, storing
from companion.data.originals import ARCHIVES, CIFAR, intact_cifar, unpacked
from companion.data.places import cache
from companion.environment import offline
from companion.words import nearest

BY_HAND = {
    "persian": "the Hoda set is free for research and non-commercial use only: put its files "
    "'Train 60000.cdb' and 'Test 20000.cdb', from http://farsiocr.ir, into COMPANION_DATA/hoda",
}
GETTABLE = (*ARCHIVES, CIFAR)
_in_vain: dict[str, str] = {}  # downloads that failed in this process, and why


def fetch(name: str, folder: Path | None = None) -> Path:
    """Download a data set, those of its files that are not yet there; return their folder.

    They go to the user's cache, or below `folder`: copied to a machine without network, that
    folder is a valid COMPANION_DATA. Raises ValueError for an unknown name, DataError, in one
    sentence, when no mirror has the right bytes, they cannot be stored or their terms forbid it.
    """
    if name in BY_HAND:
        raise DataError(f"{name} is not downloaded: {BY_HAND[name]}")
    if name not in GETTABLE:
        raise ValueError(f"no data set to download is called {name!r} {nearest(name, GETTABLE)}")
    home = Path(folder or cache())
    if name == CIFAR:
        return fetch_cifar(home)
    archive = ARCHIVES[name]
    target = home / archive.folder / "raw"
    left = [
        Packed(f"{part.name}.gz", part.md5, part.size + 1024)  # packed, it should be smaller
        for part in archive.parts
        if unpacked(target / f"{part.name}.gz", part) is None
    ]
    return gather(name, left, archive.mirrors, target)


def fetch_cifar(home: Path) -> Path:
    """Download CIFAR-10's archive, unless it is there, and let torchvision unpack it."""
    from torchvision.datasets import CIFAR10

    target = home / CIFAR10.base_folder
    if intact_cifar(target):
        return target
    mirror, name = CIFAR10.url.rsplit("/", 1)
    there = has_sum(home / name, CIFAR10.tgz_md5)
    left = [] if there else [Packed(name, CIFAR10.tgz_md5, 180_000_000)]  # it has 170,498,071
    gather(CIFAR, left, (f"{mirror}/",), home)
    with storing(CIFAR, home):
        CIFAR10(home, download=True)  # finds its archive there
        (home / name).unlink()
    return target


def attempt(name: str) -> str:
    """Download a data set unless that failed before; return why it cannot be had, or ""."""
    if offline():
        return "COMPANION_OFFLINE is set and its files are not here"
    if name not in _in_vain:
        try:
            fetch(name)
            return ""
        except DataError as error:
            _in_vain[name] = str(error)
    return _in_vain[name]
