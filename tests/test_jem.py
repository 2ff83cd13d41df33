"""Classifiers as energies, against enumeration, closed forms, numpy and torchmetrics."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error

from companion.measures.jem import doubt_of, energy_of, refined, refining
from companion.metrics import (
    binning_bias,
    calibration_error,
    outlier_area,
    pgd,
    reliability,
)
from companion.models.energy import Memory, Walk
from companion.models.jem import RIDGE, ClassGaussians, JointEnergy
from companion.nets.jem import joint_network
from companion.objectives.jem import joint_energy_loss
from companion.samplers.energy import walked

SHAPE = (1, 28, 28)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def toy(walk: Walk | None = None, scale: float = 1.0, **words: Any) -> JointEnergy:
    """Logits of four numbers in [-1, 1], of three classes."""
    last = nn.Linear(8, 3)
    with torch.no_grad():
        last.weight.mul_(scale)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), last)
    return JointEnergy(net, (4,), walk or Walk(3, 0.1, 0.0), **words)


def memory_of(model: JointEnergy) -> Memory:
    assert model.memory is not None
    return model.memory


def points(n: int) -> tuple[Tensor, Tensor]:
    return 2 * torch.rand(n, 4) - 1, torch.arange(n) % 3


def test_energies_are_the_joint_law_of_a_world_that_can_be_summed():
    model = toy()
    words = 2 * torch.cartesian_prod(*[torch.arange(2.0)] * 4) - 1
    joint = model.network(words).exp()
    joint = joint / joint.sum()
    with torch.no_grad():
        marginal = (-model.energy(words)).softmax(0)
        pairs = [model.energy(words, torch.full((16,), k)) for k in range(3)]
        posterior = torch.stack([(model.energy(words) - E).exp() for E in pairs], 1)
    torch.testing.assert_close(marginal, joint.sum(1))
    torch.testing.assert_close(posterior, joint / joint.sum(1, keepdim=True))
    torch.testing.assert_close(model.classify((words + 1) / 2).softmax(1), posterior)


def test_the_loss_has_the_gradient_that_is_written_by_hand():
    model, x = toy(), points(6)[0]
    y = model.network(x).argmax(1)  # a classifier worse than a guess would rest
    torch.manual_seed(3)
    loss = joint_energy_loss(model, (x, y), 0, 0.7, jitter=0.0)["loss"].mean()
    torch.manual_seed(3)
    torch.randn_like(x)
    end = walked(model, model.noise(6))
    f, g = model.network(x), model.network(end)
    ours = -(f.log_softmax(1)[range(6), y]).mean()
    ours = ours + 0.7 * (g.exp().sum(1).log().mean() - f.exp().sum(1).log().mean())
    torch.testing.assert_close(loss, ours)
    parts = [*model.network.parameters()]
    for a, b in zip(
        torch.autograd.grad(loss, parts), torch.autograd.grad(ours, parts), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_without_weight_it_is_a_classifiers_loss_and_no_chain_walks():
    model, (x, y) = toy(memory=9), points(6)
    terms = joint_energy_loss(model, (x, y), 0, 0.0, jitter=0.0)
    torch.testing.assert_close(
        terms["loss"], F.cross_entropy(model.network(x), y, reduction="none")
    )
    assert "gap" not in terms and not memory_of(model).age.any()


@pytest.mark.parametrize("scale", [1e4, 40.0])
def test_a_training_that_runs_away_rests_and_its_step_is_remembered(scale):
    """By the gap between the phases, or because the classifier is worse than a guess."""
    model, (x, y) = toy(memory=9, scale=scale), points(9)
    y = (model.network(x).argmin(1)) if scale < 100 else y
    first = joint_energy_loss(model, (x, y), 7)
    assert int(model.diverged) == 7 and not first["loss"].any()
    by_gap = first["diverged, gap"].abs() > 100
    assert bool(by_gap) == (scale > 100)
    assert bool(by_gap) or first["diverged, cross_entropy"] > math.log(3)
    memory = memory_of(model)
    kept, ages = memory.content.clone(), memory.age.clone()
    adam = torch.optim.Adam(model.network.parameters(), 0.1)
    sum(p.sum() for p in model.network.parameters()).backward()  # type: ignore[union-attr]
    adam.step()  # from now on it has a momentum
    adam.zero_grad()
    stand = [p.clone() for p in model.network.parameters()]
    second = joint_energy_loss(model, (x, y), 8)
    second["loss"].mean().backward()
    adam.step()
    assert int(model.diverged) == 7 and [*second] == ["loss"]
    assert all(map(torch.equal, stand, model.network.parameters()))
    assert torch.equal(memory.content, kept) and torch.equal(memory.age, ages)


def test_a_training_that_goes_well_is_not_stopped():
    model, x = toy(memory=9), points(9)[0]
    y = model.network(x).argmax(1)
    assert joint_energy_loss(model, (x, y), 7)["loss"].any() and int(model.diverged) == -1


def test_class_gaussians_have_the_moments_of_each_class_and_a_ridge():
    x, y = points(60)
    x[:, 3] = 0.25  # a pixel that never changes
    cloud = ClassGaussians(lambda: (x, y), (4,), 3)
    cloud.fit()
    for k in range(3):
        part = x[y == k].double().numpy()
        np.testing.assert_allclose(cloud.means[k], part.mean(0), atol=1e-6)
        covariance = np.cov(part.T, bias=True) + RIDGE * np.eye(4)
        np.testing.assert_allclose(cloud.roots[k] @ cloud.roots[k].T, covariance, atol=1e-6)


def test_draws_are_of_the_class_that_was_asked_for_and_inside_the_box():
    y = torch.arange(3).repeat(40)
    x = 0.3 * torch.randn(120, 4) + torch.tensor([-0.9, 0.0, 0.9])[y][:, None]
    cloud = ClassGaussians(lambda: (x, y), (2, 2), 3)
    draws = cloud.sample(y, torch.Generator().manual_seed(0))
    assert draws.shape == (120, 2, 2) and draws.abs().max() == 1
    means = torch.stack([draws[y == k].mean() for k in range(3)])
    assert means[0] < -0.6 < means[1].abs() + 0.3 and means[2] > 0.6
    same = cloud.sample(y, torch.Generator().manual_seed(0))
    assert torch.equal(draws, same)


def test_a_class_without_an_image_is_refused():
    x, y = points(3)
    with pytest.raises(ValueError, match="needs an image of each of 5 classes"):
        ClassGaussians(lambda: (x, y), (4,), 5).fit()


def test_chains_begin_anew_in_the_gaussians_and_go_on_from_the_memory():
    y = torch.zeros(50, dtype=torch.long)
    x = 0.5 + 0.01 * torch.randn(50, 4)
    model = toy(memory=30, gaussians=ClassGaussians(lambda: (x, y), (4,), 1))
    start, slots = model.begin(30)
    assert (start - 0.5).abs().max() < 0.2  # all slots are new
    assert slots is not None
    memory_of(model).write(slots, torch.full((30, 4), -1.0))
    later = torch.cat([model.begin(30)[0] for _ in range(40)])
    fresh = ((later - 0.5).abs().amax(1) < 0.2).double().mean()
    assert abs(fresh - 0.05) < 4 * (0.05 * 0.95 / 1200) ** 0.5


def test_the_table_of_reliability_is_counted_by_hand():
    p = torch.tensor([0.05, 0.1, 0.100001, 0.55, 0.6, 1.0], dtype=torch.double)
    right = torch.tensor([0.0, 1, 1, 0, 1, 1])
    found = reliability(p, right, 10)
    assert found.count.tolist() == [2, 1, 0, 0, 0, 2, 0, 0, 0, 1]
    assert found.accuracy[[0, 1, 5, 9]].tolist() == [0.5, 1.0, 0.5, 1.0]
    by_hand = (2 * abs(0.5 - 0.075) + abs(1 - 0.100001) + 2 * abs(0.5 - 0.575)) / 6
    assert found.error.item() == pytest.approx(by_hand, abs=1e-7)


def test_the_calibration_error_is_that_of_torchmetrics():
    logits, y = 3 * torch.randn(500, 10), torch.randint(10, (500,))
    p = logits.softmax(1).max(1)
    theirs = multiclass_calibration_error(logits.softmax(1), y, 10, n_bins=20, norm="l1")
    ours = calibration_error(p.values, p.indices == y, 20)
    assert ours.value == pytest.approx(theirs.item(), abs=1e-6)


def test_the_bias_of_one_confidence_is_a_binomial_sum():
    n, p = 400, 0.8
    k = np.arange(n + 1)
    exact = (binom.pmf(k, n, p) * abs(k - n * p)).sum() / n
    found = binning_bias(torch.full((n,), p), draws=2000)
    assert abs(found.value - exact) < 4 * found.error


@pytest.mark.parametrize(
    ("confidence", "right", "bins"),
    [(torch.rand(3), torch.rand(4), 5), (torch.rand(3), torch.rand(3), 0),
     (torch.tensor([1.5]), torch.ones(1), 5), (torch.rand(0), torch.rand(0), 5)],
)  # fmt: skip
def test_what_is_no_table_of_answers_is_refused(confidence, right, bins):
    with pytest.raises(ValueError, match="needs "):
        reliability(confidence, right, bins)


def test_an_outliers_area_is_the_share_of_pairs_in_the_right_order():
    known, strange = torch.randn(80), torch.randn(50) + 1
    pairs = (strange[:, None] > known).double().mean().item()
    assert outlier_area(known, strange).value == pytest.approx(pairs, abs=1e-12)
    assert outlier_area(-known, -strange).value == pytest.approx(1 - pairs, abs=1e-12)
    tied = torch.tensor([0.0, 1.0, 1.0]), torch.tensor([1.0, 2.0])
    assert outlier_area(*tied).value == pytest.approx((1 + 0.5 + 0.5 + 3) / 6, abs=1e-12)


def test_scores_of_strangers_are_the_energy_and_the_doubt():
    logits = torch.randn(5, 3)
    torch.testing.assert_close(energy_of(logits), -logits.exp().sum(1).log())
    torch.testing.assert_close(doubt_of(logits), -logits.softmax(1).amax(1).log())


def test_an_attack_on_a_line_goes_to_the_corner_and_stays_in_the_box():
    w = torch.randn(6)

    def line(x: Tensor) -> Tensor:
        return torch.stack([x @ w, -(x @ w)], 1)

    x, y = torch.rand(20, 6), torch.zeros(20, dtype=torch.long)
    found = pgd(line, x, y, 0.1)
    torch.testing.assert_close(found, (x - 0.1 * w.sign()).clamp(0, 1))
    with pytest.raises(ValueError, match="1 or more steps"):
        pgd(line, x, y, 0.1, steps=0)


def test_an_attacker_who_knows_sees_the_slope_at_the_walks_end():
    model = toy(Walk(5, 0.2, 0.0, limit=0.5))
    x = torch.rand(7, 4, requires_grad=True)
    end = refined(model, x.detach()).requires_grad_()
    torch.testing.assert_close(refining(model)(x), model.classify(end))
    (seen,) = torch.autograd.grad(refining(model)(x)[:, 0].sum(), x)
    (there,) = torch.autograd.grad(model.classify(end)[:, 0].sum(), end)
    torch.testing.assert_close(seen, there)


def test_bounded_moves_end_within_their_bound_and_free_ones_do_not():
    model, (x, _) = toy(scale=1e3), points(50)
    bounded = walked(model, x, walk=Walk(4, 0.5, 0.0, limit=0.1))
    free = walked(model, x, walk=Walk(4, 0.5, 0.0, limit=1e9))
    assert (bounded - x).abs().max() <= 4 * 0.5 * 0.1 + 1e-6 < (free - x).abs().max()


@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 32)])
def test_an_images_logits_do_not_depend_on_its_company(channels, side):
    net = joint_network(channels=channels, width=4)
    x = torch.randn(5, channels, side, side)
    torch.testing.assert_close(net(x)[:1], net(x[:1]))
    assert net(x).shape == (5, 10)
    first = nn.Sequential(net[0], net[1])  # linear, as inner moves need it
    zero = first(torch.zeros_like(x))
    torch.testing.assert_close(first(2 * x) - zero, 2 * (first(x) - zero))
    with pytest.raises(ValueError, match="width of 1"):
        joint_network(width=0)


def test_the_drawn_bias_falls_like_one_over_the_root_of_the_number():
    found = [binning_bias(torch.full((n,), 0.7), draws=3000) for n in (100, 1600)]
    ratio = found[0].value / found[1].value
    error = ratio * math.hypot(*(f.error / f.value for f in found))
    assert abs(ratio - 4) < 4 * error + 0.05  # the limit's own remainder at n = 100
