"""One road for a batch: every kind of data set is decoded in one place, for all who look."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from companion.data import Batch, Dataset
from companion.data.forms import IMAGES, as_bytes, first, signed, unit, unsigned
from companion.recipes import Player, Recipe, Terms, own_terms
from companion.train import train
from companion.train.loop import watched

DRAW = torch.Generator().manual_seed(0)
PIXELS = torch.randint(256, (96, 3, 6, 6), generator=DRAW).to(torch.uint8)  # colour, not 28 x 28
WAVES = torch.randn(96, 50, generator=DRAW)
TOKENS = torch.randint(4, (96, 12), generator=DRAW).to(torch.uint8)
COUNTS = torch.randint(1, 9, (96,), generator=DRAW)
CLOUDS = torch.randn(96, 8, 3, generator=DRAW)


def made(name: str, tensors: Batch, **forms) -> Dataset:
    """A set whose test set is its training set turned round."""
    test = tuple(t.flip(0) for t in tensors)
    return Dataset(name, tensors, test, (), "exact", "0" * 64, "all", forms or {"stored": tuple})


def mapped(folder) -> Dataset:
    """A set that lies in a file and is read row by row."""
    path = folder / "rows.npy"
    np.save(path, WAVES.numpy())
    rows = torch.from_numpy(np.load(path, mmap_mode="r+"))
    return made("mapped", (rows,))


def masked(batch: Batch) -> Batch:
    """Say which of the padded points are there: (B, P, 3), counts (B,) -> points, mask (B, P)."""
    points, count = batch
    return points, torch.arange(points.shape[1]) < count[:, None]


class Sums(nn.Module):
    """A model of any examples: its one weight meets the sum of what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: list[Batch] = []

    def loss(self, model: "Sums", batch: Batch, step: int) -> Terms:
        self.seen.append(batch)
        x = batch[0].double() * (batch[1][..., None] if len(batch) > 1 else 1)
        each = (x.flatten(1).sum(1) - self.weight).square()
        return {"loss": each, "one for all": each.mean()}


KINDS = {
    "pixels": (lambda folder: made("pixels", (PIXELS,), **IMAGES), "levels", torch.int64),
    "waves": (lambda folder: made("waves", (WAVES,)), "", torch.float32),
    "tokens": (lambda folder: made("tokens", (TOKENS,), tokens=first(Tensor.long)), "", None),
    "clouds": (lambda folder: made("clouds", (CLOUDS, COUNTS), points=masked), "points", None),
    "large": (mapped, "", torch.float32),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_data_trains_as_it_is(kind, monkeypatch, tmp_path):
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "runs"))
    make, form, dtype = KINDS[kind]
    data, model = make(tmp_path), Sums()

    def anything() -> Recipe:
        players = {"one": Player(model, model.loss)}
        return Recipe(model, players, lambda: data, 32, form, precision="no")

    run = train(anything, 2)
    assert run.complete and run.history[-1]["examples/s"] > 0 and len(model.seen) == 6
    assert run.history[-1]["one/loss"] == pytest.approx(run.history[-1]["one/one for all"])
    stored, seen = data.train[0], torch.cat([batch[0] for batch in model.seen[:3]])
    assert dtype is None or seen.dtype == dtype
    order = torch.from_numpy(np.lexsort(stored.flatten(1).numpy().T))
    found = torch.from_numpy(np.lexsort(seen.flatten(1).numpy().T))
    assert seen[found].double().equal(stored[order].double())  # each once, with its own values


def test_tokens_and_binary_pixels_are_never_scaled_without_a_word():
    assert made("tokens", (TOKENS,)).examples()[0].equal(TOKENS.flip(0))
    assert made("pixels", (PIXELS,), **IMAGES).examples()[0].max() <= 1


def test_forms_say_what_they_say():
    x = torch.arange(256, dtype=torch.uint8)
    assert unit(x)[[0, 255]].tolist() == [0, 1] and signed(x)[[0, 255]].tolist() == [-1, 1]
    assert as_bytes(unit(x)).equal(x) and as_bytes(unsigned(signed(x))).equal(x)
    assert unsigned(torch.tensor([-3.0, 3.0])).tolist() == [0, 1]


def test_training_and_measuring_see_the_same_form_and_only_training_is_augmented(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path))
    seen: dict[str, Tensor] = {}

    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(()))

        def terms(self, x: Tensor) -> dict[str, Tensor]:
            seen["train" if self.training else "test"] = x
            return {"nll": (x.mean((1, 2, 3)) - self.weight).square()}

    def looks() -> Recipe:
        model = Looks()
        players = {"one": Player(model, own_terms)}
        data = partial(made, "pixels", (PIXELS,), **IMAGES)
        raised = lambda batch: (batch[0] + 100,)  # noqa: E731
        return Recipe(model, players, data, 96, "signed", raised, precision="no")

    run = train(looks, 1)
    assert 99 <= seen["train"].min() < 99.1 and 100.9 < seen["train"].max() <= 101
    assert seen["test"].min() == -1 and seen["test"].max() == 1
    assert run.metrics["nll"]["n"] == 96


def test_a_set_too_large_for_the_device_stays_where_it_is():
    data = made("clouds", (CLOUDS, COUNTS), points=masked)
    meta = torch.device("meta")
    held, left = data.on(meta, room=1e9), data.on(meta, room=100)
    assert held.train[0].is_meta and not left.train[0].is_meta
    assert left.seen_as("points").train[0] is data.train[0] and left.device == meta
    plain = replace(left, forms={"stored": tuple})
    assert plain.take("train", torch.arange(3))[0].is_meta  # batch by batch


def test_batches_are_in_order_and_the_last_may_be_short():
    data = made("waves", (WAVES,))
    parts = [batch[0] for batch in data.batches("test", 40, 90)]
    assert [len(part) for part in parts] == [40, 40, 10]
    assert torch.cat(parts).equal(WAVES.flip(0)[:90])
    cut = data.cut(10)
    assert len(cut.train[0]) == len(cut.test[0]) == 10 and data.cut(0).train[0].equal(WAVES)


def test_a_game_of_two_players_is_not_watched_by_itself():
    model = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])
    players = {name: Player(part, own_terms) for name, part in zip("ab", model, strict=True)}
    assert not watched(Recipe(model, players, lambda: made("w", (WAVES,))))(model, None)
