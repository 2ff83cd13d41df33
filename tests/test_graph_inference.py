"""Exact inference: against sums over all states, in every order, at every scale."""

import random
from itertools import islice, pairwise
from math import exp, inf, log

import networkx as nx
import numpy as np
import pytest
import torch
from enumerated import random_evidence, random_net, rows, total, weights

from companion.graphs import BayesNet, MarkovNet, Table
from companion.graphs.elimination import elimination_order, largest_table, plan, run

ROUNDING = 1e-12  # a few thousand sums of numbers of at most 1


def random_factors(rng: random.Random, nodes: int = 6) -> list[Table]:
    """Draw factors over up to three of some nodes each, a quarter of their cells 0."""
    sizes = {f"v{i}": rng.randint(1, 4) for i in range(nodes)}
    scopes = [rng.sample(sorted(sizes), rng.randint(0, 3)) for _ in range(nodes + 2)]
    draw = torch.Generator().manual_seed(rng.randrange(2**31))
    shapes = [[sizes[name] for name in scope] for scope in scopes]
    values = [(torch.rand(shape, generator=draw) - 0.25).clamp_min(0) * 9 for shape in shapes]
    return [Table(v, scope) for v, scope in zip(values, scopes, strict=True)]


def test_a_posterior_is_the_share_of_the_states_that_agree():
    rng = random.Random(0)
    for _ in range(150):
        net = random_net(rng.randint(1, 6), rng)
        weighed = weights(list(net.tables.values()), net.states)
        evidence = random_evidence(net, rng)
        mass = total(weighed, evidence)
        hidden = [node for node in net.nodes if node not in evidence]
        query = rng.sample(hidden, rng.randint(1, len(hidden)))
        found = net.posterior(query, evidence)
        assert found.names == tuple(query) and found.values.sum().item() == pytest.approx(1)
        for row in islice(rows(found.states), 50):
            expected = total(weighed, {**row, **evidence}) / mass
            assert found[row] == pytest.approx(expected, abs=ROUNDING)


def test_the_joint_law_is_the_product_of_the_tables():
    rng = random.Random(1)
    for _ in range(20):
        net = random_net(rng.randint(1, 5), rng)
        law = net.joint()
        assert law.names == tuple(net.nodes)
        for row, weight in weights(list(net.tables.values()), net.states):
            assert law[row] == pytest.approx(weight, abs=ROUNDING)


def test_the_probability_of_evidence_is_a_sum():
    rng = random.Random(2)
    for _ in range(50):
        net = random_net(rng.randint(1, 6), rng)
        weighed = weights(list(net.tables.values()), net.states)
        evidence = random_evidence(net, rng, most=5)
        expected = log(total(weighed, evidence))
        assert net.evidence_log_prob(evidence) == pytest.approx(expected, abs=1e-11)
        assert net.evidence_log_prob({}) == 0


def test_the_most_probable_state_beats_every_other():
    rng = random.Random(3)
    for _ in range(100):
        net = random_net(rng.randint(1, 6), rng)
        evidence = random_evidence(net, rng)
        best, log_prob = net.most_probable(evidence)
        agreeing = weights(list(net.tables.values()), net.states)
        agreeing = [(row, w) for row, w in agreeing if evidence.items() <= row.items()]
        row, weight = max(agreeing, key=lambda pair: pair[1])
        assert {**best, **evidence} == row and not set(best) & set(evidence)
        assert log_prob == pytest.approx(log(weight), abs=1e-11)


def test_log_prob_is_that_of_the_joint_law():
    net = random_net(5, random.Random(4))
    x = net.sample(50, torch.Generator().manual_seed(0))
    law = net.joint().values
    assert net.log_prob(x).tolist() == pytest.approx([law[tuple(r)].log().item() for r in x])


