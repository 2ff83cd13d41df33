"""Markov networks: partition functions, junction trees, Gibbs sampling, potentials."""

import math
import random
from itertools import combinations, product
from math import log, sqrt

import networkx as nx
import pytest
import torch
from enumerated import random_graph, random_net, rows, total, weights

from companion.graphs import (
    JunctionTree,
    MarkovNet,
    Table,
    all_graphs,
    canonical_potentials,
    clique_factors,
    maximal_cliques,
    moral,
    separations,
    unsided,
)


def random_markov(rng: random.Random, nodes: int = 6, most: int = 3) -> MarkovNet:
    """Draw factors over edges and nodes of a random graph; some cells are 0, never the first."""
    graph, draw = random_graph(nodes, rng), torch.Generator().manual_seed(rng.randrange(2**31))
    sizes = {node: rng.randint(1, most) for node in graph}
    scopes = [*graph.edges, *((node,) for node in graph)]
    cells = [torch.rand([sizes[n] for n in s], generator=draw, dtype=torch.double) for s in scopes]
    values = [torch.where(c < 0.2, 0, 9 * c) for c in cells]
    for value in values:
        value.view(-1)[0] = 1
    return MarkovNet([Table(v, s) for v, s in zip(values, scopes, strict=True)])


def positive(graph: nx.Graph, seed: int) -> MarkovNet:
    """Draw a positive factor of binary variables for each maximal clique."""
    draw = torch.Generator().manual_seed(seed)
    cliques = maximal_cliques(graph)
    return MarkovNet([Table(torch.rand([2] * len(c), generator=draw) + 0.1, c) for c in cliques])


