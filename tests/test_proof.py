"""A record proves itself: what is altered or another's is refused, and blocks nothing else."""

import json
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toys import denoiser

from companion import runs as rooms
from companion.__main__ import main
from companion.files import DamagedFile, RunError
from companion.runs import Run, find, local_runs, publish, read, seal, survey
from companion.tensors import load_tensors, save_tensors
from companion.train import train

PUBLISHED = rooms.PUBLISHED
TEXTS = ("config.json", "metrics.json", "history.jsonl")


@pytest.fixture(autouse=True)
def homes(monkeypatch, tmp_path) -> Path:
    """New, empty folders of runs, here and published."""
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr("companion.runs.record.PUBLISHED", tmp_path / "published")
    return tmp_path


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """A folder of runs: two seeds, one of them at two lengths; to be copied, not touched."""
    root = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPANION_RUNS", str(root))
        for epochs, seed in ((1, 0), (2, 0), (1, 1)):
            train(snapped, epochs, seed)
    return root


def snapped():
    """The experiment `denoiser`, which keeps a picture of each epoch."""
    return replace(denoiser(), keep=lambda model: torch.zeros(2, 1, 2, 2, dtype=torch.uint8))


@pytest.fixture
def run(kept, homes) -> Run:
    """Seed 0 after one epoch, in a copy of the runs."""
    shutil.copytree(kept, homes / "runs")
    return train(snapped, 1)


def numbers(run: Run) -> tuple:
    """All that a record says."""
    return run.config, run.metrics, run.history


