"""The explorable of d-separation is one light page, the same in every process."""

import json
import re
from html import unescape
from itertools import combinations, pairwise
from typing import Any

import networkx as nx
import pytest
from test_explorable import same_in_two_processes

from companion.figures import SeparationExplorable
from companion.figures.embedded import script_of, style_of
from companion.figures.separation import active_edges

GRASS = nx.DiGraph(
    [("rain", "wet grass"), ("sprinkler", "wet grass"), ("wet grass", "slippery road")]
)
BUILD = """
import networkx as nx
from companion.figures import SeparationExplorable
dag = nx.DiGraph([("a", "b"), ("c", "b"), ("b", "d")])
built = SeparationExplorable(dag, observed={"b", "c"}, caption="Click.", alt="A graph")
print(hash("x"), built.html)
"""


def explorable(dag: nx.DiGraph, **changes: Any) -> SeparationExplorable:
    return SeparationExplorable(dag, **{"caption": "Click.", "alt": "A graph", **changes})


def test_two_processes_write_the_same_page() -> None:
    assert same_in_two_processes(BUILD)


def test_twelve_nodes_are_light_and_ask_for_nothing() -> None:
    names = [f"a rather long name {i}" for i in range(12)]
    dag = nx.DiGraph([*pairwise(names), *zip(names, names[5:], strict=False)])
    html = explorable(dag).html
    code = style_of("separation") + script_of("separation", "d_separation")
    assert len(code.encode()) < 17_000  # once in a page, whatever the number of figures
    assert len(html.encode()) - len(code.encode()) < 12_000
    assert re.findall(r"https?://[^\"']*", html) == ["http://www.w3.org/2000/svg"]


def test_the_start_is_the_first_node_that_is_not_observed() -> None:
    assert explorable(GRASS).source == "rain"
    built = explorable(GRASS, observed=["rain", "slippery road"])
    assert built.source == "sprinkler" and built.connected == {"wet grass"}


def lit_by_the_rules(dag: nx.DiGraph, source: str, seen: set[str]) -> set[frozenset[str]]:
    def passes(before: str, node: str, after: str) -> bool:
        if dag.has_edge(before, node) and dag.has_edge(after, node):
            return bool(seen & ({node} | nx.descendants(dag, node)))
        return node not in seen

    lit = set()
    for trail in nx.all_simple_paths(dag.to_undirected(), source, set(dag) - seen - {source}):
        if all(passes(*three) for three in zip(trail, trail[1:], trail[2:], strict=False)):
            lit |= {frozenset(step) for step in pairwise(trail)}
    return lit


@pytest.mark.parametrize("edges", ["ab cb bd de", "ab ac bd cd de", "ab cb cd ed bf da"])
def test_the_lit_edges_are_those_of_the_active_trails(edges: str) -> None:
    dag = nx.DiGraph(edges.split())
    for source in dag:
        others = sorted(set(dag) - {source})
        for size in range(len(others)):
            for seen in map(set, combinations(others, size)):
                lit = {frozenset(edge) for edge in active_edges(dag, source, seen)}
                assert lit == lit_by_the_rules(dag, source, seen)


def test_no_text_breaks_the_page() -> None:
    dag = nx.DiGraph([("</script>", 'a"b'), ("<i>", 'a"b')])
    built = explorable(dag, alt='"<', label="fig-x", names={"<i>": "one & two"})
    assert built.html.count("</script>") == 1 and 'aria-label="&quot;&lt;"' in built.html
    assert ">one &amp; two</text>" in built.html and 'id="fig-x"' in built.html
    facts = re.search(r"data-facts='([^']*)'", built.html)
    assert facts and json.loads(unescape(facts[1]))["names"][0] == "</script>"
    assert set(built._repr_mimebundle_()) == {"text/html", "text/plain"}


@pytest.mark.parametrize(
    ("dag", "changes", "message"),
    [
        (GRASS, {"source": "rian"}, "no node 'rian' .*did you mean 'rain'"),
        (GRASS, {"observed": ["sprinkle"]}, "did you mean 'sprinkler'"),
        (GRASS, {"names": {"x": "y"}}, "no node 'x'"),
        (GRASS, {"source": "rain", "observed": ["rain"]}, "must not be observed, got 'rain'"),
        (GRASS, {"positions": {"rain": (0, 0)}}, "'sprinkler' has no position"),
        (GRASS, {"alt": " "}, "needs a caption and alt text"),
        (GRASS, {"label": "one"}, "starts with 'fig-', got 'one'"),
        (nx.DiGraph([(0, 1), (1, 0)]), {}, "cycle: 0 → 1 → 0"),
        (nx.Graph([(0, 1)]), {}, "needs a networkx.DiGraph or a BayesNet, got Graph"),
        (nx.DiGraph(combinations(range(9), 2)), {}, "more than 5,000 trails begin at 0"),
        (nx.empty_graph(30, nx.DiGraph), {}, "2 to 20 nodes, got 30"),
    ],
)
def test_bad_input_gets_one_sentence(
    dag: nx.DiGraph, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        explorable(dag, **changes)
    assert "\n" not in str(raised.value)
