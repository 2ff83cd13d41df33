"""Maps between graphs and laws: what one says of the other, on graphs small enough for all."""

import random
from itertools import combinations

import networkx as nx
import pytest
import torch
from enumerated import random_net

from companion.graphs import (
    BayesNet,
    MarkovNet,
    Table,
    all_dags,
    all_graphs,
    independent,
    is_i_map,
    is_perfect_map,
    local_statements,
    maximal_cliques,
    minimal_i_map,
    moral,
    pairwise_statements,
    separations,
    skeleton,
    unsided,
    v_structures,
)


def law_of(graph: nx.Graph | nx.DiGraph, seed: int = 0) -> Table:
    """Draw a law over binary variables that factorises over a graph, with or without arrows."""
    draw = torch.Generator().manual_seed(seed)
    if graph.is_directed():
        return BayesNet.random(graph, 2, draw).joint()
    cliques = maximal_cliques(graph)
    factors = [Table(torch.rand([2] * len(c), generator=draw) + 0.1, c) for c in cliques]
    return MarkovNet(factors).joint()


def test_a_graph_is_a_perfect_map_of_what_is_drawn_from_it():
    for graph in [*all_graphs("abc"), *all_dags("abc"), nx.cycle_graph(4), nx.path_graph(5)]:
        assert is_perfect_map(graph, law_of(graph)), graph.edges


def test_the_diamond_has_no_directed_perfect_map():
    law = law_of(nx.cycle_graph(4))
    assert is_perfect_map(nx.cycle_graph(4), law)
    assert not any(is_perfect_map(dag, law) for dag in all_dags(range(4)))


def test_the_v_structure_has_no_undirected_perfect_map():
    law = law_of(nx.DiGraph([("a", "c"), ("b", "c")]))
    assert not any(is_perfect_map(graph, law) for graph in all_graphs("abc"))
    assert independent(law, "a", "b") and not independent(law, "a", "b", "c")


def test_directed_and_undirected_graphs_agree_if_and_only_if_nothing_is_married():
    """The skeleton is a perfect map of a law if and only if its graph has no v-structure."""
    for dag in all_dags("abcd"):
        law = law_of(dag, 1)
        assert is_perfect_map(skeleton(dag), law) == (not v_structures(dag))


def test_an_i_map_says_nothing_that_does_not_hold():
    law = law_of(nx.path_graph(4))
    for graph in all_graphs(range(4)):
        assert is_i_map(graph, law) == all(graph.has_edge(i, i + 1) for i in range(3))
    noise = Table(torch.rand(2, 2, 2, generator=torch.Generator().manual_seed(0)), "abc")
    maps = [graph for graph in all_graphs("abc") if is_i_map(graph, noise.normalised())]
    assert [graph.number_of_edges() for graph in maps] == [3]


def test_a_directed_i_map_needs_the_arrows_of_its_order():
    law = law_of(nx.DiGraph([("a", "c"), ("b", "c")]))
    assert is_i_map(nx.DiGraph([("a", "c"), ("b", "c")]), law)
    assert not is_i_map(nx.DiGraph([("c", "a"), ("c", "b")]), law)
    assert is_i_map(nx.DiGraph([("c", "a"), ("c", "b"), ("a", "b")]), law)


def test_the_moral_graph_is_the_minimal_i_map_of_a_positive_law():
    rng = random.Random(0)
    for _ in range(30):
        net = random_net(rng.randint(1, 5), rng, most=2)
        binary = BayesNet.random(net.dag, 2, torch.Generator().manual_seed(rng.randrange(99)))
        assert nx.utils.graphs_equal(minimal_i_map(binary.joint()), moral(net.dag))


def test_from_the_minimal_i_map_no_edge_can_go():
    for seed, graph in enumerate(all_graphs("abcd")):
        law = law_of(graph, seed)
        smallest = minimal_i_map(law)
        assert is_i_map(smallest, law)
        for edge in smallest.edges:
            less = smallest.copy()
            less.remove_edge(*edge)
            assert not is_i_map(less, law)


def test_the_three_markov_properties_hold_together_in_a_positive_law():
    for seed, graph in enumerate(all_graphs("abcd")):
        law = law_of(nx.cycle_graph(list("abcd")), seed)
        held = [
            all(independent(law, *s) for s in family(graph))
            for family in (pairwise_statements, local_statements, separations)
        ]
        assert len(set(held)) == 1


def test_without_positivity_the_pairwise_property_says_less():
    """Three copies of one coin: each pair is independent given the third, yet none is alone."""
    values = torch.zeros(2, 2, 2)
    values[0, 0, 0] = values[1, 1, 1] = 0.5
    law, empty = Table(values, "abc"), nx.empty_graph(list("abc"))
    assert all(independent(law, *s) for s in pairwise_statements(empty))
    assert not any(independent(law, a, b) for a, b in combinations("abc", 2))
    assert not is_i_map(empty, law)
    with pytest.raises(ValueError, match=r"^only a positive law has one minimal undirected I-map"):
        minimal_i_map(law)


def test_statements_are_compared_without_their_sides():
    one, two = nx.path_graph(3), nx.Graph([(2, 1), (1, 0)])
    assert unsided(separations(one)) == unsided(separations(two))
    assert unsided(separations(one)) == {
        (frozenset({frozenset({0}), frozenset({2})}), frozenset({1}))
    }
