"""Downloads: whatever servers, disks and signals do, only verified bytes reach their place."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mirrors import (
    BAD,
    crawling,
    files,
    forbidden,
    good,
    html,
    send,
    silent,
    stalled,
    write,
)

from companion.data import DataError, fetch, load
from companion.data.originals import ARCHIVES

pytest_plugins = ["mirrors"]  # its fixtures: tiny, mirrors
ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_mirror_leaves_nothing_and_one_sentence(bad, mirrors, tmp_path):
    mirrors(bad)
    begun = time.monotonic()
    with pytest.raises(DataError, match=r"^mnist cannot be downloaded \(127.0.0.1:\d+: .+\)$"):
        fetch("mnist")
    assert time.monotonic() - begun < 5
    assert files(tmp_path / "cache/MNIST/raw") == {}


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (forbidden, "status 403"),
        (html, "wrong checksum"),
        (silent, "no answer|too slow"),
        (stalled, "too slow"),
        (crawling, "too slow"),
    ],
)
def test_the_sentence_says_why_a_mirror_was_given_up(bad, why, mirrors):
    mirrors(bad)
    with pytest.raises(DataError, match=why):
        fetch("mnist")


@pytest.mark.parametrize("bad", BAD)
def test_the_second_mirror_makes_good_for_the_first(bad, mirrors, tiny):
    first, second = mirrors(bad, good)
    assert files(fetch("mnist")) == tiny.packed
    assert first.asked and len(second.asked) == 5  # one question, four files


def test_what_is_there_is_not_fetched_again_and_damage_is(mirrors, tiny):
    (server,) = mirrors(good)
    folder = fetch("mnist")
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    server.asked.clear()
    data = load("mnist")
    assert data.source == "original" and data.train[0].numpy().tobytes() == tiny.contents[0][16:]
    assert server.asked == ["t10k-labels-idx1-ubyte.gz"] * 2
    assert files(folder) == tiny.packed
    server.asked.clear()
    assert fetch("mnist", folder.parents[1]) == folder and server.asked == []


@pytest.mark.parametrize("bad", [html, stalled])
def test_a_bad_download_leaves_a_damaged_file_as_it_was(bad, mirrors, tiny, tmp_path):
    mirrors(bad)
    folder = tmp_path / "cache/MNIST/raw"
    before = {**tiny.packed, "t10k-images-idx3-ubyte.gz": b"damaged"}
    for name, content in before.items():
        write(folder / name, content)
    with (
        pytest.warns(UserWarning, match="t10k-images-idx3-ubyte.gz is not the original file"),
        pytest.warns(UserWarning, match="mnist is drawn"),
    ):
        assert load("mnist").source == "stand-in"
    assert files(folder) == before


def test_a_fetched_folder_is_an_offline_pack(mirrors, tiny, tmp_path, monkeypatch):
    mirrors(good)
    fetch("mnist", tmp_path / "stick")
    assert not (tmp_path / "cache").exists()
    monkeypatch.setenv("COMPANION_OFFLINE", "1")
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path / "stick"))
    assert load("mnist").source == "original"


SCRIPT = """
import json, resource, sys
from companion.data import DataError, fetch
from companion.data.originals import ARCHIVES, Archive, Part
table, limit = json.loads(sys.argv[1]), int(sys.argv[2])
parts = tuple(Part(name, tuple(shape), *hashes) for name, shape, *hashes in table["parts"])
ARCHIVES["mnist"] = Archive("MNIST", (), tuple(table["mirrors"]), parts)
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
print("ready", flush=True)
sys.stdin.readline()
try:
    fetch("mnist")
except DataError as error:
    sys.exit(str(error))
"""


def another_process(limit: int = 0) -> subprocess.Popen:
    """Start a process that will fetch "mnist" when told so; files above `limit` bytes fail."""
    archive = ARCHIVES["mnist"]
    table = json.dumps({"mirrors": archive.mirrors, "parts": archive.parts})
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, table, str(limit)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def go(*processes: subprocess.Popen) -> None:
    """Wait until all have imported what they need, then let all begin at once."""
    assert [process.stdout.readline() for process in processes if process.stdout]
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()


def unhurried(handler, packed, release):
    send(handler, b"", length=len(packed))
    for begin in range(0, len(packed), 2_000):
        handler.wfile.write(packed[begin : begin + 2_000])
        time.sleep(0.1)


def test_two_processes_at_once_make_one_good_file(mirrors, tiny, tmp_path):
    (server,) = mirrors(unhurried)
    pair = [another_process(), another_process()]
    go(*pair)
    folder = tmp_path / "cache/MNIST/raw"
    while any(process.poll() is None for process in pair):  # what a third one sees meanwhile
        for name in filter(lambda name: (folder / name).exists(), tiny.packed):
            assert (folder / name).read_bytes() == tiny.packed[name]
        time.sleep(0.02)
    assert [process.wait() for process in pair] == [0, 0]
    assert files(folder) == tiny.packed
    assert server.asked.count("train-images-idx3-ubyte.gz") == 4  # both asked, both downloaded


def killed_download(server):
    """Begin a download in another process, and kill it in the midst of it."""
    process = another_process()
    go(process)
    end = time.monotonic() + 30
    while len(server.asked) < 2 and time.monotonic() < end:  # the question, then the download
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def test_a_killed_download_leaves_no_file_that_looks_finished(mirrors, tiny, tmp_path):
    killed_download(*mirrors(stalled))
    left = files(tmp_path / "cache/MNIST/raw")
    assert len(left) == 1 and not left.keys() & tiny.packed.keys()  # the draft of the first file
    mirrors(good)
    assert load("mnist").source == "original"


def test_a_full_disk_gives_one_sentence(mirrors, tmp_path):
    mirrors(good)
    process = another_process(limit=5_000)
    go(process)
    said = process.communicate(timeout=60)[1].strip().splitlines()[-1]
    assert process.returncode == 1
    assert said.startswith(f"mnist cannot be stored in {tmp_path / 'cache/MNIST/raw'}: File too")
    assert files(tmp_path / "cache/MNIST/raw") == {}


def test_an_unwritable_cache_gives_one_sentence_and_the_stand_in(mirrors, tmp_path, monkeypatch):
    (server,) = mirrors(good)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="Not a directory; set COMPANION_CACHE to") as said:
        assert load("mnist").source == "stand-in"
    assert len(said) == 1 and server.asked == []
