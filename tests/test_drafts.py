"""Drafts of files: kept while their process lives, whatever a clock says; then swept."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from companion import files
from companion.files import RunError, write_atomically
from companion.tensors import save_tensors

ROOT = Path(__file__).parents[1]
WRITE = """
import sys, time
from pathlib import Path
from companion.files import write_atomically
with write_atomically(Path(sys.argv[1])) as draft:
    draft.write_text("whole")
    print(draft, flush=True)
    sys.stdin.readline()
"""


def writer(path: Path) -> tuple[subprocess.Popen, Path]:
    """Start a process that is writing `path` until it is told to go on; return its draft."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def test_a_draft_of_a_living_process_is_kept_whatever_the_clock_says(tmp_path):
    process, draft = writer(tmp_path / "x")
    os.utime(draft, (0, 0))
    save_tensors(tmp_path / "x", {"x": torch.ones(1)})
    assert draft.exists()
    process.communicate("go\n", timeout=60)
    assert process.returncode == 0 and (tmp_path / "x").read_text() == "whole"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("next_written", ["x", "y"])
def test_a_draft_of_a_killed_process_is_swept_at_once(next_written, tmp_path):
    process, draft = writer(tmp_path / "x")
    process.kill()
    process.communicate()
    assert draft.exists() and time.time() - draft.stat().st_mtime < 600
    save_tensors(tmp_path / next_written, {"x": torch.ones(1)})
    assert os.listdir(tmp_path) == [next_written]


def test_a_draft_with_the_number_of_this_process_is_its_own_only_while_it_writes_it(tmp_path):
    """In a container every process may have the same number."""
    left = tmp_path / f".x-{files.here()}.{os.getpid()}.abcdefgh"
    left.write_text("half")
    with write_atomically(tmp_path / "x") as draft:
        files.sweep(tmp_path / "x")
        assert draft.exists() and not left.exists()


@pytest.mark.parametrize("name", [".x-0a1b2c.1.abcdefgh", ".x-abcdefgh"])
def test_of_another_machine_or_version_a_draft_is_swept_after_a_day(name, tmp_path):
    draft = tmp_path / name
    for age, there in ((3600, True), (25 * 3600, False)):
        draft.write_text("half")
        os.utime(draft, (time.time() - age,) * 2)
        files.sweep(tmp_path / "x")
        assert draft.exists() == there


def test_nothing_else_is_swept(tmp_path):
    others = {".bashrc", ".x", "x", ".y-1.2.3", ".git-0a1b2c.d", "state-1.safetensors", ".y-old"}
    for name in others:
        (tmp_path / name).write_text("mine")
        os.utime(tmp_path / name, (0, 0))
    files.sweep(tmp_path / "x")
    assert {path.name for path in tmp_path.iterdir()} == others


def test_a_rename_is_written_down_too(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    with write_atomically(tmp_path / "x") as draft:
        inode = draft.stat().st_ino
    assert synced == [inode, tmp_path.stat().st_ino]


@pytest.mark.parametrize("fault", [OSError("not of folders"), MemoryError()])
def test_a_file_that_is_in_place_is_not_said_to_be_missing(fault, tmp_path, monkeypatch):
    """The folder is synced last, when the new file has replaced the old one."""
    real = os.fsync

    def of_files_only(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise fault
        real(handle)

    monkeypatch.setattr(files.os, "fsync", of_files_only)
    files.write_text(tmp_path / "x", "new")
    assert (tmp_path / "x").read_text() == "new"


def test_a_trial_leaves_nothing_whatever_happens_to_it(tmp_path, monkeypatch):
    def failing(folder):
        raise MemoryError

    monkeypatch.setattr(files, "settle", failing)
    with pytest.raises(RunError, match="not enough memory"):
        files.check_writable(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_second_fault_does_not_hide_the_first(tmp_path, monkeypatch):
    def gone(path, missing_ok=False):
        raise OSError(5, "Input/output error")

    with (
        pytest.raises(RunError, match=r"cannot write .*x: No space left"),
        monkeypatch.context() as patch,
        write_atomically(tmp_path / "x"),
    ):
        patch.setattr("pathlib.Path.unlink", gone)
        raise OSError(28, "No space left on device")


def test_no_memory_is_one_sentence(tmp_path):
    sentence = r"cannot write .*x: there is not enough memory; what"
    with pytest.raises(RunError, match=sentence), write_atomically(tmp_path / "x"):
        raise MemoryError
