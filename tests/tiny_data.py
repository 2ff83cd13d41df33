"""Data sets of 64 examples in the place of the real ones, another one for each name and choice."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import torch

from companion.data import Dataset, dsprites
from companion.data.drawing.faces import KINDS
from companion.data.forms import IMAGES
from companion.worlds.recall import dataset

N = 64


def seeded(*words: object) -> torch.Generator:
    """A generator that depends on what was asked for."""
    code = hashlib.sha256(repr(words).encode()).digest()[:6]
    return torch.Generator().manual_seed(int.from_bytes(code, "big"))


def pictures(side: int, *words: object) -> tuple[torch.Tensor, torch.Tensor]:
    """Blotches of grey, uint8 (64, 1, side, side), and labels (64,)."""
    draw = seeded(side, *words)
    coarse = torch.rand(N, 1, 4, 4, generator=draw)
    images = torch.nn.functional.interpolate(coarse, side, mode="bilinear")
    labels = torch.randint(10, (N,), generator=draw)
    return (255 * images).to(torch.uint8), labels


def load(name: str, split: str = "official") -> Dataset:
    """In the place of `companion.data.load`."""
    part = pictures(28, name, split)
    return Dataset(name, part, part, tuple("0123456789"), "exact", "", split, IMAGES)


def load_answered(name: str, n: int) -> Dataset:
    """In the place of `first_images` for JEM, which stops at classes that nobody could guess."""
    from companion.experiments.images import pinned
    from companion.experiments.joint import joint_classifier

    data = load(name, f"first {n}")
    with torch.no_grad():
        labels = pinned(joint_classifier, "mnist").model.classify(data.train[0] / 255).argmax(1)
    part = data.train[0], labels
    return Dataset(name, part, part, tuple("0123456789"), "exact", "", f"first {n}", IMAGES)


def load_binary(name: str) -> Dataset:
    """In the place of `companion.data.load` where pixels are black or white."""
    images, labels = pictures(28, name)
    part = torch.where(images > 127, 255, 0).to(torch.uint8), labels
    return Dataset(name, part, part, tuple("0123456789"), "exact", "", "", IMAGES)


def load_bits(name: str, split: str = "official", images: int = 0) -> Dataset:
    """In the place of `companion.data.binary.load_binary`."""
    x, y = load(name, split).train
    x = torch.where(x > 127 + images, 255, 0).to(torch.uint8)
    return Dataset(name, (x, y), (x, y), tuple("0123456789"), "exact", "", split, IMAGES)


def load_faces(source: str, size: int, n: int, colour: bool = False) -> Dataset:
    """In the place of `companion.data.load_faces`."""
    images, _ = pictures(size, source, n)
    images = images.expand(-1, 3, -1, -1) if colour else images
    binary = torch.tensor([kind == "binary" for kind in KINDS])
    attributes = torch.rand(N, len(KINDS), generator=seeded(source, n))
    attributes = torch.where(binary, attributes.round(), attributes)
    part = images, attributes
    return Dataset(source, part, part, tuple(KINDS), "exact", "", "", IMAGES)


def load_sprites(images: int = 0) -> Dataset:
    """In the place of `dsprites.load`."""
    rows = torch.randint(dsprites.ROWS, (N,), generator=seeded(images))
    factors = dsprites.factors_of(rows)
    part = dsprites.pack(dsprites.draw(factors)), factors
    return Dataset("dsprites", part, part, dsprites.FACTORS, "exact", "", "", dsprites.FORMS)


def recalled(name: str, make: Callable[..., Any], train: int, test: int) -> Dataset:
    """In the place of `companion.worlds.recall.dataset`: as many as the others are."""
    return dataset(name, make, N, N)


def put_in_place(patch: pytest.MonkeyPatch) -> None:
    """Let all experiments see the small sets."""
    homes: dict[str, Callable[..., Dataset]] = {
        "companion.experiments.images.load": load,
        "companion.experiments.adversarial.load": load,
        "companion.experiments.diffusion.load": load,
        "companion.experiments.digits.load": load_binary,
        "companion.experiments.autoregressive.load_binary": load_bits,
        "companion.experiments.hierarchy.load_binary": load_bits,
        "companion.experiments.priors.load_binary": load_bits,
        "companion.experiments.flows.first_images": lambda name, n: load(name, f"first {n}"),
        "companion.experiments.residual.first_images": lambda name, n: load(name, f"first {n}"),
        "companion.experiments.quantized.load": load,
        "companion.experiments.quantized.load_binary": lambda name: load_bits(name, "", 0),
        "companion.experiments.energy.load": load,
        "companion.experiments.energy.first_images": lambda name, n: load(name, f"first {n}"),
        "companion.experiments.joint.load": load,
        "companion.experiments.joint.first_images": load_answered,
        "companion.experiments.sequences.digits": lambda *asked: load_binary(repr(asked)),
        "companion.experiments.sequences.dataset": recalled,
        "companion.experiments.faces.load_faces": load_faces,
        "companion.experiments.flows.load_faces": load_faces,
        "companion.data.dsprites.load": load_sprites,
    }
    for home, function in homes.items():
        patch.setattr(home, function)
