"""Energies, their chains and their constants, against enumeration, closed forms and autograd."""

import math
from copy import deepcopy
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from companion.data import Dataset
from companion.data.forms import as_bytes, unsigned
from companion.measures.energy import OfPoints, ages
from companion.models.boltzmann import Boltzmann, bits
from companion.models.energy import EnergyModel, Memory, Walk
from companion.nets.energy import image_energy, point_network
from companion.objectives.energy import contrastive_loss, noise_contrastive_loss
from companion.samplers.annealing import annealed_importance
from companion.samplers.energy import from_noise, walk_path, walked
from companion.samplers.langevin import mala_path


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def machine(visible: int = 5, hidden: int = 3, spread: float = 1.0) -> Boltzmann:
    """A random machine with weights that matter."""
    model = Boltzmann(visible, hidden, spread)
    for bias in (model.b, model.c):
        nn.init.normal_(bias)
    return model


def table(model: Boltzmann) -> Tensor:
    """v'Wh + b'v + c'h of every pair of words: (2^D, 2^H), written out."""
    v, h = bits(len(model.b)), bits(len(model.c))
    return (v @ model.W @ h.T + (v @ model.b)[:, None] + h @ model.c).detach()


def test_a_machines_log_z_and_log_probabilities_are_sums_over_all_pairs():
    model = machine()
    every = table(model)
    assert model.log_z().item() == pytest.approx(every.logsumexp((0, 1)).item(), abs=1e-12)
    law = every.logsumexp(1) - every.logsumexp((0, 1))
    torch.testing.assert_close(model.log_prob(bits(5)), law)
    half = (0.5 * table(model)).logsumexp(1)
    torch.testing.assert_close(-model.energy(bits(5), 0.5), half)


def test_the_gradient_of_the_log_likelihood_is_one_phase_less_the_other():
    model, data = machine(), torch.rand(32).double().softmax(0)
    loss = data @ model.log_prob(bits(5))
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(loss, [*model.parameters()])])
    with torch.no_grad():
        found = model.statistics(bits(5), data) - model.own_statistics()
    torch.testing.assert_close(found, exact)


def test_gibbs_kernels_are_laws_that_leave_the_model_as_it_is():
    model, states = machine(), bits(5)
    with torch.no_grad():
        up, down = model.kernels(states)
        law = model.log_prob(states).exp()
    for kernel in (up, down):
        torch.testing.assert_close(kernel.sum(1), torch.ones(len(kernel)).double())
    torch.testing.assert_close(law @ up @ down, law)


def test_gibbs_samples_move_as_the_kernels_say():
    model, states, n = machine(3, 2), bits(3), 20_000
    start = states[5].expand(n, 3)
    with torch.no_grad():
        up, down = model.kernels(states)
        found = model.gibbs(start, 2, torch.Generator().manual_seed(0))
    law = (up @ down @ up @ down)[5]
    share = torch.stack([(found == one).all(1).double().mean() for one in states])
    error = (law * (1 - law) / n).sqrt()
    assert ((share - law).abs() < 4 * error).all()


def test_annealing_finds_log_z_and_on_average_less():
    model, n = machine(6, 3), 4000
    flat = torch.bernoulli(torch.full((n, 6), 0.5).double())

    def move(v: Tensor, beta: float) -> Tensor:
        h = torch.bernoulli(torch.sigmoid(beta * (v @ model.W + model.c)))
        return torch.bernoulli(torch.sigmoid(beta * (h @ model.W.T + model.b)))

    betas = torch.linspace(0, 1, 20).tolist()
    _, log_weight = annealed_importance(flat, lambda v, b: -model.energy(v, b), move, betas)
    start = (6 + 3) * math.log(2)
    ratio = (log_weight + start - model.log_z().item()).exp()
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / n**0.5
    mean = log_weight.mean() + start
    assert mean < model.log_z() - 4 * log_weight.std() / n**0.5  # Jensen
    with pytest.raises(ValueError, match="betas that rise"):
        annealed_importance(flat, lambda v, b: v.sum(1), move, [0.0, 0.0])


def test_adjusted_langevin_keeps_a_gaussian_at_a_step_that_biases_the_other():
    v, step, n = 0.5, 1.2, 20_000
    x = v**0.5 * torch.randn(n, 1).double()
    moves = mala_path(lambda x: -(x**2).sum(-1) / (2 * v), lambda x: -x / v, x, step, 30)
    ends, taken = [*moves][-1]
    assert 0.05 < taken.double().mean() < 0.95
    assert abs(ends.var() - v) < 4 * v * (2 / n) ** 0.5
    assert v / (1 - step / (4 * v)) > 2 * v  # the variance without the correction


