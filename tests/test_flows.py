"""Flows: what every bijection and every flow must satisfy, at the start and after training."""

import math
from copy import deepcopy
from functools import cache

import pytest
import torch
from torch import nn

from companion.models.bijections import (
    Coupling,
    FactorOut,
    Flatten,
    Logit,
    Permutation,
    Squeeze,
)
from companion.models.continuous import Continuous, Field
from companion.models.dequantise import LearnedNoise, uniform_noise
from companion.models.flows import (
    CHECKERBOARD,
    Flow,
    ImageFlow,
    check_inverse,
    halves_flow,
    multi_scale_flow,
    plane_flow,
)
from companion.models.glow import ActNorm, Glow, Invertible1x1
from companion.models.residual import (
    ResidualBlock,
    Roulette,
    residual_image_flow,
    residual_plane_flow,
)
from companion.nets.coupling import dense_net
from companion.nets.lipschitz import conv_lipschitz, dense_lipschitz
from companion.samplers.solvers import runge_kutta
from companion.worlds.gaussians import eight_gaussians_density, two_moons_density

KINDS = {
    "permutation": (lambda: Permutation([2, 0, 3, 1]), (4,)),
    "squeeze": (Squeeze, (2, 4, 4)),
    "flatten": (lambda: Flatten((2, 2, 2)), (2, 2, 2)),
    "logit": (Logit, (1, 2, 2)),
    "coupling": (lambda: Coupling(5, [0, 3], dense_net), (5,)),
    "coupling without bound": (lambda: Coupling(4, [1], dense_net, math.inf), (4,)),
    "factor out": (
        lambda: FactorOut((4, 2, 2), [Flatten((2, 2, 2)), Coupling(8, range(4), dense_net)]),
        (4, 2, 2),
    ),
    "points": (plane_flow, (2,)),
    "points on a line of five": (lambda: plane_flow(4, features=5), (5,)),
    "halves of images": (lambda: halves_flow(4, 16, side=4), (1, 4, 4)),
    "multi-scale": (lambda: multi_scale_flow(2, 4, side=4), (1, 4, 4)),
    "activation norm": (lambda: ActNorm(4), (4, 3, 2)),
    "activation norm of vectors": (lambda: ActNorm(4), (4,)),
    "1 x 1 convolution": (lambda: Invertible1x1(4), (4, 3, 2)),
    "1 x 1 convolution of vectors": (lambda: Invertible1x1(5), (5,)),
    "glow": (lambda: Glow((1, 4, 4), (1, 2), (4, 6)), (1, 4, 4)),
    "glow in colour": (lambda: Glow((3, 4, 2), (2,), (4,)), (3, 4, 2)),
    "residual block": (lambda: ResidualBlock(dense_lipschitz(5, 8), Roulette()), (5,)),
    "residual convolutions": (
        lambda: ResidualBlock(conv_lipschitz((2, 4, 4), 4), Roulette()), (2, 4, 4),
    ),
    "residual points": (lambda: residual_plane_flow(4, 8), (2,)),
    "residual images": (lambda: residual_image_flow((1, 2), 4, side=4), (1, 4, 4)),
    "continuous": (lambda: Continuous(Field(2, 8), runge_kutta, 12), (2,)),
}  # fmt: skip
IMAGES = (
    "logit", "halves of images", "multi-scale", "glow", "glow in colour", "residual images"
)  # fmt: skip
kinds = pytest.mark.parametrize("kind", KINDS)
states = pytest.mark.parametrize("steps", [0, 100])


