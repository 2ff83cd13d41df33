"""Data with names, seeds and networks are read wherever tensors, generators and graphs are."""

import doctest
import importlib
import inspect
import random

import networkx as nx
import numpy as np
import pytest
import torch
from enumerated import random_net

from companion import figures, graphs, inference
from companion.graphs import (
    BayesNet,
    JunctionTree,
    MarkovNet,
    Reachability,
    Table,
    active_trail,
    d_separated,
    d_separations,
    is_i_map,
    local_statements,
    markov_blanket,
    markov_equivalent,
    maximal_cliques,
    medical_diagnosis,
    moral,
    pairwise_statements,
    separated,
    separations,
    skeleton,
    v_structures,
)
from companion.inference import MeanField, black_box_ascent

NET = medical_diagnosis()
MARKOV = MarkovNet(NET)
LINE = MarkovNet([Table(torch.eye(2), pair) for pair in ("ab", "bc")])
SMALL = random_net(4, random.Random(3), most=3)
SEEN = next(v for v in SMALL.nodes if len(SMALL.states[v]) > 1)


class Frame:
    """What a data frame shows of itself: columns with names."""

    def __init__(self, columns: dict) -> None:
        self._of, self.columns = columns, list(columns)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._of[name]


def forms(x: torch.Tensor, order: list[str]) -> dict:
    """Rows of the medical network in every form that is read, columns in an order."""
    rows = NET.labels(x)
    words = {v: np.array([row[v] for row in rows]) for v in order}
    numbers = {v: x[:, NET.nodes.index(v)] for v in order}
    fields = np.zeros(len(rows), dtype=[(v, "U8") for v in order])
    for v in order:
        fields[v] = words[v]
    listed = [{v: row[v] for v in order} for row in rows]
    frames = {"a frame": Frame(words), "a frame of places": Frame(numbers)}
    return {"words": words, "places": numbers, "fields": fields, "rows": listed} | frames


@pytest.mark.parametrize("order", [NET.nodes, sorted(NET.nodes), NET.nodes[::-1]])
def test_named_data_mean_the_same_in_every_form_and_order(order):
    x = NET.sample(300, generator=0)
    truth, fitted = NET.log_prob(x), BayesNet.fit(NET.dag, NET.states, x)
    states = {v: NET.states[v] for v in order}
    for name, data in forms(x, order).items():
        assert torch.equal(NET.places(data), x), name
        assert torch.equal(NET.log_prob(data), truth) and torch.equal(
            MARKOV.log_prob(data),
            MARKOV.log_prob(x[:, [NET.nodes.index(v) for v in MARKOV.nodes]]),
        )
        again = BayesNet.fit(NET.dag, states, data)
        for v, table in fitted.tables.items():
            assert torch.equal(again.tables[v].marginal(*table.names).values, table.values), name


def test_what_a_network_drew_fits_it_again_in_the_order_of_its_states():
    """The case that gave wrong tables in silence: states sorted by name, parents first in x."""
    net = BayesNet({
        "cough": Table([[0.9, 0.1], [0.2, 0.8]], {"flu": "ny", "cough": "ny"}),
        "flu": Table([0.9, 0.1], {"flu": "ny"}),
    })  # fmt: skip
    x, states = net.sample(4000, generator=1), {"cough": "ny", "flu": "ny"}
    assert net.nodes == ["flu", "cough"]
    with pytest.raises(ValueError, match="must be in the order of the network: flu, cough"):
        BayesNet.fit(net.dag, states, x)
    fitted = BayesNet.fit(net, states, net.labels(x))
    assert fitted.tables["flu"]["y"] == pytest.approx(0.1, abs=4 * (0.09 / 4000) ** 0.5 + 1e-3)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"a": ["0", "1"]}, "no column 'b' (known: a)"),
        ({"a": ["0", "2"], "b": ["0", "0"]}, "'a' has no state '2' (known: 0, 1)"),
        ({"a": ["0", None], "b": ["0", "0"]}, "'a' has no state None"),
        ({"a": [0.5], "b": [0]}, "'a' has no state 0.5"),
        ({"a": ["0"], "b": ["0", "0"]}, "the columns must be equally long, got a: 1, b: 2"),
        (np.zeros((2, 2)), "columns with the names of the nodes, got ndarray"),
    ],
)
def test_data_that_cannot_be_read_are_told(data, sentence):
    with pytest.raises(ValueError) as caught:
        BayesNet.fit(nx.DiGraph(["ab"]), {"a": "01", "b": "01"}, data)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_truth_values_and_places_beyond_the_states_are_no_states():
    for value in (True, 2, -1):
        with pytest.raises(ValueError, match=f"'x' has no state {value}"):
            BayesNet.fit(nx.empty_graph(["x"], nx.DiGraph), {"x": ["yes", "no"]}, {"x": [value]})


def test_a_number_that_is_the_word_of_a_state_is_that_state():
    net = BayesNet.fit(nx.empty_graph(["x"], nx.DiGraph), {"x": "10"}, {"x": [1, 1, 0]}, prior=0)
    assert net.tables["x"]["1"] == pytest.approx(2 / 3)  # not the place 1, which is the state 0


