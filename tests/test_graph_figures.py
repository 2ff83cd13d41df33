"""A drawn graph: arrows end at their nodes, nothing lies on anything else, labels are legible."""

from itertools import combinations
from random import Random
from typing import Any

import networkx as nx
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Polygon

from companion.figures import blank, circle, draw_graph, graph_grid, layered, show
from companion.figures.graphs import ACCENT, SHADE
from companion.figures.pictures import render
from companion.figures.shapes import Shape, extents, fitted, route, routes, wrapped
from companion.figures.style import WIDTH

GRASS = nx.DiGraph([("rain", "wet grass"), ("sprinkler", "wet grass"), ("rain", "sprinkler")])
WORDS = ["flu", "season", "pneumonia", "a long name of a node", "network latency", "x", "x-ray"]


def random_dag(seed: int, n: int = 9) -> nx.DiGraph:
    chance = Random(seed)
    names = [f"{WORDS[i % len(WORDS)]} {i}" for i in range(n)]
    dag = nx.DiGraph(e for e in combinations(names, 2) if chance.random() < 0.25)
    dag.add_nodes_from(names)
    return dag


def patches(figure: Any, *kinds: type) -> list[Any]:
    return [patch for patch in figure.axes[0].patches if isinstance(patch, kinds)]


@pytest.mark.parametrize("seed", range(8))
def test_layers_put_every_child_below_its_parents_and_no_two_nodes_together(seed: int) -> None:
    dag = random_dag(seed)
    at = layered(dag)
    assert set(at) == set(dag) and all(at[a][1] - at[b][1] >= 1 for a, b in dag.edges)
    rows = [at[node][1] for node in dag]
    for a, b in combinations(dag, 2):
        assert at[a][1] != at[b][1] or abs(at[a][0] - at[b][0]) >= 1.499
    assert max(rows) - min(rows) == nx.dag_longest_path_length(dag)
    assert layered(dag) == at


def test_a_tree_has_no_crossings() -> None:
    for seed in range(10):
        tree = nx.bfs_tree(nx.random_labeled_tree(12, seed=seed), 0)
        at = {node: np.array(place) for node, place in layered(tree).items()}
        for (a, b), (c, d) in combinations(tree.edges, 2):
            if at[a][1] == at[c][1] and a != c:
                assert (at[a][0] - at[c][0]) * (at[b][0] - at[d][0]) >= 0


def test_a_circle_is_flat_at_its_foot() -> None:
    at = circle(nx.cycle_graph("ABCD"))
    assert at["A"][1] == at["B"][1] > at["C"][1] == at["D"][1] and at["A"][0] == at["D"][0]
    assert circle(nx.complete_graph(3))[0] == (0, 1)


@pytest.mark.parametrize("width", [330, 700])
@pytest.mark.parametrize("seed", range(8))
def test_nodes_stay_apart_and_inside_on_a_phone_and_on_a_page(seed: int, width: float) -> None:
    dag = random_dag(seed)
    halves = extents({node: wrapped(node, 9) for node in dag}, 9.4, 44, 6)
    shapes = fitted(layered(dag), halves, width)
    sides = [(s.x - s.half_width, s.x + s.half_width) for s in shapes.values()]
    assert max(right for _, right in sides) - min(left for left, _ in sides) <= width
    for a, b in combinations(shapes.values(), 2):
        across, down = abs(a.x - b.x), abs(a.y - b.y)
        beside = across >= a.half_width + b.half_width + 4
        assert beside or down >= a.half_height + b.half_height + 20
    for link, (edge, one_way) in routes(dag, shapes, 9).items():
        assert one_way and np.hypot(*(edge.tip - edge.curve[2])) == pytest.approx(9, abs=2)
        for node, shape in shapes.items():
            away = shape.distance(np.array([edge.curve[0], edge.tip]))
            assert away.min() >= 0 and (away[link.index(node)] <= 3 if node in link else True)


def test_an_edge_bends_around_a_node_in_its_way() -> None:
    ends = Shape(0, 0, 20, 20, 20), Shape(0, 300, 30, 20, 10)
    between = Shape(5, 150, 25, 20, 10)
    t = np.linspace(0, 1, 50)[:, None]
    for others, least, most in (([], -25, 0), ([between], 5, 60)):
        edge = route(*ends, others, 9)
        a, b, c = edge.curve
        points = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
        assert least <= between.distance(points).min() <= most
        assert 0 <= ends[1].distance(edge.tip) <= 1.5 and 0 <= ends[0].distance(a) <= 2.5


def test_distance_to_a_round_box_is_signed() -> None:
    box = Shape(10, 10, 30, 20, 5)
    points = np.array([[10, 10], [40, 10], [50, 10], [10, 35], [43, 34]])
    expected = [-20, 0, 10, 5, np.hypot(8, 9) - 5]
    np.testing.assert_allclose(box.distance(points), expected, atol=1e-12)


