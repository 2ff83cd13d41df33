"""What could not be finished is refused before the first step; what fails later costs no run."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_experiments import BASE
from tiny_data import put_in_place
from torch import nn
from toys import Hidden, denoiser, denoising, mlp, spread

from companion.__main__ import main
from companion.data import Dataset
from companion.experiments import EXPERIMENTS
from companion.files import RunError
from companion.measures.diffusion import compared
from companion.metrics import Estimate
from companion.models.diffusion import Diffusion, cosine_schedule
from companion.recipes import Player, Recipe
from companion.tensors import load_tensors, save_tensors
from companion.train import measure, train
from companion.train.loop import observe, watched
from companion.train.rehearsal import once, rehearse
from companion.train.state import State


@pytest.fixture(autouse=True)
def runs(monkeypatch, tmp_path):
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


CANNOT = [  # choices that every recipe takes, and no measure
    ("ddpm", {"steps": 20}, 0, "measuring it fails: strata must be from 1 to 19, got 50"),
    ("ddpm", {"steps": 30}, 0, "measuring it fails: strata must be from 1 to 29, got 50"),
    ("ddpm", {"steps": 50}, 0, "measuring it fails: strata must be from 1 to 49, got 50"),
    ("ddpm", {"channels": (8, 8, 8, 8)}, 0, "watching it fails: height and width must be"),
    ("ddpm", {}, 1, "watching it fails: needs two or more observations"),
    ("gan", {}, 1, "watching it fails: needs logits (N, C) with N at least 2"),
    ("gan", {}, 4, "measuring it fails: k must be from 1 to 3, got 5"),
    ("wgan", {}, 5, "measuring it fails: k must be from 1 to 4, got 5"),
    ("vae", {}, 1, "watching it fails: needs two or more observations"),
    ("vae", {"head": 1.0}, 1, "watching it fails: needs two or more observations"),
    ("autoencoder", {}, 1, "watching it fails: needs two or more observations"),
    ("classifier", {}, 1, "watching it fails: needs two or more observations"),
    ("extractor", {}, 1, "watching it fails: needs two or more observations"),
    ("beta_vae", {}, 1, "watching it fails: needs codes (N, K) and factors (N, F)"),
    ("beta_tcvae", {}, 3, "measuring it fails: needs codes (N, K) and factors (N, F)"),
    ("face_vae", {}, 1, "watching it fails: needs two or more observations"),
    ("two_layer_face_vae", {}, 1, "watching it fails: needs two or more observations"),
    ("four_layer_face_vae", {}, 1, "watching it fails: needs two or more observations"),
    ("digit_network", {}, 1, "watching it fails: needs two or more observations"),
    ("face_reader", {}, 1, "watching it fails: needs two or more observations"),
    ("point_flow", {}, 1, "watching it fails: needs two or more observations"),
    ("halves_image_flow", {}, 1, "watching it fails: needs two or more observations"),
    ("realnvp", {}, 1, "watching it fails: needs two or more observations"),
    ("joint_classifier", {}, 1, "watching it fails: needs two or more observations"),
    ("jem", {}, 1, "watching it fails: needs two or more observations"),
    ("energy_model", {}, 1, "watching it fails: needs two or more observations"),
    ("point_energy", {}, 1, "watching it fails: needs two or more observations"),
    ("glow", {}, 1, "watching it fails: needs two or more observations"),
    ("face_glow", {}, 1, "watching it fails: needs two or more observations"),
    ("residual_points", {}, 1, "watching it fails: needs two or more observations"),
    ("continuous_points", {}, 1, "watching it fails: needs two or more observations"),
    ("residual_digits", {}, 1, "watching it fails: needs two or more observations"),
    ("binary_vae", {}, 1, "watching it fails: needs two or more observations"),
    ("layered_vae", {}, 1, "watching it fails: needs two or more observations"),
    ("made", {}, 1, "watching it fails: needs two or more observations"),
    ("pixel_cnn", {}, 1, "watching it fails: needs two or more observations"),
    ("image_gpt", {}, 1, "watching it fails: needs two or more observations"),
    ("copying", {}, 1, "watching it fails: needs two or more observations"),
    ("induction_heads", {}, 1, "watching it fails: needs two or more observations"),
    ("digit_sequence", {}, 1, "watching it fails: needs two or more observations"),
    ("vq_vae", {}, 1, "watching it fails: needs two or more observations"),
    ("discrete_vae", {}, 1, "watching it fails: needs two or more observations"),
    ("fsq_vae", {}, 1, "watching it fails: needs two or more observations"),
    ("flat_vae", {}, 1, "watching it fails: needs two or more observations"),
    ("code_prior", {}, 1, "watching it fails: needs two or more observations"),
    ("cluster_classifier", {}, 1, "watching it fails: needs two or more observations"),
    ("layered_prior", {}, 1, "watching it fails: needs two or more observations"),
    ("learned_prior", {}, 1, "watching it fails: needs two or more observations"),
    ("sc_vae", {}, 1, "watching it fails: needs two or more observations"),
]


@pytest.mark.parametrize(("name", "choices", "subset", "sentence"), CANNOT)
def test_a_choice_that_cannot_finish_is_refused_before_the_first_step(
    name, choices, subset, sentence, monkeypatch, runs
):
    put_in_place(monkeypatch)
    monkeypatch.setattr(State, "update", lambda *words: pytest.fail("it trained"))
    with pytest.raises(ValueError, match="could not be finished: ") as caught:
        train(EXPERIMENTS[name], 1, subset=subset, **{**BASE.get(name, {}), **choices})
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
    assert not [path for path in runs.rglob("*") if path.is_file()]


def test_every_experiment_that_can_be_measured_is_named():
    assert {name for name, *_ in CANNOT} == EXPERIMENTS.keys()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_no_experiment_is_refused_on_64_examples(name, monkeypatch):
    put_in_place(monkeypatch)
    recipe = EXPERIMENTS[name](**BASE.get(name, {}))
    rehearse(State(recipe), recipe.data().seen_as(recipe.form), watched(recipe), name)


def test_a_rehearsal_asks_the_largest_network_often_and_lets_it_compute_a_few_times(monkeypatch):
    """Its measure and its pictures ask 200 times for what the network says of some images."""
    put_in_place(monkeypatch)
    recipe = EXPERIMENTS["ddpm"]()
    state, data = State(recipe), recipe.data().seen_as(recipe.form)
    asked, computed = [], []
    state.measured.net.register_forward_hook(lambda *words: asked.append(1))
    state.measured.net.stem.register_forward_hook(lambda *words: computed.append(1))
    rehearse(state, data, watched(recipe), "ddpm")
    assert len(asked) > 190 and len(computed) < 10


def ways_of(steps: int, monkeypatch) -> set[str]:
    def judged(model: Any, frechet: Any, how: str, n: int, **words: Any) -> dict[str, int]:
        return {how: n}

    monkeypatch.setattr("companion.measures.diffusion.judged", judged)
    model = Diffusion(mlp(2, 2), cosine_schedule(steps))
    return {how for how in compared(model, None) if "1000" in how}  # type: ignore[arg-type]


def test_ways_of_drawing_in_more_steps_than_there_are_are_left_out(monkeypatch):
    assert not ways_of(500, monkeypatch) and ways_of(1000, monkeypatch)


def two(data: Any = None) -> dict[str, Estimate]:
    return {"two": Estimate(2.0, 0.5, 9)}


def needing(n: int) -> Callable[..., dict[str, Estimate]]:
    def measured(model: nn.Module, data: Dataset) -> dict[str, Estimate]:
        if len(data.test[0]) < n:
            raise ValueError(f"needs {n} examples")
        return two()

    return measured


REFUSED = {
    "no estimate": ({"measure": lambda m, d: {"two": 2.0}}, "return estimates by name, got"),
    "no names": ({"watch": lambda m, d: 3}, "watching it fails: a measure must return estimates"),
    "a tensor": ({"measure": lambda m, d: {"t": Estimate(torch.ones(()), 0.0, 1)}},
                 "measuring it fails: Object of type Tensor is not JSON"),
    "a text": ({"measure": lambda m, d: {"t": Estimate("2", 0.0, 1)}}, "'value' of t must be a"),
    "a mistake": ({"measure": lambda m, d: m.nothing}, "AttributeError: 'Sequential' object has"),
    "too few": ({"measure": needing(257)}, "measuring it fails: needs 257 examples"),
    "one axis": ({"keep": lambda m: m[0].bias}, "of two axes or more, got shape (32,)"),
    "no tensor": ({"keep": lambda m: 3}, "keeping a tensor of it fails: what is kept must be"),
    "no number": ({"keep": lambda m: m[0].weight.bfloat16()}, "Got unsupported ScalarType BFl"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_measured_or_kept_is_refused(changes, sentence, monkeypatch):
    monkeypatch.setattr("toys.denoising", lambda *words: pytest.fail("it trained"))

    def refused() -> Recipe:
        return replace(denoiser(), **changes)

    with pytest.raises(ValueError, match=r"^refused-seed0-.* could not be finished: ") as caught:
        train(refused, 1)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("n", [3, 33, 200, 256])
def test_a_measure_that_needs_more_than_two_examples_is_not_refused(n):
    def many() -> Recipe:
        return replace(denoiser(), measure=needing(n))

    assert train(many, 1).metrics["two"]["value"] == 2.0


def test_a_measure_that_no_repeated_answer_can_pass_is_not_refused():
    """Networks that really compute have the last word."""

    def moved(model: nn.Module, data: Dataset) -> dict[str, Estimate]:
        with torch.no_grad():
            if torch.equal(model(data.test[0]), model(data.test[0] + 1)):
                raise ValueError("the model is constant")
        return two()

    def moving() -> Recipe:
        return replace(denoiser(), measure=moved)

    assert train(moving, 1).complete


class Counting(nn.Module):
    """A network that counts how often it computes; the measure walks with it."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.register = mlp(2, 2), None
        self.register_buffer("walked", torch.zeros(()))

    def forward(self, x):
        return self.net(x)