def test_every_order_of_elimination_gives_the_same_sum():
    rng = random.Random(5)
    for _ in range(60):
        factors = random_factors(rng)
        states = MarkovNet(factors).states
        keep = rng.sample(sorted(states), min(len(states), rng.randint(0, 2)))
        scopes, arrays = [f.names for f in factors], [f.values.numpy() for f in factors]
        order, place = [name for name in states if name not in keep], list(states).index
        axes = [[place(name) for name in scope] for scope in scopes]
        operands = [part for pair in zip(arrays, axes, strict=True) for part in pair]
        expected = np.einsum(*operands, [place(name) for name in keep], optimize=True)
        for _ in range(5):
            rng.shuffle(order)
            values, log_scale = run(plan(scopes, keep, order), arrays)
            np.testing.assert_allclose(values * exp(log_scale), expected, rtol=1e-12)


def test_the_order_chosen_is_the_best_one_on_a_chain_and_on_a_tree():
    sizes = dict.fromkeys(range(40), 3)
    for graph in (nx.path_graph(40), nx.random_labeled_tree(40, seed=0)):
        edges = [tuple(edge) for edge in graph.edges]
        steps = plan(edges, (), elimination_order(edges, (), sizes))
        assert largest_table(steps, [(3, 3)] * len(edges)) == 9  # no table beyond an edge's own


def forward(net: BayesNet, states: list[str]) -> float:
    """Log p(states of the odd nodes) of a chain 0 → 1 → ..., by the forward algorithm."""
    log_alpha = net.tables[0].values.log()
    for node in net.nodes[1:]:
        log_alpha = torch.logsumexp(log_alpha[:, None] + net.tables[node].values.log(), 0)
        if node % 2:
            seen = net.states[node].index(states[node])
            log_alpha = torch.where(torch.arange(3) == seen, log_alpha, -inf)
    return torch.logsumexp(log_alpha, 0).item()


def test_a_chain_of_2000_nodes_does_not_underflow():
    chain = nx.path_graph(2000, create_using=nx.DiGraph)
    net = BayesNet.random(chain, 3, torch.Generator().manual_seed(0))
    states = [net.states[0][i] for i in net.sample(1, torch.Generator().manual_seed(1))[0]]
    evidence = {node: states[node] for node in range(1, 2000, 2)}
    found = net.evidence_log_prob(evidence)
    assert found < -900 and found == pytest.approx(forward(net, states), rel=1e-12)
    beliefs = MarkovNet.from_bayes(net).junction_tree().calibrate(evidence)
    assert beliefs.log_partition == pytest.approx(found, rel=1e-12)
    best, log_prob = net.most_probable(evidence)
    row = torch.tensor([[int({**best, **evidence}[node]) for node in net.nodes]])
    assert net.log_prob(row).item() == pytest.approx(log_prob, rel=1e-12)
    assert log_prob < found


def test_a_thousand_observations_of_one_cause_neither_underflow_nor_run_out_of_operands():
    star = nx.DiGraph([("cause", i) for i in range(1000)])
    net = BayesNet.random(star, 3, torch.Generator().manual_seed(0))
    evidence = {i: "0" for i in range(1000)}
    rows = torch.stack([net.tables[i].values[:, 0] for i in range(1000)])
    log_joint = net.tables["cause"].values.log() + rows.log().sum(0)
    assert net.evidence_log_prob(evidence) == pytest.approx(log_joint.logsumexp(0).item())
    torch.testing.assert_close(net.posterior("cause", evidence).values, log_joint.softmax(0))
    best, log_prob = net.most_probable(evidence)
    assert best == {"cause": str(int(log_joint.argmax()))}
    assert log_prob == pytest.approx(log_joint.max().item())


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_factors_of_any_size_are_multiplied_without_overflow(size):
    factors = [Table([[size, 0], [size / 2, size]], [i, i + 1]) for i in range(20)]
    net = MarkovNet(factors)
    plain = MarkovNet([Table([[1, 0], [0.5, 1]], [i, i + 1]) for i in range(20)])
    expected = 20 * log(size) + plain.log_partition()
    assert net.log_partition() == pytest.approx(expected)
    assert net.junction_tree().calibrate().log_partition == pytest.approx(expected)
    assert net.most_probable({20: "1"})[1] == pytest.approx(plain.most_probable({20: "1"})[1])


