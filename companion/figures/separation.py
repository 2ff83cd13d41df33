"""D-separation to play with: observe nodes of a graph and see where information flows."""

from collections import deque
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import Any

import networkx as nx

from companion.figures.layouts import layered
from companion.figures.separation_page import NARROW, WIDE, drawing, page
from companion.figures.shapes import Positions, extents, fitted, frame, routes, wrapped
from companion.graphs.independence import Reachability, d_separated, topological
from companion.graphs.rows import graph_of
from companion.words import nearest

TOUCH = 44.0  # CSS pixels: the least height and width of a node
HEAD = 9.5
MOST = 20  # nodes: more have no room on a phone
MANY = 5000  # trails from one node: the page's script lists them all


class SeparationExplorable:
    """A DAG whose nodes are observed by click, touch or keyboard; active trails light up.

    The script lists the trails from the node `source` and follows the rules of d-separation
    (Pearl 1988): it marks the nodes that an active trail joins to `source` given the observed
    ones, and says for each node which trail is active, or where all are blocked. It shows itself
    as HTML that needs no kernel and no network; without scripts, in its first state, in words too.

    `observed`: observed at first. `source`: where to start, by default the first other node.
    `positions`: node -> (x, y), y upwards; without them the graph is layered. `names`: node ->
    plain text, else the node as text. `caption` says what to see and may hold simple HTML,
    `alt` what the picture shows, `label` is an anchor, "fig-...". Raises ValueError for a
    cycle, a node that is not there, a source that is observed, and missing texts.
    """

    def __init__(
        self,
        dag: nx.DiGraph,
        positions: Positions | None = None,
        *,
        source: Hashable = None,
        observed: Collection[Hashable] = (),
        names: Mapping[Hashable, str] | None = None,
        caption: str,
        alt: str,
        label: str = "",
    ) -> None:
        dag = graph_of(dag)
        self.nodes = topological(dag)
        if not 2 <= len(self.nodes) <= MOST:
            raise ValueError(f"needs a graph of 2 to {MOST} nodes, got {len(self.nodes)}")
        self.dag = dag
        free = (node for node in self.nodes if node not in observed)
        self.source = next(free, self.nodes[0]) if source is None else source
        self.observed = [node for node in self.nodes if node in observed]
        places = layered(dag) if positions is None else positions
        self.check([*observed, *(names or {})], places)
        check_texts(caption, alt, label)
        self.names = {node: (names or {}).get(node, str(node)) for node in self.nodes}
        self.alt = alt
        self.connected = connected(dag, self.source, self.observed)
        self.html = page(self.drawings(places), self.facts(), caption, label)

    def check(self, members: Iterable[Hashable], positions: Positions) -> None:
        """Raise ValueError for a node that is not there or has no position."""
        for node in [self.source, *members]:
            if node not in self.dag:
                raise ValueError(f"the graph has no node {node!r} {nearest(node, self.nodes)}")
        for node in self.nodes:
            if node not in positions:
                raise ValueError(f"node {node!r} has no position {nearest(node, positions)}")
        for node in self.nodes:
            if next(islice(trails(self.dag, node), MANY, None), None):
                raise ValueError(f"more than {MANY:,} trails begin at {node!r}: too many to show")
        if self.source in self.observed:
            raise ValueError(f"the source must not be observed, got {self.source!r} as both")

    def facts(self) -> dict[str, Any]:
        """Tell the page's script the graph and its first state; nodes are numbers there."""
        place = {node: i for i, node in enumerate(self.nodes)}
        return {
            "names": list(self.names.values()),
            "edges": [[place[a], place[b]] for a, b in self.dag.edges],
            "source": place[self.source],
            "observed": [place[node] for node in self.observed],
            "connected": [place[node] for node in self.nodes if node in self.connected],
        }

    def drawings(self, positions: Positions) -> list[str]:
        """Draw the first state for a page and for a phone; once, if a phone has room for it."""
        lit = active_edges(self.dag, self.source, self.observed)
        drawn = []
        for look in (WIDE, NARROW):
            labels = {node: wrapped(name, look.letters) for node, name in self.names.items()}
            shapes = fitted(positions, extents(labels, look.points, TOUCH, look.pad), look.width)
            led = routes(self.dag, shapes, HEAD)
            boxes = [(shapes[node], labels[node], self.state(node)) for node in self.nodes]
            ways = [(led[link][0], link in lit) for link in self.dag.edges]
            drawn.append(drawing(boxes, ways, self.alt, look))
            left, _, right, _ = frame(shapes.values(), [way for way, _ in ways])
            if right - left < NARROW.width:
                break
        return drawn[::-1]

    def state(self, node: Hashable) -> str:
        """Name the state of a node, as the page does."""
        if node == self.source:
            return "start"
        if node in self.observed:
            return "observed"
        return "connected" if node in self.connected else "separated"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"Explorable of d-separation on {len(self.nodes)} nodes: {self.alt}"


def check_texts(caption: str, alt: str, label: str) -> None:
    """Raise ValueError where a text is missing or the label is no anchor of a figure."""
    if not caption.strip() or not alt.strip():
        raise ValueError(f"a figure needs a caption and alt text, got {caption!r} and {alt!r}")
    if label and not label.startswith("fig-"):
        raise ValueError(f"the label of a figure starts with 'fig-', got {label!r}")


def connected(dag: nx.DiGraph, source: Hashable, observed: Collection[Hashable]) -> set[Hashable]:
    """Return the nodes, not observed, that an active trail joins to `source`."""
    ball, others = Reachability(dag), set(dag) - {source, *observed}
    return {node for node in others if not ball.separated([source], [node], observed)}


def active_edges(
    dag: nx.DiGraph, source: Hashable, observed: Collection[Hashable]
) -> set[tuple[Hashable, Hashable]]:
    """Return the edges on the active trails from `source` to nodes that are not observed."""
    opening = set().union(*(nx.ancestors(dag, node) for node in observed))
    lit: set[tuple[Hashable, Hashable]] = set()
    for trail in trails(dag, source):
        edges = [(a, b) if dag.has_edge(a, b) else (b, a) for a, b in pairwise(trail)]
        if trail[-1] not in observed and is_active(trail, edges, observed, opening):
            lit.update(edges)
    return lit


def is_active(
    trail: Sequence[Hashable],
    edges: Collection[tuple[Hashable, Hashable]],
    observed: Collection[Hashable],
    opening: Collection[Hashable],
) -> bool:
    """Ask for d-separation on a trail alone, where no other trail can join its ends.

    `opening` have an observed descendant: each has an observed child of its own here.
    """
    below = [(node, (node, "below")) for node in trail if node in opening]
    seen = [node for node in trail if node in observed] + [child for _, child in below]
    return not d_separated(nx.DiGraph([*edges, *below]), trail[0], trail[-1], seen)


def trails(dag: nx.DiGraph, source: Hashable) -> Iterator[list[Hashable]]:
    """Yield every trail from `source` that meets no node twice, the shortest first."""
    todo = deque([[source]])
    while todo:
        trail = todo.popleft()
        for node in [*dag.succ[trail[-1]], *dag.pred[trail[-1]]]:
            if node not in trail:
                yield [*trail, node]
                todo.append([*trail, node])
