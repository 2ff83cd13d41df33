"""Files that are whole or absent: atomic writes, and tensors that travel with a checksum."""

import hashlib
import io
import json
import lzma
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

LARGE = 4096  # weights of a matrix from which on each of them is published as one byte


class RunError(RuntimeError):
    """A run cannot be saved, recalled or published; the message is one sentence."""


class DamagedFile(RunError):
    """A saved file is truncated, altered, or does not belong to this model."""


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; put it in place only once it is written and synced.

    Raises RunError, in one sentence, when the disk is full or not writable; whatever happens
    before the end leaves the file that was there byte for byte.
    """
    draft = None
    sweep(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        os.close(handle)
        draft = Path(name)
        yield draft
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        draft.chmod(0o644)
        os.replace(draft, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(f"cannot write {path}: {reason}; what was there before is kept") from error
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Delete the drafts of `path` that killed processes left an hour ago or earlier."""
    for draft in path.parent.glob(f".{path.name}-*"):
        with suppress(OSError):
            if time.time() - draft.stat().st_mtime > 3600:
                draft.unlink()


def check_writable(folder: Path) -> None:
    """Raise RunError now, rather than after hours of training, if `folder` takes no files."""
    with write_atomically(folder / ".trial"):
        pass
    (folder / ".trial").unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write one JSON file atomically."""
    with write_atomically(path) as draft:
        draft.write_text(json.dumps(content, indent=1) + "\n")


def digest(tensors: dict[str, Tensor], record: str) -> str:
    """Hash names, types, shapes and bytes, and the record that travels with them."""
    sha = hashlib.sha256(record.encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        sha.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        sha.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def save_tensors(path: Path, tensors: dict[str, Tensor], **record: Any) -> str:
    """Write tensors and a JSON record to one safetensors file, atomically; return its sha256."""
    text = json.dumps(record, sort_keys=True)
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    sha256 = digest(plain, text)
    with write_atomically(path) as draft:
        draft.write_bytes(save(plain, {"record": text, "sha256": sha256}))
    return sha256


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Raises DamagedFile if a single bit is not as written, RunError if there is nothing to read.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text = header["record"]
        if header["sha256"] != digest(tensors, text):
            raise DamagedFile(f"{path} is damaged: its checksum differs; delete it to start anew")
        return tensors, {**json.loads(text), "sha256": header["sha256"]}
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except (SafetensorError, KeyError, ValueError, RuntimeError, TypeError) as error:
        if isinstance(error, DamagedFile):
            raise
        raise DamagedFile(
            f"{path} is damaged or no file of ours ({type(error).__name__}); "
            "delete it to start anew"
        ) from error


def described(value: Tensor | None) -> str:
    """Name the kind and the shape of a tensor, or that there is none."""
    if value is None:
        return "missing"
    return f"{'real' if value.is_floating_point() else 'whole'} {tuple(value.shape)}"


def pack(weights: dict[str, Tensor], large: float = LARGE) -> dict[str, Tensor]:
    """Make weights small enough for publishing: large matrices in bytes, the rest in half.

    Each row w of a matrix or filter bank of `large` or more weights becomes the whole numbers
    round(w / s) in -127..127, and its s = max |w| / 127 is kept under the name with "/scale". What
    overflows half precision (above 65,504), and whole numbers, stay as they are.
    """
    packed = {}
    for name, value in weights.items():
        real = value.is_floating_point()
        if real and value.ndim > 1 and value.numel() >= large and value.isfinite().all():
            scale = value.abs().flatten(1).amax(1).clamp_min(1e-12).float() / 127
            packed[f"{name}/scale"] = scale
            rows = value / scale.reshape(-1, *[1] * (value.ndim - 1))
            packed[name] = rows.round().to(torch.int8)
        else:
            half = value.half() if real else value
            packed[name] = half if half.isfinite().all() else value
    return packed


def thinned(kept: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keep nine epochs at most, the first and the last among them, further and further apart."""
    last = int(max(kept, default=0))
    near = {
        min(kept, key=lambda epoch: abs(int(epoch) - last ** (k / 8)))
        for k in range(9 if kept else 0)
    }
    return {epoch: pressed(kept[epoch]) for epoch in sorted(near)}


def pressed(value: Tensor) -> Tensor:
    """Say a tensor in fewer bytes (n,) without loss."""
    np.save(text := io.BytesIO(), value.numpy())
    return torch.frombuffer(bytearray(lzma.compress(text.getvalue())), dtype=torch.uint8)


def unpressed(value: Tensor) -> Tensor:
    """Undo `pressed`; a tensor of more than one axis never was."""
    if value.ndim > 1:
        return value
    return torch.from_numpy(np.load(io.BytesIO(lzma.decompress(value.numpy().tobytes()))))


def unpack(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Undo `pack`, up to its rounding; what was not packed comes back as it is."""
    found = {}
    for name, value in weights.items():
        scale = weights.get(f"{name}/scale")
        if scale is not None:
            value = value * scale.reshape(-1, *[1] * (value.ndim - 1))
        if not name.endswith("/scale"):
            found[name] = value
    return found


def fit(module: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Load weights whose names, shapes and kinds are the module's, or raise DamagedFile.

    The kinds are floating-point and whole numbers; half precision fits into single, and packed
    weights are unpacked.
    """
    own, weights = module.state_dict(), unpack(weights)
    for name in sorted(own.keys() | weights.keys()):
        here, there = own.get(name), weights.get(name)
        ours, theirs = described(here), described(there)
        if ours != theirs:
            raise DamagedFile(
                f"{path} does not fit: {name} is {theirs} in the file, {ours} in the model"
            )
    module.load_state_dict(weights)