TWINS = {  # a network in the place of its graph
    "d_separated": lambda net: d_separated(net, "flu", "smoker", ["cough"]),
    "active_trail": lambda net: active_trail(net, "flu", "smoker", ["cough"]),
    "Reachability": lambda net: Reachability(net).nodes,
    "markov_blanket": lambda net: markov_blanket(net, "fever"),
    "skeleton": lambda net: set(skeleton(net).edges),
    "moral": lambda net: set(moral(net).edges),
    "v_structures": v_structures,
    "markov_equivalent": lambda net: markov_equivalent(net, NET.dag),
    "drawing": lambda net: figures.draw_graph(net).get_label(),
    "layers": figures.layered,
}
LINES = {
    "separated": lambda net: separated(net, "a", "c", "b"),
    "separations": separations,
    "local": local_statements,
    "pairwise": pairwise_statements,
    "cliques": maximal_cliques,
    "circle": figures.circle,
}


@pytest.mark.parametrize("ask", TWINS.values(), ids=TWINS)
def test_a_bayesian_network_stands_for_its_graph(ask):
    assert ask(NET) == ask(NET.dag)


@pytest.mark.parametrize("ask", LINES.values(), ids=LINES)
def test_a_markov_network_stands_for_its_graph(ask):
    assert ask(LINE) == ask(LINE.graph)


def test_networks_stand_for_their_tables_and_maps():
    law, tables = SMALL.joint(), list(SMALL.tables.values())
    assert d_separations(SMALL) == d_separations(SMALL.dag)
    assert is_i_map(SMALL, law) and is_i_map(MarkovNet(SMALL), law)
    for net in (SMALL, MarkovNet(SMALL)):
        assert JunctionTree(net).cliques == JunctionTree(tables).cliques
        assert MeanField(net).elbo() == pytest.approx(MeanField(tables).elbo())
    with pytest.raises(ValueError, match="needs a network or a list of Tables, got str"):
        MarkovNet({"a": Table([1.0], "a")})


DRAWS = {
    "sample": lambda g: NET.sample(5, g),
    "random": lambda g: BayesNet.random(NET.dag, 2, g).tables["fever"].values,
    "gibbs": lambda g: MARKOV.gibbs(2, 3, generator=g),
    "mean field": lambda g: MeanField(NET, {}, (), g).factors[0].values,
    "black box": lambda g: (
        black_box_ascent(
            lambda z: -z.square().sum(1), torch.zeros(2), torch.zeros(2), steps=3, generator=g
        ).mean
    ),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_seed_is_a_generator_with_that_seed(draw):
    assert torch.equal(draw(7), draw(torch.Generator().manual_seed(7)))
    assert not torch.equal(draw(7).double(), draw(8).double())
    for wrong in (True, "7", 7.0):
        with pytest.raises(ValueError, match=r"needs a torch\.Generator, a seed or None"):
            draw(wrong)


def test_gibbs_keeps_what_was_seen_and_draws_the_others_given_it():
    net, seen = MarkovNet(SMALL), {SEEN: SMALL.states[SEEN][1]}
    x = net.gibbs(60, 4000, generator=0, evidence=seen)[-1]
    place = net.nodes.index(SEEN)
    assert (x[:, place] == 1).all()
    for i, node in enumerate(net.nodes):
        if i != place:
            p = net.marginal(node, seen).values
            shares = torch.bincount(x[:, i], minlength=len(p)) / len(x)
            assert ((shares - p).abs() <= 4.5 * (p * (1 - p) / len(x)).sqrt() + 1e-9).all()
    with pytest.raises(ValueError, match="contradicts the evidence"):
        net.gibbs(1, start=torch.zeros(1, 4, dtype=torch.int64), evidence=seen)
    with pytest.raises(ValueError, match="no variable 'nobody'"):
        net.gibbs(1, evidence={"nobody": "0"})


def test_a_tree_knows_the_law_of_variables_of_one_clique():
    beliefs = JunctionTree(NET).calibrate({"cough": "yes"})
    pair = ["pneumonia", "flu"]
    exact = NET.posterior(pair, {"cough": "yes"})
    torch.testing.assert_close(beliefs.marginal(pair).values, exact.values)
    with pytest.raises(ValueError, match="no clique holds season, recovered together"):
        beliefs.marginal(["season", "recovered"])


def test_a_word_alone_names_the_only_axis():
    assert Table([0.8, 0.2], "rain").names == ("rain",)
    assert Table(torch.eye(2), "ab").names == ("a", "b")


CLASSES = [
    thing
    for room in (graphs, inference)
    for thing in map(room.__dict__.get, room.__all__)
    if inspect.isclass(thing) and thing.__module__.startswith("companion")
] + [figures.Sketch]


@pytest.mark.parametrize("thing", CLASSES, ids=lambda thing: thing.__name__)
def test_the_example_of_a_class_runs_as_it_is_printed(thing):
    module = importlib.import_module(thing.__module__)
    (test,) = doctest.DocTestFinder(recurse=False).find(
        thing, thing.__name__, module, module.__dict__
    )
    assert test.examples, f"{thing.__name__} has no example"
    report = []
    doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert not report, "".join(report)
