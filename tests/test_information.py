"""Entropy and independence of tables: against sums written out, scipy and known laws."""

from collections.abc import Callable
from itertools import product
from math import log

import pytest
import torch
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import mutual_info_score

from companion.graphs.information import (
    entropy,
    independencies,
    independent,
    mutual_information,
)
from companion.graphs.statements import statements
from companion.graphs.table import Table

COPIES = torch.zeros(2, 2, 2, dtype=torch.float64)
COPIES[0, 0, 0] = COPIES[1, 1, 1] = 0.5
SUM = Table([[[0.25, 0], [0, 0.25]], [[0, 0.25], [0.25, 0]]], "XYZ")  # Z = X + Y mod 2


def some_law(seed: int, *sizes: int) -> Table:
    """Draw a law over a, b, c, ..., about half of whose cells are 0."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(*sizes, generator=generator, dtype=torch.float64) - 0.5
    values.view(-1)[0] = 0.7
    return Table(values.clamp_min(0), "abcdef"[: len(sizes)]).normalised()


def test_entropy_is_scipys() -> None:
    for seed in range(20):
        law = some_law(seed, 2, 3, 4)
        assert entropy(law) == pytest.approx(scipy_entropy(law.values.flatten().numpy()))
        part = law.marginal("c", "a")
        found = entropy(law, ["a", "c"])
        assert found == pytest.approx(scipy_entropy(part.values.flatten().numpy()))


def test_a_constant_has_no_entropy_and_a_fair_coin_log_2() -> None:
    law = Table([[0.5, 0.0], [0.5, 0.0]], ["coin", "constant"])
    assert (entropy(law, "coin"), entropy(law, "constant")) == (pytest.approx(log(2)), 0)


def test_mutual_information_is_a_sum_of_entropies() -> None:
    for seed in range(20):
        law = some_law(seed, 2, 3, 2, 2)
        expected = entropy(law, ["a", "c"]) + entropy(law, ["b", "c"])
        expected -= entropy(law, ["a", "b", "c"]) + entropy(law, "c")
        assert mutual_information(law, "a", "b", "c") == pytest.approx(expected)


def test_mutual_information_of_counts_is_that_of_scikit_learn() -> None:
    counts = torch.tensor([[7, 1, 0], [2, 9, 4]])
    pairs = [(i, j) for i, j in product(range(2), range(3)) for _ in range(int(counts[i, j]))]
    found = mutual_information(Table(counts, "xy").normalised(), "x", "y")
    assert found == pytest.approx(mutual_info_score(*zip(*pairs, strict=True)))


def written_out(law: Table, x: frozenset, y: frozenset, given: frozenset) -> bool:
    """Decide a statement cell by cell, from `Table.prob` alone."""
    names = sorted(x | y | given)
    for states in product(*(law.states[name] for name in names)):
        cell = dict(zip(names, states, strict=True))
        at = {k: {n: s for n, s in cell.items() if n in k} for k in (x | given, y | given, given)}
        left = law.prob(cell) * law.prob(at[given])
        if abs(left - law.prob(at[x | given]) * law.prob(at[y | given])) > 1e-12:
            return False
    return True


LAWS = [SUM, Table(COPIES, "XYZ"), some_law(0, 2, 2, 2), some_law(1, 2, 3, 2)]


@pytest.mark.parametrize("law", LAWS)
def test_independencies_are_those_of_the_definition(law: Table) -> None:
    expected = {s for s in statements(law.names) if written_out(law, *s)}
    assert independencies(law) == expected


def test_a_sum_is_independent_of_each_part_and_of_no_two() -> None:
    assert independent(SUM, "X", "Z") and independent(SUM, "Y", "Z") and independent(SUM, "X", "Y")
    assert not independent(SUM, "Z", ["X", "Y"]) and not independent(SUM, "X", "Y", "Z")
    assert mutual_information(SUM, "X", "Y", "Z") == pytest.approx(log(2))


def test_copies_hide_one_another() -> None:
    law = Table(COPIES, "XYZ")
    assert independent(law, "X", "Y", "Z") and independent(law, "X", "Z", "Y")
    assert mutual_information(law, "X", ["Y", "Z"]) == pytest.approx(log(2))


def test_a_product_of_four_coins_has_all_55_independencies() -> None:
    chances = {"a": 0.5, "b": 0.1, "c": 0.3, "d": 0.9}
    coins = [Table([p, 1 - p], [name]) for name, p in chances.items()]
    law = coins[0] * coins[1] * coins[2] * coins[3]
    assert len(independencies(law)) == 55


@pytest.mark.parametrize(("eps", "holds"), [(1e-12, True), (1e-3, False)])
def test_tolerance_is_a_probability(eps: float, holds: bool) -> None:
    law = Table([[0.25 + eps, 0.25 - eps], [0.25 - eps, 0.25 + eps]], "xy")
    assert independent(law, "x", "y") is holds
    assert independent(law, "x", "y", atol=2e-3)


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        (lambda: entropy(Table([1.0, 2.0], "x")), "sums to 1, this table to 3"),
        (lambda: entropy(SUM, "W"), "no variable 'W'"),
        (lambda: independent(SUM, "X", "XY"), "no variable 'XY'"),
        (lambda: independent(SUM, "X", ["X", "Y"]), "'X' must be in one"),
        (lambda: mutual_information(SUM, "X", []), "needs a variable on either side"),
        (lambda: independencies(Table([[1.0, 2.0]], "xy")), "normalised"),
    ],
)
def test_bad_questions_get_one_clear_sentence(ask: Callable, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ask()