def test_what_is_below_the_query_and_the_evidence_is_left_out():
    """In a grid of 900 nodes its last corner depends on all others, its first on none."""
    grid = nx.DiGraph(nx.grid_2d_graph(30, 30).edges)
    net = BayesNet.random(grid, 2, torch.Generator().manual_seed(0))
    first, last = net.nodes[0], net.nodes[-1]
    torch.testing.assert_close(net.posterior(first).values, net.tables[first].values)
    assert net.evidence_log_prob({first: "0"}) == pytest.approx(log(net.tables[first]["0"]))
    with pytest.raises(ValueError, match=r"^the query needs a table of"):
        net.posterior(first, {last: "0"})


def test_a_query_too_large_says_so():
    grid = nx.grid_2d_graph(30, 30)
    net = MarkovNet([Table(torch.ones(2, 2), edge) for edge in grid.edges])
    for ask in (net.log_partition, net.junction_tree):
        sentence = (
            r"needs a table of [\d,]+ cells, above 134,217,728: observe more, or approximate$"
        )
        with pytest.raises(ValueError, match=sentence):
            ask()
    knot = MarkovNet([Table(torch.ones(2, 2), edge) for edge in nx.complete_graph(60).edges])
    for ask in (knot.log_partition, knot.junction_tree):
        with pytest.raises(ValueError, match=r"above [\d,]+: observe more, or approximate$"):
            ask()
    row = {(3, i): "0" for i in range(30)} | {(i, j): "0" for i in range(4, 30) for j in range(30)}
    assert net.log_partition(row) == pytest.approx(90 * log(2))


def test_a_plan_multiplies_few_tables_before_it_looks_at_their_scale():
    edges = [(i, i + 1) for i in range(100)]
    steps = plan(edges, (), range(101))
    gaps = [i for i, step in enumerate(steps) if step.rescale]
    assert gaps[-1] == len(steps) - 1 and all(1 < b - a <= 8 for a, b in pairwise(gaps[:-1]))
    tiny = [np.full((2, 2), 1e-29)] * 100
    values, log_scale = run(steps, tiny)
    assert log(values) + log_scale == pytest.approx(101 * log(2) - 2900 * log(10))


def test_gradients_of_a_posterior_are_those_of_finite_differences():
    net = random_net(5, random.Random(6), most=3)
    node = max(net.nodes, key=lambda n: net.tables[n].values.numel())
    logits = net.tables[node].values.log().requires_grad_()
    evidence = {net.nodes[-1]: net.states[net.nodes[-1]][0]}

    def posterior(logits: torch.Tensor) -> torch.Tensor:
        table = Table(logits.softmax(-1), net.tables[node].states)
        return BayesNet({**net.tables, node: table}).posterior(net.nodes[:2], evidence).values

    assert posterior(logits).requires_grad
    assert torch.autograd.gradcheck(posterior, logits)


def test_networks_whose_tables_need_gradients_answer_everything():
    values = torch.tensor([0.2, 0.8], dtype=torch.float64, requires_grad=True)
    net = BayesNet({"a": Table(values, "a"), "b": Table([[0.5, 0.5], [0.1, 0.9]], "ab")})
    assert net.most_probable() == ({"a": "1", "b": "1"}, pytest.approx(log(0.72)))
    assert net.evidence_log_prob({"b": "1"}) == pytest.approx(log(0.82))
    beliefs = MarkovNet.from_bayes(net).junction_tree().calibrate({"b": "1"})
    assert beliefs.marginal("a")["0"] == pytest.approx(0.1 / 0.82)


def test_names_may_be_anything_that_networkx_takes():
    names = [0, "", "0", (0, 0), 2.5, frozenset("ab")]
    dag = nx.DiGraph(list(pairwise(names)))
    net = BayesNet.random(dag, 2, torch.Generator().manual_seed(0))
    plain = BayesNet.random(nx.path_graph(6, nx.DiGraph), 2, torch.Generator().manual_seed(0))
    for i, j in [(0, 1), (3, 0), (5, 1), (2, 4)]:
        found = net.posterior(names[i], {names[j]: "1"}).values
        torch.testing.assert_close(found, plain.posterior(i, {j: "1"}).values)