@pytest.mark.parametrize("classes", [0, 3])
def test_a_slope_is_autograds_and_leaves_no_trace_in_the_parameters(classes):
    model = EnergyModel(image_energy(classes or 1, side=8, width=2), (1, 8, 8), Walk(), 9, 0.1,
                        classes=classes)  # fmt: skip
    for p in model.parameters():
        nn.init.normal_(p, std=0.2)
    x = torch.randn(4, 1, 8, 8, requires_grad=True)
    y = torch.tensor([0, 1, 2, 0]) if classes else None
    (exact,) = torch.autograd.grad(model.energy(x, y).sum(), x)
    torch.testing.assert_close(model.slope(x, y), exact)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    with pytest.raises(ValueError, match="classes, got labels"):
        model.energy(x, None if classes else torch.zeros(4).long())


def test_an_energy_of_an_image_does_not_depend_on_its_company():
    network = image_energy(width=4)
    for p in network.parameters():
        nn.init.normal_(p, std=0.1)
    x = torch.randn(5, 1, 28, 28)
    alone = torch.cat([network(one[None]) for one in x])
    torch.testing.assert_close(network(x), alone)
    blocks = [m for m in network if hasattr(m, "near")]
    assert len(blocks) == 9 and not any("Norm" in type(m).__name__ for m in network.modules())
    assert isinstance(network[-1], nn.Linear)
    with pytest.raises(ValueError, match="side of 8 or more that 4 divides"):
        image_energy(side=30)


def test_moves_fall_as_the_sheet_says_and_keep_their_temperature():
    walk = Walk(5, 2.0, 0.4, 0.1)
    moves = [*walk.moves()]
    assert [noise for _, noise in moves] == pytest.approx(
        [0.4 * (0.1 / 0.4) ** (t / 4) for t in range(5)]
    )
    assert all(noise**2 / (2 * step) == pytest.approx(0.04) for step, noise in moves)
    assert walk.temperature == pytest.approx(0.04)
    assert {*Walk(3, 2.0, 0.4).moves()} == {(2.0, 0.4)}
    for wrong in ({"steps": 0}, {"step": 0.0}, {"noise": -1.0}, {"noise": 0.0, "noise_end": 0.1}):
        with pytest.raises(ValueError, match="needs"):
            Walk(**wrong)


def test_a_walk_samples_the_law_of_its_temperature():
    """E = x^2 / 2 at temperature T has the variance T / (1 - step / 2)."""
    n, step, T = 20_000, 0.1, 0.3
    walk = Walk(200, step, (2 * step * T) ** 0.5, 0.0, 1e9, -1e9, 1e9)
    [*_, x] = walk_path(lambda x: x, torch.zeros(n, 1), walk)
    expected = T / (1 - step / 2)
    assert abs(x.var() - expected) < 4 * expected * (2 / n) ** 0.5


def test_chains_stay_in_their_box_and_no_move_is_longer_than_its_limit():
    walk = Walk(10, 1.0, 0.0, 0.0, 0.25)
    path = [
        torch.zeros(1, 2),
        *walk_path(lambda x: torch.tensor([[-5.0, 0.1]]), torch.zeros(1, 2), walk),
    ]
    jumps = torch.stack([(b - a).abs() for a, b in pairwise(path)])
    assert jumps.max() == 0.25 and path[-1][0].tolist() == pytest.approx([1.0, -1.0])


def test_memory_is_bytes_that_come_back_and_ages():
    memory = Memory(6, (1, 8, 8))
    x = 2 * torch.rand(3, 1, 8, 8) - 1
    slots = torch.tensor([4, 0, 2])
    memory.write(slots, x)
    assert memory.content.dtype == torch.uint8
    assert (memory.read(slots) - x).abs().max() <= 1 / 255 + 1e-6  # half a level of 2 / 255
    assert {*memory.state_dict()} == {"content", "age"}
    with pytest.raises(ValueError, match="classes divide"):
        Memory(7, (1,), classes=2)


