"""What a diffusion recipe draws and measures, on networks whose answers are known."""

import pytest
import torch
from torch import Tensor, nn

from companion.data import Dataset
from companion.experiments import ddpm
from companion.experiments import diffusion as recipe
from companion.experiments.diffusion import drawn, of_images, recognised
from companion.models.diffusion import Diffusion, cosine_schedule


class Glow(nn.Module):
    """Guess for each label a flat image, as bright as the label is large; without label, black."""

    def __init__(self):
        super().__init__()
        self.step = nn.Parameter(torch.tensor(0.2))

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        level = torch.zeros(len(x)) if y is None else y * self.step
        return torch.zeros_like(x) + (level - 1).reshape(-1, 1, 1, 1)


class Judge(nn.Module):
    """Features of an image: its mean, twice; its class: ten times the mean, over two."""

    def classify(self, x: Tensor) -> Tensor:
        brightness = x.mean((1, 2, 3)) * 10
        return -(brightness[:, None] - torch.arange(10)).abs()


def glow(classes: int = 10) -> Diffusion:
    return Diffusion(Glow(), cosine_schedule(100), "clean", classes)


def test_images_are_drawn_for_each_class_in_turn():
    x = drawn(glow(), 25, 4)
    assert x.shape == (25, 1, 28, 28)
    level = (torch.arange(25) % 10).float() / 10  # the label's, from [-1, 1] to [0, 1]
    torch.testing.assert_close(x.mean((1, 2, 3)), level, atol=1e-2, rtol=0)  # bfloat16


def test_more_images_begin_with_the_same_ones():
    model = Diffusion(nn.Conv2d(1, 1, 1), cosine_schedule(100), "noise")
    model.net.forward = lambda x, t, y: 0.1 * x  # type: ignore[method-assign]
    for eta in (0.0, 1.0):
        few, many = (drawn(model, n, 5, eta=eta) for n in (6, 6))
        assert torch.equal(few, many) and few.std() > 0.01
    assert torch.equal(drawn(model, 3, 5), drawn(model, 6, 5)[:3])
    assert not torch.equal(drawn(model, 6, 5, eta=1.0), drawn(model, 6, 5))


def test_guidance_away_from_black_is_brighter():
    plain, guided = (drawn(glow(), 10, 4, guidance=w).mean((1, 2, 3)) for w in (1.0, 2.0))
    expected = (2 * torch.arange(10) / 10).clamp(max=1)
    torch.testing.assert_close(guided, expected, atol=1e-2, rtol=0)  # bfloat16
    assert (guided[1:] > plain[1:]).all()


class Scale:
    """In place of a Fréchet distance: how far the mean is from one half."""

    def __init__(self, real: Tensor, name: str):
        self.network = Judge()

    def distance(self, x: Tensor, labels: Tensor) -> float:
        assert labels.equal(torch.arange(len(x)) % 10)
        return abs(x.mean().item() - 0.5)


def test_an_image_is_recognised_if_it_is_read_as_it_was_asked_for():
    judge = Scale(torch.zeros(1), "")
    x = drawn(glow(), 40, 4)
    assert recognised(judge, x).value == 1  # type: ignore[arg-type]
    assert recognised(judge, x.roll(1, 0)).value == 0  # type: ignore[arg-type]
    x[:10] = 0  # black is read as 0: one of ten is right by chance
    assert recognised(judge, x).value == pytest.approx(31 / 40)  # type: ignore[arg-type]


@pytest.mark.parametrize(("thorough", "n"), [(True, 10_000), (True, 200), (False, 10_000)])
def test_ways_of_drawing_are_compared_on_the_whole_test_set_only(monkeypatch, thorough, n):
    monkeypatch.setattr(recipe, "Frechet", Scale)
    monkeypatch.setattr(recipe, "DRAWN", 20)
    monkeypatch.setattr(recipe, "COMPARED", 20)
    monkeypatch.setattr(recipe, "BOUND", 2)
    monkeypatch.setattr(recipe, "WAYS", {0.0: (2, 3), 1.0: (2,)})
    images = torch.zeros(n, 1, 28, 28, dtype=torch.uint8), torch.arange(n) % 10
    model = Diffusion(Glow(), cosine_schedule(100), "clean", 10)
    found = of_images(model, Dataset("mnist", images, images, (), "exact", ""), thorough)
    budgets = [f"{k} steps{how}" for k in (50, 10) for how in ("", ", fresh noise")]
    always = {f"{kind}, {k}" for kind in ("frechet", "recognised") for k in budgets}
    ways = {"frechet, eta 0, 2 steps", "frechet, eta 0, 3 steps", "frechet, eta 1, 2 steps"}
    guided = {f"{kind}, guidance {w}" for kind in ("frechet", "recognised") for w in (0, 1, 2, 4)}
    more = ways | guided if thorough and n == 10_000 else set()
    assert found.keys() == always | {"bits"} | more


def test_a_recipe_without_labels_asks_for_none():
    model = ddpm(labels=False).model
    assert model.classes == 0 and model.net.label is None
    assert (
        sum(p.numel() for p in ddpm().model.net.parameters()) < 3e6
    )  # small enough for two cores
