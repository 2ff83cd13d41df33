"""What a crash, a full disk or a damaged file may cost: an epoch, never a wrong answer."""

import errno
import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from killed import CHOICES
from toys import denoiser

from companion.files import DamagedFile, RunError
from companion.runs import Run
from companion.tensors import load_tensors, save_tensors
from companion.train import train

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def runs(monkeypatch, tmp_path) -> Path:
    """A new, empty folder of runs."""
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def one_thread():
    """Bits depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_killed_at_any_instant_a_run_resumes_to_the_same_bits(
    runs, tmp_path, monkeypatch, one_thread
):
    paths = os.pathsep.join([str(HERE.parent), str(HERE)])
    environment = {**os.environ, "PYTHONPATH": paths, "COMPANION_RUNS": str(runs)}
    command = [sys.executable, str(HERE / "killed.py"), str(runs), "1000", "12"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    epochs = [row["epochs"] for row in rows]
    assert sum(row["killed"] for row in rows) == 12
    assert epochs == sorted(epochs) and len(set(epochs)) > 3  # nothing is lost, and it went on
    assert any(row["drafts"] for row in rows)  # some kills did come in the middle of a save
    resumed = train(denoiser, epochs[-1] + 2, **CHOICES)
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "undisturbed"))
    whole = train(denoiser, epochs[-1] + 2, **CHOICES)
    for mine, its in ((resumed.state, whole.state), (resumed.weights, whole.weights)):
        found, expected = load_tensors(mine)[0], load_tensors(its)[0]
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def fail(error: BaseException):
    """Make a function that raises."""

    def raising(*words, **named):
        raise error

    return raising


def fail_halfway(error: BaseException):
    """Make a `write_bytes` that raises with half of the bytes written."""

    def raising(path: Path, content: bytes):
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2])
        raise error

    return raising


FULL, DENIED = OSError(errno.ENOSPC, "No space left on device"), PermissionError(13, "denied")


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        ("pathlib.Path.mkdir", fail(DENIED)),
        ("tempfile.mkstemp", fail(FULL)),
        ("companion.tensors.save", fail(RuntimeError("cannot serialise"))),
        ("companion.tensors.digest", fail(MemoryError())),
        ("pathlib.Path.write_bytes", fail_halfway(FULL)),
        ("pathlib.Path.write_bytes", fail_halfway(RuntimeError("bad luck"))),
        ("pathlib.Path.write_bytes", fail_halfway(KeyboardInterrupt())),
        ("os.fsync", fail(OSError(errno.EIO, "Input/output error"))),
        ("pathlib.Path.chmod", fail(DENIED)),
        ("os.replace", fail(DENIED)),
    ],
)
def test_a_fault_while_saving_leaves_the_file_before(step, fault, tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    save_tensors(path, {"x": torch.arange(1000.0)}, epochs=1)
    before = path.read_bytes()
    with monkeypatch.context() as broken, pytest.raises(BaseException) as caught:
        broken.setattr(step, fault)
        save_tensors(path, {"x": torch.zeros(1000)}, epochs=2)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]
    kinds = (RunError, RuntimeError, MemoryError, KeyboardInterrupt)
    assert isinstance(caught.value, kinds) and not isinstance(caught.value, DamagedFile)
    if isinstance(caught.value, RunError):
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_full_disk_stops_the_training_and_keeps_its_last_epoch(runs, monkeypatch):
    run = train(denoiser, 1)
    before = run.state.read_bytes()
    with monkeypatch.context() as full, pytest.raises(RunError, match="No space left"):
        full.setattr(Path, "write_bytes", fail_halfway(FULL))
        train(denoiser, 3)
    assert run.state.read_bytes() == before
    assert [row["epoch"] for row in train(denoiser, 2).history] == [1, 2]


def test_a_folder_that_takes_no_files_is_told_before_the_training(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "file"))
    monkeypatch.setattr("toys.denoising", fail(AssertionError("it trained")))
    with pytest.raises(RunError, match=r"^cannot write .*file.*; what was there before is kept$"):
        train(denoiser, 1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Run:
    """One epoch of a run with an average, to be damaged."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPANION_RUNS", str(tmp_path_factory.mktemp("trained")))
        return train(denoiser, 1, ema=0.9)


