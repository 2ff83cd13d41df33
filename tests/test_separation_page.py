"""The page's script agrees with d-separation, by mouse, by keyboard, and without a script."""

from collections.abc import Sequence
from itertools import combinations, pairwise, product
from random import Random
from typing import Any

import networkx as nx
import pytest

from companion.figures import SeparationExplorable
from companion.figures.embedded import read
from companion.graphs import d_separated

DIAMOND = nx.DiGraph([("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", "e")])
GRASS = nx.DiGraph(
    [("rain", "wet grass"), ("sprinkler", "wet grass"), ("wet grass", "slippery road")]
)
# Clicks as asked, then looks at every node: its state, and the trail that focus shows.
PLAY = """(root, [source, observed]) => {
  const part = (i) => root.querySelector(`[data-node="${i}"]`);
  const click = (i, shiftKey) =>
    part(i).dispatchEvent(new MouseEvent("click", { shiftKey, bubbles: true }));
  const drawing = root.querySelector("svg");
  drawing.querySelectorAll("[aria-pressed=true]").forEach((p) => click(p.dataset.node));
  click(source, true);
  observed.forEach((i) => click(i));
  return [...drawing.querySelectorAll("[data-node]")].map((p) => {
    p.dispatchEvent(new FocusEvent("focus"));
    const cross = root.querySelector(".cross");
    const told = { ...p.dataset, trail: JSON.parse(root.dataset.trail),
      pressed: p.getAttribute("aria-pressed"), label: p.getAttribute("aria-label"),
      blocker: cross && +cross.parentNode.dataset.node,
      text: root.querySelector("p").textContent,
      lit: [...drawing.querySelectorAll("[data-lit]")].map((e) => +e.dataset.edge) };
    p.dispatchEvent(new FocusEvent("blur"));
    return told;
  });
}"""


# For each graph, source and set of observed nodes (bits): what active trails reach (bits).
ASK = """graphs => {
  const read = (bits) => new Set([0, 1, 2, 3].filter((node) => bits >> node & 1));
  return graphs.map((edges) => {
    const rules = dSeparation(4, edges);
    return [0, 1, 2, 3].map((source) => Array.from({ length: 16 }, (_, bits) => {
      const active = rules.trailsFrom(source).filter(rules.given(read(bits)).isActive);
      return active.reduce((met, trail) => met | 1 << rules.end(trail), 0);
    }));
  });
}"""


def explorable(dag: nx.DiGraph, **changes: Any) -> SeparationExplorable:
    return SeparationExplorable(dag, **{"caption": "Click.", "alt": "A graph", **changes})


def on_four_nodes(edges: Sequence[tuple[int, int]]) -> nx.DiGraph:
    dag = nx.empty_graph(4, nx.DiGraph)
    dag.add_edges_from(edges)
    return dag


def random_dag(seed: int) -> nx.DiGraph:
    chance = Random(seed)
    n = chance.randint(5, 8)
    dag = nx.DiGraph()
    dag.add_nodes_from(range(n))
    dag.add_edges_from(e for e in combinations(range(n), 2) if chance.random() < 2.6 / n)
    return nx.relabel_nodes(dag, dict(enumerate(chance.sample(range(n), n))))


def passes(dag: nx.DiGraph, trail: Sequence[Any], k: int, seen: set[Any]) -> bool:
    before, node, after = trail[k - 1 : k + 2]
    if dag.has_edge(before, node) and dag.has_edge(after, node):
        return bool(seen & ({node} | nx.descendants(dag, node)))
    return node not in seen


def active(dag: nx.DiGraph, trail: Sequence[Any], seen: set[Any]) -> bool:
    return all(passes(dag, trail, k, seen) for k in range(1, len(trail) - 1))


def lit_edges(dag: nx.DiGraph, source: Any, seen: set[Any]) -> set[frozenset[Any]]:
    goals = set(dag) - seen - {source}
    paths = nx.all_simple_paths(dag.to_undirected(), source, goals) if goals else []
    return {frozenset(e) for path in paths if active(dag, path, seen) for e in pairwise(path)}


