"""MIG, SAP and DCI on codes whose scores are known, and beside other libraries."""

from itertools import product

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score
from torch import Tensor

from companion.metrics.disentanglement import (
    concentrations,
    importance_scores,
    mutual_information_gap,
    separated_predictability,
)

EXACT = 1e-10  # sums of a few thousand float64 terms of size 1


def all_values(*sizes: int) -> Tensor:
    """Every combination of the factors' values once: independent, and each equally frequent."""
    return torch.tensor(list(product(*map(range, sizes))))


def noisy(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw codes that hold three factors in part, some of them together."""
    draw = torch.Generator().manual_seed(seed)
    v = torch.stack([torch.randint(s, (n,), generator=draw) for s in (3, 6, 40)], 1)
    mix = torch.tensor([[1.0, 0, 0.2, 0], [0, 0.5, 0.3, 0], [0.02, 0, 0.1, 0]])
    return v.float() @ mix + 0.3 * torch.randn(n, 4, generator=draw), v


def by_sklearn(codes: Tensor, factors: Tensor) -> float:
    """The same MIG from numpy's histogram and scikit-learn's information of two labellings."""
    z, v = codes.numpy(), factors.numpy().T
    cut = [np.digitize(x, np.histogram(x, 20)[1][:-1]) for x in z.T]
    shared = np.sort([[mutual_info_score(y, x) for y in v] for x in cut], axis=0)
    return float(np.mean((shared[-1] - shared[-2]) / [mutual_info_score(y, y) for y in v]))


def stated() -> tuple[Tensor, Tensor]:
    """Codes and factors that any program can make again, for the recorded scores."""
    i = np.arange(600)
    v = np.stack([i % 3, i // 3 % 5, i // 15 % 8], 1)
    w = np.sin(np.outer(i + 1, [1.0, 2.0, 3.0, 5.0]))
    held = [
        v[:, 1] + 0.3 * w[:, 0],
        v[:, 2] - 0.4 * v[:, 0] + w[:, 1],
        v[:, 0] * v[:, 2] + w[:, 2],
    ]
    return torch.from_numpy(np.stack([*held, w[:, 3]], 1)), torch.from_numpy(v)


def test_a_perfect_code_has_all_gaps_at_one():
    v = all_values(3, 5, 8)
    found = mutual_information_gap(v.double(), v)
    torch.testing.assert_close(found.gaps, torch.ones(3).double(), atol=EXACT, rtol=0)
    sizes = torch.tensor([3.0, 5, 8]).double()
    torch.testing.assert_close(found.information, sizes.log().diag(), atol=EXACT, rtol=0)


def test_twenty_bins_cap_a_perfect_code_of_thirty_two_values():
    v = all_values(32, 2)
    gap = mutual_information_gap(v.double(), v).gaps[0].item()
    # 12 bins hold two values and 8 hold one: 24/32 of the points keep 4 of their 5 bits
    assert gap == pytest.approx((24 * 4 + 8 * 5) / 32 / 5, abs=EXACT)
    assert mutual_information_gap(v.double(), v, bins=32).gaps[0].item() == pytest.approx(1)


def test_a_code_rotated_by_45_degrees_has_no_gap():
    v = all_values(16, 16)
    turned = torch.stack([v[:, 0] + v[:, 1], v[:, 0] - v[:, 1]], 1).double()
    found = mutual_information_gap(turned, v)
    assert found.information.min() > 0.4 and found.gaps.abs().max() < EXACT
    assert separated_predictability((turned, v), (turned, v), (0, 1)).score.value < EXACT


def test_a_constant_code_scores_nothing():
    v = all_values(4, 6)
    flat = torch.zeros(24, 3)
    assert abs(mutual_information_gap(flat, v).score.value) < EXACT
    assert separated_predictability((flat, v), (flat, v), ordered=(1,)).score.value == 0
    scores = importance_scores((flat, v), (flat, v))
    assert scores.disentanglement.value == scores.completeness.value == 0


def test_a_duplicated_dimension_closes_gaps_and_costs_completeness_only():
    v = all_values(4, 6).repeat(20, 1)
    once, twice = v.double(), v.double().repeat(1, 2)
    assert mutual_information_gap(twice, v).score.value == 0
    assert mutual_information_gap(twice, v).score.error == 0
    assert separated_predictability((twice, v), (twice, v)).score.value == 0
    single, double = (importance_scores((z, v), (z, v)) for z in (once, twice))
    assert single.completeness.value == pytest.approx(1, abs=EXACT)
    assert double.disentanglement.value == pytest.approx(1, abs=EXACT)
    assert double.informativeness.value == single.informativeness.value == 1
    assert double.completeness.value < 0.9  # 1 - log 2 / log 4 if the forest uses both alike


@pytest.mark.parametrize("change", [
    lambda z: z[:, [2, 0, 3, 1]], lambda z: -z, lambda z: z * torch.tensor([2, 0.5, 8, -4]),
])  # fmt: skip
def test_order_sign_and_scale_of_dimensions_do_not_matter(change):
    z, v = noisy(2000, seed=0)
    ours, changed = mutual_information_gap(z, v), mutual_information_gap(change(z), v)
    torch.testing.assert_close(ours.gaps, changed.gaps, atol=EXACT, rtol=0)
    pair = [
        separated_predictability((x, v), (x, v), (0, 1, 2)).score.value for x in (z, change(z))
    ]
    assert pair[0] == pytest.approx(pair[1], abs=EXACT)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_mig_equals_that_of_scikit_learn(kind):
    z, v = noisy(3000, seed=1)
    assert mutual_information_gap(z.to(kind), v).score.value == pytest.approx(
        by_sklearn(z.to(kind).double(), v), abs=1e-12
    )
    far = v * 10**12 - 7  # labels are names: how far apart they lie means nothing
    found = mutual_information_gap(z, far)
    torch.testing.assert_close(found.gaps, mutual_information_gap(z, v).gaps, atol=EXACT, rtol=0)


@pytest.mark.parametrize("step, first", [(0.1, -1), (0.7, 0), (0.017, -1)])
def test_values_on_an_edge_fall_where_numpy_puts_them(step, first):
    v = all_values(21, 2)  # 21 values in 20 bins: each lies on an edge, but for rounding
    z = v.double() * step + first
    found = mutual_information_gap(z, v).score.value
    assert found == pytest.approx(by_sklearn(z, v), abs=1e-12)


def test_scores_equal_those_recorded_from_two_libraries():
    # disentanglement-lib 1.5 and disent 0.8.0 give the same, run with scikit-learn 1.9.1
    z, v = stated()
    train, test = (z[:400], v[:400]), (z[400:], v[400:])
    assert mutual_information_gap(z, v).score.value == pytest.approx(0.5296346070302586, abs=1e-12)
    by_machine = separated_predictability(train, test).score.value
    assert by_machine == pytest.approx(0.215, abs=0.005)  # one of 200 points may turn
    by_correlation = separated_predictability(train, test, ordered=(0, 1, 2)).score.value
    assert by_correlation == pytest.approx(0.7220658138276793, abs=1e-12)
    importance = torch.tensor(
        [[0.8, 0.1, 0.3], [0.1, 0.9, 0.3], [0.1, 0, 0.4], [0, 0, 0]]
    ).double()
    recorded = torch.tensor([0.3123747556374413, 0.5063542859192418]).double()
    ours = torch.stack(concentrations(importance))
    torch.testing.assert_close(ours, recorded, atol=1e-6, rtol=0)  # they add 1e-11 to each cell


def uneven(seed: int) -> tuple[Tensor, Tensor]:
    """Draw 400 codes of two factors whose values are not equally frequent."""
    draw = torch.Generator().manual_seed(seed)
    v = torch.stack([(s * torch.rand(400, generator=draw) ** 4).long() for s in (3, 6)], 1)
    return v + 0.2 * torch.randn(400, 2, generator=draw), v


def test_the_error_of_mig_is_the_spread_of_the_score():
    found = [mutual_information_gap(*uneven(seed)).score for seed in range(200)]
    spread = np.std([score.value for score in found])
    # the deviation of 200 draws has a relative error of 1 / sqrt(400) = 5 %: three of those, and
    # 15 % for cells with few points and for the bins, which move with the extremes
    assert np.mean([score.error for score in found]) == pytest.approx(spread, rel=0.3)


def test_an_untold_factor_has_no_importance_that_counts():
    v = all_values(4, 4, 5)
    scores = importance_scores((v[:, :2].double(), v[:, :2]), (v[:, :2].double(), v[:, :2]))
    assert scores.disentanglement.value == scores.completeness.value == pytest.approx(1)
    even = torch.stack(concentrations(torch.ones(4, 3).double()))
    torch.testing.assert_close(even, torch.zeros(2).double(), atol=EXACT, rtol=0)


@pytest.mark.parametrize("codes, factors, told", [
    (torch.rand(5), torch.ones(5, 2).long(), r"codes \(N, K\) and factors"),
    (torch.rand(5, 1), all_values(5, 1), "K at least 2"),
    (torch.rand(5, 2), all_values(2, 2), r"got \(5, 2\) and \(4, 2\)"),
    (torch.rand(4, 2), torch.rand(4, 2), "factors must be integers"),
    (torch.rand(4, 2), all_values(2, 2).bool(), "factors must be integers, .* got torch.bool"),
    (torch.ones(4, 2).long(), all_values(2, 2), "codes must be floats"),
    (torch.rand(4, 2) / 0, all_values(2, 2), "finite, got 8 values"),
    (torch.rand(4, 2), all_values(4, 1), "factor 1 is 0 at every point: its entropy is 0"),
])  # fmt: skip
def test_wrong_codes_and_factors_are_refused(codes, factors, told):
    for measure in (mutual_information_gap, lambda z, v: importance_scores((z, v), (z, v))):
        with pytest.raises(ValueError, match=told):
            measure(codes, factors)


def test_wrong_choices_are_refused():
    z, v = noisy(50, seed=0)
    with pytest.raises(ValueError, match="at least 2 bins, got 1"):
        mutual_information_gap(z, v, bins=1)
    with pytest.raises(ValueError, match=r"columns 0 to 2, got \(3,\)"):
        separated_predictability((z, v), (z, v), ordered=(3,))
    with pytest.raises(ValueError, match="as many dimensions"):
        separated_predictability((z, v), (z[:, :3], v))
    with pytest.raises(ValueError, match="two or more factors"):
        importance_scores((z, v[:, :1]), (z, v[:, :1]))