def possible(net: MarkovNet, rng: random.Random) -> dict:
    """Observe some nodes at states that can be."""
    best, _ = net.most_probable()
    return {
        node: best[node] for node in rng.sample(net.nodes, rng.randint(0, len(net.nodes)) // 2)
    }


def test_the_partition_function_and_the_marginals_are_sums_over_all_states():
    rng = random.Random(0)
    for _ in range(40):
        net = random_markov(rng, rng.randint(1, 6))
        weighed = weights(net.factors, net.states)
        z = total(weighed, {})
        assert net.log_partition() == pytest.approx(log(z), abs=1e-11)
        evidence = possible(net, rng)
        mass = total(weighed, evidence)
        assert net.log_partition(evidence) == pytest.approx(log(mass), abs=1e-11)
        for node in set(net.nodes) - set(evidence):
            found = net.marginal(node, evidence)
            for row in rows(found.states):
                assert found[row] == pytest.approx(total(weighed, {**row, **evidence}) / mass)


def test_log_prob_and_the_best_state_are_those_of_the_joint_law():
    rng = random.Random(1)
    for _ in range(20):
        net = random_markov(rng, 5)
        law = net.joint()
        x = torch.tensor(list(product(*(range(len(s)) for s in net.states.values()))))
        torch.testing.assert_close(net.log_prob(x).exp().reshape(law.values.shape), law.values)
        best, log_prob = net.most_probable()
        assert law[best] == law.values.max().item() == pytest.approx(torch.tensor(log_prob).exp())


def test_a_bayesian_network_is_a_markov_network_over_its_moral_graph():
    rng = random.Random(2)
    for _ in range(20):
        net = random_net(rng.randint(1, 6), rng)
        same = MarkovNet.from_bayes(net)
        assert nx.utils.graphs_equal(same.graph, moral(net.dag))
        assert same.log_partition() == pytest.approx(0, abs=1e-12)
        law = same.joint().marginal(*net.nodes).values
        torch.testing.assert_close(law, net.joint().values)


def test_cliques_that_share_a_variable_hang_together_in_a_junction_tree():
    rng = random.Random(3)
    for _ in range(100):
        net = random_markov(rng, rng.randint(1, 10), most=2)
        tree = net.junction_tree()
        assert nx.is_tree(tree.tree) and len(tree.cliques) == len(tree.tree)
        for name in net.nodes:
            holding = [i for i, clique in enumerate(tree.cliques) if name in clique]
            assert nx.is_connected(tree.tree.subgraph(holding))
        for factor in net.factors:
            assert any(set(factor.names) <= set(clique) for clique in tree.cliques)
        assert not any(set(a) < set(b) for a in tree.cliques for b in tree.cliques)


def test_a_chordal_graph_is_its_own_triangulation():
    chordal, rng = 0, random.Random(4)
    for _ in range(100):
        graph = random_graph(6, rng)
        net = MarkovNet([Table(torch.ones([2] * len(c)), c) for c in maximal_cliques(graph)])
        found = {frozenset(clique) for clique in net.junction_tree().cliques}
        same = found == {frozenset(clique) for clique in nx.find_cliques(graph)}
        assert same == nx.is_chordal(graph)
        chordal += same
    assert 20 < chordal < 95


def test_a_calibrated_tree_holds_the_exact_law_of_each_clique():
    rng = random.Random(5)
    for _ in range(60):
        net = random_markov(rng, rng.randint(1, 7))
        evidence = possible(net, rng)
        beliefs = net.junction_tree().calibrate(evidence)
        assert beliefs.log_partition == pytest.approx(net.log_partition(evidence), abs=1e-11)
        for clique in beliefs.cliques:
            free = [name for name in clique.names if name not in evidence]
            expected = net.marginal(free, evidence).values if free else torch.ones(()).double()
            seen = clique.restrict({n: s for n, s in evidence.items() if n in clique.states})
            torch.testing.assert_close(seen.values, expected)


def test_parts_that_do_not_touch_are_multiplied():
    parts = [Table([[1, 2], [3, 4]], "ab"), Table([5, 6], "c"), Table(2.0, [])]
    net = MarkovNet(parts)
    tree = net.junction_tree()
    assert nx.is_connected(tree.tree) and set(tree.cliques) == {("a", "b"), ("c",)}
    assert net.log_partition() == pytest.approx(log(10 * 11 * 2))
    beliefs = tree.calibrate({"a": "1"})
    assert beliefs.log_partition == pytest.approx(log(7 * 11 * 2))
    assert beliefs.marginal("c")["1"] == pytest.approx(6 / 11)


def test_a_tree_without_factors_on_a_clique_spreads_uniformly():
    tree = JunctionTree([Table(torch.ones(2, 2), pair) for pair in ("ab", "bc", "cd", "da")])
    beliefs = tree.calibrate()
    assert beliefs.log_partition == pytest.approx(log(16))
    assert sorted(map(len, tree.cliques)) == [3, 3]


def test_gibbs_sampling_has_the_law_as_its_stationary_law():
    """Chains that start in the law stay in it: of each cell, a binomial share of the chains."""
    net = positive(nx.cycle_graph(4), 0)
    law, n = net.joint(), 20_000
    draw = torch.Generator().manual_seed(0)
    start = torch.multinomial(law.values.flatten(), n, replacement=True, generator=draw)
    places = torch.stack(torch.unravel_index(start, law.values.shape), -1)
    last = net.gibbs(3, start=places, generator=draw)[-1]
    counts = torch.zeros(law.values.shape)
    counts.index_put_(tuple(last.T), torch.ones(n), accumulate=True)
    expected = n * law.values
    assert ((counts - expected).abs() < 4 * (expected * (1 - law.values)).sqrt()).all()


def test_gibbs_sampling_forgets_its_start():
    net = positive(nx.cycle_graph(4), 1)
    start = torch.zeros(5_000, 4, dtype=torch.int64)
    x = net.gibbs(40, start=start, generator=torch.Generator().manual_seed(0))[-1]
    for i, node in enumerate(net.nodes):
        p = net.marginal(node)["1"]
        share = x[:, i].double().mean().item()
        assert abs(share - p) < 4 * sqrt(p * (1 - p) / 5_000)


def test_gibbs_draws_repeat_with_the_seed_and_start_where_they_are_told():
    net = positive(nx.path_graph(3), 0)
    one, two = (net.gibbs(5, 2, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert one.shape == (5, 2, 3) and torch.equal(one, two)
    assert net.gibbs(0, 4).shape == (0, 4, 3)
    start = torch.zeros(7, 3, dtype=torch.int64)
    assert net.gibbs(2, start=start).shape == (2, 7, 3) and not start.any()


def test_a_conditional_needs_only_the_neighbours():
    net = positive(nx.random_labeled_tree(6, seed=2), 2)
    law = net.joint()
    x = torch.randint(2, (20, 6), generator=torch.Generator().manual_seed(0))
    for node, row in product(net.nodes, x.tolist()):
        others = {n: str(row[net.nodes.index(n)]) for n in net.nodes if n != node}
        found = net.conditional(node, torch.tensor([row]))[0]
        torch.testing.assert_close(found, law.given(others).values)


def test_canonical_potentials_multiply_to_the_law_and_are_1_at_the_reference():
    for seed in range(5):
        law = Table(torch.rand(2, 3, 2, generator=torch.Generator().manual_seed(seed)), "abc")
        law = law.normalised()
        reference = {"a": "1", "b": "2", "c": "0"}
        potentials = canonical_potentials(law, reference)
        assert len(potentials) == 8 and potentials[()].values.item() == pytest.approx(
            law[reference]
        )
        found = Table(1.0, [])
        for scope, potential in potentials.items():
            found = found * potential
            for name in scope:
                fixed = potential.restrict({name: reference[name]}).values
                torch.testing.assert_close(fixed, torch.ones_like(fixed))
        torch.testing.assert_close(found.marginal(*"abc").values, law.values)


def test_potentials_of_sets_that_are_no_cliques_vanish():
    """The theorem of Hammersley and Clifford, on every graph of four nodes."""
    for seed, graph in enumerate(all_graphs(range(4))):
        law = positive(graph, seed).joint()
        for chosen, potential in canonical_potentials(law).items():
            if not all(graph.has_edge(*pair) for pair in combinations(chosen, 2)):
                ones = torch.ones_like(potential.values)
                torch.testing.assert_close(potential.values, ones, rtol=0, atol=1e-10)


def test_clique_factors_give_a_markov_law_back_and_no_other():
    rebuilt = 0
    for seed, graph in enumerate(all_graphs(range(4))):
        law = positive(nx.cycle_graph(4), seed).joint()
        again = MarkovNet(clique_factors(law, graph)).joint().marginal(*law.names)
        markov = unsided(separations(graph)) <= unsided(separations(nx.cycle_graph(4)))
        assert torch.allclose(again.values, law.values, rtol=0, atol=1e-9) == markov
        rebuilt += markov
    assert rebuilt == 4  # the cycle, with a chord or two: their edges contain its own


def test_maximal_cliques_are_networkxs():
    rng = random.Random(6)
    for _ in range(50):
        graph = random_graph(7, rng)
        found = maximal_cliques(graph)
        assert {frozenset(c) for c in found} == {frozenset(c) for c in nx.find_cliques(graph)}
        assert found == sorted(found) and all(list(c) == sorted(c) for c in found)


def test_the_best_state_given_evidence_is_told_with_the_evidence():
    """log p(x, e), as of a Bayesian network: that of the whole row, and no row has more."""
    rng = random.Random(8)
    for _ in range(20):
        net = random_markov(rng, 5)
        evidence = possible(net, rng)
        best, log_prob = net.most_probable(evidence)
        place = [net.states[n].index({**best, **evidence}[n]) for n in net.nodes]
        assert log_prob == pytest.approx(net.log_prob(torch.tensor([place])).item())
        agree = net.joint().restrict(evidence).values
        assert agree.max().log().item() == pytest.approx(log_prob)


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_factors_of_any_size_have_one_best_state(size):
    values = torch.tensor([[1.0, 2], [5, 3]], dtype=torch.double)
    net = MarkovNet([Table(size * values, "ab"), Table(size * values, "bc")])
    best, log_prob = net.most_probable()
    assert best == {"a": "1", "b": "1", "c": "0"}  # 3 x 5; 1 + 2 and 5 + 3 times their columns
    assert math.exp(log_prob) == pytest.approx(15 / (6 * 3 + 5 * 8))
