"""What `load` returns: stored tensors, and the one road from them to what a model sees."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from companion.data.forms import AS_STORED, Batch, Decode
from companion.tensors import raw
from companion.words import nearest

CPU = torch.device("cpu")
PARTS = ("train", "test")
SHARE = 0.5  # of a device's free memory that a data set may fill


@dataclass(frozen=True)
class Dataset:
    """A training and a test set, where they came from, and how a model sees them.

    `train` and `test` are tensors of N rows each, as small as they can be stored: bytes for
    pixels, whole numbers for tokens, floats for waves and points; what is ragged is padded, with
    its count as a further tensor. `forms` are the decoders, the usual one first. The tensors may
    be shared with other callers: read them, do not write into them.
    """

    name: str
    train: Batch
    test: Batch
    class_names: tuple[str, ...]  # or the names of factors or attributes
    # "original" or which part of it, "procedural" (drawn, and meant to be), "exact" or "stand-in".
    source: str
    sha256: str  # of all the tensors, in their order: another split has another one
    split: str = "official"
    forms: Mapping[str, Decode] = field(default_factory=lambda: AS_STORED, repr=False)
    form: str = ""  # what `take` gives; "": the usual one
    device: torch.device = CPU  # where `take` puts its batches

    def seen_as(self, form: str) -> "Dataset":
        """Choose a form; "" is the usual one. Raises ValueError if the data do not have it."""
        if form and form not in self.forms:
            raise ValueError(f"{self.name} has no form {form!r} {nearest(form, self.forms)}")
        return replace(self, form=form)

    def take(self, part: str, where: Tensor | slice) -> Batch:
        """Decode the rows `where` of "train" or "test", on the device that was chosen."""
        if part not in PARTS:
            raise ValueError(f"no part of the data is called {part!r} {nearest(part, PARTS)}")
        tensors = getattr(self, part)
        rows = where.to(tensors[0].device) if isinstance(where, Tensor) else where
        decode = self.forms[self.form or next(iter(self.forms))]
        return decode(tuple(t[rows].to(self.device) for t in tensors))

    def batches(self, part: str, size: int, n: int = 0) -> Iterator[Batch]:
        """Yield the first n rows (0: all) of "train" or "test" in order, `size` at a time."""
        n = min(n or len(getattr(self, part)[0]), len(getattr(self, part)[0]))
        for begin in range(0, n, size):
            yield self.take(part, slice(begin, min(begin + size, n)))

    def examples(self, part: str = "test", n: int = 0) -> Batch:
        """Decode the first n rows (0: all) of "test" or "train"."""
        return self.take(part, slice(n or None))

    def cut(self, n: int) -> "Dataset":
        """Keep the first n rows of both sets; 0: all. ValueError for more than are trained on."""
        if n > len(self.train[0]):
            most = len(self.train[0])
            raise ValueError(f"subset must be at most the {most} training examples, got {n}")
        train, test = (tuple(t[: n or None] for t in part) for part in (self.train, self.test))
        return replace(self, train=train, test=test)

    def on(self, device: torch.device, room: float | None = None) -> "Dataset":
        """Give batches on a device, and hold all tensors there if they fill at most `room` bytes.

        room: by default half of what is free on a GPU, and all there is on a CPU.
        """
        if room is None:
            free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else float("inf")
            room = SHARE * free
        size = sum(t.numel() * t.element_size() for t in (*self.train, *self.test))
        if size > room:
            return replace(self, device=device)
        train, test = (tuple(t.to(device) for t in part) for part in (self.train, self.test))
        return replace(self, train=train, test=test, device=device)


def fingerprint(*tensors: Tensor) -> str:
    """Hash the bytes of tensors, one after the other, with SHA-256."""
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(raw(tensor).numpy().data)
    return sha.hexdigest()
