"""Downloads end in time, however slowly a server speaks; what killed ones leave is swept."""

import os
import time

import pytest
from mirrors import files, good, send, stalled
from test_downloads import killed_download

from companion.data import DataError, fetch

pytest_plugins = ["mirrors"]  # its fixtures: tiny, mirrors


def trickling(handler, packed, release):
    send(handler, b"", length=len(packed))
    for k in range(len(packed)):
        handler.wfile.write(packed[k : k + 1])
        handler.wfile.flush()
        if release.wait(0.05):
            return


def crawling(handler, packed, release):
    """Each piece comes soon enough, and all of them too slowly."""
    send(handler, b"", length=len(packed))
    for begin in range(0, len(packed), 1500):
        handler.wfile.write(packed[begin : begin + 1500])
        handler.wfile.flush()
        if release.wait(0.3):
            return


def after_a_good_answer(slow):
    """Answer the question whether the file is there, and be slow only in sending it."""

    def behave(handler, packed, release):
        if vars(release).setdefault("asked", False):
            return slow(handler, packed, release)
        release.asked = True
        return send(handler, packed)

    return behave


def slow_header(handler, packed, release):
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Never-Ending: ")
    while not release.wait(0.1):
        handler.wfile.write(b"a")
        handler.wfile.flush()


def redirecting(handler, packed, release):
    if not release.wait(0.7):
        handler.send_response(302)
        handler.send_header("Location", handler.path)
        handler.end_headers()


SLOW = {
    "a byte at a time": trickling,
    "pieces": crawling,
    "headers": after_a_good_answer(slow_header),
    "redirects": after_a_good_answer(redirecting),
}


@pytest.mark.parametrize("slow", SLOW.values(), ids=SLOW)
def test_a_slow_server_is_given_up_in_time(slow, mirrors, tmp_path):
    mirrors(slow)
    begun = time.monotonic()
    with pytest.raises(DataError, match="too slow"):
        fetch("mnist")
    assert time.monotonic() - begun < 5
    assert files(tmp_path / "cache/MNIST/raw") == {}


@pytest.mark.parametrize("slow", SLOW.values(), ids=SLOW)
def test_a_fast_mirror_makes_good_for_a_slow_one(slow, mirrors, tiny):
    mirrors(slow, good)
    assert files(fetch("mnist")) == tiny.packed


def test_what_a_killed_download_left_is_swept_by_the_next(mirrors, tiny, tmp_path):
    killed_download(*mirrors(stalled))
    folder = tmp_path / "cache/MNIST/raw"
    assert len(files(folder)) == 1
    old = folder / "tmp0a_1b2cd"  # as an older version left it
    old.write_bytes(b"half")
    os.utime(old, (0, 0))
    mirrors(good)
    assert fetch("mnist") == folder and files(folder) == tiny.packed
