"""What the read-me files print is what runs: the first lines, and those that add a family."""

import doctest
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from companion.recipes import Player, Recipe, own_terms
from companion.train import train
from companion.worlds.gaussians import eight_gaussians

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "companion/README.md"


@pytest.fixture(scope="module")
def plane():
    """The experiment that the read-me adds."""
    lines = PAGE.read_text().split("## Add a family")[1].split("```python\n")[1].split("```")[0]
    names = dict(
        nn=nn, torch=torch, Normal=Normal, Recipe=Recipe, Player=Player, partial=partial,
        own_terms=own_terms, eight_gaussians=eight_gaussians,
    )  # fmt: skip
    exec(lines, names)
    return names["plane"]


def test_it_trains_is_watched_and_comes_back(plane, monkeypatch, tmp_path):
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path))
    run = train(plane, 60)
    model, data = run.model, eight_gaussians(512)
    best = data.train[0]
    spread = ((best - best.mean(0)) ** 2).mean().sqrt()
    torch.testing.assert_close(model.mean, best.mean(0), atol=0.1, rtol=0)
    assert model.log_scale.exp().item() == pytest.approx(spread.item(), rel=0.05)
    nll = run.metrics["nll"]
    by_hand = model.terms(data.test[0])["nll"].detach().double()
    assert nll["value"] == pytest.approx(by_hand.mean().item(), rel=1e-5)
    assert nll["error"] == pytest.approx(by_hand.std().item() / math.sqrt(512), rel=1e-3)
    assert (nll["n"], nll["unit"]) == (512, "nats")
    assert run.history[-1]["test/nll"] == nll["value"]
    assert run.history[-1]["plane/nll"] < run.history[0]["plane/nll"]
    assert model.sample(7).shape == (7, 2)
    assert train(plane, 60).metrics == run.metrics  # recalled


def test_its_choices_are_its_question(plane, monkeypatch, tmp_path):
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path))
    with pytest.raises(TypeError, match=r"plane has no choice 'point' \(did you mean 'points'"):
        train(plane, 1, point=3)
    assert train(plane, 1, rate=1).name.startswith("plane-rate1-seed0-")


def test_the_first_lines_print_what_the_read_me_shows(monkeypatch, tmp_path):
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path))
    text = (ROOT / "README.md").read_text(encoding="utf8").split("```python\n")[1].split("```")[0]
    test, report = doctest.DocTestParser().get_doctest(text, {}, "README.md", None, 0), []
    assert len(test.examples) == 6
    doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert not report, "".join(report)