def agree(page: Any, built: SeparationExplorable, source: Any, seen: set[Any]) -> None:
    """Check every node of one state of the page against networkx."""
    dag, nodes = built.dag, built.nodes
    asked = [nodes.index(source), [nodes.index(node) for node in seen]]
    told = page.locator(".companion-separation").first.evaluate(PLAY, asked)
    edges = list(dag.edges)
    assert {frozenset(edges[i]) for i in told[0]["lit"]} == lit_edges(dag, source, seen)
    for node, view in zip(nodes, told, strict=True):
        assert view["pressed"] == ("true" if node in seen else "false")
        if node == source or node in seen:
            assert view["state"] == ("start" if node == source else "observed")
            assert view["trail"] == [] and view["connected"] == "no"
            continue
        apart = nx.is_d_separator(dag, {source}, {node}, seen)
        assert view["state"] == ("separated" if apart else "connected")
        assert view["connected"] == ("no" if apart else "yes")
        trail = [nodes[i] for i in view["trail"]]
        if not trail:
            assert apart and not nx.has_path(dag.to_undirected(), source, node)
            continue
        assert (trail[0], trail[-1]) == (source, node) and len(set(trail)) == len(trail)
        assert all(dag.to_undirected().has_edge(*step) for step in pairwise(trail))
        assert active(dag, trail, seen) != apart
        paths = nx.all_simple_paths(dag.to_undirected(), source, node)
        assert len(trail) == min(len(p) for p in paths if active(dag, p, seen) != apart)
        assert ("is blocked" in view["text"]) == apart == (view["blocker"] is not None)
        if apart:
            first = next(k for k in range(1, len(trail)) if not passes(dag, trail, k, seen))
            assert nodes[view["blocker"]] == trail[first]


@pytest.mark.browser
@pytest.mark.parametrize("dag", [DIAMOND, GRASS], ids=["diamond", "grass"])
def test_every_state_of_a_small_graph_is_d_separation(shown: Any, dag: nx.DiGraph) -> None:
    built = explorable(dag)
    shown.set_content(built.html)
    for source in dag:
        others = [node for node in dag if node != source]
        for size in range(len(dag)):
            for seen in combinations(others, size):
                agree(shown, built, source, set(seen))


@pytest.mark.browser
def test_rules_of_the_script_are_those_of_the_package_on_all_graphs_of_four_nodes(
    shown: Any,
) -> None:
    ways = [[(), ((a, b),), ((b, a),)] for a, b in combinations(range(4), 2)]
    graphs = [[edge for way in chosen for edge in way] for chosen in product(*ways)]
    dags = [dag for dag in map(on_four_nodes, graphs) if nx.is_directed_acyclic_graph(dag)]
    assert len(dags) == 543  # Robinson 1973
    script = f"{read('d_separation.js')}\nreturn ({ASK})(graphs);"
    run = "([script, graphs]) => new Function('graphs', script)(graphs)"
    told = shown.evaluate(run, [script, [list(dag.edges) for dag in dags]])
    for dag, of_dag in zip(dags, told, strict=True):
        for source, bits in product(range(4), range(16)):
            seen = [node for node in range(4) if bits >> node & 1]
            for node in set(range(4)).difference([source], seen) if source not in seen else ():
                reached = bool(of_dag[source][bits] >> node & 1)
                assert reached != d_separated(dag, source, node, seen), (dag.edges, source, seen)


@pytest.mark.browser
@pytest.mark.parametrize("seed", range(12))
def test_random_graphs_agree_with_an_independent_library(shown: Any, seed: int) -> None:
    dag, chance = random_dag(seed), Random(100 + seed)
    built = explorable(dag)
    shown.set_content(built.html)
    for _ in range(12):
        source, *others = chance.sample(sorted(dag), len(dag))
        agree(shown, built, source, set(others[: chance.randint(0, len(dag) - 2)]))


