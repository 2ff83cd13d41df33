"""Residual flows against matrices: true operators, estimators, gradients, and what diverges."""

import math
from copy import deepcopy

import pytest
import torch
from torch.nn import functional as F

from companion.models.bijections import Flatten
from companion.models.continuous import Continuous, Field
from companion.models.flows import Flow, check_inverse
from companion.models.residual import (
    READING,
    ResidualBlock,
    Roulette,
    Series,
    read_layers,
    residual_image_flow,
    residual_plane_flow,
    signs,
)
from companion.nets.lipschitz import (
    BoundedConv,
    BoundedLinear,
    conv_lipschitz,
    dense_lipschitz,
    slopes,
)
from companion.samplers.solvers import runge_kutta
from companion.worlds.gaussians import eight_gaussians_density


def matrix_of(layer) -> torch.Tensor:
    """A linear layer as one matrix, from what it makes of each unit vector."""
    shape = layer.v.shape[1:]
    units = torch.eye(shape.numel(), dtype=layer.weight.dtype).view(-1, *shape)
    return layer.linear(units, layer.weight).flatten(1).T


LAYERS = {
    "dense": lambda: BoundedLinear(7, 5, 0.9),
    "3 x 3": lambda: BoundedConv((2, 5, 6), 3, 3, 0.9),
    "1 x 1": lambda: BoundedConv((3, 4, 4), 2, 1, 0.9),
    "5 x 5 on a small image": lambda: BoundedConv((2, 3, 3), 2, 5, 0.9),
}
layers = pytest.mark.parametrize("kind", LAYERS)


@layers
def test_the_bound_is_on_the_true_operator(kind):
    torch.manual_seed(0)
    layer = LAYERS[kind]().double()
    layer.weight.data *= 7
    layer.v = layer.power(2000)
    exact = torch.linalg.matrix_norm(matrix_of(layer), 2)
    torch.testing.assert_close(layer.sigma(), exact, rtol=1e-6, atol=0)
    layer.weight.data = layer.scaled().detach()
    bounded = torch.linalg.matrix_norm(matrix_of(layer), 2).item()
    assert bounded == pytest.approx(0.9, rel=1e-5)


@layers
def test_adjoint_is_the_transpose(kind):
    torch.manual_seed(0)
    layer = LAYERS[kind]().double()
    x, T = torch.randn_like(layer.v), matrix_of(layer)
    u = torch.randn_like(layer.linear(x, layer.weight))
    expected = (T.T @ u.flatten()).view_as(x)
    torch.testing.assert_close(layer.adjoint(u, layer.weight), expected)


@layers
def test_small_weights_stay_and_training_follows_the_singular_vector(kind):
    torch.manual_seed(0)
    layer = LAYERS[kind]().double()
    torch.testing.assert_close(layer.scaled(), layer.weight, rtol=0.2, atol=0)  # begins there
    layer.weight.data *= 0.5
    assert torch.equal(layer.scaled(), layer.weight)
    exact = torch.linalg.matrix_norm(matrix_of(layer), 2)
    before = layer.eval().v
    layer.sigma()
    assert layer.v is before  # nothing is stored out of training
    layer.train()
    for _ in range(500):
        found = layer.sigma()
    assert found.item() == pytest.approx(exact.item(), rel=1e-4)


def test_sigma_has_the_gradient_of_the_largest_singular_value():
    torch.manual_seed(0)
    layer = BoundedConv((2, 4, 4), 3, 3, 0.9).double()
    layer.v = layer.power(3000)
    (found,) = torch.autograd.grad(layer.sigma(), layer.weight)
    (expected,) = torch.autograd.grad(torch.linalg.matrix_norm(matrix_of(layer), 2), layer.weight)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


NETS = {
    "dense": (lambda: dense_lipschitz(4, 9), (4,)),
    "convolutions": (lambda: conv_lipschitz((1, 2, 3), 5), (1, 2, 3)),
}
nets = pytest.mark.parametrize("kind", NETS)


def loud(kind: str) -> tuple:
    """A network with weights and shapes of activations that matter, settled; three points."""
    torch.manual_seed(1)
    net = NETS[kind][0]().double().train()
    for weight in net.parameters():
        weight.data += 0.4 * torch.randn_like(weight)
    for _ in range(300):
        net.weights()
    return net.eval(), torch.randn(3, *NETS[kind][1]).double()


def jacobians(net, x: torch.Tensor) -> torch.Tensor:
    """J of g at each point by automatic differentiation: (B, D, D)."""
    flat = [
        torch.autograd.functional.jacobian(
            lambda v: net(v.view(1, *x[0].shape)).flatten(), one.flatten()
        )
        for one in x
    ]
    return torch.stack(flat)


