"""Tensors in files: each file with a checksum of its own; weights small enough to publish."""

import hashlib
import io
import json
import lzma
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from companion.files import DamagedFile, reading, write_atomically

LARGE = 4096  # weights of a matrix from which on they are published as whole numbers
BITS = range(4, 17)  # that a published weight may take


def raw(tensor: Tensor) -> Tensor:
    """The bytes of a tensor, element by element in the order of its indices: uint8 (n,)."""
    flat = tensor.contiguous().view(-1)
    if flat.stride(0) != 1:  # of one element, whose stride says nothing, and counts for a view
        flat = flat.clone(memory_format=torch.contiguous_format)
    return flat.view(torch.uint8)


def digest(tensors: dict[str, Tensor], record: str) -> str:
    """Hash names, types, shapes and bytes, and the record that travels with them."""
    sha = hashlib.sha256(record.encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        sha.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        sha.update(raw(value).numpy().data)
    return sha.hexdigest()


def save_tensors(path: Path, tensors: dict[str, Tensor], **record: Any) -> str:
    """Write tensors and a JSON record to one safetensors file, atomically; return its sha256."""
    text = json.dumps(record, sort_keys=True)
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    sha256 = digest(plain, text)
    with write_atomically(path) as draft:
        draft.write_bytes(save(plain, {"record": text, "sha256": sha256}))
    return sha256


def load_tensors(path: Path, **expected: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    expected: what its record must say, as far as it says it: older records say less. Raises
    DamagedFile if a single bit is not as written or the file is another's, RunError if there is
    nothing to read.
    """
    with reading(path):
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text = header["record"]
        if header["sha256"] != digest(tensors, text):
            raise DamagedFile(f"{path} is damaged: its checksum differs; delete it to start anew")
        record = {**json.loads(text), "sha256": header["sha256"]}
    for key, value in expected.items():
        if record.get(key, value) != value:
            raise DamagedFile(f"{path} is another's: its {key} is {record[key]}, not {value}")
    return tensors, record


def record_of(path: Path) -> dict[str, Any]:
    """Read the record of a file without its tensors, and so without its checksum."""
    with reading(path), safe_open(path, "pt") as file:
        return dict(json.loads((file.metadata() or {})["record"]))


def described(value: Tensor | None) -> str:
    """Name the kind and the shape of a tensor, or that there is none."""
    if value is None:
        return "missing"
    return f"{'real' if value.is_floating_point() else 'whole'} {tuple(value.shape)}"


def pack(weights: dict[str, Tensor], bits: int = 8, large: int = LARGE) -> dict[str, Tensor]:
    """Make weights small enough for publishing: large matrices in few bits, the rest in half.

    Each row w of a matrix or filter bank of `large` or more weights becomes the whole numbers
    round(w / s) in -m..m with m = 2^(bits - 1) - 1, whose bytes are deflated; its s = max |w| / m
    is kept under the name with "/scale", its shape under "/shape". What overflows half precision
    (above 65,504), and whole numbers, stay as they are. Raises ValueError for bits outside 4..16.
    """
    if bits not in BITS:
        raise ValueError(f"a weight takes {BITS[0]} to {BITS[-1]} bits, got {bits}")
    packed, levels = {}, 2 ** (bits - 1) - 1
    for name, value in weights.items():
        real = value.is_floating_point()
        if real and value.ndim > 1 and value.numel() >= large and value.isfinite().all():
            scale = value.abs().flatten(1).amax(1).clamp_min(1e-12).float() / levels
            rows = (value / broadcast(scale, value.ndim)).round()
            rows = rows.to(torch.int8 if bits <= 8 else torch.int16)
            packed |= {f"{name}/scale": scale, **deflated(name, rows)}
        else:
            half = value.half() if real else value
            packed[name] = half if half.isfinite().all() else value
    return packed


def broadcast(scale: Tensor, ndim: int) -> Tensor:
    """One number for each row, ready to multiply a tensor of `ndim` axes."""
    return scale.reshape(-1, *[1] * (ndim - 1))


def deflated(name: str, whole: Tensor) -> dict[str, Tensor]:
    """Say int8 or int16 numbers in fewer bytes (n,), and their shape beside them, without loss.

    Of int16 all low bytes come first, then all high ones, which differ less.
    """
    planes = raw(whole).view(-1, whole.element_size()).T.contiguous()
    content = bytearray(zlib.compress(planes.numpy().tobytes(), 9))
    shape = torch.tensor(whole.shape)
    return {name: torch.frombuffer(content, dtype=torch.uint8), f"{name}/shape": shape}


def inflated(content: Tensor, shape: list[int]) -> Tensor:
    """Undo `deflated`. Raises ValueError where the bytes are not what the shape announces."""
    planes = torch.frombuffer(
        bytearray(zlib.decompress(raw(content).numpy().tobytes())), dtype=torch.uint8
    )
    size, left = divmod(len(planes), max(math.prod(shape), 1))
    if left or size not in (1, 2):
        raise ValueError(f"{len(planes)} bytes are no numbers of shape {shape}")
    whole = planes.view(size, -1).T.contiguous().view(torch.int8 if size == 1 else torch.int16)
    return whole.view(shape)


def unpack(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Undo `pack`, up to its rounding; what was not packed comes back as it is."""
    found = {}
    for name, value in weights.items():
        scale, shape = weights.get(f"{name}/scale"), weights.get(f"{name}/shape")
        if shape is not None:
            value = inflated(value, shape.tolist())
        if scale is not None:
            value = value * broadcast(scale, value.ndim)
        if not name.endswith(("/scale", "/shape")):
            found[name] = value
    return found


def load_weights(
    module: nn.Module, weights: dict[str, Tensor], path: Path, only: str = ""
) -> None:
    """Put weights into a module whose names, shapes and kinds they have, or raise DamagedFile.

    The kinds are floating-point and whole numbers; half precision fits into single, and packed
    weights are unpacked. only: the name of the part that the file holds; the rest of the module
    is left alone.
    """
    with reading(path):
        weights = unpack(weights)
    own = {
        k: v for k, v in module.state_dict().items() if k.startswith(f"{only}." if only else "")
    }
    for name in sorted(own.keys() | weights.keys()):
        ours, theirs = described(own.get(name)), described(weights.get(name))
        if ours != theirs:
            raise DamagedFile(
                f"{path} does not fit: {name} is {theirs} in the file, {ours} in the model"
            )
    module.load_state_dict(weights, strict=not only)


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Select the tensors below a prefix, and drop the prefix."""
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def pressed(value: Tensor) -> Tensor:
    """Say a tensor in fewer bytes (n,) without loss."""
    np.save(text := io.BytesIO(), value.numpy())
    return torch.frombuffer(bytearray(lzma.compress(text.getvalue())), dtype=torch.uint8)


def unpressed(value: Tensor) -> Tensor:
    """Undo `pressed`; a tensor of more than one axis never was."""
    if value.ndim > 1:
        return value
    return torch.from_numpy(np.load(io.BytesIO(lzma.decompress(value.numpy().tobytes()))))
