"""Persian digits: Hoda's files read or refused, put into frames, or replaced with a warning."""

import hashlib
import os
import struct
from fractions import Fraction
from pathlib import Path

import conftest
import numpy as np
import pytest
import torch

from companion.data import DataError, fetch, hoda, load, persian, status
from companion.data.hoda import PARTS, Part, read_cdb

DIGITS = "۰۱۲۳۴۵۶۷۸۹"


def write_record(label: int, image: np.ndarray) -> bytes:
    """Write one record of a .cdb file, pixel by pixel."""
    payload = []
    for row in image.tolist():
        runs, ink = [0], 0
        for pixel in row:
            if pixel != ink:
                runs.append(0)
                ink = pixel
            runs[-1] += 1
        payload += runs
    height, width = image.shape
    return struct.pack("<BBBBH", 255, label, width, height, len(payload)) + bytes(payload)


def write_cdb(labels: list[int], images: list[np.ndarray], comment: bytes = b"") -> bytes:
    """Write a .cdb file."""
    stated = [labels.count(k) for k in range(128)]
    header = struct.pack("<HBBBBI128IB", 2005, 8, 4, 0, 0, len(labels), *stated, 0) + comment
    records = [write_record(*pair) for pair in zip(labels, images, strict=True)]
    return header.ljust(1024, b"\0") + b"".join(records)


def read_slowly(content: bytes, records: int) -> list[tuple[int, list[list[int]]]]:
    """Read the first records of a .cdb file, run by run: labels and rows of 0 and 1."""
    found, at = [], 1024
    for _ in range(records):
        label, width, height = content[at + 1 : at + 4]
        at, rows = at + 6, []
        for _ in range(height):
            row, ink = [], 0
            while len(row) < width:
                row += [ink] * content[at]
                at, ink = at + 1, 1 - ink
            rows.append(row)
        found.append((label, rows))
    return found


def some_scans() -> tuple[list[int], list[np.ndarray]]:
    """Forty scans of every kind of shape: a column, a row, empty, full, wide and high ones."""
    random = np.random.default_rng(0)
    shapes = [(1, 9), (12, 1), (1, 1), (64, 30), (5, 255), (255, 3), (28, 28)]
    shapes += [tuple(random.integers(3, 40, 2)) for _ in range(31)]
    images = [(random.random(shape) < 0.4).astype(np.uint8) for shape in shapes]
    images += [np.zeros((8, 8), np.uint8), np.ones((8, 8), np.uint8)]
    return [k % 10 for k in range(40)], images


LABELS, IMAGES = some_scans()
CONTENT = write_cdb(LABELS, IMAGES)


def test_every_scan_comes_back_pixel_by_pixel():
    scans = read_cdb(CONTENT, "it")
    assert scans.labels.tolist() == LABELS
    for image, read in zip(IMAGES, scans.images(), strict=True):
        np.testing.assert_array_equal(read, image)
    slowly = [(label, image.tolist()) for label, image in zip(LABELS, IMAGES, strict=True)]
    assert read_slowly(CONTENT, 40) == slowly  # the two oracles agree


def altered(*changes: tuple[int, int]) -> bytes:
    """A file of three scans of 3 x 2 pixels with some bytes changed."""
    content = bytearray(write_cdb([1, 2, 3], [np.array([[0, 1, 1], [1, 0, 0]])] * 3))
    for place, value in changes:
        content[place] = value
    return bytes(content)


