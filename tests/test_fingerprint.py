"""A recipe's fingerprint: an edited rate or layer is another run, an edited word is the same."""

import ast
import json
import shutil
import sys
import warnings
from dataclasses import replace
from functools import partial
from types import ModuleType

import pytest
import torch
from fingerprints import migrate, of_run
from torch.optim import Optimizer
from toys import denoiser, denoising

from companion.recipes import Player, Recipe
from companion.runs import all_runs, publish, read
from companion.runs.record import write_sealed
from companion.train import fingerprint, train

PUBLISHED = all_runs()
SOURCE = '''
"""An experiment that is going to be edited."""
from functools import partial
import torch
from torch import nn
from companion.maths import cosine
from companion.recipes import Player, Recipe, constant
from companion.worlds.gaussians import eight_gaussians

class Net(nn.Module):
    """A network with a setting, a memory and a table."""
    def __init__(self, width, slope):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, width), nn.SiLU(), nn.Linear(width, 2))
        self.slope, self._cache = slope, []
        self.register_buffer("memory", torch.zeros(3))
        self.register_buffer("table", torch.linspace(0.1, 1, 5), persistent=False)
    def forward(self, x):
        return self.body(x) + self.slope * x  # a comment

def loss(model, batch, step, weight=1.0, power=2):
    error = (model(batch[0]) - batch[0]).abs() ** power
    return {"loss": weight * error.mean(1)}

def other(model, batch, step, weight=1.0, power=2):
    return loss(model, batch, step, weight, power)

def moved(width, height):
    """Move points."""
    first, second = 3 * width, height
    def move(batch):
        """Move one batch."""
        return (batch[0] + first + second, *batch[1:])
    return move

def first_rows(model):
    return model.body[0].weight[:2]

def toy(rate: float = 1e-3, kept: int = 3) -> Recipe:
    model = Net(8, 0.1)
    pace = partial(torch.optim.Adam, lr=rate, betas=(0.5, 0.9))
    player = Player(model, partial(loss, weight=2.0), pace, cosine(10, 0.5))
    players = {"one": player}
    data = partial(eight_gaussians, 64)
    return Recipe(
        model, players, data, 32, augment=moved(0.1, 0.2), ema=0.5, clip=2.0, precision="no",
        watch=lambda model, data: {}, keep=lambda model: model.body[0].weight[:kept] * 7,
    )
'''
KNOWN = {  # on every machine, with every Python and torch
    "data": "e3c256a22bd9",
    "model": "8437b53f2f3e",
    "player one": "bbbdd07650b1",
    "settings": "2da043d34177",
    "what it stands on": "4f53cda18c2b",
}


def module(text: str = SOURCE) -> ModuleType:
    """Import a module from its text."""
    found = ModuleType("edited")
    exec(compile(text, "edited.py", "exec"), found.__dict__)
    return found


def built(text: str = SOURCE) -> dict[str, str]:
    return fingerprint(module(text).toy())


def edited(*pairs: str) -> str:
    """The text with its first pair of words exchanged, and the others."""
    text = SOURCE
    for old, new in zip(pairs[::2], pairs[1::2], strict=True):
        assert old in text and old != new
        text = text.replace(old, new)
    return text


