"""Data by name: originals with a checksum, stand-ins, and exact worlds."""

from companion.data.catalogue import known, load, status
from companion.data.dataset import Dataset, unit
from companion.data.downloads import DataError, fetch

__all__ = ["DataError", "Dataset", "fetch", "known", "load", "status", "unit"]