def unsealed(folder: Path) -> None:
    """Make a record one of an older version."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({k: v for k, v in config.items() if k not in ("files", "sha256")})
    )


def test_every_flipped_bit_of_a_record_is_refused_or_says_the_same(run):
    draw, said, refused = random.Random(0), numbers(read(run.folder)), 0
    for file in TEXTS:
        path = run.folder / file
        whole = path.read_bytes()
        for bit in draw.sample(range(8 * len(whole)), 150):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            try:
                assert numbers(read(run.folder)) == said
            except RunError as error:
                assert str(path) in str(error) and "\n" not in str(error)
                refused += 1
        path.write_bytes(whole)
    assert refused > 400


EDITS = {
    "a better number": ("metrics.json", lambda c: c["spread"].update(value=0.99)),
    "a history without rows": ("history.jsonl", lambda c: c.clear()),
    "another seed": ("config.json", lambda c: c.update(seed=1)),
    "fewer data": ("config.json", lambda c: c.update(subset=128)),
    "another's weights": ("config.json", lambda c: c["files"].popitem()),
    "no checksum": ("config.json", lambda c: c.pop("sha256")),
    "no files": ("config.json", lambda c: c.pop("files")),
}


@pytest.mark.parametrize(("file", "edit"), EDITS.values(), ids=EDITS)
def test_an_edited_record_is_refused(file, edit, run):
    path = run.folder / file
    rows = path.read_text().splitlines() if file == "history.jsonl" else [path.read_text()]
    content = [json.loads(row) for row in rows]
    edit(content if file == "history.jsonl" else content[0])
    path.write_text("\n".join(json.dumps(row) for row in content))
    with pytest.raises(DamagedFile, match=file):
        train(snapped, 1)


WRONG = {
    "epochs as text": ("config.json", "epochs", "7", "'epochs' of the record must be a whole"),
    "complete in words": ("config.json", "complete", "no", "'complete' of the record must be"),
    "no choices": ("config.json", "choices", None, "'choices' of the record must be names"),
    "no data": ("config.json", "data", None, "'data' of the record must be names with"),
    "data in words": ("config.json", "data", "gone", "'data' of the record must be names"),
    "data without source": ("config.json", "data", {"name": "x", "split": "y"}, "has no 'source'"),
    "another name": ("config.json", "name", "x", "it is the record of x"),
    "more epochs": ("config.json", "epochs", 2, "it is the record of 2 epochs"),
    "a bare number": ("metrics.json", "spread", 3, "spread must be names with values, got 3"),
    "no error": ("metrics.json", "spread", {"value": 1}, "spread has no 'error'"),
    "a number in words": (
        "metrics.json",
        "spread",
        {"value": "much"},
        "'value' of spread must be",
    ),
}


@pytest.mark.parametrize(("file", "key", "value", "sentence"), WRONG.values(), ids=WRONG)
def test_without_checksums_the_schema_still_holds(file, key, value, sentence, run):
    unsealed(run.folder)
    content = json.loads((run.folder / file).read_text())
    (run.folder / file).write_text(json.dumps({**content, key: value}))
    with pytest.raises(DamagedFile, match=sentence) as caught:
        read(run.folder)
    assert str(run.folder / file) in str(caught.value)


ROWS = {
    "of another epoch": (lambda row: row.update(epoch=5), "row 1 is of epoch 5"),
    "without seconds": (lambda row: row.pop("seconds"), "row 1 has no 'seconds'"),
    "in words": (lambda row: row.update(seconds="two"), "'seconds' of row 1 must be a number"),
    "with a loss in words": (lambda row: row.update(loss="low"), "'loss' of row 1 must be a num"),
}


@pytest.mark.parametrize(("edit", "sentence"), ROWS.values(), ids=ROWS)
def test_without_checksums_a_row_of_a_history_is_still_a_row(edit, sentence, run):
    unsealed(run.folder)
    path = run.folder / "history.jsonl"
    first, *rest = path.read_text().splitlines()
    row = json.loads(first)
    edit(row)
    path.write_text("\n".join([json.dumps(row), *rest]) + "\n")
    with pytest.raises(DamagedFile, match=sentence):
        read(run.folder)


@pytest.mark.parametrize("file", TEXTS)
@pytest.mark.parametrize("content", ["[" * 200_000, "{}", "[3]", "nul", "1" * 5000, "", "\0"])
def test_whatever_a_record_holds_its_error_is_one_and_names_it(file, content, run):
    unsealed(run.folder)
    (run.folder / file).write_text(content)
    if (file, content) == ("metrics.json", "{}"):
        assert read(run.folder).metrics == {}
        return
    with pytest.raises(RunError, match=file) as caught:
        read(run.folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["weights.safetensors", "snapshots.safetensors"])
@pytest.mark.parametrize("donor", ["another seed", "another length"])
@pytest.mark.parametrize("sealed", [True, False])
def test_tensors_of_another_run_are_refused(file, donor, sealed, run):
    other = train(snapped, 1, 1) if donor == "another seed" else train(snapped, 2)
    shutil.copy(other.folder / file, run.folder / file)
    if not sealed:
        unsealed(run.folder)
    with pytest.raises(DamagedFile, match=f"{file} is another's: its (run|epochs) is"):
        _ = train(snapped, 1).snapshots


def test_tensors_that_say_nothing_of_their_run_are_held_to_their_hash(run):
    """As `publish` packs them anew, or an older version wrote them."""
    weights, _ = load_tensors(run.weights)
    weights["0.bias"][0] += 1
    save_tensors(run.weights, weights)
    with pytest.raises(DamagedFile, match="another's: its sha256 is"):
        train(snapped, 1)


def test_a_state_of_another_seed_is_refused(run):
    other = train(snapped, 1, 1)
    train(snapped, 2).state.unlink()
    shutil.copy(other.folder / "weights.safetensors", run.folder)  # has no part in this
    target = run.folder.parent / "epochs-9/state-1.safetensors"
    target.parent.mkdir()
    shutil.copy(other.state, target)
    with pytest.raises(DamagedFile, match=r"state-1.* is another's: its run is snapped-seed1"):
        train(snapped, 9)


def test_a_folder_under_another_name_is_refused(run):
    other = train(snapped, 1, 1)
    shutil.rmtree(run.folder)
    shutil.copytree(other.folder, run.folder)
    with pytest.raises(DamagedFile, match=f"it is the record of {other.name}"):
        train(snapped, 1)


PICTURES = {
    "no bytes of ours": {"0001": torch.zeros(9, dtype=torch.uint8)},
    "no epoch": {"first": torch.zeros(1, 1, 2, 2)},
    "a number": {"0001": torch.tensor(1.0)},
}


@pytest.mark.parametrize("pictures", PICTURES.values(), ids=PICTURES)
def test_snapshots_that_are_none_are_one_error_with_their_name(pictures, run):
    save_tensors(run.folder / "snapshots.safetensors", pictures, run=run.name, epochs=1)
    unsealed(run.folder)
    with pytest.raises(DamagedFile, match=r"snapshots\.safetensors"):
        _ = read(run.folder).snapshots


def test_one_damaged_run_blocks_no_other(run, homes, capsys):
    publish(run)
    shutil.copytree(homes / "published" / run.name, homes / "published/snapped-x")
    broken = run.folder.parents[1] / "broken-seed0-1a2b3c4d/epochs-1"
    shutil.copytree(run.folder, broken)
    (broken / "config.json").write_text("{")
    assert main(["runs"]) == 0
    said = capsys.readouterr().out
    assert "published: 1 runs, 1 damaged" in said and "here: 3 runs, 1 damaged" in said
    assert f"damaged: {broken / 'config.json'} is damaged" in said
    assert "it is the record of" in said  # snapped-x: a reason for each
    assert main(["publish", run.name]) == 0
    assert train(snapped).folder == homes / "published" / run.name
    assert find(run.name).complete
    with pytest.raises(RunError, match=f"broken-seed0-1a2b3c4d.*{broken / 'config.json'} is"):
        find("broken-seed0-1a2b3c4d")
    capsys.readouterr()
    assert main(["publish", "broken-seed0-1a2b3c4d"]) == 2
    assert str(broken / "config.json") in capsys.readouterr().err
    with pytest.raises(
        RunError, match=r"never published: .*; .*snapped-x/config\.json is damaged"
    ):
        train(snapped, 0, seed=5)


def test_a_damaged_published_answer_is_not_passed_over(run, homes):
    publish(run)
    (homes / "published" / run.name / "metrics.json").write_text("{}")
    with pytest.raises(DamagedFile, match=r"metrics\.json is damaged: its checksum differs"):
        train(snapped)


def test_sealing_adds_hashes_and_changes_nothing_else(run):
    unsealed(run.folder)
    before = {p.name: p.read_bytes() for p in run.folder.iterdir() if p.name != "config.json"}
    said = numbers(read(run.folder))
    assert not read(run.folder).files
    sealed = seal(run.folder)
    assert {p.name: p.read_bytes() for p in run.folder.iterdir() if p.name in before} == before
    assert numbers(read(run.folder)) == said and read(run.folder).files == sealed.files
    assert sealed.files.keys() == before.keys() - {run.state.name}
    again = (run.folder / "config.json").read_bytes()
    seal(run.folder)
    assert (run.folder / "config.json").read_bytes() == again
    (run.folder / "metrics.json").write_text("{}")
    with pytest.raises(DamagedFile):  # what is damaged is not made true by sealing it
        seal(run.folder)


def test_a_seal_does_not_mind_how_lines_end(run):
    """As git may change them on some machines."""
    for file in TEXTS:
        path = run.folder / file
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert numbers(read(run.folder)) == numbers(run)


def test_a_record_of_numbers_leaves_no_earlier_weights_behind(run, homes):
    assert (publish(run).folder / "weights.safetensors").exists()
    record = publish(run, record_only=True)
    held = {path.name for path in record.folder.iterdir()}
    assert held == {*TEXTS, "snapshots.safetensors"}


def test_the_published_runs_are_all_whole():
    runs, damaged = survey(PUBLISHED)
    assert runs and not damaged


def test_a_list_of_runs_does_not_wait_for_torch(run):
    code = "import sys; from companion.__main__ import main; main(['runs']); "
    code += "sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True)
    assert len(survey(local_runs())[0]) == 3
