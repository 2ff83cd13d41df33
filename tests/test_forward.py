"""A run's state only moves forward: a shorter question never touches a longer run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toys import denoiser

from companion.runs import states
from companion.tensors import load_tensors, save_tensors
from companion.train import train

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def runs(monkeypatch, tmp_path) -> Path:
    """A new, empty folder of runs, and one thread: bits depend on their number."""
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "runs"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path / "runs"
    torch.set_num_threads(before)


def interrupted(epochs: int, after: int, monkeypatch):
    """Ask for more epochs than are trained before an interrupt."""

    def save_and_stop(run, tensors, history):
        states.save_state(run, tensors, history)
        if len(history) == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("companion.train.loop.save_state", save_and_stop)
        run = train(denoiser, epochs)
    assert not run.complete
    return run


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same(a: Path, b: Path) -> bool:
    """Whether two files hold the same tensors, bit for bit."""
    (mine, _), (its, _) = load_tensors(a), load_tensors(b)
    return mine.keys() == its.keys() and all(torch.equal(mine[name], its[name]) for name in its)


def test_a_shorter_question_leaves_an_interrupted_run_byte_for_byte(
    runs, tmp_path, monkeypatch, capsys
):
    longer = interrupted(400, 5, monkeypatch)
    before = content(longer.folder)
    assert before.keys() == {"state-5.safetensors"}
    shorter = train(denoiser, 1)
    assert content(longer.folder) == before
    said = capsys.readouterr().out
    assert f"{longer.name} was trained to epoch 5 before, and that is kept: 1 epochs" in said
    assert shorter.complete and not list(shorter.folder.glob("state-*"))  # nobody needs its state
    kept = load_tensors(longer.state)[1]["history"]
    assert train(denoiser, 7).history[:5] == kept  # it went on from there
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "undisturbed"))
    assert same(shorter.weights, train(denoiser, 1).weights)


def test_two_processes_that_train_two_lengths_undo_nothing(runs, tmp_path, monkeypatch):
    """Each step of the one is followed by a whole training of the other."""
    seen, asked = [], [1, 2, 3]

    def save_and_look(run, tensors, history):
        states.save_state(run, tensors, history)
        if run.folder.name == "epochs-5":
            seen.append(max(states.states(run).values()))
            if asked:
                train(denoiser, asked.pop())
            assert max(states.states(run).values()) >= seen[-1]

    monkeypatch.setattr("companion.train.loop.save_state", save_and_look)
    longer = train(denoiser, 5)
    assert seen == sorted(seen) and longer.complete and longer.epochs == 5
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "undisturbed"))
    assert same(longer.state, train(denoiser, 5).state)


def test_a_process_that_lags_behind_saves_nothing_over_one_that_is_ahead(monkeypatch):
    ahead = interrupted(9, 4, monkeypatch)
    before = content(ahead.folder)
    states.save_state(ahead, {"x": torch.zeros(1)}, ahead.history[:3])
    assert content(ahead.folder) == before


@pytest.mark.parametrize(("asked", "begun"), [(40, 6), (30, 6), (5, 3), (2, 0)])
def test_more_epochs_go_on_from_the_longest_state_there_is(asked, begun, monkeypatch):
    for epochs, after in ((4, 3), (30, 6)):
        interrupted(epochs, after, monkeypatch)

    def stop(state, data, seed, epoch, meter):
        raise KeyboardInterrupt

    monkeypatch.setattr("companion.train.loop.one_epoch", stop)
    assert train(denoiser, asked).epochs == begun


def test_of_finished_lengths_the_furthest_state_stays(runs):
    for epochs in (2, 4, 3):
        train(denoiser, epochs)
    assert [path.name for path in runs.rglob("state-*")] == ["state-4.safetensors"]


def test_a_state_of_an_older_version_is_gone_on_from(runs, tmp_path, monkeypatch):
    run = interrupted(9, 2, monkeypatch)
    tensors, record = load_tensors(run.state)
    old = run.folder.parent / "state.safetensors"
    save_tensors(old, tensors, epochs=record["epochs"], history=record["history"])
    run.state.unlink()
    before = old.read_bytes()
    assert train(denoiser, 1).history[0] != record["history"][0]  # trained, for that one is past
    run = train(denoiser, 3)
    assert run.history[:2] == record["history"] and old.read_bytes() == before
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "undisturbed"))
    assert same(run.state, train(denoiser, 3).state)


SCRIPT = "from toys import denoiser; from companion.train import train; train(denoiser, {})"


@pytest.mark.slow
def test_two_real_processes_of_two_lengths_end_as_if_alone(runs, tmp_path, monkeypatch):
    paths = os.pathsep.join([str(HERE.parent), str(HERE)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT.format(epochs)], env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for epochs in (25, 12)
    ]  # fmt: skip
    assert [process.wait(timeout=300) for process in pair] == [0, 0]
    together = {epochs: train(denoiser, epochs) for epochs in (25, 12)}
    assert [path.name for path in runs.rglob("state-*")] == ["state-25.safetensors"]
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "undisturbed"))
    for epochs, run in together.items():
        assert same(run.weights, train(denoiser, epochs).weights)
