"""Bad input to variational inference is one sentence with the value and what is allowed."""

from functools import partial

import pytest
import torch

from companion.graphs.table import Table
from companion.inference.ising import IsingMeanField, ising_log_partition, ising_tables
from companion.inference.mean_field import MeanField, coordinate_ascent
from companion.inference.mixtures import MixtureEM, MixtureMeanField, mixture_log_evidence

TABLES = [Table([0.5, 0.5], ["rain"]), Table([[0.9, 0.1], [0.2, 0.8]], ["rain", "wet"])]
X = torch.tensor([[0.0, 1.0], [0.5, 2.0], [4.0, -1.0], [5.0, 0.0], [-3.0, 2.0], [1.0, 0.5]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(MeanField, TABLES, {"rian": "1"}), "no variable 'rian' .*did you mean 'rain'"),
        (partial(MeanField, TABLES, {"rain": "2"}), "'rain' has no state '2'"),
        (partial(MeanField, TABLES, {}, [["wett"]]), "no free variable 'wett' .*'wet'"),
        (partial(MeanField, TABLES, {"wet": "1"}, [["wet"]]), "no free variable 'wet'"),
        (partial(MeanField, TABLES, {}, [["wet", "wet"]]), "must not share a variable"),
        (partial(MeanField, TABLES, {}, ["ab"]), "no free variable 'a'"),
        (partial(MeanField(TABLES).marginal, "snow"), "no free variable 'snow'"),
        (partial(IsingMeanField, 5, 0.1), "even and from 4 to 10, got 5"),
        (partial(IsingMeanField, 4, float("nan")), "coupling must be a finite number, got nan"),
        (partial(IsingMeanField, 4, 0.1, 0.0, torch.ones(4, 4)), r"lie in \(-1, 1\)"),
        (partial(IsingMeanField, 4, 0.1, 0.0, torch.zeros(4)), r"got shape \(4,\)"),
        (partial(ising_log_partition, 12, 0.1), "from 4 to 10, got 12"),
        (partial(ising_tables, 2, 0.1), "from 4 to 10, got 2"),
        (partial(MixtureMeanField, X, X[0]), r"got shapes \(6, 2\) and \(2,\)"),
        (partial(MixtureMeanField, X, X[:0]), r"got shapes \(6, 2\) and \(0, 2\)"),
        (partial(MixtureMeanField, X * torch.nan, X[:2]), "must be finite numbers"),
        (partial(MixtureMeanField, X, X[:2], noise=0), "noise must be a number above 0, got 0"),
        (partial(MixtureMeanField, X, X[:2], spread=-1), "spread must be a number above 0"),
        (partial(mixture_log_evidence, X.repeat(10, 1), 3), r"at most 1,048,576, got 3\^\(60 - 1"),
        (partial(mixture_log_evidence, X, 0), "at most"),
        (partial(coordinate_ascent, MeanField(TABLES), sweeps=-1), "at least 1 sweep.*sweeps=-1"),
        (partial(coordinate_ascent, MeanField(TABLES), tolerance=-1.0), "tolerance=-1.0"),
    ],
)
def test_bad_input_is_refused_with_its_value(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_tables_that_disagree_on_states_are_refused() -> None:
    with pytest.raises(ValueError, match="disagree on the states of 'rain'"):
        MeanField([*TABLES, Table([1.0, 1.0], {"rain": ["no", "yes"]})])


def test_impossible_evidence_is_refused() -> None:
    never = [Table([1.0, 0.0], ["rain"]), TABLES[1], Table([[1.0, 0], [0, 1]], ["rain", "copy"])]
    with pytest.raises(ValueError, match="evidence has probability 0"):
        MeanField(never, {"copy": "1"}).step()


def test_a_deterministic_table_asks_for_a_block() -> None:
    """Of two coins and whether they agree, uniform factors leave nothing possible."""
    coins = [Table([0.5, 0.5], ["a"]), Table([0.5, 0.5], ["b"])]
    agree = Table(torch.eye(2), ["a", "b"])
    with pytest.raises(ValueError, match="join it in a block with what decides it"):
        MeanField([*coins, agree]).step()
    joined = MeanField([*coins, agree], blocks=["ab"])
    joined.step()
    assert joined.elbo() == pytest.approx(torch.tensor(0.5).log().item())


def test_em_says_that_a_component_has_shrunk_onto_a_point() -> None:
    x = torch.tensor([[0.0, 0.0], [9.0, 9.0], [9.1, 9.3], [9.2, 8.9], [9.0, 8.5]])
    with pytest.raises(ValueError, match="no longer positive definite"):
        coordinate_ascent(MixtureEM(x, x[:2]))


def test_a_wrong_update_is_noticed() -> None:
    """A bound that falls stops the ascent: here, at the optimum, the update forgets a prior."""

    class Forgetful(MixtureMeanField):
        def update_means(self) -> None:
            self.means = self.shares.T @ self.x / self.shares.sum(0)[:, None]

    right = MixtureMeanField(X, X[[0, 2]], spread=1.0)
    coordinate_ascent(right, tolerance=0)
    wrong = Forgetful(X, right.means, spread=1.0)
    wrong.variances, wrong.shares = right.variances, right.shares
    with pytest.raises(ArithmeticError, match="never falls, so an update is wrong"):
        coordinate_ascent(wrong, tolerance=0)
