"""Bayesian networks: sampling, fitting, intervening, and the two networks of the book."""

import random
from math import sqrt

import networkx as nx
import pytest
import torch
from enumerated import random_net, rows, weights

from companion.graphs import (
    BayesNet,
    Table,
    independent,
    medical_diagnosis,
    server_monitoring,
)

WORKED = {"server": server_monitoring, "medical": medical_diagnosis}


def within_four_errors(share: float, p: float, n: int) -> bool:
    """Compare a share of n draws with its probability; 1 in 16,000 fails by chance."""
    return abs(share - p) <= 4 * sqrt(p * (1 - p) / n) + 1e-12


def test_samples_have_the_frequencies_of_the_joint_law():
    net, n = random_net(5, random.Random(0), most=3), 40_000
    x = net.sample(n, torch.Generator().manual_seed(0))
    assert x.shape == (n, 5) and x.dtype == torch.int64
    for row, p in weights(list(net.tables.values()), net.states):
        place = torch.tensor([net.states[node].index(row[node]) for node in net.nodes])
        share = (x == place).all(1).double().mean().item()
        assert within_four_errors(share, p, n)


def test_samples_never_take_a_state_of_probability_zero():
    net = BayesNet({"a": Table([0, 0.5, 0, 0.5, 0], "a"), "b": Table(torch.eye(5), "ab")})
    x = net.sample(5_000, torch.Generator().manual_seed(0))
    assert x.unique().tolist() == [1, 3] and torch.equal(x[:, 0], x[:, 1])
    assert net.sample(0).shape == (0, 2)