def inputs(kind: str, n: int, seed: int = 0) -> torch.Tensor:
    """Points that a bijection takes: pixels in (0, 256) for images, else Gaussian."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, *KINDS[kind][1], generator=generator).double()
    return 256 * x.sigmoid() if kind in IMAGES else x


def made(kind: str, steps: int) -> nn.Module:
    """A copy of what `trained` gives, no longer in training."""
    return deepcopy(trained(kind, steps)).eval()


@cache
def trained(kind: str, steps: int) -> nn.Module:
    """A bijection in float64, after some steps towards correlated, squeezed data."""
    torch.manual_seed(0)
    layer = KINDS[kind][0]().double()
    layer(inputs(kind, 32, 95))  # what a first batch sets is set
    weights = [*layer.parameters()]
    if steps and weights:
        adam = torch.optim.Adam(weights, 3e-3)
        for step in range(steps):
            x = inputs(kind, 32, step)
            x = x if x.max() > 30 else x + x.roll(1, 1).tanh()
            z, log_det = layer(x)
            loss = (0.5 * z.flatten(1) ** 2).sum(1) - log_det
            adam.zero_grad()
            loss.mean().backward()
            adam.step()
    return layer


@states
@kinds
def test_inverse_undoes_forward_and_their_log_dets_cancel(kind, steps):
    layer, x = made(kind, steps), inputs(kind, 16, 99)
    z, log_det = layer(x)
    back, log_det_back = layer.inverse(z)
    torch.testing.assert_close(back, x, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(log_det_back, -log_det, rtol=1e-9, atol=1e-9)
    assert log_det.shape == (16,)


@states
@kinds
def test_log_det_is_that_of_the_jacobian(kind, steps):
    layer, x = made(kind, steps), inputs(kind, 3, 98)
    for point in x:
        jacobian = torch.autograd.functional.jacobian(
            lambda flat: layer(flat.view(1, *x[0].shape))[0].flatten(), point.flatten()
        )
        expected = torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(layer(point[None])[1][0], expected, rtol=1e-9, atol=1e-9)


@states
@kinds
def test_a_batch_is_its_elements(kind, steps):
    layer, x = made(kind, steps), inputs(kind, 5, 97)
    z, log_det = layer(x)
    alone = [layer(one[None]) for one in x]
    torch.testing.assert_close(z, torch.cat([a for a, _ in alone]))
    torch.testing.assert_close(log_det, torch.cat([b for _, b in alone]))


@states
@pytest.mark.parametrize("kind", [k for k in KINDS if [*KINDS[k][0]().parameters()]])
def test_gradients_reach_every_parameter(kind, steps):
    layer, x = made(kind, steps), inputs(kind, 64, 96)
    z, log_det = layer(x)
    ((0.5 * z.flatten(1) ** 2).sum(1) - log_det).mean().backward()
    for name, weight in layer.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize("world", [eight_gaussians_density, two_moons_density])
def test_mass_is_one_and_nothing_beats_the_entropy(world):
    """In the plane, on a grid from -8 to 8, before and after training; samples lie within."""
    torch.manual_seed(0)
    law, flow = world(), plane_flow(6, 32)
    adam = torch.optim.Adam(flow.parameters(), 3e-3)
    line = torch.linspace(-8, 8, 801).double()
    grid = torch.cartesian_prod(line, line)
    cell = (line[1] - line[0]).item() ** 2
    for steps in (0, 100):
        for _ in range(steps):
            adam.zero_grad()
            flow.terms(law.sample((256,)))["nll"].mean().backward()
            adam.step()
        with torch.no_grad():
            exact = flow.double()
            mass = sum(exact.log_prob(part).exp().sum() for part in grid.split(80_000)) * cell
            assert mass.item() == pytest.approx(1, abs=2e-3)
            assert flow.sample(2000).abs().max() < 7.9
            x = law.sample((4000,))
            gap = flow.terms(x.double())["nll"] + law.log_prob(x)  # mean: KL(law || flow)
            assert gap.mean() > -4 * gap.std() / 4000**0.5
            flow.float()
    assert gap.mean() < 3


def test_mass_is_one_on_the_line_of_pixel_values():
    """The density of one pixel of four, given the others, integrates to the others' density."""
    torch.manual_seed(0)
    for flow in (Flow([Logit(2, 0.1), Flatten((1,))], 1), Flow([Logit(256), Flatten((1,))], 1)):
        top = flow.layers[0].levels
        y = torch.linspace(-0.2 * top, 1.2 * top, 1_000_001, dtype=torch.float64)
        mass = flow.log_prob(y[:, None]).exp().sum() * (y[1] - y[0])
        assert mass.item() == pytest.approx(1, abs=1e-4)


