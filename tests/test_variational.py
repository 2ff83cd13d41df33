"""Coordinate ascent: the bound against brute-force joints, and against other libraries."""

from itertools import product
from math import log

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture
from torch import Tensor

from companion.graphs import MarkovNet
from companion.graphs.table import Table
from companion.inference.ising import (
    IsingMeanField,
    ising_log_partition,
    ising_tables,
    neighbours,
)
from companion.inference.mean_field import MeanField, coordinate_ascent, start
from companion.inference.mixtures import MixtureEM, MixtureMeanField, mixture_log_evidence


def tables(seed: int, zeros: bool = False) -> list[Table]:
    """Draw a Markov network on a ring of five variables with a triangle and one leaf."""
    generator = torch.Generator().manual_seed(seed)
    sizes = {"a": 2, "b": 3, "c": 2, "d": 2, "e": 4, "f": 2}
    scopes = ["ab", "bc", "cde", "ea", "f", "fd"]
    drawn = []
    for scope in scopes:
        values = torch.rand([sizes[name] for name in scope], generator=generator).double()
        drawn.append(Table(values + 0.05, list(scope)))
    if zeros:
        drawn[0].values[0, 1] = drawn[2].values[1, 0, 2] = 0
    return drawn


def joint(factors: list[Table]) -> Table:
    """Multiply all tables: the brute force that the tests compare with."""
    law = Table(1.0, {})
    for table in factors:
        law = law * table
    return law


def divergence(q: Table, p: Table) -> float:
    """KL(q || p) by a sum over all states."""
    p_values = p.marginal(*q.names).values
    return (torch.xlogy(q.values, q.values) - torch.xlogy(q.values, p_values)).sum().item()


BLOCKS = [[], ["ab"], ["ca", "fe"], ["abcdef"]]


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("evidence", [{}, {"c": "1"}, {"b": "2", "f": "0"}])
def test_bound_is_log_evidence_minus_kl(blocks: list, evidence: dict, zeros: bool) -> None:
    law = joint(tables(1, zeros)).restrict(evidence)
    groups = [[n for n in block if n not in evidence] for block in blocks]
    generator = torch.Generator().manual_seed(2)
    q = MeanField(tables(1, zeros), evidence, groups, generator)
    if zeros:
        q.step()  # a random start reaches impossible states, where the bound is -infinity
    posterior, evidence_log_prob = law.normalised(), law.values.sum().log().item()
    for _ in range(3):
        gap = divergence(joint(q.factors), posterior)
        assert q.elbo() == pytest.approx(evidence_log_prob - gap, abs=1e-12)
        q.step()


def test_update_is_the_normalised_exponential_of_the_mean_log_joint() -> None:
    q = MeanField(tables(3), generator=torch.Generator().manual_seed(4))
    law, e = joint(tables(3)), [factor.names[0] for factor in q.factors].index("e")
    others = joint([factor for factor in q.factors if factor.names != ("e",)])
    log_law = law.marginal(*others.names, "e").values.log()
    best = (others.values[..., None] * log_law).sum(tuple(range(5))).softmax(0)
    q.update(e)
    torch.testing.assert_close(q.factors[e].values, best, atol=1e-14, rtol=0)


def test_one_block_of_everything_is_the_exact_posterior() -> None:
    q = MeanField(tables(5), {"d": "0"}, ["abcef"])
    q.step()
    posterior = joint(tables(5)).given({"d": "0"})
    torch.testing.assert_close(q.marginal("e", "b").values, posterior.marginal("e", "b").values)
    assert q.elbo() == pytest.approx(joint(tables(5)).restrict({"d": "0"}).values.sum().log())


def test_larger_blocks_never_bound_worse_from_the_same_start() -> None:
    single = MeanField(tables(6))
    coordinate_ascent(single)
    blocked = MeanField(tables(6), blocks=["ab", "de"])
    blocked.factors = [single.marginal(*factor.names) for factor in blocked.factors]
    assert coordinate_ascent(blocked)[-1] > single.elbo() + 1e-4


