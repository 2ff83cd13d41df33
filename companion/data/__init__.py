"""Data by name: originals with a checksum, stand-ins, drawn worlds and exact worlds."""

from companion.data.catalogue import known, load, small, status
from companion.data.dataset import Dataset
from companion.data.downloads import DataError
from companion.data.faces import load_faces
from companion.data.fetching import fetch
from companion.data.forms import Batch, as_bytes, signed, unit, unsigned

__all__ = [
    "Batch", "DataError", "Dataset", "as_bytes", "fetch", "known", "load", "load_faces",
    "signed", "small", "status", "unit", "unsigned",
]  # fmt: skip