def test_the_same_seed_gives_the_same_samples_and_labels_name_them():
    net = medical_diagnosis()
    one, two = (net.sample(20, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(one, two)
    named = [[net.states[v].index(row[v]) for v in net.nodes] for row in net.labels(one)]
    assert torch.equal(torch.tensor(named), one)


def test_fitting_recovers_the_tables_within_their_standard_errors():
    net, n = random_net(5, random.Random(1), most=3), 60_000
    x = net.sample(n, torch.Generator().manual_seed(0))
    fitted = BayesNet.fit(net.dag, net.states, x, prior=0)
    for node, table in net.tables.items():
        for labels in rows(table.states):
            seen = torch.ones(n, dtype=torch.bool)
            for parent in net.dag.pred[node]:
                place = net.states[parent].index(labels[parent])
                seen &= x[:, net.nodes.index(parent)] == place
            share, draws = fitted.tables[node][labels], int(seen.sum())
            assert within_four_errors(share, table[labels], draws)


def test_fitting_is_the_mean_of_a_dirichlet_posterior():
    dag = nx.DiGraph([("a", "b")])
    x = torch.tensor([[0, 0], [0, 0], [0, 1], [1, 2]])
    net = BayesNet.fit(dag, {"a": "01", "b": "xyz"}, x, prior=0.5)
    assert net.tables["a"].values.tolist() == pytest.approx([3.5 / 5, 1.5 / 5])
    expected = [[2.5 / 4.5, 1.5 / 4.5, 0.5 / 4.5], [0.2, 0.2, 0.6]]
    torch.testing.assert_close(net.tables["b"].values, torch.tensor(expected).double())
    bare = BayesNet.fit(dag, {"a": "01", "b": "xyz"}, x[:0])
    assert bare.tables["b"].values.unique().tolist() == pytest.approx([1 / 3])


def test_columns_without_names_in_another_order_are_refused():
    """They were read in the order of the states, and by `log_prob` in that of the nodes."""
    dag, x = nx.DiGraph([("b", "a")]), torch.tensor([[0, 2], [1, 2], [0, 0]])
    with pytest.raises(ValueError, match=r"the order of the network: b, a; .* order a, b: give"):
        BayesNet.fit(dag, {"a": "01", "b": "xyz"}, x)
    named = {"a": x[:, 0], "b": x[:, 1]}
    net = BayesNet.fit(dag, {"a": "01", "b": "xyz"}, named, prior=1)
    assert net.tables["b"].values.tolist() == pytest.approx([2 / 6, 1 / 6, 3 / 6])


def truncated(net: BayesNet, actions: dict) -> Table:
    """The law under do(actions): every table but theirs, where they hold (Pearl 1995)."""
    others = [table for node, table in net.tables.items() if node not in actions]
    weighed = weights(others, net.states)
    values = torch.tensor([p * (actions.items() <= row.items()) for row, p in weighed])
    return Table(values.double().reshape([len(s) for s in net.states.values()]), net.states)


def test_intervening_is_the_truncated_factorisation():
    rng = random.Random(2)
    for _ in range(20):
        net = random_net(rng.randint(2, 5), rng, most=3)
        nodes = rng.sample(net.nodes, rng.randint(1, 2))
        actions = {node: rng.choice(net.states[node]) for node in nodes}
        done = net.intervene(actions)
        law = done.joint().marginal(*net.nodes)
        torch.testing.assert_close(law.values, truncated(net, actions).values)
        assert all(not done.dag.pred[node] for node in actions)
    assert net.intervene({}).joint().values.tolist() == net.joint().values.tolist()


def test_doing_is_seeing_only_without_a_common_cause():
    """Here z causes x and y: seeing x tells of z, setting x by hand does not."""
    net = BayesNet(
        {
            "z": Table([0.5, 0.5], "z"),
            "x": Table([[0.8, 0.2], [0.2, 0.8]], "zx"),
            "y": Table([[[0.5, 0.5], [0.6, 0.4]], [[0.9, 0.1], [0.95, 0.05]]], "zxy"),
        }
    )
    done = net.intervene({"x": "1"}).posterior("y")["1"]
    assert done == pytest.approx(0.5 * 0.4 + 0.5 * 0.05)
    assert net.posterior("y", {"x": "1"})["1"] == pytest.approx(0.2 * 0.4 + 0.8 * 0.05)
    assert net.intervene({"z": "1"}).posterior("y")["1"] == net.posterior("y", {"z": "1"})["1"]


@pytest.mark.parametrize("make", WORKED.values(), ids=WORKED)
def test_the_worked_networks_hold_what_their_graphs_state(make):
    net = make()
    assert 10 <= len(net.nodes) <= 12 and net.parameters <= 40
    parents = {n: [n, *net.dag.pred[n]] for n in net.nodes}
    for node, family in parents.items():
        others = set(net.nodes) - nx.descendants(net.dag, node) - set(family)
        assert not others or independent(net.joint(), node, others, net.dag.pred[node])


def test_a_network_counts_its_free_parameters():
    net = BayesNet.random(nx.DiGraph([("a", "c"), ("b", "c")]), {"a": 2, "b": 3, "c": 4})
    assert net.parameters == 1 + 2 + 2 * 3 * 3
    assert repr(net) == "BayesNet of 3 nodes, 2 edges, 21 parameters"


def test_axes_of_a_table_come_in_any_order():
    table = Table([[0.1, 0.6], [0.9, 0.4]], ["b", "a"])
    turned = Table([[0.1, 0.9], [0.6, 0.4]], ["a", "b"])
    first = Table([0.3, 0.7], "a")
    one, two = (BayesNet({"b": t, "a": first}) for t in (table, turned))
    assert torch.equal(one.joint().values, two.joint().values) and one.nodes == ["a", "b"]


def test_numbers_in_single_precision_make_a_network():
    rows = torch.rand(50, 7).softmax(-1)
    net = BayesNet({"a": Table(torch.full((50,), 0.02), "a"), "b": Table(rows, "ab")})
    assert net.posterior("b").values.dtype == torch.float64
    assert net.posterior("b").values.sum().item() == pytest.approx(1, abs=1e-12)


def test_random_rows_are_uniform_on_the_simplex():
    """Then a probability of k states has mean 1 / k and variance (k - 1) / (k^2 (k + 1))."""
    dag = nx.DiGraph([("a", "b")])
    draws = BayesNet.random(dag, {"a": 20_000, "b": 3}, torch.Generator().manual_seed(0))
    p = draws.tables["b"].values[:, 0]
    assert abs(p.mean().item() - 1 / 3) < 4 * sqrt(2 / 36 / 20_000)
    cdf = 1 - (1 - p.sort().values) ** 2
    steps = torch.linspace(0, 1, 20_001, dtype=torch.float64)[1:]
    assert (cdf - steps).abs().max().item() < 2.2 / sqrt(20_000)  # Kolmogorov, 1e-4


def test_a_conditional_law_is_the_share_of_each_row_and_uniform_in_rows_that_never_happen():
    law = Table([[0.1, 0.3, 0.2], [0, 0, 0], [0.4, 0, 0]], ["a", "b"])
    rows = law.conditional("b", "a").values
    shares = torch.tensor([[1, 3, 2], [2, 2, 2], [6, 0, 0]]).double() / 6
    torch.testing.assert_close(rows, shares)
    torch.testing.assert_close(law.conditional(["a", "b"]).values, law.values)