@pytest.mark.browser
@pytest.mark.parametrize(
    "shown", [False, True], ids=["without script", "with script"], indirect=True
)
def test_first_state_is_there_without_a_script_and_the_script_keeps_it(shown: Any) -> None:
    for seed in range(6):
        dag = random_dag(seed)
        source, *seen = Random(seed).sample(sorted(dag), 3)
        shown.set_content(explorable(dag, source=source, observed=seen).html)
        drawing = shown.locator("svg:visible")
        states = [
            part.get_attribute("data-state") for part in drawing.locator("[data-node]").all()
        ]
        nodes = list(nx.topological_sort(dag))
        for node, state in zip(nodes, states, strict=True):
            if node == source or node in seen:
                assert state == ("start" if node == source else "observed")
            else:
                apart = nx.is_d_separator(dag, {source}, {node}, set(seen))
                assert state == ("separated" if apart else "connected")
        edges = list(dag.edges)
        lit = [int(e.get_attribute("data-edge")) for e in drawing.locator("[data-lit]").all()]
        assert {frozenset(edges[i]) for i in lit} == lit_edges(dag, source, set(seen))
        listed = shown.locator("li").all_text_contents()
        for kind, text in zip(
            ("start", "observed", "connected", "separated"), listed, strict=True
        ):
            named = [str(n) for n, state in zip(nodes, states, strict=True) if state == kind]
            assert text.partition(": ")[2] == (", ".join(named) or "none")


@pytest.mark.browser
def test_keyboard_observes_starts_and_explains(shown: Any) -> None:
    shown.set_content(explorable(GRASS).html)
    node = {name: shown.locator(f"[data-node]:visible[aria-label^='{name}']") for name in GRASS}
    line = shown.locator("[aria-live] p")
    assert "Tab" in line.text_content()
    shown.locator("input[value=why]").focus()
    shown.keyboard.press("ArrowLeft")
    shown.keyboard.press("ArrowLeft")
    assert shown.locator("input[value=observe]").is_checked()
    node["sprinkler"].focus()
    assert (
        "is blocked: wet grass is a collider and neither it nor a descendant" in line.inner_text()
    )
    shown.keyboard.press("Shift+Tab")
    shown.keyboard.press("Tab")
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.getAttribute('aria-label')")[:9] == "wet grass"
    shown.keyboard.press("Enter")
    assert node["wet grass"].get_attribute("aria-pressed") == "true"
    assert node["sprinkler"].get_attribute("aria-label") == "sprinkler, connected"
    node["sprinkler"].focus()
    told = "rain → wet grass ← sprinkler is active: wet grass is a collider and is observed."
    assert line.inner_text() == told
    node["wet grass"].focus()
    shown.keyboard.press("Space")
    assert node["wet grass"].get_attribute("aria-pressed") == "false"
    node["slippery road"].focus()
    shown.keyboard.press("s")
    assert node["slippery road"].get_attribute("data-state") == "start"
    assert node["rain"].get_attribute("data-state") == "connected"
    shown.locator("button").press("Enter")
    assert node["rain"].get_attribute("data-state") == "start"


@pytest.mark.browser
def test_a_tap_does_what_is_chosen_and_one_copy_leaves_the_other_alone(shown: Any) -> None:
    html = explorable(GRASS).html
    shown.set_content(html + html + explorable(DIAMOND).html)
    one, other, third = shown.locator("[data-live]").all()
    before = [other.inner_html(), third.inner_html()]
    tapped = one.locator("[data-node]:visible", has_text="wet")
    tapped.click()
    assert tapped.get_attribute("data-state") == "observed"
    one.locator("input[value=why]").check()
    tapped.click()
    assert tapped.get_attribute("data-state") == "observed"
    one.locator("input[value=start]").check()
    tapped.click()
    assert tapped.get_attribute("data-state") == "start"
    assert tapped.get_attribute("aria-pressed") == "false"
    assert [other.inner_html(), third.inner_html()] == before
    assert other.locator("input[value=observe]").is_checked()


@pytest.mark.browser
def test_a_phone_has_room_for_it_and_fingers_too(shown: Any) -> None:
    wide = nx.DiGraph([(f"cause {i}", f"effect number {j}") for i in range(4) for j in (i, i + 1)])
    shown.set_content("<meta name=viewport content='width=device-width'>" + explorable(wide).html)
    assert shown.evaluate("document.documentElement.scrollWidth") <= 390
    targets = [part.bounding_box() for part in shown.locator("rect:visible, label, button").all()]
    assert min(min(box["height"], box["width"]) for box in targets) >= 40
    nodes = [part.bounding_box() for part in shown.locator("rect:visible").all()]
    assert len(nodes) == len(wide)
    for a, b in combinations(nodes, 2):
        across, down = abs(a["x"] - b["x"]), abs(a["y"] - b["y"])
        assert across >= min(a["width"], b["width"]) or down >= min(a["height"], b["height"])
