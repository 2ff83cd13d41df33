"""f-divergences against direct formulas, scipy and numerical suprema."""

import math

import pytest
import torch
from scipy import optimize, spatial, special, stats
from torch import Tensor

from companion.objectives.divergences import ALL, DIVERGENCES, Divergence, divergence

SMOOTH = [one for one in ALL if one.name != "total variation"]
named = pytest.mark.parametrize("d", ALL, ids=lambda d: d.name)
smooth = pytest.mark.parametrize("d", SMOOTH, ids=lambda d: d.name)


def tables(zeros: bool = False) -> tuple[Tensor, Tensor]:
    """Draw forty pairs of tables with six cells; with zeros, 0 in p, in q, and in both."""
    generator = torch.Generator().manual_seed(0)
    p, q = torch.rand(2, 40, 6, generator=generator, dtype=torch.float64)
    if zeros:
        p[:, [0, 1]] = q[:, [1, 2]] = 0
    return p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)


def direct(name: str, p: Tensor, q: Tensor) -> Tensor:
    """Compute a divergence without any generator f, in numpy or scipy."""
    js = spatial.distance.jensenshannon(p, q, axis=-1) ** 2
    return torch.as_tensor(
        {
            "KL": stats.entropy(p, q, axis=-1),
            "reverse KL": stats.entropy(q, p, axis=-1),
            "Pearson": (p**2 / q).sum(-1) - 1,
            "Hellinger": 2 - 2 * (p * q).sqrt().sum(-1),
            "Jensen-Shannon": js,
            "GAN": 2 * js - math.log(4),
            "total variation": 0.5 * (p - q).abs().sum(-1),
        }[name]
    )


@named
def test_divergence_of_tables_is_the_direct_formula(d: Divergence) -> None:
    p, q = tables()
    torch.testing.assert_close(d.between(p, q), direct(d.name, p, q), rtol=1e-10, atol=1e-12)


@named
def test_cells_without_mass_cost_what_the_limit_costs(d: Divergence) -> None:
    p, q = tables(zeros=True)
    if math.isinf(d.at_zero) or math.isinf(d.steepest):
        assert d.between(p, q).isinf().all()
        return
    torch.testing.assert_close(d.between(p, q), direct(d.name, p, q), rtol=1e-10, atol=1e-12)
    small = torch.tensor(1e-14, dtype=torch.float64)  # Hellinger's f is off by 2 sqrt(u) = 2e-7
    assert abs(d.f(small).item() - d.at_zero) < 1e-6
    assert abs(d.f(1 / small).item() * small.item() - d.steepest) < 1e-6


@pytest.mark.parametrize("name", ["Hellinger", "Jensen-Shannon", "total variation"])
def test_a_ratio_beyond_float_counts_as_infinite(name: str) -> None:
    p = torch.tensor([0.5, 0.5], dtype=torch.float64)
    q = torch.tensor([1.0, 5e-324], dtype=torch.float64)
    exact = divergence(name).between(p, torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert divergence(name).between(p, q).item() == pytest.approx(exact.item(), rel=1e-12)


@named
def test_conjugate_is_the_supremum_that_a_search_finds(d: Divergence) -> None:
    top = min(d.steepest, 3.0)
    for t in (top - 0.05, top - 0.4, top - 1.0, top - 2.7, top - 6.0):

        def negative(log_u: float, t: float = t) -> float:
            u = torch.tensor(math.exp(log_u), dtype=torch.float64)
            return (d.f(u) - u * t).item()

        starts = [k / 4 for k in range(-160, 60)]  # e^-40 stands for 0
        best = min(starts, key=negative)
        box = (best - 0.25, best + 0.25)
        found = optimize.minimize_scalar(negative, bounds=box, options={"xatol": 1e-10})
        sup = -min(found.fun, negative(best))
        ours = d.conjugate(torch.tensor(t, dtype=torch.float64)).item()
        assert ours == pytest.approx(sup, abs=1e-7)  # sqrt(e^-40) is 2e-9


@named
def test_derivative_is_autograds(d: Divergence) -> None:
    u = torch.tensor([0.1, 0.7, 1.3, 4.0, 30.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(d.f(u).sum(), u)
    torch.testing.assert_close(d.derivative(u.detach()), slope, rtol=1e-10, atol=1e-12)


@named
def test_cost_is_the_conjugate_of_the_output_and_outputs_are_allowed(d: Divergence) -> None:
    v = torch.linspace(-6, 6, 101, dtype=torch.float64)
    t = d.output(v)
    torch.testing.assert_close(d.cost(v), d.conjugate(t), rtol=1e-8, atol=1e-8)  # 1 - tanh
    assert (t <= d.steepest).all() and (t.diff() > 0).all()


@pytest.mark.parametrize("name", ["GAN", "Jensen-Shannon", "reverse KL", "total variation"])
def test_losses_stay_finite_for_sure_judges(name: str) -> None:
    v = torch.tensor([-80.0, 80.0], requires_grad=True)
    value = DIVERGENCES[name].cost(v)
    value.sum().backward()
    assert value.isfinite().all() and v.grad is not None and v.grad.isfinite().all()


@named
def test_bound_holds_and_is_tight_at_the_optimum(d: Divergence) -> None:
    for zeros in (False, True):
        p, q = tables(zeros)
        exact, T = d.between(p, q), d.optimal(p, q)
        torch.testing.assert_close(d.bound(p, q, T), exact, rtol=1e-10, atol=1e-10)
        score = torch.randn(p.shape, generator=torch.Generator().manual_seed(1)).double()
        assert (d.bound(p, q, d.output(score)) < exact).all()


def test_gan_value_is_binary_cross_entropy() -> None:
    real, fake = torch.randn(2, 50, dtype=torch.float64)
    truth = special.log_expit(real.numpy()).mean() + special.log_expit(-fake.numpy()).mean()
    assert divergence("GAN").value(real, fake).item() == pytest.approx(truth, rel=1e-12)


@smooth
def test_best_score_recovers_the_ratio(d: Divergence) -> None:
    u = torch.tensor([0.25, 1.0, 3.0], dtype=torch.float64)
    v = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    for _ in range(60):  # Newton on u g(v) - cost(v), concave in these
        value = u * d.output(v) - d.cost(v)
        (slope,) = torch.autograd.grad(value.sum(), v, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), v)
        v = (v - (slope / bend).clamp(-0.5, 0.5)).detach().requires_grad_()
    torch.testing.assert_close(d.output(v.detach()), d.derivative(u), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("p", "q", "message"),
    [
        ([0.5, 0.5], [0.5, 0.4, 0.1], "one shape"),
        ([0.5, 0.6], [0.5, 0.5], "p must be >= 0 and sum to 1, got sum 1.1"),
        ([0.5, 0.5], [1.5, -0.5], "q must be >= 0 .* least -0.5"),
    ],
)
def test_what_is_no_table_is_refused(p: list[float], q: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        divergence("KL").between(torch.tensor(p), torch.tensor(q))


def test_forbidden_critics_and_unknown_names_are_refused() -> None:
    half = torch.tensor([0.5, 0.5])
    with pytest.raises(ValueError, match=r"at most 0.5 for total variation, got 0.6"):
        divergence("total variation").bound(half, half, torch.tensor([0.0, 0.6]))
    with pytest.raises(ValueError, match="did you mean 'Pearson'"):
        divergence("Pearsn")