def walking(model: Counting, data: Dataset) -> dict[str, Estimate]:
    """A thousand steps; it changes a buffer, draws numbers, and needs a gradient at the end."""
    x = data.test[0].clone()
    with torch.no_grad():
        for _ in range(1000):
            x = x + 0.01 * model.net(x)
            x += 0.001 * torch.randn_like(x)  # in place: no answer may be changed by it
        model.walked += 1
    x.requires_grad_()
    (slope,) = torch.autograd.grad(model.net(x).sum(), x)
    return {"slope": Estimate(slope.norm().item(), 0.0, len(x))}


def counting() -> Recipe:
    model = Counting()
    players = {"one": Player(model.net, lambda m, batch, step: denoising(m.net, batch, step))}
    return replace(denoiser(), model=model, players=players, watch=walking, measure=walking)


def test_a_network_computes_once_for_each_shape_and_repeats_itself():
    model, x = mlp(2, 2), torch.randn(3, 2)
    calls = []
    model[0].register_forward_hook(lambda *words: calls.append(1))
    whole = nn.ModuleDict({"net": model})
    with once(whole), torch.no_grad():
        first = model(x)
        first.zero_()
        assert torch.equal(model(x + 1), model(x)) and model(x).abs().sum() > 0
        assert model(x[:2]).shape == (2, 2) and len(calls) == 2
    with once(whole):
        y = x.clone().requires_grad_()
        assert torch.autograd.grad(model(y).sum(), y)[0].abs().sum() > 0
        assert not torch.equal(model(x + 1), model(x))
    with torch.no_grad():
        assert not torch.equal(model(x + 1), model(x))  # and computes again


