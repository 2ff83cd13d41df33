"""The command line: what it does, and the one sentence with which it refuses."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from companion.__main__ import main
from companion.data import catalogue
from companion.data.drawing.standins import draw
from companion.files import write_json
from companion.runs import all_runs, local_runs
from companion.words import pairs, read_word

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.filterwarnings("ignore:.*drawn by this package", "ignore:.*zero-element")
QUICK = ["train", "classifier", "--epochs", "1", "--subset", "256"]


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """A machine without data, network or runs, on which a stand-in is drawn in no time."""
    monkeypatch.delenv("COMPANION_DATA", raising=False)
    monkeypatch.setenv("COMPANION_OFFLINE", "1")
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(catalogue, "_said", set())
    few = (*draw("fashion-mnist", 300, seed=0), *draw("fashion-mnist", 100, seed=1))
    monkeypatch.setattr(catalogue, "drawn", lambda name, train, test: few)


def test_train_trains_recalls_and_goes_on(capsys):
    with pytest.warns(UserWarning, match="drawn by this package"):
        assert main([*QUICK, "-p", "horizon=2"]) == 0
    said = capsys.readouterr().out
    assert "classifier-horizon2-seed0-" in said and ": 1 epochs on stand-in data" in said
    assert "accuracy: " in said and " ± " in said
    assert main([*QUICK, "-p", "horizon=2"]) == 0
    assert capsys.readouterr().out == said
    assert main([*QUICK, "-p", "horizon=2", "--epochs", "2"]) == 0
    assert ": 2 epochs on stand-in data" in capsys.readouterr().out
    assert main(["runs"]) == 0
    listed = capsys.readouterr().out
    assert "here: 2 runs" in listed and ": 1 epochs" in listed and ": 2 epochs" in listed


def test_one_of_several_processes_speaks(capsys, monkeypatch):
    monkeypatch.setenv("COMPANION_OFFLINE", "1")
    assert main(QUICK) == 0
    assert capsys.readouterr().out
    monkeypatch.setenv("RANK", "1")
    assert main(QUICK) == 0
    assert not capsys.readouterr().out


def test_publish_takes_the_longest(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("companion.runs.record.PUBLISHED", tmp_path / "published")
    for epochs in ("10", "2"):
        assert main([*QUICK[:2], "--subset", "64", "--epochs", epochs]) == 0
    name = all_runs(local_runs())[0].name
    assert main(["publish", name]) == 2
    assert "saw 64 of the stand-in data" in capsys.readouterr().err
    for run in all_runs(local_runs()):  # as if it had seen all of the original
        run.config["data"]["source"] = "original"
        write_json(run.folder / "config.json", {**run.config, "subset": 0})
    assert main(["publish", name]) == 0
    assert str(tmp_path / "published" / name) in capsys.readouterr().out
    assert [run.epochs for run in all_runs(tmp_path / "published")] == [10]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("False", bool, False), ("true", bool, True), ("3", int, 3), ("3", float, 3.0),
        ("16,32", tuple[int, ...], (16, 32)), ("(16, 32)", tuple[int, ...], (16, 32)),
        ("a", str, "a"), ("[1, 2]", list[int], [1, 2]), ("a,'b'", list[str], ["a", "b"]),
        ('["a","b"]', list[str], ["a", "b"]),
        ("()", tuple[int, ...], ()), ("none", int | None, None), ("4", int | None, 4),
        ("None", float | None, None), ("1e-3", float | None, 0.001), ("None", str, "None"),
    ],
)  # fmt: skip
def test_a_word_is_read_as_its_type_says(text, kind, value):
    found = read_word("name", text, kind)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("words", [["a=1"], ["a", "1"]])
def test_a_choice_may_be_one_word_or_two(words):
    assert pairs([words, ["b", "x=y"]]) == {"a": "1", "b": "x=y"}


REFUSED = {
    "train vea": "unknown experiment 'vea' (did you mean 'vae'? known: autoencoder, beta_",
    "train vae -p latnt=3": "vae has no choice 'latnt' (did you mean 'latent'? known: beta, data,",
    "train vae -p latent=many": "latent must be int, got 'many'",
    "train vae -p latent=2.5": "latent must be int, got '2.5'",
    "train gan -p normalise=no": "normalise must be true or false, got 'no'",
    "train ddpm -p channels=a,b": "channels must be numbers with commas between them, got 'a,b'",
    "train vae -p latent": "a choice is written name=value, got 'latent'",
    "train vae -p latent 3 4": "a choice is written name=value, got 'latent 3 4'",
    "run latent/vea -p epochs 1": "no chapter 'latent/vea' (did you mean 'latent/vae'?",
    "train vae --epochs 1 -p beta=-1": "beta and head must be 0 or above, got beta=-1.0",
    "train vae --epochs 1 -p latent=0": "latent must be at least 1 dimension, got 0",
    "train vae --epochs 1 -p likelihood=gausian": "unknown likelihood 'gausian' (did you mean 'ga",
    "train vae --epochs 1 -p data=mnst": "no pinned extractor for 'mnst' (did you mean 'mnist'?",
    "train classifier --epochs 1 -p data=mnst": "no data set is called 'mnst' (did you mean",
    "train classifier --epochs 1 -p data=dsprites": "needs images of 28 x 28 pixels, got 'dsp",
    "train realnvp --epochs 1 -p data=dsprites": "needs images of 28 x 28 pixels, got 'dsp",
    "train made --epochs 1 -p data=faces": "28 pixels, got 'faces' (known: fashion-mnist, mni",
    "train vae --epochs 1 -p data=dsprites": "no pinned extractor for 'dsprites' (known: fashion-",
    "train vae --epochs 1 -p horizon=0": "horizon must be above 0 epochs, got 0",
    "train vae --epochs -1": "epochs must be a whole number, 0 or above, got -1",
    "train vae --seed -1": "seed must be a whole number, 0 or above, got -1",
    "train vae --seed 18446744073709551616": "seed must be below 2 ** 63, got 18",
    "train vae --subset 512": "a subset needs epochs above 0, got 512 and 0: a published run has",
    "data get": "data get needs the name of a data set (known: cifar-10, fashion",
    "data get mnst": "no data set to download is called 'mnst' (did you mean 'mnist'?",
    "train vae --epochs 1 --subset 301": "subset must be at most the 300 training examples, got",
    "train vae -p beta=77": "vae-beta77.0 with seed 0 was never published: train it",
    "publish vae-seed0": "no finished run 'vae-seed0' here (known: none yet)",
}


@pytest.mark.parametrize("line", REFUSED)
def test_a_mistake_ends_with_one_sentence_and_status_2(line, capsys):
    assert main(line.split()) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("companion: ") and REFUSED[line] in said
    assert "Traceback" not in said


def test_a_notebook_that_cannot_be_written_is_told_before_the_chapter_runs(
    monkeypatch, tmp_path, capsys
):
    ran = []
    monkeypatch.setattr("papermill.execute_notebook", lambda *words, **named: ran.append(words))
    (tmp_path / "file").write_text("")
    places = {tmp_path: f"{tmp_path}: it is a folder", tmp_path / "file/x.ipynb": "file"}
    for place, why in places.items():
        assert main(["run", "graphs/probability", "-o", str(place)]) == 2
        assert f"cannot write {tmp_path}" in (said := capsys.readouterr().err) and why in said
    assert not ran
    main(["run", "graphs/probability", "-o", str(tmp_path / "new.ipynb")])
    assert ran  # where it could have been written, the chapter did run


def test_an_interrupted_training_ends_with_130_and_one_line(monkeypatch, capsys):
    def interrupt(*words):
        raise KeyboardInterrupt

    monkeypatch.setattr("companion.train.loop.one_epoch", interrupt)
    assert main(QUICK) == 130
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if "interrupted: this is classifier-" in line]
    monkeypatch.setattr("companion.train.begin_data", interrupt)
    assert main(QUICK) == 130
    assert capsys.readouterr() == ("", "companion: interrupted\n")


def test_too_little_memory_is_one_line(monkeypatch, capsys):
    def large(*words):
        raise MemoryError

    monkeypatch.setattr("companion.train.begin_data", large)
    assert main(QUICK) == 2
    assert capsys.readouterr().err == "companion: there is not enough memory\n"


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.3, 1.0, 2.0, 3.0, 5.0, None])
def test_ctrl_c_at_any_time_ends_a_real_command_with_130_and_no_traceback(after):
    """Before the training, too: while packages are imported, data drawn, a model built."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "companion", *QUICK[:2], "--epochs", "4000"]
    if after is None:  # in the training, once an epoch is kept
        command += ["--subset", "256"]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    if after is None:
        while not any(local_runs().rglob("*.safetensors")):
            time.sleep(0.1)
    time.sleep(after or 0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "interrupted" in out + err and "Traceback" not in err
    assert after is not None or "interrupted: this is classifier-" in out + err


@pytest.mark.parametrize("words", [[], ["trian"], ["train"], ["train", "vae", "--epochs", "two"]])
def test_words_that_are_no_command_end_with_status_2(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: python -m companion" in capsys.readouterr().err


def test_runs_of_a_folder_that_is_no_folder_are_none(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "file"))
    assert main(["runs"]) == 0
    assert "here: 0 runs" in capsys.readouterr().out
    assert main(QUICK) == 2
    assert "companion: cannot write" in capsys.readouterr().err


def test_data_says_what_is_here(capsys):
    assert main(["data"]) == 0
    said = capsys.readouterr().out
    assert "fashion-mnist" in said and "persian" in said and "stand-in" in said


def test_help_teaches():
    """In a process of its own: this is what a newcomer types."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "companion", "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    for word in ("train", "run", "runs", "data", "publish", "examples:", "accelerate launch"):
        assert word in done.stdout


def test_a_lesson_waits_for_no_library():
    """Torch alone takes seconds to import."""
    code = "import sys, companion.__main__ as m; m.parser().format_help(); print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    asked = [sys.executable, "-c", code]
    said = subprocess.run(asked, env=environment, capture_output=True, text=True, check=True)
    heavy = {"torch", "numpy", "matplotlib", "requests", "networkx", "accelerate", "inspect"}
    assert "companion.__main__" in said.stdout and not heavy & set(said.stdout.split())


def test_a_reader_who_has_seen_enough_ends_a_list_without_a_word():
    command = [sys.executable, "-m", "companion", "runs"]
    listing = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert listing.stdout and listing.stderr
    listing.stdout.close()  # as `head` does
    assert listing.stderr.read() == b""
    assert listing.wait() == 141  # as of a program that SIGPIPE ends


def test_a_console_without_a_sign_gets_its_name():
    command, plain = [sys.executable, "-m", "companion", "runs"], {"PYTHONIOENCODING": "ascii"}
    found = subprocess.run(command, cwd=ROOT, env=os.environ | plain, capture_output=True)
    assert (found.returncode, found.stderr) == (0, b"")
    assert b" \\N{PLUS-MINUS SIGN} " in found.stdout