def test_outside_of_the_support_the_log_density_is_minus_infinity_and_no_error():
    flow = multi_scale_flow(2, 4, side=4)
    y = torch.full((3, 1, 4, 4), 100.0)
    y[1, 0, 2, 2], y[2, 0, 0, 0] = 300.0, -40.0
    found = flow.log_prob(y)
    assert found[0].isfinite() and (found[1:] == -math.inf).all()


def test_a_checkerboard_keeps_the_pixels_whose_row_and_column_add_to_an_even_number():
    torch.manual_seed(0)
    kept = [4 * c + p for c in range(2) for p in CHECKERBOARD]
    squeeze, coupling = Squeeze(), Coupling(8, kept, lambda i, o: nn.Conv2d(i, o, 3, padding=1))
    x = torch.randn(2, 2, 6, 6)
    z = squeeze.inverse(coupling(squeeze(x)[0])[0])[0]
    row, column = torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")
    assert torch.equal((z == x)[0, 0], (row + column) % 2 == 0)


def test_a_swap_after_each_coupling_is_the_alternation_of_halves():
    """The sheet's permutation, when it swaps the halves, gives what alternating masks give."""
    torch.manual_seed(0)
    flow = plane_flow(4, features=6).double()
    couplings = [layer for layer in flow.layers if isinstance(layer, Coupling)]
    x = torch.randn(7, 6).double()
    other = x
    for k, coupling in enumerate(couplings):
        a, b = other.chunk(2, 1)
        kept, moved = (a, b) if k % 2 == 0 else (b, a)
        s, t = coupling.scale_and_shift(kept)
        moved = moved * s.exp() + t
        other = torch.cat([kept, moved] if k % 2 == 0 else [moved, kept], 1)
    torch.testing.assert_close(flow(x)[0], other)


def test_dequantised_terms_bound_the_probability_of_an_image():
    """One pixel of four levels: the sum over the level's interval by quadrature."""
    torch.manual_seed(0)
    flow = ImageFlow([Logit(4, 0.0), Flatten((1, 1, 1)), Affine()], 1).double()
    k = torch.arange(4).view(4, 1, 1, 1)
    u = (torch.arange(20_000).double() + 0.5) / 20_000
    p = torch.stack([flow.log_prob(k + at) for at in u.view(-1, 1, 1, 1)[::100]])  # (200, 4)
    exact = p.exp().mean(0).log()
    assert exact.exp().sum().item() == pytest.approx(1, abs=2e-3)
    drawn = torch.stack([-flow.terms(k)["nll"] for _ in range(2000)])
    error = drawn.std(0) / 2000**0.5
    assert ((drawn.mean(0) - p.mean(0)).abs() < 4.5 * error + 1e-3).all()
    assert (p.mean(0) <= exact + 1e-9).all() and (p.mean(0) < exact - 1e-4).any()
    assert (flow.weighted(k, 500) < -p.mean(0) + 0.02).all()


def loud(noise: LearnedNoise, std: float = 0.2) -> LearnedNoise:
    """Noise whose couplings have weights that matter, in double precision."""
    for weight in noise.parameters():
        nn.init.normal_(weight, std=std)
    return noise.double()


def test_the_density_of_learned_noise_is_that_of_what_it_draws():
    """log |det du/dnoise| by automatic differentiation, and u between 0 and 1."""
    torch.manual_seed(0)
    noise = loud(LearnedNoise(width=4))
    x = torch.randint(256, (3, 1, 4, 4)).double()
    drawn = torch.randn(3, 4, 2, 2).double()
    u, log_det = noise.spread(x, drawn)
    assert u.shape == x.shape and (u > 0).all() and (u < 1).all()
    for k in range(3):
        J = torch.autograd.functional.jacobian(
            lambda v, k=k: noise.spread(x[k : k + 1], v.view(1, 4, 2, 2))[0].flatten(),
            drawn[k].flatten(),
        )
        torch.testing.assert_close(torch.linalg.slogdet(J)[1], log_det[k])


