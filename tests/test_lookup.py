"""Look-up: the reader's folder, the cache, the network or none; each case in one sentence."""

import gzip
import socket
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from mirrors import good, write

from companion.__main__ import main
from companion.data import DataError, fetch, load, status
from companion.data.originals import ARCHIVES, find, unpacked

pytest_plugins = ["mirrors"]  # its fixtures: tiny, mirrors


def test_without_network_one_warning_one_attempt_and_the_stand_in(tiny, mirrors, monkeypatch):
    looked_up = []

    def no_network(host, *args, **kwargs):
        looked_up.append(host)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    mirrors(good)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    with pytest.warns(UserWarning, match="mnist is drawn .* no connection") as said:
        assert [load("mnist").source for _ in range(3)] == ["stand-in"] * 3
    assert len(said) == 1 and "\n" not in str(said[0].message)
    assert len(looked_up) == 1


def test_a_name_server_that_never_answers_costs_seconds(tiny, mirrors, monkeypatch):
    mirrors(good, good, good)
    release = threading.Event()

    def black_hole(*args, **kwargs):
        release.wait(30)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", black_hole)
    begun = time.monotonic()
    with pytest.warns(UserWarning, match="no answer"):
        load("mnist")
    release.set()
    assert time.monotonic() - begun < 3  # PATIENCE is 1 s here, 6 s for readers


def test_offline_asks_nobody(mirrors, monkeypatch):
    (server,) = mirrors(good)
    monkeypatch.setenv("COMPANION_OFFLINE", "1")
    with pytest.warns(UserWarning, match="mnist is drawn .* COMPANION_OFFLINE is set") as said:
        assert load("mnist").source == "stand-in"
    assert len(said) == 1
    with pytest.raises(DataError, match="COMPANION_OFFLINE"):
        fetch("mnist")
    assert server.asked == []
    monkeypatch.delenv("COMPANION_OFFLINE")  # the reader finds a network: no new process needed
    assert load("mnist").source == "original"


def test_a_damaged_file_of_the_reader_is_named_and_not_used(mirrors, tiny, tmp_path, monkeypatch):
    mirrors(good)
    own = tmp_path / "own" / "MNIST" / "raw"
    for part, content in zip(tiny.parts, tiny.contents, strict=True):
        write(own / part.name, content)
    flipped = bytearray(tiny.contents[0])
    flipped[100] ^= 1
    write(own / tiny.parts[0].name, flipped)
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path / "own"))
    with pytest.warns(UserWarning, match=f"{own / tiny.parts[0].name} is not the original") as w:
        data = load("mnist")
    assert len(w) == 1 and data.source == "original"
    assert data.train[0].numpy().tobytes() == tiny.contents[0][16:]


def test_a_bomb_in_a_gz_file_does_not_fill_the_memory(tmp_path):
    bomb = tmp_path / "train-labels-idx1-ubyte.gz"
    bomb.write_bytes(gzip.compress(bytes(100_000_000), 1))
    tracemalloc.start()
    assert unpacked(bomb, ARCHIVES["mnist"].parts[1]) is None
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_status_tells_where_the_originals_lie(monkeypatch, tmp_path, tiny):
    assert [row["name"] for row in status()] == [*ARCHIVES, "cifar-10", "persian"]
    assert all("not here: a download" in row["found"] for row in status()[:-1])
    monkeypatch.setenv("COMPANION_OFFLINE", "1")
    assert all("not here: a stand-in" in row["found"] for row in status())
    for part, content in zip(tiny.parts, tiny.contents, strict=True):
        write(tmp_path / "cache" / "MNIST" / "raw" / f"{part.name}.gz", gzip.compress(content))
    row = status()[1]
    assert (row["found"], row["bytes"]) == ("cache", sum(map(len, tiny.contents)))
    write(tmp_path / "own" / "MNIST" / "raw" / "t10k-labels-idx1-ubyte", b"not these")
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path / "own"))
    assert status()[1]["found"] == "cache"
    assert [Path(path).name for path in status()[1]["damaged"]] == ["t10k-labels-idx1-ubyte"]


def lay(folder: Path, tiny: Any, layout: str, joint: str = "-") -> None:
    """Write the files of the tiny set as a reader may have them."""
    for part, content in zip(tiny.parts, tiny.contents, strict=True):
        name = layout.format(part.name.replace("-idx", f"{joint}idx"))
        write(folder / name, gzip.compress(content) if layout.lower().endswith("gz") else content)


@pytest.mark.parametrize("joint", ["-", "."])  # as its authors write it, as 7-Zip and Kaggle do
@pytest.mark.parametrize("folder", ["MNIST/raw/", "MNIST/", "mnist/raw/", "raw/", "", "my/sets/"])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_the_readers_files_are_found(folder, joint, end, monkeypatch, tmp_path, tiny):
    lay(tmp_path, tiny, f"{folder}{{}}{end}", joint)
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path))
    monkeypatch.setenv("COMPANION_OFFLINE", "1")
    data = load("mnist")
    assert data.source == "original"
    assert data.train[0].numpy().tobytes() == tiny.contents[0][16:]
    assert data.test[1].tolist() == list(tiny.contents[3][8:])


def test_case_does_not_count(monkeypatch, tmp_path, tiny):
    lay(tmp_path, tiny, "{}.GZ", ".")
    for path in tmp_path.glob("*.GZ"):
        path.rename(path.with_name(path.name.upper()))
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path))
    assert find(ARCHIVES["mnist"]).folder == tmp_path


def test_files_of_another_set_are_not_called_damaged(monkeypatch, tmp_path, tiny):
    lay(tmp_path, tiny, "{}")
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path))
    other = find(ARCHIVES["fashion-mnist"])  # MNIST's files have the same names
    assert (other.contents, other.damaged) == ([], [])
    lay(tmp_path / "own", tiny, "MNIST/raw/{}")
    for part in tiny.parts:  # of a set that the package does not know
        write(tmp_path / "own/KMNIST/raw" / part.name, b"Kuzushiji")
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path / "own"))
    found = find(ARCHIVES["mnist"])
    assert (found.folder, found.damaged) == (tmp_path / "own/MNIST/raw", [])


def test_what_is_not_found_is_told_with_names_and_folders(monkeypatch, tmp_path, tiny, capsys):
    own = tmp_path / "own"
    monkeypatch.setenv("COMPANION_OFFLINE", "1")
    with pytest.warns(UserWarning, match="COMPANION_DATA is not set"):
        load("mnist")
    monkeypatch.setenv("COMPANION_DATA", str(own))
    assert main(["data"]) == 0
    assert f"{own} (COMPANION_DATA, which is no folder)" in capsys.readouterr().out
    lone = own / "t10k-labels.idx1-ubyte"
    write(lone, tiny.contents[3])
    monkeypatch.setattr("companion.data.catalogue._said", set())
    with pytest.warns(UserWarning) as said:
        load("mnist")
    names = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels"
    for words in (names, str(own), str(tmp_path / "cache"), "2 folders below", f"only {lone} is"):
        assert words in str(said[0].message)
    assert main(["data"]) == 0
    out = capsys.readouterr().out
    assert names in out and "Train 60000.cdb, Test 20000.cdb" in out and f"{own} (COMP" in out