@nets
def test_push_is_the_product_with_the_jacobian(kind):
    net, x = loud(kind)
    weights = net.weights()
    v = torch.randn_like(x)
    pushed = net.push(v, slopes(net.value(x, weights)[1]), weights)
    expected = torch.einsum("bij,bj->bi", jacobians(net, x), v.flatten(1)).view_as(x)
    torch.testing.assert_close(pushed, expected)


def test_the_activation_is_lipswish_and_never_steeper_than_one():
    torch.manual_seed(0)
    net = dense_lipschitz(1, 1, 1).double()
    net.beta.data.fill_(1.3)
    h = torch.linspace(-20, 20, 4001).double()[:, None]
    beta, weights = F.softplus(net.beta), net.weights()
    before = net.layers[0].scaled() * h + net.layers[0].bias
    a = before * torch.sigmoid(beta * before) / 1.1
    expected = a @ net.layers[1].scaled().T + net.layers[1].bias
    torch.testing.assert_close(net.value(h, weights)[0], expected)
    assert slopes([torch.linspace(-9, 9, 9001)])[0].abs().max() <= 1.1


@nets
def test_a_network_is_a_contraction_by_its_bounds(kind):
    net, x = loud(kind)
    steepest = torch.linalg.matrix_norm(jacobians(net, 3 * x), 2).max()
    assert 0.02 < steepest < net.lipschitz < 1


@nets
def test_the_estimate_and_its_gradient_are_unbiased(kind):
    """Against slogdet and its gradient, each number within 4.5 standard errors; weighted rows."""
    net, x = loud(kind)
    block, share = ResidualBlock(net, Roulette(1, 0.5)), torch.tensor([0.2, 1.0, 3.0]).double()
    x.requires_grad_()
    weights = [*net.parameters(), x]

    def gradient(log_det: torch.Tensor) -> torch.Tensor:
        found = torch.autograd.grad((log_det * share).sum(), weights, allow_unused=True)
        flat = [
            torch.zeros_like(w) if g is None else g for g, w in zip(found, weights, strict=True)
        ]
        return torch.cat([g.flatten() for g in flat])

    eye = torch.eye(x[0].numel()).double()
    exact = torch.linalg.slogdet(eye + jacobians(net, x.detach())).logabsdet
    log_det = block.exact(x)[1]
    torch.testing.assert_close(log_det, exact)
    truth = torch.cat([exact.detach(), gradient(log_det)])
    draws = []
    for _ in range(600):
        n = block.roulette.draw()
        found = Series.apply(net, n, block.roulette.weight, x, *net.weights())[1]
        draws.append(torch.cat([found.detach(), gradient(found)]))
    drawn = torch.stack(draws)
    error = drawn.std(0) / len(drawn) ** 0.5
    assert ((drawn.mean(0) - truth).abs() <= 4.5 * error + 1e-9).all()
    assert (error > 0).any() and drawn[:, :3].std(0).min() > 1e-3


def test_a_truncated_series_has_the_bias_of_what_is_left_out():
    """For signs in one dimension the estimate does not vary: minus the sum beyond."""
    torch.manual_seed(0)
    net = dense_lipschitz(1, 8, 1).double().eval()
    for weight in net.parameters():
        weight.data += 0.5 * torch.randn_like(weight)
    x = torch.randn(5, 1).double()
    j = jacobians(net, x)[:, 0, 0]
    for n in (1, 2, 5):
        found = Series.apply(net, n, Roulette(n, 1.0).weight, x, *net.weights())[1]
        expected = sum(-((-1.0) ** k) * j**k / k for k in range(1, n + 1))
        torch.testing.assert_close(found, expected)


def test_a_roulette_weighs_each_term_by_one_over_its_probability():
    torch.manual_seed(0)
    coin = Roulette(3, 0.4)
    n = torch.tensor([coin.draw() for _ in range(20_000)])
    assert n.min() == 3
    for k in range(1, 9):
        p, q = (n >= k).double().mean().item(), 1 / coin.weight(k)
        assert abs(p - q) <= 4.5 * math.sqrt(q * (1 - q) / len(n))
    assert n.double().mean().item() == pytest.approx(3 + 0.6 / 0.4, abs=0.06)
    cut = Roulette(2, 1.0)
    assert {cut.draw() for _ in range(20)} == {2} and cut.weight(2) == 1


def test_probes_are_signs_without_a_preference():
    torch.manual_seed(0)
    v = signs(torch.zeros(40_000))
    assert set(v.tolist()) == {-1.0, 1.0} and abs(v.mean()) < 4.5 / 200


