"""What a diffusion recipe draws and measures, on networks whose answers are known."""

import pytest
import torch
from torch import Tensor, nn

from companion.data import Dataset
from companion.data.forms import IMAGES
from companion.experiments import ddpm
from companion.measures import diffusion as measures
from companion.measures.diffusion import OfDrawing, judged
from companion.metrics import Frechet
from companion.models.diffusion import Diffusion, cosine_schedule
from companion.samplers.diffusion import from_fixed_noise as drawn


class Glow(nn.Module):
    """Guess for each label a flat image, as bright as the label is large; without label, black."""

    def __init__(self):
        super().__init__()
        self.step = nn.Parameter(torch.tensor(0.2))

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        level = torch.zeros(len(x)) if y is None else y * self.step
        return torch.zeros_like(x) + (level - 1).reshape(-1, 1, 1, 1)


class Judge(nn.Module):
    """Features of an image: its mean, twice; its class: ten times the mean, rounded."""

    def __init__(self):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))

    def code(self, x: Tensor) -> Tensor:
        brightness = x.mean((1, 2, 3))
        return torch.stack([brightness, brightness + 0.01 * torch.arange(len(x)) % 2], 1)

    def head(self, features: Tensor) -> Tensor:
        return -(10 * features[:, :1] - torch.arange(10)).abs()


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


def test_an_image_is_recognised_if_it_is_read_as_it_was_asked_for(monkeypatch):
    frechet = Frechet(torch.rand(50, 1, 2, 2), Judge())  # type: ignore[arg-type]
    x = drawn(glow(), 40, 4)
    for images, share in ((x, 1.0), (x.roll(1, 0), 0.0), (x.roll(20, 0), 1.0)):
        monkeypatch.setattr(measures, "from_fixed_noise", lambda *a, x=images, **k: x)
        found = judged(glow(), frechet, "so", 40, steps=4)
        assert found["recognised, so"].value == share
        whole = frechet.distance(images, torch.arange(40) % 10)
        assert found["frechet, so"] == whole and whole.error > 0
    assert "recognised, so" not in judged(glow(0), frechet, "so", 40, steps=4)


@pytest.mark.parametrize(("thorough", "n"), [(True, 10_000), (True, 200), (False, 10_000)])
def test_ways_of_drawing_are_compared_on_the_whole_test_set_only(monkeypatch, thorough, n):
    monkeypatch.setattr(measures, "DRAWN", 20)
    monkeypatch.setattr(measures, "COMPARED", 20)
    monkeypatch.setattr(measures, "BOUND", 2)
    monkeypatch.setattr(measures, "WAYS", {0.0: (2, 3), 1.0: (2,)})
    noise = torch.randint(256, (n, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    images = noise.to(torch.uint8), torch.arange(n) % 10
    model = Diffusion(Glow(), cosine_schedule(100), "clean", 10)
    data = Dataset("mnist", images, images, (), "exact", "", forms=IMAGES).seen_as("signed")
    found = OfDrawing(Judge(), thorough)(model, data)  # type: ignore[arg-type]
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