END, SECOND = len(altered()), 1024 + 11  # a record is 6 bytes and the runs 1 2, 0 1 2
DAMAGE = {
    "no header": (altered()[:1000], "it is no .cdb file: its header alone"),
    "grey pixels": (altered((522, 1)), "no .cdb file of binary scans"),
    "a common size": (altered((4, 2)), "that have sizes of their own"),
    "cut in a record": (
        altered()[:-1],
        "record 3 of 3: it announces 5 bytes, the file ends after",
    ),
    "cut between records": (altered()[: END - 11], "it ends before record 3 of 3"),
    "cut in a head": (altered()[: END - 8], "it ends before record 3 of 3"),
    "something after": (altered() + b"\xff", "it goes on for 1 bytes after its 3 records"),
    "fewer announced": (altered((6, 2)), "it goes on for 11 bytes after its 2 records"),
    "more announced": (altered((6, 4)), "it ends before record 4 of 4"),
    "other labels": (altered((SECOND + 1, 1)), "other numbers of records per label"),
    "no start mark": (altered((SECOND, 0xFE)), "record 2 of 3: its start mark is 0xfe, not 0xff"),
    "no digit": (altered((SECOND + 1, 10)), "record 2 of 3: its label is 10, not a digit"),
    "no width": (altered((SECOND + 2, 0)), "record 2 of 3: it is 0 x 2 pixels large"),
    "another height": (altered((SECOND + 3, 3)), "record 2 of 3: its 5 bytes are not 3 rows of 3"),
    "a long row": (altered((SECOND + 7, 3)), "record 2 of 3: row 1 does not add up to 3 pixels"),
    "a short row": (altered((SECOND + 9, 0)), "record 2 of 3: its 5 bytes are not 2 rows of 3"),
    "a run too much": (
        altered((SECOND + 9, 3), (SECOND + 10, 0)),
        "record 2 of 3: its 5 bytes are not 2 rows of 3 pixels",
    ),
}