def test_training_estimates_and_evaluation_is_exact():
    torch.manual_seed(0)
    flow = residual_plane_flow(3, 8).double()
    x = torch.randn(6, 2).double()
    flow(x)  # actnorm starts
    flow.eval()
    torch.testing.assert_close(flow(x)[1], flow(x)[1], rtol=0, atol=0)
    torch.testing.assert_close(flow(x)[1], read_layers(flow.layers, x)[1])
    flow.train()
    assert not torch.equal(flow(x)[1], flow(x)[1])


def test_large_images_are_read_by_a_long_series_close_to_the_exact_one():
    """Without a coin, whose variance is infinite where a block's terms fall slowly."""
    torch.manual_seed(0)
    assert READING.stop == 1 and READING.sure >= 50
    flow = residual_image_flow((1, 1), 4, side=12).eval()
    y = 256 * torch.rand(2, 1, 12, 12)
    with torch.no_grad():
        exact = read_layers(flow.layers, y)[1]
        found = torch.stack([flow(y)[1] for _ in range(60)])
    error = found.std(0) / 60**0.5
    assert ((found.mean(0) - exact).abs() < 4.5 * error + 1e-2).all() and found.std(0).min() > 0


def test_an_inverse_takes_as_many_steps_as_the_theorem_allows_at_most():
    torch.manual_seed(0)
    block = ResidualBlock(dense_lipschitz(4, 16), Roulette()).double().eval()
    x = torch.randn(50, 4).double()
    z = x + block.net(x)
    steepest = torch.linalg.matrix_norm(jacobians(block.net, x), 2).max().item()
    back, steps = block.solve(z)
    assert (back - x).abs().max() < 1e-12
    few, taken = block.solve(z, 3)
    assert taken == 3 < steps <= math.log(1e-16) / math.log(block.net.lipschitz)
    assert (few - x).norm(dim=1).max() <= 1.5 * steepest**3 * (z - x).norm(dim=1).max()


def test_check_inverse_names_a_block_that_is_no_contraction():
    torch.manual_seed(0)
    flow = residual_plane_flow(4, 16)
    x = torch.randn(50, 2)
    flow(x)
    flow.eval()
    assert check_inverse(flow, x).error < 1e-4
    broken = deepcopy(flow)
    for layer in broken.layers[3].net.layers:
        layer.weight.data = -3 * layer.scaled().detach()
        layer.bound = math.inf
    trip = check_inverse(broken, x)
    assert trip.worst == "3 ResidualBlock" and trip.error > 0.1


@pytest.mark.parametrize(
    "make",
    [
        lambda: residual_plane_flow(3, 8),
        lambda: Flow([Continuous(Field(2, 8), runge_kutta, 4)], 2),
    ],
)
def test_mass_is_one_before_and_after_training(make):
    torch.manual_seed(0)
    law, flow = eight_gaussians_density(), make()
    line = torch.linspace(-9, 9, 181).double()
    grid = torch.cartesian_prod(line, line)
    adam = torch.optim.Adam(flow.parameters(), 1e-2)
    for steps in (1, 60):
        for _ in range(steps):
            adam.zero_grad()
            flow.train().terms(law.sample((200,)))["nll"].mean().backward()
            adam.step()
        with torch.no_grad():
            mass = deepcopy(flow).double().eval().log_prob(grid).exp().sum() * 0.1**2
        assert mass.item() == pytest.approx(1, abs=5e-3)
        assert deepcopy(flow).eval().sample(500).abs().max() < 8.9


def test_the_divergence_is_the_trace_of_the_velocity():
    torch.manual_seed(0)
    field, x = Field(3, 7).double(), torch.randn(4, 3).double()
    J = torch.func.vmap(torch.func.jacrev(lambda v: field.both(v[None], 0.3)[0][0]))(x)
    expected = J.diagonal(dim1=1, dim2=2).sum(1)
    torch.testing.assert_close(field.both(x, 0.3)[1], expected)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Roulette(0), "sure >= 1"),
        (lambda: Roulette(1, 0.0), "stop in"),
        (lambda: BoundedLinear(2, 2, 0.0), "above 0"),
        (lambda: Continuous(Field(), runge_kutta, 0), "at least 1 step"),
        (lambda: residual_image_flow((1, 1, 1), side=28), "8 divides"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make, reason):
    with pytest.raises(ValueError, match=reason):
        make()


def test_flatten_keeps_blocks_of_images_apart():
    """A flow of one block over images ends in vectors, with the block's own log-determinant."""
    torch.manual_seed(0)
    block = ResidualBlock(conv_lipschitz((2, 3, 3), 4), Roulette()).double().eval()
    x = torch.randn(3, 2, 3, 3).double()
    flow = Flow([block, Flatten((2, 3, 3))], 18)
    torch.testing.assert_close(flow(x)[1], block(x)[1])
