"""Mirrors on loopback, good and bad, for a data set of forty images (PYTEST_DONT_REWRITE)."""

import gzip
import hashlib
import struct
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from companion.data import catalogue, downloads, fetching
from companion.data.originals import ARCHIVES, Archive, Part

SHAPES = ((30, 28, 28), (30,), (10, 28, 28), (10,))


def idx(shape: tuple[int, ...], seed: int) -> bytes:
    """Write a small IDX file of random bytes below 10."""
    header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
    generator = torch.Generator().manual_seed(seed)
    return header + bytes(torch.randint(10, shape, generator=generator).flatten().tolist())


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


class Tiny:
    """A data set of forty images under the name "mnist": contents, packed files, their table."""

    def __init__(self) -> None:
        self.contents = [idx(shape, seed) for seed, shape in enumerate(SHAPES)]
        self.packed = {}
        self.parts = []
        for old, content in zip(ARCHIVES["mnist"].parts, self.contents, strict=True):
            packed = gzip.compress(content, mtime=0)
            self.packed[f"{old.name}.gz"] = packed
            md5, sha256 = hashlib.md5(packed).hexdigest(), hashlib.sha256(content).hexdigest()
            self.parts.append(Part(old.name, SHAPES[len(self.parts)], md5, sha256))

    def archive(self, *servers: "Server") -> Archive:
        mirrors = tuple(server.url for server in servers)
        return Archive("MNIST", tuple("0123456789"), mirrors, tuple(self.parts))


class Server:
    """A mirror on loopback that answers every GET by `behave(handler, packed file)`."""

    def __init__(self, behave, packed: dict[str, bytes]) -> None:
        self.asked, self.release = [], threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rsplit("/", 1)[1]
                outer.asked.append(name)
                with suppress(OSError):  # the client may have gone
                    behave(self, packed[name], outer.release)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/mnist/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()


def send(handler, body: bytes, status: int = 200, length: int | None = None) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def good(handler, packed, release):
    time.sleep(0.2)  # so that a bad mirror beside it is asked first
    send(handler, packed)


def forbidden(handler, packed, release):
    send(handler, b"no", status=403)


def html(handler, packed, release):
    send(handler, b"<html>Please log in to the hotel's network</html>")


def truncated(handler, packed, release):
    send(handler, packed[: len(packed) // 2], length=len(packed))


def shorter(handler, packed, release):
    send(handler, packed[:-1])  # a truncation that its header hides


def other_data(handler, packed, release):
    send(handler, gzip.compress(bytes(len(gzip.decompress(packed)))))


def silent(handler, packed, release):
    release.wait(30)


def stalled(handler, packed, release):
    send(handler, packed[: len(packed) // 2], length=len(packed))
    handler.wfile.flush()
    release.wait(30)


def crawling(handler, packed, release):
    send(handler, b"", length=len(packed))
    for begin in range(0, len(packed), 100):
        handler.wfile.write(packed[begin : begin + 100])
        time.sleep(0.05)


def endless(handler, packed, release):
    send(handler, packed, length=10**12)
    for _ in range(500):  # ten seconds, 33 MB: a client without a limit is too late for its test
        handler.wfile.write(bytes(2**16))
        time.sleep(0.02)


BAD = [
    forbidden,
    html,
    truncated,
    shorter,
    other_data,
    silent,
    stalled,
    crawling,
    endless,
]


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Forty images in place of MNIST, an empty cache, short patience, no memory of failures."""
    monkeypatch.delenv("COMPANION_DATA", raising=False)
    monkeypatch.delenv("COMPANION_OFFLINE", raising=False)
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(catalogue, "_said", set())
    monkeypatch.setattr(fetching, "_in_vain", {})
    monkeypatch.setattr(downloads, "PATIENCE", 1.0)
    monkeypatch.setattr(downloads, "STALL", 1.0)
    monkeypatch.setattr(downloads, "SLOWEST", 20_000)
    drawn = (torch.zeros(1, dtype=torch.uint8),) * 4
    monkeypatch.setattr(catalogue, "drawn", lambda name, *few: drawn)
    tiny = Tiny()
    monkeypatch.setitem(ARCHIVES, "mnist", tiny.archive())
    return tiny


@pytest.fixture
def mirrors(monkeypatch, tiny):
    """Start servers by their behaviour; they are then the mirrors of "mnist"."""
    started = []

    def start(*behaviours) -> list[Server]:
        started.extend(Server(behave, tiny.packed) for behave in behaviours)
        monkeypatch.setitem(ARCHIVES, "mnist", tiny.archive(*started))
        return started

    yield start
    for server in started:
        server.close()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