@pytest.mark.parametrize(("content", "says"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_refused_with_the_record_and_its_fault(content, says):
    with pytest.raises(DataError) as caught:
        read_cdb(content, "it")
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A Hoda set of forty scans, twice; a cache and a folder of data, both empty."""
    sha256 = hashlib.sha256(CONTENT[1024:]).hexdigest()
    parts = tuple(Part(part.name, len(CONTENT), sha256) for part in PARTS)
    for module in (hoda, persian):
        monkeypatch.setattr(module, "PARTS", parts)
    monkeypatch.setattr(persian, "STAND_IN", (300, 100))
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path / "own"))
    persian.drawn.cache_clear()
    persian.original.cache_clear()
    yield parts
    persian.drawn.cache_clear()
    persian.original.cache_clear()


def lay(folder: Path, *contents: bytes) -> None:
    """Put the two files, or one, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, content in zip(PARTS, contents, strict=False):
        (folder / part.name).write_bytes(content)


def test_no_changed_byte_of_a_record_is_accepted(small, tmp_path):
    """Of a hundred places; what still reads as a file is refused for its checksum."""
    path = tmp_path / "it"
    for place in np.random.default_rng(1).integers(1024, len(CONTENT), 100).tolist():
        content = bytearray(CONTENT)
        content[place] ^= 1
        path.write_bytes(content)
        with pytest.raises(DataError):
            hoda.read_part(path, small[0])
    path.write_bytes(write_cdb(LABELS[::-1], IMAGES))
    with pytest.raises(DataError, match=r"is not the published file \(wrong checksum\)"):
        hoda.read_part(path, small[0])
    path.write_bytes(write_cdb(LABELS, IMAGES, b"another comment"))
    assert len(hoda.read_part(path, small[0]).labels) == 40


@pytest.mark.parametrize("place", ["own/hoda", "own", "own/Hoda/digits", "cache/hoda", "cache"])
def test_the_original_is_found_and_its_damage_is_an_error(place, small, tmp_path):
    lay(tmp_path / place, CONTENT, CONTENT)
    data = load("persian")
    assert (data.source, data.name, "".join(data.class_names)) == ("original", "persian", DIGITS)
    assert data.train[0].shape == (40, 1, 28, 28) and data.train[1].tolist() == LABELS
    assert data.sha256 == persian.load_persian().sha256 != persian.load_persian(32).sha256
    row = status()[-1]
    assert row["found"] == ("COMPANION_DATA" if "own" in place else "cache")
    assert (row["name"], row["path"]) == ("persian", str(tmp_path / place))
    assert (row["bytes"], row["damaged"]) == (2 * len(CONTENT), [])
    lay(tmp_path / place, CONTENT, CONTENT[:-3])
    persian.original.cache_clear()
    with pytest.raises(DataError, match=r"Test 20000\.cdb, record 40 of 40: it announces"):
        load("persian")
    assert status()[-1]["damaged"] == [str(tmp_path / place / "Test 20000.cdb")]


def test_without_the_original_one_warning_and_the_stand_in(small, tmp_path, recwarn):
    lay(tmp_path / "own/hoda", CONTENT)
    for _ in range(2):
        data = load("persian")
    (said,) = (str(w.message) for w in recwarn if "persian is drawn" in str(w.message))
    assert "non-commercial use only" in said and f"only {tmp_path / 'own/hoda/Train'}" in said
    assert (data.source, "".join(data.class_names)) == ("stand-in", DIGITS)
    assert (len(data.train[0]), len(data.test[0])) == (300, 100)
    assert conftest.FULL["companion.data.persian"] == (60_000, 20_000)
    assert not torch.equal(data.train[0][:100], data.test[0])
    assert status()[-1]["found"] == "not here: a stand-in would be used"
    with pytest.raises(DataError, match="persian is not downloaded: the Hoda set is free for"):
        fetch("persian")
    with pytest.raises(ValueError, match="28 or 32 pixels wide, got size=64"):
        persian.load_persian(64)


def overlaps(side: int, scale: Fraction, size: int) -> list[dict[int, Fraction]]:
    """What each pixel of the frame takes from which pixels of the scan, along one axis."""
    start = Fraction(size - side * scale) / 2
    start = Fraction(int(start)) if scale == 1 else start
    taken: list[dict[int, Fraction]] = [{} for _ in range(size)]
    for i in range(side):
        begin = start + i * scale
        for r in range(int(begin), size):
            if (shared := min(r + 1, begin + scale) - max(r, begin)) > 0:
                taken[r][i] = shared
    return taken


def framed_slowly(image: np.ndarray, size: int) -> list[list[bool]]:
    """Frame one scan by exact fractions, pixel by pixel."""
    scale = Fraction(min(max(image.shape), size - 4), max(image.shape))
    rows, columns = (overlaps(side, scale, size) for side in image.shape)

    def ink(row: dict[int, Fraction], column: dict[int, Fraction]) -> bool:
        ink_of = (a * b for i, a in row.items() for j, b in column.items() if image[i, j])
        return 2 * sum(ink_of) >= 1

    return [[ink(row, column) for column in columns] for row in rows]


@pytest.mark.parametrize("size", [28, 32])
def test_frames_are_those_of_exact_fractions(size):
    random = np.random.default_rng(2)
    shapes = [(5, 9), (24, 24), (28, 10), (40, 26), (11, 33), (30, 30)]
    images = [(random.random(shape) < 0.3).astype(np.uint8) for shape in shapes]
    scans = read_cdb(write_cdb([0] * 6, images), "it")
    frames = persian.framed(scans, size)[:, 0] == 255
    for frame, image in zip(frames, images, strict=True):
        assert frame.tolist() == framed_slowly(image, size)
        assert frame[2:-2, 2:-2].sum() == frame.sum()  # the margin stays empty


def hoda_file(part: Part) -> Path:
    """The original file that is at hand, or skip."""
    path = Path(os.environ.get("COMPANION_DATA", "")) / "hoda" / part.name
    if not path.is_file():
        pytest.skip("the original Hoda set is not in COMPANION_DATA")
    return path


@pytest.mark.parametrize(("part", "each"), [(PARTS[0], 6_000), (PARTS[1], 2_000)])
def test_the_original_has_the_published_counts(part, each):
    scans = hoda.read_part(hoda_file(part), part)
    assert np.bincount(scans.labels).tolist() == [each] * 10
    some = read_slowly(hoda_file(part).read_bytes(), 200)
    for (label, rows), quick, read in zip(some, scans.labels, scans.images(), strict=False):
        assert label == quick and rows == read.tolist()
