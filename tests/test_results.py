"""The results page says what the records say, and is in step with them."""

import importlib
import json
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
README = "Before.\n<!-- results: start -->\nold\n<!-- results: end -->\nAfter.\n"
BESIDE = {
    "experiment": "tiny",
    "metric": "accuracy",
    "choices": {"latent": 2},
    "unit": "%",
    "better": "higher",
    "target": 85.0,
    "headline": True,
    "published": {
        "low": 80.0,
        "high": 82.0,
        "source": "known2020key",
        "name": "Known",
        "url": "https://example.org",
    },
    "protocol": "Another split.",
}


@pytest.fixture(scope="module")
def tool() -> Iterator[ModuleType]:
    """The tool that makes the page; it imports its neighbour by name."""
    sys.path.insert(0, str(ROOT / "book/_tools"))
    yield importlib.import_module("results")
    sys.path.remove(str(ROOT / "book/_tools"))


def add(root: Path, seed: int, value: float, latent: int = 2, **changes: Any) -> Path:
    """Write the record of one tiny run and return its folder."""
    folder = root / f"companion/published/tiny-{latent}-{seed}"
    folder.mkdir(parents=True)
    config = {
        "experiment": "tiny",
        "choices": {"latent": latent, "width": 8},
        "seed": seed,
        "subset": 0,
        "data": {"name": "dots", "split": "official", "source": "original", "sha256": "0" * 64},
        "epochs": 20,
        "hardware": "CPU",
        "wall_seconds": 90.0,
        "versions": {"torch": "2"},
        "commit": "abcdef1234",
    }
    metrics = {
        "accuracy": {"value": value, "error": 0.01, "n": 1000, "unit": "accuracy"},
        "nll": {"value": 240.0, "error": 1.5, "n": 1000, "unit": "nats"},
    }
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with no published run, one published number and a read-me."""
    (tmp_path / "book").mkdir()
    (tmp_path / "book/published_numbers.json").write_text(json.dumps({"comparisons": [BESIDE]}))
    (tmp_path / "book/references.bib").write_text("@misc{known2020key,\n title = {T}\n}\n")
    (tmp_path / "README.md").write_text(README)
    return tmp_path


def made(tool: ModuleType, root: Path) -> tuple[str, str]:
    """Return the texts of the results page and the read-me."""
    texts = tool.pages(root)
    return texts[root / "book/results.md"], texts[root / "README.md"]


def test_the_committed_page_and_readme_are_in_step_with_the_records(tool: ModuleType) -> None:
    for path, text in tool.pages().items():
        assert path.read_text(encoding="utf8") == text, f"{path.name}: run book/_tools/results.py"


def test_without_a_run_the_page_says_so(tool: ModuleType, root: Path) -> None:
    page, readme = made(tool, root)
    assert "No run is published yet." in page
    assert readme == README.replace("old", "No run is published yet.")


def test_seeds_are_combined_into_a_mean_with_its_standard_error(
    tool: ModuleType, root: Path
) -> None:
    values = (0.80, 0.84, 0.88)
    for seed, value in enumerate(values):
        add(root, seed, value)
    (group,) = tool.read_groups(root / "companion/published")
    ours = group.metrics["accuracy"]
    assert ours.value == pytest.approx(84.0)
    # standard deviation of 80, 84, 88 is 4; the mean of three has 4 / sqrt(3)
    assert ours.error == pytest.approx(4 / math.sqrt(3))
    assert (ours.over, ours.unit) == ("3 seeds", "%")
    page, _ = made(tool, root)
    assert "| accuracy | 84 ± 2 % |" in page and "one configuration: 2 numbers, 3 seeds" in page


def test_one_seed_keeps_the_error_over_examples_and_says_so(tool: ModuleType, root: Path) -> None:
    add(root, 0, 0.80)
    page, _ = made(tool, root)
    assert "| accuracy | 80.0 ± 1.0 % (n = 1,000) |" in page
    assert "| nll | 240.0 ± 1.5 nats (n = 1,000) | not compared |" in page


def test_runs_that_differ_in_a_choice_epochs_or_data_are_never_averaged(
    tool: ModuleType, root: Path
) -> None:
    add(root, 0, 0.80)
    add(root, 1, 0.81, latent=32)
    add(root, 2, 0.82, epochs=5)
    stand_in = {"name": "dots", "split": "official", "source": "stand-in", "sha256": "1" * 64}
    add(root, 3, 0.83, data=stand_in)
    groups = tool.read_groups(root / "companion/published")
    assert sorted(len(group.runs) for group in groups) == [1, 1, 1, 1]
    page, _ = made(tool, root)
    assert "::::{dropdown} latent = 32: 2 numbers, 1 seed" in page
    assert "::::{dropdown} **stand-in data**: 2 numbers, 1 seed" in page


def test_a_stand_in_or_a_subset_stands_beside_no_published_number(
    tool: ModuleType, root: Path
) -> None:
    stand_in = {"name": "dots", "split": "official", "source": "stand-in", "sha256": "1" * 64}
    add(root, 0, 0.99, data=stand_in)
    add(root, 1, 0.99, subset=512)
    page, readme = made(tool, root)
    assert "published |" not in page and "ahead" not in page and "<svg" not in page
    assert "No run is published yet." not in page and "No run is published yet." in readme


@pytest.mark.parametrize(
    ("value", "better", "said"),
    [
        (0.90, "higher", "ahead by 8 %; our target ≥ 85 % reached"),
        (0.90, "lower", "behind by 8 %; our target ≤ 85 % missed by 5"),
        (
            0.83,
            "higher",
            "no difference beyond two standard errors; our target ≥ 85 % missed by 2",
        ),
        (0.81, "higher", "inside the range; our target ≥ 85 % missed by 4"),
        (0.70, "higher", "behind by 10 %; our target ≥ 85 % missed by 15"),
        (0.70, "lower", "ahead by 10 %; our target ≤ 85 % reached"),
    ],
)
def test_the_verdict_follows_the_numbers(
    tool: ModuleType, root: Path, value: float, better: str, said: str
) -> None:
    add(root, 0, value)
    entries = {"comparisons": [{**BESIDE, "better": better}]}
    (root / "book/published_numbers.json").write_text(json.dumps(entries))
    page, readme = made(tool, root)
    assert f"| 80 to 82 % {{cite}}`known2020key` (1) | {said} |" in page
    assert page.count("\n(1) Another split.\n") == 1
    assert f"<br>{said}</td>" in page
    assert f"| 80 to 82 % ([Known](https://example.org)) | {said.partition(';')[0]} |" in readme


def test_a_compared_row_is_named_by_its_comparison_and_not_by_all_that_was_trained(
    tool: ModuleType, root: Path
) -> None:
    add(root, 0, 0.9)
    for seed in (1, 2):  # of another width, with nothing to compare to
        add(root, seed, 0.7, latent=3, choices={"latent": 3, "width": 16})
    (root / "book/published_numbers.json").write_text(json.dumps({"comparisons": [BESIDE]}))
    page, readme = made(tool, root)
    assert "<td>tiny, latent = 2: accuracy<br>" in page and "width = 8" not in readme
    add(root, 4, 0.8, choices={"latent": 2, "width": 16})  # now two that are compared
    page, _ = made(tool, root)
    assert "tiny, latent = 2, width = 8: accuracy" in page
    assert "tiny, latent = 2, width = 16: accuracy" in page


def test_in_a_picture_better_is_to_the_right(tool: ModuleType) -> None:
    ours = tool.Result(84.0, 0.5, "3 seeds", "%")

    def places(better: str) -> dict[str, float]:
        svg = tool.overview.picture(ours, {**BESIDE, "better": better}, "told")
        dot = re.search(r'circle cx="([\d.]+)"', svg)
        band = re.search(r'rect x="([\d.]+)".*? width="([\d.]+)"', svg)
        aim = re.search(r"M([\d.]+) 2V", svg)
        assert dot and band and aim
        middle = float(band[1]) + float(band[2]) / 2
        return {"ours": float(dot[1]), "published": middle, "target": float(aim[1])}

    up, down = places("higher"), places("lower")
    assert up["published"] < up["ours"] < up["target"]
    assert down["target"] < down["ours"] < down["published"]
    # from 80 to 85 on 216 pixels, which begin at 12
    assert up["ours"] == pytest.approx(12 + 216 * 4 / 5, abs=0.1)


def test_where_no_credible_number_exists_the_row_says_so(tool: ModuleType, root: Path) -> None:
    add(root, 0, 0.9)
    none = {**BESIDE, "published": None, "protocol": "Nobody agrees."}
    (root / "book/published_numbers.json").write_text(json.dumps({"comparisons": [none]}))
    page, _ = made(tool, root)
    assert "| none credible (1) | our target ≥ 85 % reached |" in page
    assert "\n(1) Nobody agrees.\n" in page


def test_a_wrong_record_is_refused_with_its_name(tool: ModuleType, root: Path) -> None:
    folder = add(root, 0, 0.9)
    kept = (folder / "config.json").read_text()
    (folder / "config.json").write_text(kept.replace('"seed"', '"sead"'))
    with pytest.raises(tool.RecordError, match=r"tiny-2-0/config\.json lacks 'seed'"):
        tool.pages(root)
    (folder / "config.json").write_text(kept[:-5])
    with pytest.raises(tool.RecordError, match=r"tiny-2-0/config\.json: "):
        tool.pages(root)
    (folder / "config.json").write_text(kept)
    metrics = (folder / "metrics.json").read_text()
    (folder / "metrics.json").write_text(metrics.replace("240.0", "NaN"))
    with pytest.raises(tool.RecordError, match="'nll' is not a finite number"):
        tool.pages(root)


def test_one_seed_cannot_count_twice(tool: ModuleType, root: Path) -> None:
    add(root, 0, 0.9)
    twin = add(root, 1, 0.9) / "config.json"
    twin.write_text(twin.read_text().replace('"seed": 1', '"seed": 0'))
    with pytest.raises(tool.RecordError, match=r"two runs of one seed: \[0, 0\]"):
        tool.pages(root)


def test_units_and_sources_must_fit(tool: ModuleType, root: Path) -> None:
    add(root, 0, 0.9)
    numbers = root / "book/published_numbers.json"
    numbers.write_text(json.dumps({"comparisons": [{**BESIDE, "unit": "nats"}]}))
    with pytest.raises(tool.RecordError, match="'%' stands beside the published unit 'nats'"):
        tool.pages(root)
    numbers.write_text(json.dumps({"comparisons": [BESIDE]}).replace("known2020key", "other"))
    with pytest.raises(tool.RecordError, match=r"cites 'other', not in references\.bib"):
        tool.pages(root)


def test_the_check_refuses_what_was_edited_and_writing_mends_it(
    tool: ModuleType, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(root, 0, 0.9)
    assert tool.main([], root) == 0
    assert tool.main(["--check"], root) == 0
    for name in ("book/results.md", "README.md"):
        path = root / name
        path.write_text(path.read_text().replace("90.0 ± 1.0", "97.0 ± 1.0"))
        assert tool.main(["--check"], root) == 1
        assert f"{name} is out of step" in capsys.readouterr().out
        assert tool.main([], root) == 0
    (root / "README.md").write_text("No markers.")
    assert tool.main([], root) == 1
    assert "README.md must have" in capsys.readouterr().out
