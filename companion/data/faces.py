"""Faces from four sources: drawn by the package, Olivetti, CelebA, a folder of pictures."""

# What reads photographs is imported where it is used: it takes seconds and 300 MB to load.
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from companion.data.dataset import Dataset, fingerprint
from companion.data.downloads import DataError
from companion.data.drawing import faces as drawing
from companion.data.forms import IMAGES
from companion.data.places import cache, located, looked_for
from companion.environment import offline
from companion.words import nearest

SOURCES = ("procedural", "olivetti", "celeba")
PEOPLE, EACH = 40, 10  # in Olivetti: ten photographs of each person
PHOTOGRAPHS = {"olivetti": "olivettifaces.mat", "celeba": "list_attr_celeba.txt"}  # in the folder
CROP = 148  # pixels of CelebA's 178 x 218 that hold the face


def load_faces(
    source: str | Path = "procedural", size: int = 128, n: int = 20_000, seed: int = 0,
    colour: bool = False,
) -> Dataset:  # fmt: skip
    """Load faces uint8 (N, 1, size, size), grey, in 0..255 with attributes float32 (N, A).

    colour: three channels in place of one; the drawn faces are then tinted, each in its own tone.
    "procedural": n faces drawn by this package (`seed` chooses which) with exact attributes.
    "olivetti": 400 photographs of 40 people (Samaria and Harter 1994), without attributes; the
    test set is 8 people whom the training set does not show. "celeba": at most n photographs
    (Liu et al. 2015), 40 binary attributes. Any other path: at most n pictures found below that
    folder, their central squares; if they lie in two sub-folders, such as `neutral` and `smile`,
    the one attribute is 1 for the second, else there is none. All are split 80/20 in one fixed
    random order; `class_names` are the attributes' names.

    Originals are looked for in COMPANION_DATA, then in the caches, then downloaded (unless
    COMPANION_OFFLINE is set). Raises DataError if there are none: nothing is put in their place.
    Raises ValueError for an unknown name, for n < 5 or size < 16, and for Olivetti in colour.
    """
    if n < 5 or size < 16:
        raise ValueError(f"faces need n >= 5 and size >= 16 pixels, got n={n} and size={size}")
    if source == "procedural":
        return procedural(size, n, seed, colour)
    if source == "olivetti":
        if colour:
            raise ValueError("the Olivetti photographs are grey: take colour=False")
        return olivetti(size)
    mode = "RGB" if colour else "L"
    if source == "celeba":
        images, attributes, names = celeba(size, n, mode)
        return dealt("celeba", images, attributes, names, "original")
    folder = Path(source).expanduser()
    if isinstance(source, str) and not folder.is_dir() and os.sep not in source:
        raise ValueError(f"no faces are called {source!r} {nearest(source, SOURCES)}")
    images, attributes, names = pictures_of(folder, size, n, mode)
    return dealt(folder.name, images, attributes, names, "original")


