"""The runs behind the book: small, whole, and their numbers come back from their weights."""

import math
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from companion.data import Dataset, dsprites, hoda, load
from companion.data.drawing.faces import NAMES
from companion.data.faces import held_out
from companion.data.forms import IMAGES
from companion.data.originals import ARCHIVES, find
from companion.experiments import EXPERIMENTS, asked_of, extractor_of
from companion.measures.faces import WATCHED
from companion.recipes import Recipe
from companion.runs import PEOPLE, PUBLISHED, Run, all_runs
from companion.tensors import load_tensors
from companion.train import recall
from companion.train.loop import watched

RUNS = all_runs()
MEGABYTE = 2**20
CONFIG = {
    "name", "experiment", "choices", "seed", "subset", "data", "epochs", "complete", "precision",
    "wall_seconds", "versions", "commit", "hardware", "fingerprint",
}  # fmt: skip

DRAWN = {
    "selective copying",
    "induction",
    "two-moons",
    "eight-gaussians",
}  # by the package, all of it, in a second
WHOLE = [run for run in RUNS if not run.config.get("record_only")]

published = pytest.mark.parametrize("run", RUNS, ids=[run.name for run in RUNS])
with_weights = pytest.mark.parametrize("run", WHOLE, ids=[run.name for run in WHOLE])


def measured_on(run: Run) -> Dataset:
    """The images that a run was measured on; skip, with the reason, where they are not at hand.

    Of what the package draws, only the test images are drawn, not all that it was trained on.
    """
    name, recipe = run.config["data"]["name"], recipe_of(run)
    if name == "dsprites":
        return dsprites.load(1)
    if name == "procedural faces":
        test = faces(run.config["choices"].get("size", 128))
        return Dataset(name, test, test, NAMES, "procedural", "", "", IMAGES).seen_as(recipe.form)
    if name not in DRAWN:
        original(name)
    data = recipe.data().seen_as(recipe.form)
    if name == "cifar-10" and data.source != run.source:
        pytest.skip(f"the run was measured on cifar-10 {run.source}, here it is {data.source}")
    assert data.sha256 == run.config["data"]["sha256"]
    return data


@lru_cache(maxsize=2)
def faces(size: int) -> tuple[Tensor, Tensor]:
    """The test faces that are measured."""
    return held_out(WATCHED, size=size)


def original(name: str) -> None:
    """Skip, with the reason, where the original data are not at hand."""
    here = hoda.find() if name == "persian" else find(ARCHIVES[name]).contents
    if not here:
        pytest.skip(f"the original {name} is neither in COMPANION_DATA nor in the cache")


def recipe_of(run: Run) -> Recipe:
    """The recipe that made a run."""
    experiment, choices = asked_of(run.name, run.config)
    return experiment(**choices)


def test_the_extractor_is_published():
    assert [run for run in RUNS if run.config["experiment"] == "extractor"]


@published
def test_a_published_run_tells_how_it_was_made(run):
    assert run.config.keys() >= CONFIG
    assert run.name == run.folder.name and run.complete and run.config["subset"] == 0
    assert run.config["data"].keys() == {"name", "split", "source", "sha256"}
    assert run.source.startswith(("original", "procedural", "exact"))  # none is of a stand-in
    assert {"companion", "torch", "torchvision", "accelerate"} <= run.config["versions"].keys()
    assert run.config["hardware"] and run.config["commit"] and run.config["wall_seconds"] > 0
    assert [row["epoch"] for row in run.history] == [*range(1, run.epochs + 1)]
    for found in run.metrics.values():
        assert found.keys() == {"value", "error", "n", "unit"}
        assert math.isfinite(found["value"]) and found["error"] >= 0 and found["n"] >= 1
    assert run.metrics


@with_weights
def test_a_published_run_is_light_and_whole(run):
    assert sum(file.stat().st_size for file in run.folder.iterdir()) < 2.5 * MEGABYTE
    weights, record = load_tensors(run.weights)
    assert record["epochs"] == run.epochs
    assert all(value.isfinite().all() for value in weights.values())
    light = [v.numel() for v in weights.values() if v.dtype in (torch.float16, torch.uint8)]
    assert sum(light) > 0.97 * sum(value.numel() for value in weights.values())
    part = run.config.get("saved", "")
    assert all(name.startswith(part) for name in weights)


def test_all_published_runs_are_light_together():
    """About 1.6 MB for each chapter that trains, and never more than 40."""
    chapters = Path(__file__).parents[1].glob("book/[a-z]*/*.py")
    trains = [path.stem for path in chapters if "\nepochs: int" in path.read_text("utf8")]
    weight = sum(file.stat().st_size for file in PUBLISHED.rglob("*") if file.is_file())
    assert weight < min(1.6 * len(trains), 40) * MEGABYTE, trains


@with_weights
def test_headline_numbers_come_back_from_the_weights(run):
    """The same test images and, on a CPU, the same draws: what is left is their packing, which
    must not move a number by more than the standard error that is printed beside it, or by what
    no table shows."""
    recipe, data = recipe_of(run), measured_on(run)
    model = recall(run, recipe.model).model
    torch.manual_seed(0)  # as the trainer does before it measures
    for name, found in watched(recipe)(model, data).items():
        record = run.metrics[name]
        assert abs(found.value - record["value"]) <= max(record["error"], 1e-4), name
        assert found.error == pytest.approx(record["error"], rel=0.05, abs=1e-4)
        assert (found.n, found.unit) == (record["n"], record["unit"])


def test_the_extractor_knows_its_garments():
    """Weighed on all 10,000 test images; a Fréchet distance stands on these features."""
    original("fashion-mnist")
    network = extractor_of("fashion-mnist").model
    x, y = load("fashion-mnist").test
    with torch.no_grad():
        said = torch.cat([network.classify(part / 255).argmax(1) for part in x.split(1000)])
    assert (said == y).float().mean() >= 0.92
    assert not network.training


def test_published_folders_hold_nothing_else():
    record = {"config.json", "history.jsonl", "metrics.json"}
    for run in RUNS:
        found = {path.name for path in run.folder.iterdir()}
        weights = set() if run.config.get("record_only") else {"weights.safetensors"}
        assert found - {"snapshots.safetensors"} == record | weights
        assert run.config["data"]["name"] not in PEOPLE or found == record
    assert {path.name for path in PUBLISHED.iterdir()} == {run.name for run in RUNS}


def test_numbers_of_every_experiment_come_back_from_some_run():
    """Further seeds, side trials and what no page opens may be records of numbers."""
    never = set(EXPERIMENTS) - {run.config["experiment"] for run in WHOLE}
    assert never == {"four_layer_face_vae", "layered_prior"}  # their pages say so
