"""What is asked of finished models, on models whose answers are known in closed form."""

import pytest
import torch
from sklearn.metrics import r2_score
from torch import Tensor, nn
from torch.nn import functional as F

from companion.data import Dataset
from companion.data.forms import IMAGES
from companion.measures.adversarial import OfGenerator
from companion.measures.diffusion import of_noise
from companion.measures.faces import of_reader
from companion.measures.images import EPSILONS, Probe, under_attack
from companion.models.classifier import Reader
from companion.models.diffusion import Diffusion, cosine_schedule
from companion.models.gan import GAN
from companion.samplers.codes import from_fixed_codes

DRAW = torch.Generator().manual_seed(0)


def images(n: int, low: int = 0, high: int = 256) -> Tensor:
    """Random grey images of 2 x 2 pixels: uint8 (n, 1, 2, 2)."""
    return torch.randint(low, high, (n, 1, 2, 2), generator=DRAW).to(torch.uint8)


def data(train: tuple[Tensor, ...], test: tuple[Tensor, ...], sha256: str = "") -> Dataset:
    return Dataset("few", train, test, (), "exact", sha256, forms=IMAGES)


def test_an_attack_on_a_linear_classifier_costs_those_whose_margin_is_too_small():
    """One step of size e moves the difference of two logits by e |w|_1, where nothing clamps."""
    layer = nn.Linear(4, 2)
    with torch.no_grad():
        layer.bias.zero_()
        layer.weight.copy_(torch.tensor([[0.0, 0, 0, 0], [1, -0.8731, 1.1317, -1.0473]]))
    x = images(500, 77, 179)  # 0.3 to 0.7: a step of 0.2 stays within [0, 1]
    flat = x.flatten(1) / 255
    y = (flat @ (layer.weight[1] - layer.weight[0]) > 0).long()
    found = under_attack(lambda x: layer(x.flatten(1)), data((x, y), (x, y)))
    w, b = layer.weight[1] - layer.weight[0], layer.bias[1] - layer.bias[0]
    margin = (flat @ w + b) * (2 * y - 1)
    expected = {f"robust accuracy at {e:g}": (margin > e * w.abs().sum()) for e in EPSILONS}
    shares = {name: right.double().mean().item() for name, right in expected.items()}
    assert {name: one.value for name, one in found.items()} == pytest.approx(shares)
    assert len(set(shares.values())) > 3  # strengths differ in what they cost


class Plain(nn.Module):
    """A model whose code is the image itself."""

    def code(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def test_a_probe_is_fitted_to_the_training_images_and_judged_by_the_test_images():
    """The test labels are turned round: what was learned is wrong for every one of them."""
    x = images(200)
    y = (x[:, 0, 0, 0] > 127).long()
    found = Probe(Plain(), data((x, y), (x, 1 - y))).accuracy
    assert found.value < 0.1 and found.n == 200


class Judge(nn.Module):
    """Features of an image: its pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 10)

    def code(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def test_a_generator_is_measured_against_the_data_that_are_given():
    judge = OfGenerator(Judge())  # type: ignore[arg-type]
    one, other = images(50), images(50, 0, 20)
    for x, name in ((one, "one"), (other, "other"), (one, "one")):
        found = judge.against(data((x,), (x,), name))
        torch.testing.assert_close(found.features, x.flatten(1) / 255)
    assert judge.against(data((one,), (one,), "one")) is found  # and only once


def test_fixed_codes_are_the_same_for_two_models_and_two_calls():
    code = nn.Sequential(nn.Flatten(), nn.Sigmoid())
    code.register_parameter("anchor", nn.Parameter(torch.zeros(())))
    model = GAN(code, nn.Identity(), 100)
    first = from_fixed_codes(model, 8)
    torch.rand(7)  # whatever was drawn in between
    more = from_fixed_codes(model, 600)
    assert torch.equal(more[:8], first) and len(more.unique(dim=0)) == 600
    for n in (1, 3, 7, 50):  # a sigmoid's last digit depends on how many there are
        torch.testing.assert_close(more[:n], from_fixed_codes(model, n))
    assert abs(more.logit().std().item() - 1) < 4 * (0.5 / 60_000) ** 0.5  # standard normal


class Noticed(nn.Module):
    """A network that says zero and remembers its times."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[int] = []

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        self.times += t.tolist()
        return 0 * x


def test_the_noise_is_guessed_at_every_time_equally_often_and_never_at_0():
    x = images(1000)
    few = data((x, x[:, 0, 0, 0].long()), (x, x[:, 0, 0, 0].long())).seen_as("signed")
    found = of_noise(Diffusion(net := Noticed(), cosine_schedule(50)), few)["noise"]
    assert torch.tensor(net.times).bincount().tolist() == [0, *[20] * 50]
    assert abs(found.value - 1) < 4 * found.error  # a guess of 0 misses noise of variance 1
    assert net.times != sorted(net.times)  # times do not follow the order of the images


def test_what_a_reader_explains_is_scikit_learn_s_r_squared():
    """Two numbers and a truth value; the variance is the unbiased one: a factor (n - 1) / n."""
    n, kinds = 120, ("continuous", "binary", "continuous")
    truth = torch.rand(n, 3, generator=DRAW)
    truth[:, 1] = truth[:, 1].round()
    truth[:, 2] *= 9
    x = images(n)
    said = truth + torch.randn(n, 3, generator=DRAW) * torch.tensor([0.1, 0.7, 1.0])
    parts, reader = iter(said.split(100)), Reader(nn.Identity(), kinds)
    reader.features.forward = lambda x: next(parts)  # type: ignore[method-assign]
    found = of_reader(reader, data((x, truth), (x, truth)))
    r2 = r2_score(truth[:, [0, 2]], said[:, [0, 2]])
    assert 1 - found["explained"].value == pytest.approx((1 - r2) * (n - 1) / n, rel=1e-4)
    right = (said[:, 1] > 0) == (truth[:, 1] > 0.5)  # a logit above 0 is a probability above 1/2
    assert found["accuracy"].value == pytest.approx(right.double().mean().item())
    assert F.mse_loss(said[:, 2], truth[:, 2]) > 0.5  # in its own unit the error is large