def held_out(
    count: int = 1000, n: int = 20_000, seed: int = 0, size: int = 128
) -> tuple[Tensor, Tensor]:
    """Draw the first test faces of `load_faces("procedural", size, n, seed)`, and no others.

    Returns images uint8 (count, 1, size, size) and attributes float32 (count, A). Raises
    ValueError if the test set has not so many.
    """
    test = deal(n)[n * 4 // 5 :]
    if not 1 <= count <= len(test):
        raise ValueError(f"count must be 1 to the {len(test)} test faces, got {count}")
    return drawing.draw_numbered(test[:count].tolist(), seed, size)


def deal(n: int) -> Tensor:
    """Put n faces into the one fixed random order, of which four fifths are for training."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(0))


def dealt(
    name: str, images: Tensor, attributes: Tensor, names: tuple[str, ...], source: str
) -> Dataset:
    """Split images and attributes 80/20 in one fixed random order."""
    order = deal(len(images))
    return parted(name, images, attributes, names, source, order, len(images) * 4 // 5)


def parted(
    name: str,
    images: Tensor,
    attributes: Tensor,
    names: tuple[str, ...],
    source: str,
    order: Tensor,
    cut: int,
) -> Dataset:
    """Take the first `cut` of an order for training and the others for testing."""
    train, test = ((images[where], attributes[where]) for where in (order[:cut], order[cut:]))
    sha256 = fingerprint(*train, *test)
    return Dataset(name, train, test, names, source, sha256, "80/20", IMAGES)


@lru_cache(maxsize=1)
def procedural(size: int, n: int, seed: int, colour: bool = False) -> Dataset:
    """Draw faces, once per process."""
    images, attributes = drawing.draw(n, seed, size)
    name = "tinted faces" if colour else "procedural faces"
    images = tinted(images, seed) if colour else images
    return dealt(name, images, attributes, drawing.NAMES, "procedural")


def tinted(grey: Tensor, seed: int = 0) -> Tensor:
    """Give each grey face uint8 (N, 1, H, W) a tone of its own: (N, 3, H, W), its lightest 255."""
    draws = torch.Generator().manual_seed(seed)
    tone = 0.55 + 0.45 * torch.rand(len(grey), 3, 1, 1, generator=draws)
    tone = tone / tone.amax(1, keepdim=True)
    coloured = grey.new_empty(len(grey), 3, *grey.shape[2:])
    for part, faces, own in zip(
        coloured.split(500), grey.split(500), tone.split(500), strict=True
    ):
        part.copy_((faces * own).round())
    return coloured


def square(picture: Image.Image, size: int, side: int | None = None, mode: str = "L") -> Tensor:
    """Cut out the middle, `side` pixels or all there is, and resize it: uint8 (C, S, S).

    mode: "L" for one grey channel, "RGB" for three.
    """
    from torchvision.transforms.v2 import functional as pictures

    whole = pictures.pil_to_tensor(ImageOps.exif_transpose(picture).convert(mode))
    side = side or min(whole.shape[1:])
    return pictures.resize(pictures.center_crop(whole, [side, side]), [size, size])


def pictures_of(
    folder: Path, size: int, n: int, mode: str = "L"
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Read n pictures below a folder, and which of two sub-folders each is in, if there are two.

    The first n in the order of their paths; of two sub-folders, n / 2 of each.
    """
    from torchvision.datasets.folder import IMG_EXTENSIONS

    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMG_EXTENSIONS)
    kinds = sorted({p.relative_to(folder).parts[0] for p in paths if p.parent != folder})
    two = len(kinds) == 2 and all(p.parent != folder for p in paths)
    of = [[p for p in paths if p.relative_to(folder).parts[0] == kind] for kind in kinds]
    paths = of[0][: (n + 1) // 2] + of[1][: n // 2] if two else paths[:n]
    if len(paths) < 5:
        raise DataError(
            f"{folder} has {len(paths)} pictures, but a split 80/20 needs at least 5; "
            'the faces "procedural" always work'
        )
    images = torch.empty(len(paths), len(mode), size, size, dtype=torch.uint8)
    for image, path in zip(images, paths, strict=True):
        try:
            with Image.open(path) as picture:
                image.copy_(square(picture, size, mode=mode))
        except (OSError, UnidentifiedImageError) as error:
            raise DataError(f"{path} cannot be read as a picture") from error
    if not two:
        return images, torch.zeros(len(images), 0), ()
    second = [float(path.relative_to(folder).parts[0] == kinds[1]) for path in paths]
    return images, torch.tensor(second)[:, None], (kinds[1],)


def unavailable(name: str, also: str, why: str) -> DataError:
    """Say in one sentence where an original was looked for, and what works without it."""
    return DataError(
        f"the faces {name!r} are neither here nor in {also} ({why}; "
        f"{looked_for(PHOTOGRAPHS[name])}); "
        'the faces "procedural" always work'
    )


def olivetti(size: int) -> Dataset:
    """Load the Olivetti photographs and split them by person, 32 and 8."""
    from torchvision.transforms.v2 import functional as pictures

    grey = olivetti_photographs().astype(np.float64)
    grey = (grey - grey.min()) / (grey.max() - grey.min()) * 255  # copies differ in their scale
    images = pictures.resize(torch.from_numpy(grey.round().astype(np.uint8))[:, None], [size] * 2)
    people = torch.randperm(PEOPLE, generator=torch.Generator().manual_seed(0))
    order = (people[:, None] * EACH + torch.arange(EACH)).flatten()  # a person's ten together
    none = torch.zeros(len(images), 0)
    return parted("olivetti", images, none, (), "original", order, len(images) * 4 // 5)


def olivetti_photographs() -> np.ndarray:
    """Find the photographs: (400, 64, 64), ten of the first person, ten of the second, ..."""
    from scipy.io import loadmat
    from sklearn.datasets import fetch_olivetti_faces

    for path in (place.files[0][0] for place in located(PHOTOGRAPHS["olivetti"])):
        try:
            faces = loadmat(path)["faces"]
        except (ValueError, KeyError, OSError, TypeError, NotImplementedError) as error:
            raise DataError(f"{path} is not the file of the Olivetti faces") from error
        if faces.shape != (64 * 64, PEOPLE * EACH):
            raise DataError(
                f"{path} should hold faces of shape (4096, 400), it holds {faces.shape}"
            )
        return faces.T.reshape(-1, 64, 64).transpose(0, 2, 1)  # stored column by column
    try:
        found: Any = fetch_olivetti_faces(download_if_missing=not offline())
        return found.images
    except Exception as error:  # whatever the library and its network say
        why = "COMPANION_OFFLINE is set" if offline() else type(error).__name__
        raise unavailable("olivetti", "scikit-learn's cache", why) from error


def celeba(size: int, n: int, mode: str = "L") -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Load at most n photographs of CelebA, chosen in one fixed random order."""
    from torchvision.datasets import CelebA

    found = None
    for place in located(PHOTOGRAPHS["celeba"]):
        here = type("CelebA", (CelebA,), {"base_folder": place.folder.name})
        try:
            found = here(place.folder.parent, split="all", target_type="attr", download=False)
            break
        except (RuntimeError, OSError):
            continue
    if found is None:
        try:
            if offline():
                raise OSError("COMPANION_OFFLINE is set")
            found = CelebA(cache(), split="all", target_type="attr", download=True)
        except Exception as error:  # whatever the library and its network say
            why = str(error) if offline() else type(error).__name__
            raise unavailable("celeba", "a download", why) from error
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(0))[:n].tolist()
    images = torch.empty(len(order), len(mode), size, size, dtype=torch.uint8)
    for image, k in zip(images, order, strict=True):
        image.copy_(square(found[k][0], size, CROP, mode))
    return images, found.attr[order].float(), tuple(name for name in found.attr_names if name)
