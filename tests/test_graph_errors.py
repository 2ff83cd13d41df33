"""Bad input to graphs and networks is one sentence: the value and what is allowed."""

import networkx as nx
import pytest
import torch

from companion.graphs import (
    BayesNet,
    JunctionTree,
    MarkovNet,
    Reachability,
    Table,
    active_trail,
    d_separated,
    d_separations,
    entropy,
    independencies,
    local_statements,
    markov_blanket,
    markov_equivalent,
    medical_diagnosis,
    pairwise_statements,
    read_bif,
    separated,
    server_monitoring,
)

NET, COIN = medical_diagnosis(), Table([0.5, 0.5], "a")
DAG, LOOP = nx.DiGraph([("a", "b")]), nx.DiGraph([("a", "b"), ("b", "c"), ("c", "a")])
SURE = BayesNet({"a": Table([0.0, 1.0], "a"), "b": Table([[0.5, 0.5], [0.1, 0.9]], "ab")})
MARKOV, NOTHING = MarkovNet.from_bayes(NET), MarkovNet([Table([0.0, 0.0], "a")])
ROWS = torch.zeros(2, 2, dtype=torch.int64)
TREE = MARKOV.junction_tree()
KNOWN = "known: " + ", ".join(sorted(NET.nodes)) + ")"
FLU = "(did you mean 'flu'? " + KNOWN
ZERO, EMPTY = "the evidence has probability 0: a = 0", "is 0 everywhere: it cannot be a law"


def coins(row: list[float]) -> BayesNet:
    """Two coins, the second of which has this row for the first state of the first."""
    return BayesNet({"a": COIN, "b": Table([row, [0.5, 0.5]], "ab")})