@pytest.mark.parametrize("side", [4, 6])
def test_checkerboard_ising_is_the_mean_field_of_its_tables(side: int) -> None:
    coupling, field = 0.35, 0.1
    fast = IsingMeanField(side, coupling, field)
    slow = MeanField(ising_tables(side, coupling, field))
    for grid in (fast, slow):
        coordinate_ascent(grid, tolerance=1e-13)
    assert fast.elbo() == pytest.approx(slow.elbo(), abs=1e-9)
    ups = torch.tensor([q.values[1] for q in slow.factors]).reshape(side, side)
    torch.testing.assert_close(fast.factors.probs, ups.double(), atol=1e-6, rtol=0)


def spins(side: int) -> Tensor:
    """List all states of the grid, (2^(L * L), L, L)."""
    states = torch.tensor(list(product((-1.0, 1.0), repeat=side**2)), dtype=torch.float64)
    return states.reshape(-1, side, side)


def test_ising_log_partition_and_its_derivatives_are_those_of_all_65536_states() -> None:
    coupling, field = torch.tensor(0.3), torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    s = spins(4)
    bonds = (s * (s.roll(1, 1) + s.roll(1, 2))).sum((1, 2))
    total = s.sum((1, 2))
    energy = coupling.double() * bonds + field.detach() * total
    log_z = ising_log_partition(4, coupling, field)
    assert log_z.item() == pytest.approx(energy.logsumexp(0).item(), abs=1e-10)
    (mean,) = torch.autograd.grad(log_z, field, create_graph=True)
    (variance,) = torch.autograd.grad(mean, field)
    chance = energy.softmax(0)
    assert mean.item() == pytest.approx((chance * total).sum().item(), abs=1e-9)
    spread = (chance * total**2).sum() - (chance * total).sum() ** 2
    assert variance.item() == pytest.approx(spread.item(), abs=1e-8)


def test_ising_log_partition_is_that_of_its_tables_by_elimination() -> None:
    exact = MarkovNet(ising_tables(4, 0.4, 0.1)).log_partition()
    assert ising_log_partition(4, 0.4, 0.1).item() == pytest.approx(exact, abs=1e-10)


def test_neighbours_of_a_torus_are_four() -> None:
    one = torch.zeros(4, 4)
    one[0, 3] = 1
    assert {tuple(place) for place in neighbours(one).nonzero().tolist()} == {
        (1, 3),
        (3, 3),
        (0, 2),
        (0, 0),
    }


POINTS = torch.tensor([[0.0, 1.0], [0.5, 2.0], [4.0, -1.0], [5.0, 0.0], [-3.0, 2.0]]).double()


def test_mixture_evidence_is_the_sum_over_labellings_of_gaussian_blocks() -> None:
    noise, spread, k = 0.8, 3.0, 2
    terms = []
    for labels in product(range(k), repeat=len(POINTS)):
        same = np.equal.outer(labels, labels)
        law = multivariate_normal(cov=noise**2 * np.eye(5) + spread**2 * same)
        terms.append(law.logpdf(POINTS.numpy().T).sum() - 5 * log(k))
    exact = float(np.logaddexp.reduce(terms))
    assert mixture_log_evidence(POINTS, k, noise, spread) == pytest.approx(exact, abs=1e-10)


def test_mixture_bound_is_the_mean_of_its_log_ratio() -> None:
    q = MixtureMeanField(POINTS, POINTS[:2], noise=0.8, spread=3.0)
    q.step()
    torch.manual_seed(0)
    means_law, labels_law = q.factors
    means, labels = means_law.sample((20_000,)), labels_law.sample((20_000,))
    prior = torch.distributions.Normal(0.0, 3.0).log_prob(means).sum((1, 2)) - 5 * log(2)
    centres = means.gather(1, labels[..., None].expand(-1, -1, 2))
    fit = torch.distributions.Normal(centres, 0.8).log_prob(POINTS).sum((1, 2))
    own = means_law.log_prob(means).sum((1, 2)) + labels_law.log_prob(labels).sum(1)
    ratio = prior + fit - own
    error = ratio.std().item() / len(ratio) ** 0.5
    assert abs(ratio.mean().item() - q.elbo()) < 4 * error


