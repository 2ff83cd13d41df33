"""What graphs say about independence: against networkx, brute force and random laws."""

import random
from itertools import chain, combinations, pairwise

import networkx as nx
import pytest
import torch
from enumerated import random_dag, random_graph, random_sets
from networkx.algorithms.d_separation import is_d_separator

from companion.graphs import (
    BayesNet,
    Reachability,
    active_trail,
    all_dags,
    all_graphs,
    d_separated,
    d_separations,
    independencies,
    local_statements,
    markov_blanket,
    markov_equivalent,
    moral,
    pairwise_statements,
    separated,
    separations,
    skeleton,
    statements,
    unsided,
    v_structures,
)

FOUR = list(all_dags("abcd"))


def is_active(dag: nx.DiGraph, trail: list, given: set) -> bool:
    """Say whether a trail is open: each collider has an observed descendant, nothing else is."""
    if trail[0] in given or trail[-1] in given:
        return False
    for before, node, after in zip(trail, trail[1:], trail[2:], strict=False):
        if dag.has_edge(before, node) and dag.has_edge(after, node):
            if not given & {node, *nx.descendants(dag, node)}:
                return False
        elif node in given:
            return False
    return True


def shortest(dag: nx.DiGraph, x: set, y: set, given: set) -> int | None:
    """Count the nodes of the shortest open trail among all simple ones."""
    ways = [nx.all_simple_paths(dag.to_undirected(), a, b) for a in x for b in y]
    return min((len(t) for t in chain(*ways) if is_active(dag, t, given)), default=None)


def test_d_separation_is_networkxs_for_sets_of_nodes_in_random_graphs():
    rng, answers = random.Random(0), [0, 0]
    for _ in range(400):
        dag = random_dag(rng.randint(3, 15), rng)
        ball = Reachability(dag)
        for _ in range(10):
            x, y, given = random_sets(list(dag), rng)
            found = ball.separated(x, y, given)
            assert found == is_d_separator(dag, x, y, given), (dag.edges, x, y, given)
            answers[found] += 1
    assert min(answers) > 500  # neither answer is rare, or little was tried


def test_d_separation_is_networkxs_on_every_graph_of_four_nodes():
    for dag in FOUR:
        agreed = {s for s in statements("abcd") if is_d_separator(dag, *map(set, s))}
        assert unsided(d_separations(dag)) == unsided(agreed)


def test_one_node_or_a_list_or_an_iterator_ask_the_same():
    dag = nx.DiGraph([("a", "b"), ("b", "c"), ("c", "d")])
    assert d_separated(dag, "a", "d", "b") and d_separated(dag, ["a"], {"d"}, ("b", "c"))
    assert d_separated(dag, iter("a"), iter("cd"), iter("b"))
    assert d_separated(nx.DiGraph([((0, 0), 0), (0, "")]), (0, 0), "", 0)


def test_a_trail_is_active_and_as_short_as_any_and_there_is_none_if_separated():
    rng, found = random.Random(1), 0
    for _ in range(300):
        dag = random_dag(rng.randint(2, 7), rng)
        x, y, given = random_sets(list(dag), rng)
        trail, length = active_trail(dag, x, y, given), shortest(dag, x, y, given)
        assert (trail is None) == d_separated(dag, x, y, given) == (length is None)
        if trail is not None:
            assert trail[0] in x and trail[-1] in y and len(trail) == len(set(trail)) == length
            assert all(dag.has_edge(a, b) or dag.has_edge(b, a) for a, b in pairwise(trail))
            assert is_active(dag, trail, given)
            found += 1
    assert 50 < found < 290


@pytest.mark.parametrize("nodes", [2, 3, 4])
def test_random_tables_hold_exactly_the_independencies_of_their_graph(nodes):
    """Laws that hold more have measure zero (Meek 1995); drawn ones come close at 1e-9 rarely."""
    generator = torch.Generator().manual_seed(0)
    for dag in all_dags("abcd"[:nodes]):
        law = BayesNet.random(dag, 2, generator).joint()
        assert unsided(independencies(law)) == unsided(d_separations(dag)), dag.edges


@pytest.mark.parametrize(("nodes", "dags", "classes"), [(1, 1, 1), (2, 3, 2), (3, 25, 11)])
def test_equivalent_graphs_are_those_that_separate_alike(nodes, dags, classes):
    found = list(all_dags("abc"[:nodes]))
    separations = [unsided(d_separations(dag)) for dag in found]
    assert (len(found), len(set(separations))) == (dags, classes)  # Gillispie and Perlman 2001
    for (g, mine), (h, theirs) in combinations(zip(found, separations, strict=True), 2):
        assert markov_equivalent(g, h) == (mine == theirs)