WRONG = {
    "a cycle": (lambda: Reachability(LOOP), "the graph has a cycle: a → b → c → a"),
    "a cycle, asked": (lambda: d_separated(LOOP, "a", "b"), "a cycle: a → b → c → a"),
    "a cycle of tables": (
        lambda: BayesNet({"a": Table(torch.eye(2), "ba"), "b": Table(torch.eye(2), "ab")}),
        "the graph has a cycle: a → b → a",
    ),
    "a cycle to draw": (lambda: BayesNet.random(LOOP), "a cycle: a → b → c → a"),
    "a cycle to fit": (
        lambda: BayesNet.fit(LOOP, dict.fromkeys("abc", "01"), ROWS[:, [0, 0, 0]]),
        "a cycle: a → b → c → a",
    ),
    "cycles compared": (lambda: markov_equivalent(LOOP, LOOP), "a cycle: a → b → c → a"),
    "no arrows": (
        lambda: d_separations(nx.Graph()),
        "networkx.DiGraph or a BayesNet, got Graph",
    ),
    "arrows": (
        lambda: separated(DAG, "a", "b"),
        "needs an undirected networkx.Graph or a MarkovNet, got DiGraph",
    ),
    "arrows, local": (
        lambda: local_statements(DAG),
        "undirected networkx.Graph or a MarkovNet, got DiGraph",
    ),
    "arrows, pairs": (
        lambda: pairwise_statements(DAG),
        "networkx.Graph or a MarkovNet, got DiGraph",
    ),
    "a row of 0.9": (lambda: coins([0.5, 0.4]), "p(b | a = 0) sums to 0.9, not to 1"),
    "a table of 2": (lambda: BayesNet({"a": Table([1, 1], "a")}), "p(a) sums to 2, not to 1"),
    "no law": (
        lambda: entropy(NET.tables["flu"]),
        "a law sums to 1, this table to 2: take .normalised()",
    ),
    "no law either": (
        lambda: independencies(Table([3.0], "a")),
        "a law sums to 1, this table to 3",
    ),
    "an unknown node": (lambda: NET.posterior("flue"), "no variable 'flue' " + FLU),
    "unknown evidence": (lambda: NET.posterior("flu", {"fl": "no"}), "no variable 'fl' " + FLU),
    "unknown, asked": (lambda: d_separated(NET.dag, "flue", "cough"), "no variable 'flue' " + FLU),
    "unknown, given": (lambda: active_trail(NET.dag, "flu", "cough", ["fle"]), "'fle' " + FLU),
    "None": (lambda: d_separated(NET.dag, "flu", "cough", None), "no variable None (" + KNOWN),
    "unknown, do": (lambda: NET.intervene({"flue": "yes"}), "no variable 'flue' " + FLU),
    "unknown, blanket": (lambda: markov_blanket(NET.dag, "flue"), "no variable 'flue' " + FLU),
    "two blankets": (lambda: markov_blanket(NET.dag, ["flu"]), "no variable ['flu'] " + FLU),
    "unknown, factors": (lambda: MARKOV.marginal("flue"), "no variable 'flue' " + FLU),
    "unknown, Gibbs": (lambda: MARKOV.conditional("flue", ROWS), "no variable 'flue' " + FLU),
    "unknown, tree": (lambda: TREE.calibrate({"flue": "no"}), "no variable 'flue' " + FLU),
    "unknown, belief": (lambda: TREE.calibrate().marginal("flue"), "no variable 'flue' " + FLU),
    "an axis": (lambda: COIN.marginal("b"), "no variable 'b' (known: a)"),
    "an unknown state": (
        lambda: NET.posterior("flu", {"cough": "yess"}),
        "'cough' has no state 'yess' (did you mean 'yes'? known: no, yes)",
    ),
    "the number's word": (
        lambda: Table([0.3, 0.7], {"x": [0, 1]})["0"],
        "'x' has no state '0'; its states are int (",
    ),
    "a state in a list": (
        lambda: NET.posterior("flu", {"cough": ["yes"]}),
        "'cough' has no state ['yes'] (did you mean 'yes'? known: no, yes)",
    ),
    "a number": (
        lambda: NET.evidence_log_prob({"cough": 1}),
        "'cough' has no state 1 (known: no, yes)",
    ),
    "unknown, best": (
        lambda: NET.most_probable({"flu": "maybe"}),
        "'flu' has no state 'maybe' (known: no, yes)",
    ),
    "a state to do": (
        lambda: NET.intervene({"flu": "noo"}),
        "no state 'noo' (did you mean 'no'? known: no, yes)",
    ),
    "a state of a table": (lambda: COIN["2"], "'a' has no state '2' (known: 0, 1)"),
    "a state in a tree": (
        lambda: TREE.calibrate({"flu": "noo"}),
        "no state 'noo' (did you mean 'no'? known: no, yes)",
    ),
    "evidence in a set": (
        lambda: NET.posterior("flu", {"cough"}),
        "evidence gives a state to each variable it names, got {'cough'}",
    ),
    "impossible": (lambda: SURE.posterior("b", {"a": "0"}), ZERO),
    "impossible, best": (lambda: SURE.most_probable({"a": "0"}), ZERO),
    "impossible, table": (lambda: SURE.joint().given({"a": "0"}), ZERO),
    "impossible, tree": (lambda: JunctionTree([SURE.tables["a"]]).calibrate({"a": "0"}), ZERO),
    "zero factors": (lambda: NOTHING.marginal("a"), "the product of the tables " + EMPTY),
    "zero factors, tree": (lambda: NOTHING.junction_tree().calibrate(), EMPTY),
    "zero factors, best": (lambda: NOTHING.most_probable(), EMPTY),
    "zero factors, rows": (lambda: NOTHING.log_prob(ROWS[:, :1]), EMPTY),
    "zero factors, Gibbs": (
        lambda: NOTHING.gibbs(1),
        "no state of 'a' is possible given the others",
    ),
    "nothing asked": (lambda: NET.posterior([]), "a query needs at least one variable, got none"),
    "asked twice": (lambda: NET.posterior(["flu", "flu"]), "a variable repeats in ('flu', 'flu')"),
    "asked and observed": (
        lambda: NET.posterior("flu", {"flu": "no"}),
        "'flu' is both asked for and observed: flu = no",
    ),
    "no side": (lambda: d_separated(DAG, [], "a"), "needs a variable on either side"),
    "on both sides": (
        lambda: d_separated(DAG, "a", ["b", "a"]),
        "'a' must be in one of the three sets only",
    ),
}


def refuses(call, sentence):
    """Require a ValueError of one short sentence, which hides no other error."""
    with pytest.raises(ValueError) as caught:
        call()
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(("call", "sentence"), WRONG.values(), ids=WRONG)
def test_bad_input_is_one_sentence_with_the_value(call, sentence):
    refuses(call, sentence)


def test_a_file_that_is_not_there_is_told_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"rain\.bif"):
        read_bif(tmp_path / "rain.bif")


@pytest.mark.parametrize("make", [medical_diagnosis, server_monitoring])
def test_a_good_network_stays_good_after_a_bad_question(make):
    net = make()
    before = net.posterior(net.nodes[-1]).values
    for evidence in ({"nothing": "yes"}, {net.nodes[0]: "never"}):
        with pytest.raises(ValueError):
            net.posterior(net.nodes[-1], evidence)
    assert torch.equal(net.posterior(net.nodes[-1]).values, before)