def test_mixture_ascent_ends_where_the_gradient_of_the_bound_is_zero() -> None:
    q = MixtureMeanField(POINTS, POINTS[[0, 2]], noise=0.8, spread=3.0)
    coordinate_ascent(q, tolerance=0)
    torch.manual_seed(0)
    best = q.elbo()
    for name in ("means", "variances", "shares"):
        kept = getattr(q, name)
        for scale in (1e-3, -1e-3):
            moved = kept * (1 + scale * torch.randn_like(kept))
            moved = moved / moved.sum(1, keepdim=True) if name == "shares" else moved
            setattr(q, name, moved)
            assert q.elbo() < best
        setattr(q, name, kept)


def test_mixture_bound_is_that_of_tables_on_a_grid_of_means() -> None:
    """The general algorithm, with each mean on a fine grid, finds the same bound."""
    x, noise, spread = torch.tensor([[-1.0], [1.5], [2.0]]).double(), 0.75, 2.0  # no rounding
    grid = torch.linspace(-9, 9, 1201, dtype=torch.float64)
    step = (grid[1] - grid[0]).item()
    prior = Table(torch.distributions.Normal(0.0, spread).log_prob(grid).exp() * step, ["m0"])
    factors = [prior, Table(prior.values, ["m1"])]
    for n, point in enumerate(x):
        fit = torch.distributions.Normal(grid, noise).log_prob(point).exp()
        factors += [
            Table(torch.full((2,), 0.5), [f"c{n}"]),
            Table(torch.stack([fit, torch.ones_like(fit)]), [f"c{n}", "m0"]),
            Table(torch.stack([torch.ones_like(fit), fit]), [f"c{n}", "m1"]),
        ]
    q = MeanField(factors)
    start = MixtureMeanField(x, torch.tensor([[-1.0], [1.0]]), noise, spread)
    for k in range(2):
        law = torch.distributions.Normal(start.means[k], noise).log_prob(grid).softmax(0)
        q.factors[k] = Table(law, [f"m{k}"])
    order = [2, 3, 4, 0, 1]  # labels first, then means
    for _ in range(5):
        start.step()
        for j in order:
            q.update(j)
    # sums of a smooth function that vanishes at both ends of the grid: the error is rounding
    assert q.elbo() == pytest.approx(start.elbo(), abs=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_em_walks_the_same_path_as_scikit_learn(seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.cat([torch.randn(60, 2) @ torch.randn(2, 2) + 3 * torch.randn(2) for _ in range(3)])
    ours = MixtureEM(x, x[[0, 70, 150]])
    covariance = torch.cov(x.T.double(), correction=0)
    theirs = GaussianMixture(
        3,
        tol=0,
        max_iter=10,
        reg_covar=0,
        weights_init=np.full(3, 1 / 3),
        means_init=ours.means.numpy(),
        precisions_init=covariance.inverse().expand(3, 2, 2).numpy(),
    )
    with pytest.warns(UserWarning, match="converge"):
        theirs.fit(x.double().numpy())
    bounds = coordinate_ascent(ours, sweeps=10, tolerance=0)
    assert ours.log_likelihood() == pytest.approx(180 * theirs.score(x.double().numpy()), rel=1e-9)
    np.testing.assert_allclose(ours.covariances, theirs.covariances_, rtol=1e-7)
    assert bounds[-1] <= ours.log_likelihood()


def test_random_starts_are_uniform_over_all_laws() -> None:
    """Of two states a uniform law's share is uniform: mean 1/2, variance 1/12, fourth 1/80."""
    draw = torch.Generator().manual_seed(0)
    shares = torch.stack([start({"a": "01"}, draw).values[0] for _ in range(1500)]) - 0.5
    assert abs(shares.mean()) < 4 * (1 / 12 / 1500) ** 0.5
    assert abs(shares.square().mean() - 1 / 12) < 4 * ((1 / 80 - 1 / 144) / 1500) ** 0.5