def refused(path: Path, content: bytes) -> None:
    """Hold that a file with these bytes is refused by one error that names it."""
    path.write_bytes(content)
    with pytest.raises(DamagedFile) as caught:
        load_tensors(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_every_truncated_file_is_refused(trained, tmp_path):
    whole = trained.state.read_bytes()
    for length in [*range(0, 64), *range(64, len(whole), len(whole) // 150), len(whole) - 1]:
        refused(tmp_path / "state.safetensors", whole[:length])
    refused(tmp_path / "state.safetensors", whole + b"\0")


def test_every_flipped_bit_is_refused(trained, tmp_path):
    whole, draw = trained.state.read_bytes(), random.Random(0)
    header = 8 + int.from_bytes(whole[:8], "little")
    bits = [*range(64), *draw.sample(range(64, 8 * header), 150)]
    for bit in [*bits, *draw.sample(range(8 * header, 8 * len(whole)), 150)]:
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        refused(tmp_path / "state.safetensors", bytes(flipped))


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "pack", [lambda trap, path: path.write_bytes(pickle.dumps(trap)), torch.save]
)
def test_a_pickle_in_disguise_is_refused_and_not_run(pack, tmp_path):
    sprung, path = tmp_path / "sprung", tmp_path / "weights.safetensors"
    pack(Trap(sprung), path)
    refused(path, path.read_bytes())
    assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists()  # the trap was armed


W, M, S = "model/0.weight", "optimizer/denoiser/0/exp_avg", "optimizer/denoiser/0/step"
DAMAGES = {
    "a weight is missing": lambda t, r: t.pop(W),
    "an average is missing": lambda t, r: t.pop("average/module.0.weight"),
    "a moment is missing": lambda t, r: t.pop(M),
    "a moment is missing everywhere": lambda t, r: [t.pop(k) for k in [*t] if k.endswith("_avg")],
    "all moments are missing": lambda t, r: [t.pop(k) for k in [*t] if k.startswith("optim")],
    "a moment too many": lambda t, r: t.update({f"{M}_max": t[M]}),
    "a step of another type": lambda t, r: t.update({S: t[S].double()}),
    "a weight too many": lambda t, r: t.update({"model/9.weight": t[W]}),
    "a player too many": lambda t, r: t.update({"optimizer/ghost/0/step": t[W]}),
    "a parameter too many": lambda t, r: t.update({"optimizer/denoiser/99/step": t[W]}),
    "a stranger": lambda t, r: t.update({"stranger": t[W]}),
    "a weight of another shape": lambda t, r: t.update({W: t[W].T}),
    "a moment of another shape": lambda t, r: t.update({M: t[M].T}),
    "a weight of another type": lambda t, r: t.update({W: t[W].double()}),
    "a moment of another type": lambda t, r: t.update({M: t[M].double()}),
    "a weight of whole numbers": lambda t, r: t.update({W: t[W].long()}),
    "no epochs": lambda t, r: r.pop("epochs"),
    "epochs in words": lambda t, r: r.update(epochs="one"),
    "no history": lambda t, r: r.pop("history"),
    "a history too short": lambda t, r: r.update(history=[]),
    "a history of something else": lambda t, r: r.update(history=[7]),
    "another run's": lambda t, r: r.update(run="denoiser-seed1-00000000"),
    "another epoch's": lambda t, r: r.update(epochs=2, history=2 * r["history"]),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_state_of_another_training_is_refused(damage, trained, monkeypatch):
    monkeypatch.setenv("COMPANION_RUNS", str(trained.folder.parents[1]))
    whole = trained.state.read_bytes()
    tensors, record = load_tensors(trained.state)
    record.pop("sha256")
    damage(tensors, record)
    save_tensors(trained.state, tensors, **record)  # its checksum is right
    try:
        with pytest.raises(DamagedFile, match=r"state-1\.safetensors"):
            train(denoiser, 2, ema=0.9)
    finally:
        trained.state.write_bytes(whole)


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01."])
def test_a_finished_run_with_damaged_weights_is_refused(content, runs):
    run = train(denoiser, 1)
    run.weights.write_bytes(content)
    with pytest.raises(DamagedFile, match=r"weights\.safetensors"):
        train(denoiser, 1)
    run.weights.unlink()
    with pytest.raises(RunError, match=r"cannot read .*weights\.safetensors"):
        train(denoiser, 1)