def test_learned_noise_begins_uniform_and_sees_the_image_later():
    torch.manual_seed(0)
    x = torch.randint(256, (64, 1, 4, 4)).double()
    still = LearnedNoise(width=4).double()
    for coupling in still.layers:
        nn.init.zeros_(coupling.net[-1].weight)
    assert still(x)[1].abs().max() < 1e-12
    noise, drawn = loud(still), torch.zeros(64, 4, 2, 2).double()
    assert noise.spread(x, drawn)[0].std(0).min() > 0.01
    with pytest.raises(ValueError, match="at least 2 couplings"):
        LearnedNoise(couplings=1)


def test_every_noise_estimates_the_same_probability_of_an_image():
    """The mean of p(k + u) / q(u | k) is P(k) for any q, within four standard errors."""
    torch.manual_seed(0)
    flow = multi_scale_flow(2, 4, side=4, learned_noise=True).double()
    k, found, learned = torch.full((5000, 1, 4, 4), 100), [], loud(flow.between, 0.08)
    for flow.between in (learned, None):
        with torch.no_grad():
            weights = (-flow.terms(k)["nll"] + 100).exp()
        found.append((weights.mean(), weights.std() / len(k) ** 0.5))
    (one, slack), (two, more) = found
    assert slack < 0.1 * one and more < 0.1 * two
    assert (one - two).abs() < 4 * (slack**2 + more**2).sqrt()
    log_q = learned(k.double())[1]
    assert log_q.std() > 0.1 and log_q.mean() > 0  # a mean log-density on a unit cube
    assert uniform_noise(k.double())[1].abs().max() == 0


class Affine(nn.Module):
    """z = 1.5 x - 0.3, with a parameter so that a flow knows its type."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(1.5).log())

    def forward(self, x):
        return x * self.log_scale.exp() - 0.3, self.log_scale.expand(len(x)) * x[0].numel()


def test_check_inverse_names_the_layer_that_fails():
    torch.manual_seed(0)
    flow = multi_scale_flow(2, 4, side=4, bound=math.inf)
    x = 256 * torch.rand(4, 1, 4, 4)
    good = check_inverse(flow, x)
    assert good.error < 1e-2 and max(good.by_layer.values()) < 1e-4
    broken = flow.layers[-1].layers[2]
    nn.init.constant_(broken.net[-1].bias, 100.0)  # exp(100) overflows in single precision
    bad = check_inverse(flow, x)
    assert bad.error == math.inf and bad.worst == "6.2 Coupling"


def test_log_dets_are_summed_in_single_precision_at_least():
    layer = Coupling(4, [0, 1], dense_net).to(torch.bfloat16)
    assert layer(torch.randn(2, 4, dtype=torch.bfloat16))[1].dtype == torch.float32


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Permutation([0, 0, 1]), "an order of all"),
        (lambda: Coupling(3, [], dense_net), "keep some of 3"),
        (lambda: Coupling(3, [0, 1, 2], dense_net), "keep some of 3"),
        (lambda: Coupling(3, [0], dense_net, 0.0), "bound > 0"),
        (lambda: FactorOut((3, 2, 2), []), "even number"),
        (lambda: Logit(256, 0.5), "margin in"),
        (lambda: plane_flow(1), "at least 2 couplings"),
        (lambda: multi_scale_flow(side=30), "4 divides"),
        (lambda: multi_scale_flow(each=1), "each >= 2"),
        (lambda: plane_flow().sample(0), "at least 1"),
        (lambda: plane_flow().sample(1, -1.0), "temperature >= 0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make, reason):
    with pytest.raises(ValueError, match=reason):
        make()


def test_images_must_be_whole_numbers():
    with pytest.raises(TypeError, match="whole numbers"):
        halves_flow(2, 8, side=4).terms(torch.rand(2, 1, 4, 4))