def test_a_rehearsal_leaves_no_trace(monkeypatch, tmp_path):
    run = train(counting, 2)
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "again"))
    monkeypatch.setattr("companion.train.loop.rehearse", lambda *words: None)
    plain = train(counting, 2)
    mine, other = load_tensors(run.state)[0], load_tensors(plain.state)[0]
    assert all(torch.equal(mine[name], other[name]) for name in other)
    assert mine["model/walked"] == 2 and run.metrics == plain.metrics


def test_a_rehearsal_draws_no_number_and_leaves_the_model_in_training():
    state = State(counting())
    data = state.recipe.data()
    torch.manual_seed(5)
    first = torch.rand(2)
    torch.manual_seed(5)
    rehearse(state, data, walking, "counting")
    assert torch.equal(torch.rand(2), first) and state.model.training
    assert "forward" not in vars(state.model.net) and state.model.walked == 0


BROKEN = Hidden({})  # by what a measure fails, once it sees all examples


def broken(part: str) -> Callable[..., Recipe]:
    def failing(model: nn.Module, data: Dataset) -> dict[str, Estimate]:
        if len(data.test[0]) == 256 and (error := BROKEN().get(part)):
            raise error
        return spread(model, data)

    def breaking() -> Recipe:
        return replace(denoiser(), **{part: failing})

    return breaking


