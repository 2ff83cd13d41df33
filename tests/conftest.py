"""What several tests share: the book, built once and strictly; small stand-ins; who needs data."""

import fcntl
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[1]
FULL: dict[str, tuple[int, int]] = {}  # how many stand-ins a reader gets, by module
FEW = (700, 300)  # how many a test gets
READ_DATA = re.compile(r"companion\.(data|experiments|measures)\b|companion\.train import train")
STRICT = ["--all", "-q", "-W", "--keep-going", "-n"]


def build(output: Path) -> str:
    """Build the book from nothing below `output`; return what the builder complained of."""
    builder = Path(sys.executable).parent / "jupyter-book"
    command = [str(builder), "build", str(ROOT), "--path-output", str(output), *STRICT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@cache
def soup(path: Path) -> BeautifulSoup:
    """Parse a built page, once; read it, do not write into it."""
    return BeautifulSoup(path.read_text(encoding="utf8"), "html.parser")


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return the folder of the built pages; processes that test side by side build it once."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared if worker_id == "master" else shared.parent
    complaint = shared / "complaint.txt"
    with open(shared / "book.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complaint.exists():
            complaint.write_text(build(shared / "book"))
    if text := complaint.read_text():
        pytest.fail(f"the strict build of the book failed:\n{text[-3000:]}", pytrace=False)
    return shared / "book/_build/html"


@pytest.fixture(scope="module")  # its event loop must be gone when others start a kernel
def browser() -> Iterator[Any]:
    """Return a running Chromium, the system's or playwright's own."""
    players = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next(filter(None, map(shutil.which, names)), None)
    with players.sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        if path is None and not own.exists():
            pytest.skip("no Chromium: install Debian's `chromium` to test the pages in a browser")
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def shown(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A phone without a network; a test passes only if no script failed on it."""
    scripts = getattr(request, "param", True)
    phone = {"width": 390, "height": 800}
    context = browser.new_context(viewport=phone, offline=True, java_script_enabled=scripts)
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(error))
    yield page
    context.close()
    assert errors == []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Draw few stand-ins; mark tests whose file may ask for data: they are run without, too."""
    for name in ("companion.data.catalogue", "companion.data.cifar", "companion.data.persian"):
        if module := sys.modules.get(name):
            FULL.setdefault(name, module.STAND_IN)
            module.STAND_IN = FEW
    asks = {}
    for item in items:
        path = item.path
        if path not in asks:
            asks[path] = bool(READ_DATA.search(path.read_text(encoding="utf8")))
        if asks[path]:
            item.add_marker("data")
