"""The record of a run: its name, its question, its published form."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toys import denoiser, spread

from companion import runs as runs_module
from companion.data import Dataset
from companion.files import RunError
from companion.metrics import Estimate
from companion.recipes import Recipe
from companion.runs import (
    all_runs,
    ask,
    begin,
    find_published,
    publish,
    published_seed,
    read,
)  # fmt: skip
from companion.tensors import load_tensors
from companion.train import train
from companion.words import at_least

ABOUT = {"name": "toy", "split": "all", "source": "exact", "sha256": "0" * 64}


@pytest.fixture(autouse=True)
def published(monkeypatch, tmp_path) -> Path:
    """New, empty folders of runs, here and published."""
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr("companion.runs.record.PUBLISHED", tmp_path / "published")
    return tmp_path / "published"


def toy(latent: int = 2, beta: float = 1.0, likelihood: str = "bernoulli", deep: bool = False):
    """An experiment that is asked for and never made."""
    raise AssertionError("a question needs no recipe")


def question(seed: int = 0, subset: int = 0, **choices: Any) -> dict[str, Any]:
    return ask(toy, seed, subset, choices)


def test_a_question_reads_as_its_record_will():
    def wide(channels: tuple[int, ...] = (32, 64)):
        raise AssertionError("a question needs no recipe")

    asked = ask(wide, 0, 0, {"channels": (16, 32)})
    assert asked == json.loads(json.dumps(asked)) and asked["choices"] == {"channels": [16, 32]}
    assert asked["defaults"] == {"channels": [32, 64]}
    assert asked["title"] == "wide-channels_16_32_"


def test_a_question_writes_out_every_default():
    assert question()["choices"] == dict(latent=2, beta=1.0, likelihood="bernoulli", deep=False)
    assert question(beta=4)["choices"] == question(beta=4.0)["choices"]


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"latnet": 3}, "toy has no choice 'latnet' (did you mean 'latent'? known: beta, deep,"),
        ({"xyz": 3}, "toy has no choice 'xyz' (known: beta, deep, latent, likelihood)"),
        ({"latent": 2.5}, "latent must be int, as 2 is, got 2.5"),
        ({"latent": True}, "latent must be int, as 2 is, got True"),
        ({"latent": "2"}, "latent must be int, as 2 is, got '2'"),
        ({"beta": "4"}, "beta must be float, as 1.0 is, got '4'"),
        ({"beta": True}, "beta must be float, as 1.0 is, got True"),
        ({"likelihood": 1}, "likelihood must be str, as 'bernoulli' is, got 1"),
        ({"deep": 1}, "deep must be bool, as False is, got 1"),
    ],
)
def test_a_choice_that_cannot_be_is_one_sentence(choices, sentence):
    with pytest.raises(TypeError) as caught:
        question(**choices)
    assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value)


def test_a_name_is_stable_and_tells_what_differs_from_the_defaults():
    """These names are on disks and in the book: a change of them loses every run."""
    assert begin(question(), ABOUT, 1).name == "toy-seed0-d22677fd"
    named = begin(question(3, latent=8, likelihood="a b/c"), ABOUT, 1).name
    assert named == "toy-latent8-likelihooda_b_c-seed3-f86b4170"
    built = {**question(), "fingerprint": {"model": "0123456789ab"}}
    assert begin(built, ABOUT, 1).name == "toy-seed0-a27094c0"


@pytest.mark.parametrize(
    ("other", "about"),
    [
        (question(1), ABOUT),
        (question(subset=5), ABOUT),
        (question(latent=3), ABOUT),
        ({**question(), "fingerprint": {"model": "other"}}, ABOUT),
        (question(), {**ABOUT, "source": "stand-in"}),
        (question(), {**ABOUT, "sha256": "1" * 64}),
        (question(), {**ABOUT, "split": "80/20"}),
    ],
)
def test_another_question_has_another_folder(other, about):
    assert begin(other, about, 1).folder != begin(question(), ABOUT, 1).folder
    assert begin(question(), ABOUT, 2).folder != begin(question(), ABOUT, 1).folder


def answered(choices: dict[str, Any], published: Path, seed: int = 0, **more: Any) -> None:
    """Publish a record without weights."""
    folder = published / f"toy-{len(list(published.glob('*')))}"
    folder.mkdir(parents=True)
    config = {"name": folder.name, "experiment": "toy", "choices": choices, "seed": seed}
    config |= {"subset": 0, "data": ABOUT, "epochs": 1, "complete": True, **more}
    for name, content in {"config.json": json.dumps(config), "metrics.json": "{}"}.items():
        (folder / name).write_text(content)
    (folder / "history.jsonl").write_text('{"epoch": 1, "seconds": 1.0}\n')


def test_a_question_finds_its_own_answer(published):
    answered({"latent": 3, "beta": 1.0}, published)
    answered({"latent": 2, "beta": 1.0}, published, seed=1)
    answered({"latent": 2, "beta": 1.0}, published)  # it knew of no likelihood, and was not deep
    assert find_published(question()).name == "toy-2"
    assert find_published(question(1)).name == "toy-1"
    assert find_published(question(latent=3)).name == "toy-0"


def test_a_choice_never_published_lists_the_published_ones(published):
    with pytest.raises(RunError, match=r"^toy with seed 0 was never published: .* of: none yet$"):
        find_published(question())
    answered({"latent": 3}, published)
    answered({"latent": 4}, published)
    for asked in (question(), question(latent=3, deep=True), question(5, latent=3)):
        with pytest.raises(RunError, match=r"never published: train it .* of: toy-0; toy-1$"):
            find_published(asked)


def test_a_page_falls_back_on_the_seed_that_is_published_and_says_so(published, capsys):
    answered({"latent": 2}, published, seed=3, record_only=True)
    answered({"latent": 3}, published, seed=1)
    answered({"latent": 2}, published, seed=4)
    assert published_seed(toy, 4) == 4 and published_seed(toy, 1, latent=3) == 1
    assert published_seed(toy, 8, epochs=1) == 8  # it trains
    assert published_seed(toy, 3, many=2) == 3
    assert capsys.readouterr().out == ""  # what was asked for needs no word
    for seed in (0, 3, 7):  # never published, or without its weights
        assert published_seed(toy, seed) == 4
        said = capsys.readouterr().out
        assert said.startswith(f"toy is not published with seed {seed}: this page shows seed 4;")
        assert said.count("\n") == 1
    assert published_seed(toy, 4, many=2) == 3
    assert "with seeds 4 to 5: this page shows seeds 3 to 4;" in capsys.readouterr().out


def test_a_page_that_cannot_fall_back_is_refused_in_a_sentence(published):
    with pytest.raises(RunError, match=r"^toy was never published: .* of: none yet$"):
        published_seed(toy, 0)
    answered({"latent": 2}, published)
    answered({"latent": 2}, published, seed=2)
    with pytest.raises(
        ValueError, match=r"^toy is published with seeds \[0, 2\], not 3 in a row$"
    ):
        published_seed(toy, 0, many=3)
    with pytest.raises(
        ValueError, match=r"^toy is published with seeds \[0, 2\], not 2 in a row$"
    ):
        published_seed(toy, 0, many=2)


def recipe_of(width: int = 32) -> Recipe:
    """The experiment `denoiser` with large weights, one too large for half precision."""
    recipe = denoiser(width=width)
    recipe.model.register_buffer("large", torch.tensor([1.0, 7e4]))
    recipe.model.register_buffer("count", torch.tensor(2**40 + 1))
    return recipe


def test_a_published_run_answers_to_half_precision_without_any_data(published, monkeypatch):
    run = train(recipe_of, 2)
    record = publish(run)
    assert sorted(p.name for p in record.folder.iterdir()) == [
        "config.json", "history.jsonl", "metrics.json", "weights.safetensors",
    ]  # fmt: skip
    weights, _ = load_tensors(record.weights)
    assert weights["0.weight"].dtype == torch.float16

    def recipe_without_data(width: int = 32) -> Recipe:
        return replace(recipe_of(width), data=lambda: pytest.fail("a recalled run needs no data"))

    recipe_without_data.__name__ = "recipe_of"
    with pytest.warns(UserWarning, match="today's code builds another data"):
        recalled = train(recipe_without_data)
    x = torch.randn(50, 2)
    torch.testing.assert_close(recalled.model(x), run.model(x), rtol=5e-3, atol=2e-3)  # 11 bits
    assert not torch.equal(recalled.model(x), run.model(x))
    assert torch.equal(recalled.model.large, run.model.large)
    assert torch.equal(recalled.model.count, run.model.count)
    assert recalled.config == run.config and recalled.history == run.history
    assert not recalled.model.training


def test_an_interrupted_run_is_not_published(monkeypatch, published):
    def interrupt(model: nn.Module, data: Dataset) -> dict[str, Estimate]:
        raise KeyboardInterrupt

    def stopped() -> Recipe:
        return replace(denoiser(), measure=interrupt)

    run = train(stopped, 1)
    with pytest.raises(RunError, match="not complete"):
        publish(run)
    assert not published.exists()


@pytest.mark.parametrize("file", ["weights.safetensors", "metrics.json", "history.jsonl"])
def test_a_run_that_was_written_in_part_is_not_taken_for_a_whole_one(file, monkeypatch):
    def full(draft: Path, path: Path) -> None:
        if Path(path).name == file:
            raise OSError(28, "No space left on device")
        rename(draft, path)

    rename = os.replace
    with monkeypatch.context() as patch, pytest.raises(RunError, match="No space left"):
        patch.setattr("os.replace", full)
        train(denoiser, 1)
    run = train(denoiser, 1)
    assert run.complete and read(run.folder).metrics == run.metrics
    assert train(denoiser, 1).history == run.history


def test_the_final_metrics_keep_their_errors(published):
    def measured() -> Recipe:
        return replace(
            denoiser(), measure=lambda model, data: {"two": Estimate(2, 0.5, 9, "nats")}
        )

    run = train(measured, 1)
    assert run.metrics["two"] == {"value": 2, "error": 0.5, "n": 9, "unit": "nats"}
    assert run.metrics["spread"]["value"] == pytest.approx(run.history[-1]["test/spread"])
    assert read(run.folder).metrics == run.metrics


def test_a_record_tells_how_it_was_made():
    run = train(denoiser, 1, subset=128)
    assert run.config["data"]["name"] == "eight-gaussians" and run.source == "exact"
    assert run.config["data"]["sha256"] == denoiser().data().sha256
    assert {"torch", "companion", "accelerate"} <= run.config["versions"].keys()
    assert {"commit", "hardware", "wall_seconds", "precision"} <= run.config.keys()
    assert (run.config["subset"], run.config["seed"], run.epochs) == (128, 0, 1)
    assert spread(run.model, denoiser().data())["spread"].n == 100


def test_runs_are_listed_by_name_and_length():
    for epochs in (10, 2):
        train(denoiser, epochs)
    assert [run.epochs for run in all_runs(runs_module.local_runs())] == [2, 10]


@pytest.mark.parametrize("file", ["config.json", "metrics.json", "history.jsonl"])
@pytest.mark.parametrize("content", [b"{", b"\xe9", b'["name"]', None])
def test_a_damaged_record_is_one_sentence(file, content):
    run = train(denoiser, 1)
    if content is None:
        (run.folder / file).unlink()
    else:
        (run.folder / file).write_bytes(content)
    if content is None and file == "config.json":
        assert not begin(ask(denoiser, 0, 0, {}), run.config["data"], 1).complete
        return
    for use in (lambda: read(run.folder), lambda: train(denoiser, 1)):
        with pytest.raises(RunError, match=file) as caught:
            use()
        assert str(run.folder / file) in str(caught.value)


def test_a_run_on_a_part_or_on_stand_ins_is_not_published(published):
    with pytest.raises(RunError, match="saw 128 of the exact data; to publish it, train on all"):
        publish(train(denoiser, 1, subset=128))
    run = train(denoiser, 1)
    for source in ("stand-in", "unverified (in part: 30 + 20 images)"):
        run.config["data"]["source"] = source
        with pytest.raises(RunError, match=re.escape(f"saw all of the {source} data")):
            publish(run)
    assert not published.exists()


@pytest.mark.parametrize("people", [True, False])
def test_a_record_without_weights_says_so_when_its_model_is_used(published, people):
    """Of photographs of people, whose weights remember faces, nothing else can be published."""
    run = train(denoiser, 1)
    run.config["data"]["name"] = "olivetti" if people else "eight-gaussians"
    record = publish(run, record_only=not people)
    names = {path.name for path in record.folder.iterdir()}
    assert names == {"config.json", "history.jsonl", "metrics.json"}
    found = train(denoiser)
    assert found.metrics == run.metrics
    for use in (lambda: found.model(torch.zeros(1, 2)), lambda: found.model.encode):
        with pytest.raises(RunError, match="is a record of numbers: its weights are not"):
            use()


BOOK = Path(__file__).parents[1] / "book"
RECALLING = [
    path
    for path in sorted(BOOK.glob("*/*.py"))
    if path.parent.name[0] != "_" and "\nepochs: int" in path.read_text(encoding="utf8")
]


@pytest.mark.parametrize("chapter", RECALLING, ids=lambda path: path.stem)
def test_a_chapter_that_recalls_settles_its_seed_before_it_does(chapter):
    """Or `-p seed 1` stops after minutes, in the first cell that asks for what is not there."""
    cells = chapter.read_text(encoding="utf8").split("\n# %%")
    recalls = [
        k for k, cell in enumerate(cells) if re.search(r"\btrain\(\s*\w+, (?:epochs|passes)", cell)
    ]
    settled = [k for k, cell in enumerate(cells) if "seed = published_seed(" in cell]
    assert recalls and settled and settled[0] < recalls[0]


def test_too_few_are_refused_in_a_sentence_with_the_least_that_works():
    at_least(2, seeds=2)
    with pytest.raises(ValueError, match=r"^seeds must be 2 or more, got 1$"):
        at_least(2, seeds=1)