@pytest.fixture
def breaks():
    BROKEN().update(measure=KeyError("gone"), watch=ZeroDivisionError("by 0"))
    yield BROKEN()
    BROKEN().clear()


@pytest.mark.parametrize("again", ["train", "measure", "command"])
@pytest.mark.parametrize("part", ["measure", "watch"])
def test_a_measure_that_fails_afterwards_leaves_the_weights(
    part, again, breaks, monkeypatch, runs, tmp_path
):
    experiment = broken(part)
    monkeypatch.setitem(EXPERIMENTS, "breaking", experiment)
    with pytest.raises(
        RunError, match=r"could not be measured: (Key|ZeroDivision)Error: "
    ) as told:
        train(experiment, 1 if part == "watch" else 2)
    [folder] = runs.iterdir()
    epochs = 1 if part == "watch" else 2
    assert str(told.value).endswith(
        f"its weights after epoch {epochs} are kept; "
        f"to measure it again: python -m companion measure {folder.name}"
    )
    with pytest.raises(RunError, match="to measure it again"):
        train(experiment, epochs)
    breaks.clear()
    monkeypatch.setattr(State, "update", lambda *words: pytest.fail("it trained"))
    if again == "command":
        assert main(["measure", folder.name]) == 0
    run = measure(experiment, folder.name, {}) if again == "measure" else train(experiment, epochs)
    assert run.complete and run.epochs == epochs == len(run.history)
    monkeypatch.undo()
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "undisturbed"))
    whole = train(experiment, epochs)
    assert whole.metrics == run.metrics and whole.name == run.name
    assert torch.equal(whole.model[0].weight, run.model[0].weight)


def test_a_watch_that_fails_on_the_way_costs_no_epoch(breaks, runs):
    experiment = broken("watch")
    with pytest.raises(RunError, match="weights after epoch 1 are kept; train it again to go on"):
        train(experiment, 3)
    breaks.clear()
    run = train(experiment, 3)
    assert ["test/spread" in row for row in run.history] == [False, True, True]


def test_what_is_not_there_to_be_measured_is_one_sentence(monkeypatch, capsys, breaks, runs):
    def asked(name: str) -> str:
        assert main(["measure", name]) == 2
        return capsys.readouterr().err

    experiment = broken("measure")
    monkeypatch.setitem(EXPERIMENTS, "breaking", experiment)
    with pytest.raises(RunError):
        train(experiment, 1)
    [folder] = runs.iterdir()
    name = folder.name
    assert f"no run here is called 'x' (known: {name})" in asked("x")
    assert "no run here is called '..'" in asked("..")
    monkeypatch.setitem(EXPERIMENTS, "breaking", lambda: replace(experiment(), batch_size=32))
    EXPERIMENTS["breaking"].__name__ = "breaking"
    assert "is not what would be made today, that has another settings" in asked(name)
    monkeypatch.delitem(EXPERIMENTS, "breaking")
    assert "is of the experiment 'breaking', which is not known" in asked(name)
    state = folder / "epochs-1/state-1.safetensors"
    (folder / "epochs-2").mkdir()
    there = state.rename(folder / "epochs-2/state-1.safetensors")
    assert f"{name} was interrupted after 1 epochs: train it to the end" in asked(name)
    there.rename(state)
    tensors, record = load_tensors(state)
    save_tensors(state, tensors, **{k: record[k] for k in ("run", "epochs", "history")})
    assert f"{state} does not say of what it is" in asked(name)
    breaks.clear()
    monkeypatch.setitem(EXPERIMENTS, "breaking", experiment)
    assert train(experiment, 1).complete
    assert f"{name} is measured: python -m companion runs lists its numbers" in asked(name)


def test_observing_is_unchanged_by_what_was_rehearsed():
    """A judge that remembers the real images does not keep the few that were tried."""
    recipe = counting()
    state, data = State(recipe), recipe.data()
    before = observe(state, data, walking)
    rehearse(state, data, walking, "counting")
    assert observe(state, data, walking) == before
