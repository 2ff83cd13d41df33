"""Data by name: originals with a checksum, stand-ins, drawn worlds and exact worlds."""

from companion.data.catalogue import known, load, status
from companion.data.dataset import Dataset, unit
from companion.data.downloads import DataError, fetch
from companion.data.faces import load_faces

__all__ = ["DataError", "Dataset", "fetch", "known", "load", "load_faces", "status", "unit"]
