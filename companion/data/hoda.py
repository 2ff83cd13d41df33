"""The Hoda set of Persian handwritten digits: its .cdb files, every record of them checked.

Khosravi and Kabir, "Introducing a very large dataset of handwritten Farsi digits and a study on
their varieties", Pattern Recognition Letters 28(10), 2007: binary scans, 200 dots per inch, of
digits from about 12,000 forms. Free of charge for research and non-commercial use only.
"""

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from companion.data.downloads import DataError
from companion.data.places import Place, located

HEADER = 1024  # bytes: date, common size, number of records, records per label, kind, comment
RECORD = struct.Struct("<BBBBH")  # start mark, label, width, height, bytes that follow


class Part(NamedTuple):
    """One file of the Hoda set."""

    name: str
    size: int  # bytes
    sha256: str  # of the records, which begin after the header


PARTS = (
    Part(
        "Train 60000.cdb",
        6_497_871,
        "28de029ee3d0dfda15669e4c86b5a4eb6cd7197f7c9a92959182f1b00ad017a0",
    ),
    Part(
        "Test 20000.cdb",
        2_184_440,
        "4ad6467782f2e45f8f0959092ca5c9a867afa8c6a83cbdc07206dcedf7569687",
    ),
)


def find() -> Place | None:
    """Return the first folder that holds both files of the Hoda set, if any does."""
    return next((place for place in located(*(part.name for part in PARTS)) if place.whole), None)


def genuine(path: Path, part: Part) -> tuple[bytes, bool]:
    """Read a file, never much more than it should have; say whether its records are the original.

    The header is not compared: it also holds a date and a comment.
    """
    with open(path, "rb") as file:
        content = file.read(part.size + 1)
    return content, hashlib.sha256(content[HEADER:]).hexdigest() == part.sha256


def read_part(path: Path, part: Part) -> "Scans":
    """Read one of the two files. Raises DataError unless its records are the published ones."""
    content, intact = genuine(path, part)
    scans = read_cdb(content, str(path))  # names the record that is at fault, if one is
    if not intact:
        raise DataError(f"{path} is not the published file (wrong checksum): move it away")
    return scans


class Scans(NamedTuple):
    """The records of a .cdb file: scans of different sizes, and their labels."""

    labels: np.ndarray  # (N,) int64
    widths: np.ndarray  # (N,) int64
    heights: np.ndarray  # (N,) int64
    pixels: np.ndarray  # uint8, 1 where ink is; all scans one after another, row by row

    def images(self) -> Iterator[np.ndarray]:
        """Yield the scans one by one: uint8 (height, width) in {0, 1}."""
        end = 0
        for width, height in zip(self.widths.tolist(), self.heights.tolist(), strict=True):
            begin, end = end, end + width * height
            yield self.pixels[begin:end].reshape(height, width)


def read_cdb(content: bytes, name: str) -> Scans:
    """Read a .cdb file of binary scans, the format of Khosravi and Kabir 2007.

    Raises DataError, with the record (counted from 1) and its fault, unless every start mark,
    label, size, payload length and row is in order, the records are as many of each label as
    the header states, and the last of them ends the file. `name` is the file's in the message.
    """
    if len(content) < HEADER:
        raise DataError(f"{name} is no .cdb file: its header alone would be {HEADER:,} bytes")
    *_, height, width, records = struct.unpack_from("<HBBBBI", content)
    if content[522] != 0 or height or width:
        raise DataError(f"{name} is no .cdb file of binary scans that have sizes of their own")
    table = walk(content, records, name)
    labels, widths, heights, begins, ends = np.array(table, np.int64).reshape(-1, 5).T
    stated = np.frombuffer(content, "<u4", 128, 10)
    if (np.bincount(labels, minlength=128) != stated).any():
        raise DataError(f"{name} has other numbers of records per label than its header states")
    payload = np.ones(len(content), bool)
    payload[:HEADER] = False
    for byte in range(RECORD.size):
        payload[begins - 1 - byte] = False
    runs = np.frombuffer(content, np.uint8)[payload]
    pixels = unrolled(runs, ends - begins, widths, heights, name)
    return Scans(labels, widths, heights, pixels)


def walk(content: bytes, records: int, name: str) -> list[tuple[int, ...]]:
    """List label, width, height, begin and end of the payload of each record."""
    end, table = HEADER, []
    for number in range(1, records + 1):
        begin = end + RECORD.size
        if begin > len(content):
            raise DataError(f"{name} ends before record {number:,} of {records:,}")
        mark, label, width, height, length = RECORD.unpack_from(content, end)
        end = begin + length
        fault = ""
        if mark != 0xFF:
            fault = f"its start mark is {mark:#x}, not 0xff"
        elif label > 9:
            fault = f"its label is {label}, not a digit"
        elif not width or not height:
            fault = f"it is {width} x {height} pixels large"
        elif end > len(content):
            fault = f"it announces {length} bytes, the file ends after {len(content) - begin}"
        if fault:
            raise DataError(f"{name}, record {number:,} of {records:,}: {fault}")
        table.append((label, width, height, begin, end))
    if end != len(content):
        left = len(content) - end
        raise DataError(f"{name} goes on for {left:,} bytes after its {records:,} records")
    return table


def unrolled(
    runs: np.ndarray, lengths: np.ndarray, widths: np.ndarray, heights: np.ndarray, name: str
) -> np.ndarray:
    """Turn runs, white and black by turns and anew in each row, into pixels, 1 where ink is.

    Raises DataError if a row of a record does not add up to the record's width.
    """
    record = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)  # of each run
    edges = np.concatenate([[0], np.cumsum(runs, dtype=np.int64)])
    firsts = np.cumsum(lengths) - lengths
    sums = edges[firsts + lengths] - edges[firsts]
    after = (edges[1:] - edges[firsts][record]).astype(np.int32)  # pixels up to the run's end
    del edges
    width = widths.astype(np.int32)[record]
    torn = (runs > 0) & ((after - runs) // width != (after - 1) // width)
    if torn.any():
        run = int(torn.argmax())
        fault = f"row {(after[run] - runs[run]) // width[run] + 1} does not add up to {width[run]}"
        raise DataError(f"{name}, record {record[run] + 1:,} of {len(lengths):,}: {fault} pixels")
    last = np.append(runs, 0)[np.maximum(firsts + lengths, 1) - 1]  # a run of 0 ends no row
    wrong = (sums != widths * heights) | (last == 0)
    if wrong.any():
        k = int(wrong.argmax())
        fault = f"its {lengths[k]} bytes are not {heights[k]} rows of {widths[k]} pixels"
        raise DataError(f"{name}, record {k + 1:,} of {len(lengths):,}: {fault}")
    place = np.arange(len(runs), dtype=np.int32)
    opens = np.append(True, ((after % width == 0) & (runs > 0))[:-1])  # a row
    ink = (place - np.maximum.accumulate(np.where(opens, place, 0))) & 1
    return np.repeat(ink.astype(np.uint8), runs)