def test_chains_begin_as_noise_go_on_and_now_and_then_begin_anew():
    model = EnergyModel(point_network(), (2,), Walk(low=-4, high=4), 1000, 0.05, images=False)
    x, slots = model.begin(1000)
    assert (model.memory.age == 1).all() and x.abs().max() <= 4
    model.memory.write(slots, torch.full_like(x, 3.0))
    new = 0
    for _ in range(20):
        x, slots = model.begin(1000)
        new += (x != 3).any(1).sum().item()
    assert abs(new / 20_000 - 0.05) < 4 * (0.05 * 0.95 / 20_000) ** 0.5
    assert model.memory.age.max() <= 21


def test_slots_of_a_class_are_its_own():
    memory = Memory(30, (2,), images=False, classes=3)
    y = torch.tensor([0, 2, 1, 1])
    assert (memory.slots(4, y) % 3 == y).all()
    assert len(memory.slots(30).unique()) == 30


def test_the_loss_moves_energies_apart_and_lets_no_gradient_into_the_chain():
    model = EnergyModel(
        point_network(), (2,), Walk(5, 0.02, 0.1, 0.0, 9.0, -4, 4), 50, images=False
    )
    x = torch.randn(20, 2)
    before = deepcopy(model)
    torch.manual_seed(3)
    terms = contrastive_loss(model, (x,), 0, weight=0.5)
    terms["loss"].mean().backward()
    torch.manual_seed(3)
    start, _ = before.begin(20)
    drawn = walked(before, start).detach()
    assert torch.allclose(
        model.memory.content[model.memory.age > 0].sort(0).values, drawn.sort(0).values
    )
    by_hand = before.energy(x), before.energy(drawn)
    loss = (by_hand[0] - by_hand[1] + 0.5 * (by_hand[0] ** 2 + by_hand[1] ** 2)).mean()
    loss.backward()
    for a, b in zip(model.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)
    assert terms["loss"].shape == (20,) and terms["age"].item() == 1


def test_telling_data_from_noise_finds_the_constant_of_a_gaussian():
    torch.manual_seed(1)
    n, c = 40_000, torch.zeros((), dtype=torch.double, requires_grad=True)
    data, noise = 0.5 * torch.randn(n).double(), 1.5 * torch.randn(2 * n).double()

    def log_ratio(x: Tensor) -> Tensor:
        q = torch.distributions.Normal(0.0, 1.5).log_prob(x)
        return -(x**2) / 0.5 + c - q

    optimizer = torch.optim.LBFGS([c], line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        a, b = noise_contrastive_loss(log_ratio(data), log_ratio(noise), 2.0)
        loss = a.mean() + 2 * b.mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert c.item() == pytest.approx(-0.5 * math.log(2 * math.pi * 0.25), abs=0.05)


def test_samples_from_noise_are_the_same_whatever_else_is_drawn():
    model = EnergyModel(image_energy(10, width=2), (1, 28, 28), Walk(2), 20, classes=10)
    first = from_noise(model, 7)
    torch.rand(3)
    assert torch.equal(first, from_noise(model, 7))
    assert first.abs().max() <= 1
    assert as_bytes(unsigned(first)).dtype == torch.uint8


class Bowl(nn.Module):
    """E = |x|^2 / (2 v) of points."""

    def __init__(self, v: float):
        super().__init__()
        self.v = nn.Parameter(torch.tensor(v))

    def forward(self, x: Tensor) -> Tensor:
        return x.square().sum(1, keepdim=True) / (2 * self.v)


def test_the_divergence_in_the_plane_is_that_of_the_walks_temperature():
    """N(0, 0.3 I) against exp(-E / T) with E = |x|^2 / (2 v): the variance of the model is v T."""
    walk, x = Walk(5, 0.1, 0.5, low=-4, high=4), 0.3**0.5 * torch.randn(4000, 2)
    model = EnergyModel(Bowl(0.4), (2,), walk, 0, images=False)
    normal = torch.distributions.Normal(torch.zeros(2), 0.3**0.5)
    law = torch.distributions.Independent(normal, 1)
    data = Dataset("bowl", (x,), (x,), (), "exact", "")
    found = OfPoints(law)(model, data)["kl"]
    ratio = 0.3 / (0.4 * walk.temperature)
    assert abs(found.value - (ratio - 1 - math.log(ratio))) < 4 * found.error


def test_shares_of_ages_are_a_law_over_the_slots_that_were_visited():
    model = EnergyModel(point_network(), (2,), Walk(), 200, images=False)
    assert ages(model) == {}
    for _ in range(30):
        model.begin(50)
    assert sum(one.value for one in ages(model).values()) == pytest.approx(1)