TABLE = '"table", torch.linspace(0.1, 1, 5)'
OTHER = {  # what an author may edit, and in which part that shows
    "a rate": ("player one", "float = 1e-3", "float = 2e-3"),
    "a rate in its place": ("player one", "lr=rate", "lr=1e-4"),
    "an optimizer": ("player one", "optim.Adam, lr=rate, betas=(0.5, 0.9)", "optim.SGD, lr=rate"),
    "a like optimizer": ("player one", "optim.Adam,", "optim.AdamW,"),
    "an average": ("player one", "(0.5, 0.9)", "(0.5, 0.99)"),
    "a decay": ("player one", "lr=rate,", "lr=rate, weight_decay=0.01,"),
    "groups": ("player one", "partial(torch.optim.Adam, lr=rate, betas=(0.5, 0.9))",
               "lambda ps: torch.optim.Adam([{'params': [p], 'lr': rate} for p in ps], "
               "betas=(0.5, 0.9))"),
    "a loss": ("player one", "partial(loss", "partial(other"),
    "a loss argument": ("player one", "weight=2.0)", "weight=2.5)"),
    "a loss argument more": ("player one", "weight=2.0)", "weight=2.0, power=3)"),
    "a loss default": ("player one", "power=2", "power=1"),
    "a nameless loss": ("player one", "partial(loss, weight=2.0)",
                        "lambda m, b, s: loss(m, b, s, 2.0)"),
    "a tensor of a loss": ("player one", "weight=2.0)", "weight=torch.tensor([2.0, 2.0]))"),
    "a horizon": ("player one", "cosine(10", "cosine(11"),
    "a warmup": ("player one", "10, 0.5", "10, 0.4"),
    "a floor": ("player one", "10, 0.5", "10, 0.5, 0.01"),
    "no schedule": ("player one", "cosine(10, 0.5)", "constant"),
    "updates": ("player one", "cosine(10, 0.5)", "cosine(10, 0.5), 2"),
    "what it moves": ("player one", "Player(model", "Player(model.body[0]"),
    "a width": ("model", "Net(8", "Net(9"),
    "a layer": ("model", "nn.SiLU", "nn.ReLU"),
    "a layer more": ("model", "nn.SiLU()", "nn.SiLU(), nn.Identity()"),
    "a layer's setting": ("model", "nn.SiLU()", "nn.LeakyReLU(0.3)"),
    "a model's setting": ("model", "0.1)\\n    pace", "0.2)\\n    pace"),
    "a memory": ("model", "zeros(3)", "zeros(4)"),
    "a name": ("model", '"memory"', '"memories"'),
    "a table": ("model", "linspace(0.1", "linspace(0.11"),
    "a table that is saved": ("model", ", persistent=False", ""),
    "fewer data": ("data", "eight_gaussians, 64", "eight_gaussians, 128"),
    "a batch size": ("settings", "data, 32", "data, 16"),
    "an ema": ("settings", "ema=0.5", "ema=0.6"),
    "no ema": ("settings", "ema=0.5, ", ""),
    "a clip": ("settings", "clip=2.0", "clip=2.1"),
    "a precision": ("settings", 'precision="no"', 'precision="bf16"'),
    "a form": ("settings", "clip=2.0", 'clip=2.0, form="stored"'),
    "a part": ("settings", "clip=2.0", 'clip=2.0, saved="body"'),
    "a watch": ("settings", "clip=2.0", "clip=2.0, watch_every=2"),
    "an augmentation": ("settings", "0.1, 0.2", "0.1, 0.3"),
    "turned round": ("settings", "0.1, 0.2", "0.2, 0.1"),
    "what is bound": ("settings", "kept: int = 3", "kept: int = 2"),
    "a number in a lambda": ("settings", "* 7", "* 6"),
    "a name in a lambda": ("settings", "[0].weight[:kept]", "[0].bias[:kept]"),
    "what is kept": ("settings", "keep=lambda model: model.body[0].weight[:kept] * 7",
                     "keep=first_rows"),
}  # fmt: skip
SAME = {  # what no author would call another experiment
    "comments": ("# a comment", "# another comment\\n        #"),
    "docstrings": ("Move points.", "Shift.", "Move one batch.", "Shift one batch."),
    "renamed": ("player", "mover", " pace =", " it =", "2.0), pace", "2.0), it", "error", "zz"),
    "renamed in a closure": ("first, second", "b, a", "first + second", "b + a"),
    "renamed in a lambda": ("lambda model: model", "lambda net: net"),
    "spaces": ("data, 32, augment", "data,\\n        32,\\n        augment"),
    "a default written out": ("weight=2.0)", "weight=2.0, power=2)"),
    "a new choice that is off": ("power=2)", "power=2, smoothing=0.0)"),
    "a whole number": ("clip=2.0", "clip=2"),
    "one kernel": ("lr=rate,", "lr=rate, fused=True,"),
    "other order": ("ema=0.5, clip=2.0", "clip=2.0, ema=0.5"),
    "an affair of its own": ("_cache = slope, []", "_cache = slope, {}"),
    "another watch": ("watch=lambda model, data: {}", "watch=None"),
    "the last bit": (TABLE, f"{TABLE} * (1 + 1e-7)"),
}


@pytest.mark.parametrize(("part", "old", "new"), OTHER.values(), ids=OTHER)
def test_an_edited_experiment_is_another(part, old, new):
    text = edited(old.replace("\\n", "\n"), new.replace("\\n", "\n"))
    changed = {name for name, _ in {*built(text).items()} ^ {*built().items()}}
    assert part in changed
    assert changed <= {part, "player one"}  # which moves other parameters of another model


@pytest.mark.parametrize("pairs", SAME.values(), ids=SAME)
def test_an_edited_word_is_the_same_experiment(pairs):
    assert built(edited(*(word.replace("\\n", "\n") for word in pairs))) == built()


def test_another_format_is_the_same_experiment():
    assert built(ast.unparse(ast.parse(SOURCE))) == built()
    lines = SOURCE.split("def ")
    assert built("def ".join(lines[:3] + lines[4:5] + lines[3:4] + lines[5:])) == built()


def test_what_cannot_be_asked_stops_no_training(home):
    """A schedule that ends, a variable that was never given, a built-in function."""

    def lame() -> Recipe:
        recipe = denoiser(points=64)
        if recipe is None:
            never = 1

        def loss(model, batch, step):
            return denoising(model, batch, step) if batch else never

        pace = partial(map, loss)
        player = Player(recipe.model, loss)
        player = replace(player, schedule=lambda epoch: (1.0, 0.5)[int(epoch)])
        return replace(recipe, players={"one": player}, augment=lambda b: (pace, b)[1])

    assert train(lame, 1).complete and fingerprint(lame()) == fingerprint(lame())