def test_equivalence_has_185_classes_on_four_nodes():
    by_law = {dag: unsided(d_separations(dag)) for dag in FOUR}
    assert (len(FOUR), len(set(by_law.values()))) == (543, 185)
    members: list[nx.DiGraph] = []
    for dag in FOUR:  # one member speaks for its class: equivalence is transitive
        same = [other for other in members if markov_equivalent(dag, other)]
        assert [by_law[other] == by_law[dag] for other in same] in ([], [True])
        members += [] if same else [dag]
    assert len(members) == 185


def test_graphs_on_different_nodes_are_not_equivalent():
    assert not markov_equivalent(nx.DiGraph([("a", "b")]), nx.DiGraph([("a", "c")]))
    lonely = nx.DiGraph([("a", "b")])
    lonely.add_node("c")
    assert not markov_equivalent(nx.DiGraph([("a", "b")]), lonely)


def test_moral_graph_and_skeleton_are_networkxs():
    rng = random.Random(2)
    for _ in range(100):
        dag = random_dag(rng.randint(1, 9), rng)
        assert nx.utils.graphs_equal(moral(dag), nx.Graph(nx.moral_graph(dag)))
        assert nx.utils.graphs_equal(skeleton(dag), dag.to_undirected())


def test_v_structures_are_networkxs():
    rng = random.Random(3)
    for _ in range(100):
        dag = random_dag(rng.randint(1, 9), rng)
        theirs = {(frozenset((a, b)), c) for a, c, b in nx.dag.v_structures(dag)}
        assert v_structures(dag) == theirs


def test_a_markov_blanket_separates_and_none_of_its_nodes_can_go():
    rng = random.Random(4)
    for _ in range(100):
        dag = random_dag(rng.randint(2, 8), rng)
        node = rng.choice(list(dag))
        blanket = markov_blanket(dag, node)
        rest = set(dag) - blanket - {node}
        assert node not in blanket and blanket == set(moral(dag)[node])
        assert not rest or is_d_separator(dag, {node}, rest, blanket)
        for one in blanket:
            assert not is_d_separator(dag, {node}, rest | {one}, blanket - {one})


def test_separation_is_the_absence_of_a_path_once_the_given_nodes_are_gone():
    rng, answers = random.Random(5), [0, 0]
    for _ in range(1000):
        graph = random_graph(rng.randint(2, 10), rng)
        x, y, given = random_sets(list(graph), rng)
        left = graph.subgraph(set(graph) - given)
        expected = not any(nx.has_path(left, a, b) for a in x for b in y)
        assert separated(graph, x, y, given) == expected
        answers[expected] += 1
    assert min(answers) > 100


def test_the_global_property_contains_the_local_and_the_pairwise_one():
    for graph in all_graphs("abcd"):
        stated = separations(graph)
        assert local_statements(graph) | pairwise_statements(graph) <= stated
        missing = 6 - graph.number_of_edges()
        assert len(pairwise_statements(graph)) == missing
        assert bool(local_statements(graph)) == bool(missing)


def test_there_are_as_many_graphs_and_statements_as_published():
    assert [len(list(all_dags(range(n)))) for n in range(6)] == [1, 1, 3, 25, 543, 29281]
    assert [len(list(all_graphs(range(n)))) for n in range(6)] == [1, 1, 2, 8, 64, 1024]
    for n, count in enumerate((0, 0, 1, 9, 55, 285)):
        found = unsided(statements(range(n)))
        assert len(found) == len(list(statements(range(n)))) == count
        assert count == (4**n - 2 * 3**n + 2**n) / 2


def test_a_trail_passes_a_collider_that_only_an_observed_descendant_opens():
    """It turns round in the collider, and does not go down to what is observed."""
    dag = nx.DiGraph([("a", "c"), ("b", "c"), ("c", "d")])
    assert active_trail(dag, "a", "b", "d") == ["a", "c", "b"]
    assert active_trail(dag, "a", "b") is None and active_trail(dag, "a", "d", "c") is None


def test_trails_are_active_and_shortest_on_every_graph_of_four_nodes():
    opened = 0
    for dag in FOUR:
        ball, skeleton = Reachability(dag), dag.to_undirected()
        for x, y in combinations("abcd", 2):
            ways = list(nx.all_simple_paths(skeleton, x, y))
            rest = sorted(set("abcd") - {x, y})
            for given in (set(), {rest[0]}, {rest[1]}, set(rest)):
                trail = ball.trail(x, y, given)
                lengths = [len(way) for way in ways if is_active(dag, way, given)]
                assert (len(trail) if trail else None) == min(lengths, default=None)
                assert trail is None or is_active(dag, trail, given)
                opened += trail is not None
    assert opened > 5000  # of 543 x 6 x 4
