"""Downloads that end with the published bytes or with one clear sentence, never in between."""

import hashlib
import queue
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from tqdm.auto import tqdm

from companion.environment import offline
from companion.files import DAY, drafted

PATIENCE = 6.0  # seconds that all mirrors together have to answer at all
STALL = 20.0  # seconds without a byte after which a mirror is given up
SLOWEST = 2_000  # bytes per second, on average, below which it is given up too
PLAIN = {"Accept-Encoding": "identity"}  # or a server may unpack the .gz on its way


class DataError(RuntimeError):
    """A data set cannot be had; the message is one sentence."""


def reason(error: Exception) -> str:
    """Say in two or three words why a mirror was given up."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"status {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "too slow"
    if isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
        return "no connection"
    return "wrong checksum" if isinstance(error, ValueError) else type(error).__name__


def ask(mirror: str, file: str, answers: "queue.Queue[tuple[str, str]]") -> None:
    """Report whether a mirror begins to send a file: (mirror, "") or (mirror, why not)."""
    try:
        url = mirror + file
        with requests.get(url, stream=True, timeout=PATIENCE, headers=PLAIN) as answer:
            answer.raise_for_status()
        answers.put((mirror, ""))
    except (requests.RequestException, ValueError) as error:
        answers.put((mirror, reason(error)))


def answering(mirrors: Sequence[str], file: str, refused: dict[str, str]) -> Iterator[str]:
    """Yield the mirrors that have a file, the fastest first; note the others in `refused`.

    All are asked at once, in threads that nobody waits for: without a network even the look-up
    of a name may take minutes.
    """
    answers: queue.Queue[tuple[str, str]] = queue.Queue()
    for mirror in mirrors:
        refused[mirror] = "no answer"
        Thread(target=ask, args=(mirror, file, answers), daemon=True).start()
    end = time.monotonic() + PATIENCE
    for _ in mirrors:
        try:
            mirror, refused_for = answers.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            return
        refused[mirror] = refused_for
        if not refused_for:
            yield mirror


def deliver(url: str, pieces: "queue.Queue[bytes | int | Exception]", gone: Event) -> None:
    """Put what a server sends into a queue: its length, its bytes, and b"" at the end."""

    def put(piece: bytes | int | Exception) -> None:
        while not gone.is_set():
            with suppress(queue.Full):
                return pieces.put(piece, timeout=0.5)

    try:
        with requests.get(
            url, stream=True, timeout=(PATIENCE, 2 * STALL), headers=PLAIN
        ) as answer:
            answer.raise_for_status()
            put(int(answer.headers.get("Content-Length", 0)))
            for piece in answer.iter_content(4096):
                if gone.is_set():
                    return
                put(piece)
        put(b"")
    except Exception as error:  # whatever it is, the other side must hear of it
        put(error)


def stream(url: str, output: Path, limit: int) -> None:
    """Write what a server sends to a file; stop when it stalls, crawls or sends too much.

    A thread that nobody waits for listens to the server, so that every wait ends in time: of
    STALL for the beginning, with all its headers and redirects, and for each piece; and of what
    SLOWEST allows for all of them. Raises requests' errors, or ValueError.
    """
    pieces: queue.Queue[bytes | int | Exception] = queue.Queue(maxsize=64)
    gone, begun = Event(), time.monotonic()
    Thread(target=deliver, args=(url, pieces, gone), daemon=True).start()

    def next_piece(end: float) -> Any:
        try:
            piece = pieces.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            raise requests.Timeout(f"{url} sends nothing, or too slowly") from None
        if isinstance(piece, OSError) and not isinstance(piece, requests.RequestException):
            raise requests.ConnectionError(str(piece)) from piece  # or it would seem a disk's
        if isinstance(piece, Exception):
            raise piece
        return piece

    name = url.rsplit("/", 1)[1]
    try:
        total = next_piece(begun + STALL) or None
        with (
            open(output, "wb") as draft,
            tqdm(desc=name, total=total, unit="B", unit_scale=True, leave=False) as bar,
        ):
            done = 0
            while piece := next_piece(
                min(time.monotonic() + STALL, begun + max(STALL, done / SLOWEST))
            ):
                draft.write(piece)
                done += len(piece)
                bar.update(len(piece))
                if done > limit:
                    raise ValueError(f"{url} sends more than {limit} bytes")
    finally:
        gone.set()


class Packed(NamedTuple):
    """A file as it is downloaded: its name, its checksum, and bytes that it has at most."""

    name: str
    md5: str
    limit: int


def retrieve(mirror: str, file: Packed, folder: Path) -> None:
    """Download one file beside its place and put it there only if its checksum is right."""
    with drafted(folder / file.name) as draft:
        stream(mirror + file.name, draft, file.limit)
        if not has_sum(draft, file.md5):
            raise ValueError(f"{mirror}{file.name} has another checksum")


def has_sum(path: Path, md5: str) -> bool:
    """Whether a file is there and has a checksum."""
    return path.exists() and hashlib.md5(path.read_bytes()).hexdigest() == md5


def sweep_pooch(folder: Path) -> None:
    """Delete what downloads of older versions left when they were killed, a day ago or earlier."""
    for path in folder.iterdir():
        if re.fullmatch(r"tmp\w{8}", path.name) and time.time() - path.stat().st_mtime > DAY:
            path.unlink(missing_ok=True)


@contextmanager
def storing(name: str, target: Path) -> Iterator[None]:
    """Turn what a disk or its rights refuse into one sentence."""
    try:
        yield
    except OSError as error:
        why = getattr(error.__cause__ or error, "strerror", None) or error
        raise DataError(
            f"{name} cannot be stored in {target}: {why}; set COMPANION_CACHE to another folder"
        ) from error


def gather(name: str, left: list[Packed], mirrors: Sequence[str], target: Path) -> Path:
    """Download files to a folder, from whichever mirror has the right bytes; return the folder."""
    if left and offline():
        raise DataError(f"{name} is not downloaded, because COMPANION_OFFLINE is set")
    refused: dict[str, str] = {}
    with storing(name, target):  # requests' own errors are OSErrors too, and handled inside
        target.mkdir(parents=True, exist_ok=True)
        sweep_pooch(target)
        for mirror in answering(mirrors, left[0].name, refused) if left else ():
            try:
                while left:
                    retrieve(mirror, left[0], target)
                    left.pop(0)
                break
            except (requests.RequestException, ValueError) as error:
                refused[mirror] = reason(error)
    if left:
        tried = ", ".join(f"{urlsplit(mirror).netloc}: {why}" for mirror, why in refused.items())
        raise DataError(f"{name} cannot be downloaded ({tried})")
    return target