def test_a_fingerprint_draws_no_number_and_does_not_wait_for_the_compiler():
    """Which torch imports, for seconds, before an optimizer is made, if it is not stopped."""
    guarded = Optimizer.add_param_group

    def pace(parameters):
        assert Optimizer.add_param_group is not guarded
        return torch.optim.Adam(parameters)

    recipe = module().toy()
    recipe = replace(recipe, players={"one": replace(recipe.players["one"], optimizer=pace)})
    torch.manual_seed(0)
    first = torch.rand(2)
    torch.manual_seed(0)
    fingerprint(recipe)
    assert torch.equal(torch.rand(2), first) and Optimizer.add_param_group is guarded


def experiment(text: str = SOURCE):
    return module(text).toy


@pytest.fixture
def home(monkeypatch, tmp_path):
    """New, empty folders of runs, here and published."""
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr("companion.runs.record.PUBLISHED", tmp_path / "published")
    return tmp_path


@pytest.mark.parametrize("edit", ["a rate", "an optimizer", "a width", "a table"])
def test_an_edited_experiment_is_trained_beside_the_old_one(edit, home):
    before = train(experiment(), 1)
    weights = before.weights.read_bytes()
    after = train(experiment(edited(*OTHER[edit][1:])), 2)
    assert after.name != before.name and after.complete and len(after.history) == 2
    assert before.weights.read_bytes() == weights
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert train(experiment(edited(*SAME["renamed"])), 1).name == before.name


def test_a_published_run_is_recalled_with_a_word_if_the_code_has_moved_on(home):
    record = publish(train(experiment(), 1))
    assert record.config["fingerprint"] == built()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(experiment(edited(*SAME["renamed"])))
    with pytest.warns(UserWarning, match=f"{record.name} was made at commit .*; today's code "
                      "builds another player one$"):  # fmt: skip
        assert train(experiment(edited(*OTHER["an optimizer"][1:]))).folder == record.folder


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"versions": {"torch": "1.0"}}, r"was made with torch 1\.0; here: torch \d"),
        ({"commit": "0000000"}, r"was made with commit 0000000; here: commit \w+"),
    ],
)
def test_a_recalled_run_says_what_is_newer(change, sentence, home):
    run = train(denoiser, 1)
    write_sealed(run.folder, {**read(run.folder).config, **change}, run.files)
    with pytest.warns(UserWarning, match=sentence) as said:
        assert train(denoiser, 1).history == run.history
    assert len(said) == 1 and "\n" not in str(said[0].message)


def test_a_commit_since_which_no_code_has_changed_is_no_news(home, monkeypatch):
    run = train(denoiser, 1)
    same = {"rev-parse": "abc1234\n", "diff": ""}
    room = sys.modules["companion.runs.provenance"]
    monkeypatch.setattr(room, "git", lambda word, *words: same[word])
    write_sealed(run.folder, {**read(run.folder).config, "commit": "0000000"}, run.files)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert train(denoiser, 1).complete


@pytest.mark.parametrize("run", PUBLISHED, ids=[run.name for run in PUBLISHED])
def test_the_code_still_builds_what_was_published(run):
    """If it is meant to build something else: `python tests/fingerprints.py`, or train anew."""
    assert run.config["fingerprint"] == of_run(run)


def test_questions_that_differ_build_something_different():
    """Each choice shows in the fingerprint, but for one that only measures more."""
    asked = {json.dumps([run.config["experiment"], run.config["choices"]]) for run in PUBLISHED}
    found = {json.dumps(run.config["fingerprint"]) for run in PUBLISHED}
    assert len(found) == len(asked)


def test_a_migration_changes_nothing_but_the_fingerprint(tmp_path):
    run = PUBLISHED[0]
    copy = tmp_path / run.name
    shutil.copytree(run.folder, copy)
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    old = read(copy)
    assert migrate(old) == [] and (copy / "config.json").read_bytes() == before["config.json"]
    assert migrate(old, lambda run: {"model": "other"}) == sorted(old.config["fingerprint"])
    new = read(copy)
    assert new.config == {**old.config, "fingerprint": {"model": "other"}}
    assert (new.metrics, new.history, new.files) == (old.metrics, old.history, old.files)
    after = {path.name: path.read_bytes() for path in copy.iterdir()}
    assert {k for k in after if after[k] != before[k]} == {"config.json"}


def test_a_recipe_of_no_fingerprint_is_recalled_as_before(home):
    """Records of an older version have none."""
    record = publish(train(experiment(), 1))
    config = {k: v for k, v in record.config.items() if k != "fingerprint"}
    write_sealed(record.folder, config, record.files)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert train(experiment(edited(*OTHER["a horizon"][1:]))).folder == record.folder


def test_nothing_changes_from_day_to_day():
    """A change of these numbers makes all runs of all readers others."""
    assert built() == built() == KNOWN
