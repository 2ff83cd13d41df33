"""Bad tables and bad data are refused in one sentence: the value and what is allowed."""

import networkx as nx
import pytest
import torch
from test_graph_errors import refuses

from companion.graphs import (
    BayesNet,
    JunctionTree,
    MarkovNet,
    Table,
    all_dags,
    all_graphs,
    canonical_potentials,
    clique_factors,
    is_i_map,
    medical_diagnosis,
)

NET, COIN = medical_diagnosis(), Table([0.5, 0.5], "a")
DAG, MARKOV = nx.DiGraph([("a", "b")]), MarkovNet.from_bayes(NET)
SURE = BayesNet({"a": Table([0.0, 1.0], "a"), "b": Table([[0.5, 0.5], [0.1, 0.9]], "ab")})
ROWS = torch.zeros(2, 2, dtype=torch.int64)
FIT = {"a": "01", "b": "01"}

WRONG = {
    "no tables": (lambda: BayesNet({}), "for at least one node, got none"),
    "a list of tables": (
        lambda: BayesNet([COIN]),
        "node -> Table, for at least one node, got list",
    ),
    "a tensor": (lambda: BayesNet({"a": torch.ones(1)}), "'a' needs a Table, got Tensor"),
    "no axis": (lambda: BayesNet({"b": COIN}), "the table of 'b' has no axis for it, only ('a',)"),
    "no parent": (
        lambda: BayesNet({"a": Table(torch.eye(2), "za")}),
        "'a' has the parent 'z', which has no table",
    ),
    "other states": (
        lambda: BayesNet({"a": COIN, "b": Table(torch.ones(3, 1), "ab")}),
        "two tables disagree on the states of 'a': 0, 1 and 0, 1, 2",
    ),
    "a large law": (
        lambda: BayesNet.random(nx.empty_graph(25, nx.DiGraph)).joint(),
        "the joint law has 33,554,432 cells, above 16,777,216",
    ),
    "no factors": (lambda: MarkovNet([]), "a product needs at least one table, got none"),
    "no variables": (lambda: JunctionTree([Table(1.0, [])]), "at least one variable, got none"),
    "no edge": (
        lambda: MarkovNet([Table(torch.eye(2), "ab")], nx.empty_graph(["a", "b"])),
        "a factor names 'a' and 'b', which the graph does not join",
    ),
    "minus one draw": (lambda: NET.sample(-1), "a whole number of draws, 0 or above, got -1"),
    "half a draw": (lambda: NET.sample(0.5), "a whole number of draws, 0 or above, got 0.5"),
    "no chains": (lambda: MARKOV.gibbs(1, 0), "needs sweeps >= 0 and chains >= 1, got 1 and 0"),
    "other columns": (
        lambda: NET.log_prob(ROWS),
        "data must be (N, 12) int64, got (2, 2) torch.int64",
    ),
    "real data": (
        lambda: MARKOV.log_prob(ROWS.float()),
        "data must be (N, 12) int64, got (2, 2) torch.float32",
    ),
    "a list of data": (
        lambda: BayesNet.fit(DAG, FIT, [[0, 1]]),
        "a tensor (N, 2) int64, or columns with the names of the nodes, got list",
    ),
    "a third state": (
        lambda: BayesNet.fit(DAG, FIT, ROWS + 2),
        "states of 'a' are 0 to 1, got 2 to 2",
    ),
    "a column missing": (
        lambda: BayesNet.fit(DAG, {"a": "01"}, ROWS),
        "no variable 'b' (known: a)",
    ),
    "a negative prior": (
        lambda: BayesNet.fit(DAG, FIT, ROWS, -1),
        "at least 0 pseudo-counts, got -1",
    ),
    "an empty row": (
        lambda: BayesNet.fit(DAG, FIT, ROWS, 0),
        "no data for a row of p(b | ...): give a prior above 0",
    ),
    "no size": (lambda: BayesNet.random(DAG, {"a": 2}), "no variable 'b' (known: a)"),
    "no states": (lambda: BayesNet.random(DAG, 0), "'a' needs a whole number of states, got 0"),
    "a negative value": (
        lambda: Table([-1, 2], "a"),
        "over ('a',) needs finite values of at least 0",
    ),
    "nan": (
        lambda: Table([float("nan"), 1], "a"),
        "over ('a',) needs finite values of at least 0",
    ),
    "words": (lambda: Table("half", "a"), "values must be an array of numbers, got 'half'"),
    "ragged": (lambda: Table([[1, 2], [3]], "ab"), "an array of numbers, got [[1, 2], [3]]"),
    "a name too few": (
        lambda: Table(torch.eye(2), "a"),
        "['a'] do not name the axes of shape (2, 2)",
    ),
    "a state too few": (
        lambda: Table([1, 2], {"a": ["x"]}),
        "shape (2,) do not fit ('a',): they need (1,)",
    ),
    "no state": (
        lambda: Table(torch.ones(0), {"a": []}),
        "'a' needs at least one state, got none",
    ),
    "a state twice": (lambda: Table([1, 2], {"a": ["x", "x"]}), "the states of 'a' repeat: x, x"),
    "a label too few": (lambda: NET.tables["flu"]["no"], "for each of ('season', 'flu'), got no"),
    "an axis twice": (lambda: COIN.marginal("a", "a"), "a variable repeats in ('a', 'a')"),
    "an axis in a list": (lambda: COIN.marginal(["a"]), "no variable ['a'] (known: a)"),
    "nothing to divide": (
        lambda: Table([0, 0], "a").normalised(),
        "sums to 0 cannot be normalised",
    ),
    "a zero cell": (
        lambda: canonical_potentials(SURE.joint()),
        "only a positive law has canonical potentials: a cell is 0",
    ),
    "half a reference": (
        lambda: canonical_potentials(Table(torch.ones(2, 2), "ab"), {"a": "0"}),
        "the reference needs a state for each of ('a', 'b'), got {'a': '0'}",
    ),
    "other nodes": (lambda: is_i_map(DAG, COIN), "no variable 'b' (known: a)"),
    "nodes missing": (
        lambda: clique_factors(SURE.joint(), nx.empty_graph(["a"])),
        "'b' (known: a)",
    ),
    "many graphs": (lambda: list(all_graphs(range(6))), "can be had for up to 5 nodes, not 6"),
    "many DAGs": (lambda: list(all_dags(range(6))), "can be had for up to 5 nodes, not 6"),
}


@pytest.mark.parametrize(("call", "sentence"), WRONG.values(), ids=WRONG)
def test_bad_input_is_one_sentence_with_the_value(call, sentence):
    refuses(call, sentence)