def test_arrows_observed_nodes_and_trails_are_drawn_as_such() -> None:
    figure = draw_graph(GRASS, observed=["wet grass"], trail=["rain", "wet grass", "sprinkler"])
    boxes = dict(zip(GRASS, patches(figure, FancyBboxPatch), strict=True))
    shades = {node: to_hex(box.get_facecolor()).upper() for node, box in boxes.items()}
    assert shades == {"rain": "#FFFFFF", "wet grass": SHADE, "sprinkler": "#FFFFFF"}
    lines = patches(figure, PathPatch)
    thick = [line.get_linewidth() > 2 for line in lines]
    accent = [to_hex(line.get_edgecolor()).upper() == ACCENT for line in lines]
    assert len(patches(figure, Polygon)) == 3 and thick == accent == [True, False, True]
    assert all(float(text.get_fontsize()) >= 10 for text in figure.axes[0].texts)
    drawn = render(figure)
    edges = drawn[:3], drawn[-3:], drawn[:, :3], drawn[:, -3:]
    assert min(edge.min() for edge in edges) == 255  # nothing is cut
    assert drawn.shape[1] <= 2 * 100 * WIDTH


def test_lines_have_no_heads_and_a_dash_where_asked() -> None:
    square = nx.cycle_graph("ABCD")
    figure = draw_graph(square, dashed=[("B", "A")], highlighted=["C", ("C", "D")])
    assert not patches(figure, Polygon) and len(patches(figure, Circle)) == 4
    lines = dict(zip(square.edges, patches(figure, PathPatch), strict=True))
    assert [edge for edge, line in lines.items() if line.get_linestyle() != "-"] == [("A", "B")]
    assert [edge for edge, line in lines.items() if line.get_linewidth() > 2] == [("C", "D")]
    thick = [box.get_linewidth() > 2 for box in patches(figure, Circle)]
    assert dict(zip(square, thick, strict=True)) == {"A": False, "B": False, "C": True, "D": False}


def test_an_arrow_both_ways_is_a_line() -> None:
    essential = nx.DiGraph([("A", "B"), ("B", "A"), ("C", "B")])
    figure = draw_graph(essential, circle(essential))
    assert len(patches(figure, PathPatch)) == 2 and len(patches(figure, Polygon)) == 1


def test_a_figure_says_which_graph_it_is() -> None:
    shown = show(draw_graph(GRASS, names={"rain": "$R_1$"}, observed=["rain"]), "See.").html()
    edges = "R1 → wet grass, R1 → sprinkler, sprinkler → wet grass"
    assert f'alt="Directed graph on 3 nodes: {edges}; observed: R1."' in shown


def test_a_graph_is_drawn_into_axes_beside_others() -> None:
    figure = blank(3)
    left, right = figure.subplots(1, 2)
    assert draw_graph(GRASS, axes=left) is figure
    assert [text.get_text() for text in left.texts] == list(GRASS) and not right.texts


def test_a_census_names_and_marks_every_graph() -> None:
    graphs = [nx.path_graph(n) for n in (2, 3, 4, 4, 3)]
    titles, marks = list("abcde"), [True, False, None, True, False]
    figure = graph_grid(graphs, titles, 3, marks=marks, names=dict.fromkeys(range(4), ""))
    assert len(figure.axes) == 5
    for axes, title, mark, graph in zip(figure.axes, titles, marks, graphs, strict=True):
        words = [text.get_text() for text in axes.texts if text.get_text()]
        sign = [] if mark is None else ["✓" if mark else "✗"]
        assert words == [title, *sign]
        assert sum(isinstance(patch, Circle) for patch in axes.patches) == len(graph)
    drawn = render(figure)
    assert drawn.shape[1] == 1400 and drawn[:, -2:].min() == 255 and drawn[:2].min() == 255


def test_names_break_between_words() -> None:
    assert wrapped("network latency") == "network\nlatency"
    assert wrapped("shortness of breath", 12) == "shortness\nof breath"
    assert (
        wrapped("bronchopneumonia") == "bronchopneumonia" and wrapped("$X_{1, 2}^{(3)}$")[0] == "$"
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: draw_graph(nx.Graph()), "at least one node"),
        (lambda: draw_graph(GRASS, {"rain": (0, 0)}), "'wet grass' has no position"),
        (lambda: draw_graph(GRASS, observed=["rian"]), "no node 'rian' .*did you mean 'rain'"),
        (lambda: draw_graph(GRASS, names={"rian": "R"}), "no node 'rian'"),
        (lambda: draw_graph(GRASS, dashed=[("rain", "x")]), r"no edge \('rain', 'x'\)"),
        (lambda: draw_graph(nx.path_graph(3), trail=[0, 2]), r"no edge \(0, 2\)"),
        (lambda: layered(nx.DiGraph([(0, 1), (1, 0)])), "cycle: 0 → 1 → 0"),
        (lambda: graph_grid([]), "a graph and a column at least, got 0 and 4"),
        (lambda: graph_grid([GRASS], ["a", "b"]), "one of titles for each of 1, got 2"),
        (lambda: graph_grid([GRASS], marks=[True] * 3), "one of marks for each of 1, got 3"),
    ],
)
def test_bad_input_gets_one_sentence(wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        wrong()
    assert "\n" not in str(raised.value)
