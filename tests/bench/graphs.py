"""Measure exact inference and d-separation beside other libraries, in this one process.

`make bench` runs it after `run.py`. It writes `companion/graphs/measured.json`, which a chapter
shows, and the section "Graphs" of `book/benchmarks.md`. Every rival answers the same questions,
and the answers are compared.
"""

import json
import logging
import platform
import random
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import networkx as nx
import numpy as np
import pgmpy
import pyagrum
import torch
from networkx.algorithms.d_separation import is_d_separator
from page import put
from pgmpy.base import DAG
from pgmpy.inference import VariableElimination
from pgmpy.readwrite import BIFReader
from turns import Row, duel, seconds

from companion.graphs import BayesNet, Evidence, Reachability, read_bif, write_bif

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "companion" / "graphs" / "measured.json"
TITLE = "## Graphs"
ALARM = Path(pgmpy.__file__).parent / "utils" / "example_models" / "alarm.bif.gz"
TURNS = 25
LEAST = 0.05  # seconds of a turn


def twelve() -> BayesNet:
    """Twelve binary nodes with two parents each, drawn once."""
    rng = random.Random(0)
    names = [f"v{i}" for i in range(12)]
    dag = nx.DiGraph()
    dag.add_nodes_from(names)
    for j in range(1, 12):
        dag.add_edges_from((names[i], names[j]) for i in rng.sample(range(j), min(j, 2)))
    return BayesNet.random(dag, 2, torch.Generator().manual_seed(0))


def observed(net: BayesNet, nodes: int, cases: int) -> list[Evidence]:
    """Draw cases from the network and keep some nodes of each as evidence."""
    rng = random.Random(1)
    drawn = net.labels(net.sample(cases, torch.Generator().manual_seed(1)))
    return [{n: labels[n] for n in rng.sample(net.nodes, nodes)} for labels in drawn]


def posteriors(case: str, net: BayesNet, cases: Sequence[Evidence]) -> list[Row]:
    """Ask for the posterior of every node that is not observed, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/net.bif"
        write_bif(net, path)
        their_net, their_model = pyagrum.loadBN(path), BIFReader(path).get_model()
    elimination = VariableElimination(their_model)
    queries = [(node, e) for e in cases for node in net.nodes if node not in e]

    def ours() -> list[Any]:
        return [net.posterior(node, e).values for node, e in queries]

    def fresh() -> list[Any]:
        new = BayesNet(net.tables)
        return [new.posterior(node, e).values for node, e in queries]

    def by_pgmpy() -> list[Any]:
        ask = elimination.query
        return [ask([n], evidence=dict(e), show_progress=False).values for n, e in queries]

    def by_lazy() -> list[Any]:
        engine, found = pyagrum.LazyPropagation(their_net), []
        for evidence in cases:
            engine.setEvidence(dict(evidence))
            engine.makeInference()
            unseen = [node for node in net.nodes if node not in evidence]
            found += [engine.posterior(node).toarray() for node in unseen]
        return found

    def by_one() -> list[Any]:
        ask = pyagrum.getPosterior
        return [ask(their_net, target=n, evs=dict(e)).toarray() for n, e in queries]

    rows = []
    for name, side, rival, target in (
        ("pgmpy, VariableElimination", ours, by_pgmpy, "≥ 4"),
        ("pgmpy; ours without kept plans", fresh, by_pgmpy, ""),
        ("pyAgrum (C++), all at once", ours, by_lazy, "≥ 0.67"),
        ("pyAgrum (C++), one by one", ours, by_one, "≥ 0.67"),
    ):
        apart = max(np.abs(np.subtract(a, b)).max() for a, b in zip(side(), rival(), strict=True))
        a, b, ratio = duel(side, rival, TURNS, LEAST)
        size = len(queries)
        row = {"case": case, "rival": name, "ours": a / size, "theirs": b / size}
        rows.append({**row, "ratio": ratio, "target": target, "apart": float(apart)})
    return rows


def random_dag(nodes: int, share: float, rng: random.Random) -> nx.DiGraph:
    """Draw each forward edge with probability `share`."""
    dag = nx.DiGraph()
    dag.add_nodes_from(f"v{i}" for i in range(nodes))
    for i in range(nodes):
        later = [j for j in range(i + 1, nodes) if rng.random() < share]
        dag.add_edges_from((f"v{i}", f"v{j}") for j in later)
    return dag


def separations() -> list[Row]:
    """Ask 400 random questions of d-separation on one graph of 15 nodes."""
    rng, rows = random.Random(0), []
    for share in (0.2, 0.3):
        dag = random_dag(15, share, rng)
        nodes, questions = list(dag), []
        for _ in range(400):
            x, y, *given = rng.sample(nodes, 2 + rng.randint(0, 4))
            questions.append((x, y, given))
        ball, theirs, net = Reachability(dag), DAG(), pyagrum.BayesNet()
        theirs.add_nodes_from(nodes)
        theirs.add_edges_from(dag.edges)
        for node in nodes:
            net.add(pyagrum.LabelizedVariable(node, "", 2))
        for a, b in dag.edges:
            net.addArc(a, b)

        def ask(
            one: Callable[..., bool], questions: list[Any] = questions
        ) -> Callable[[], list[bool]]:
            return lambda: [one(x, y, z) for x, y, z in questions]

        ours = ask(ball.separated)
        for name, rival, target in (
            ("pgmpy", ask(lambda x, y, z, t=theirs: not t.is_dconnected(x, y, z)), "≥ 4"),
            ("networkx", ask(lambda x, y, z, g=dag: is_d_separator(g, {x}, {y}, set(z))), "≥ 4"),
            ("pyAgrum (C++)", ask(net.isIndependent), ""),
        ):
            apart = sum(a != b for a, b in zip(ours(), rival(), strict=True))
            a, b, ratio = duel(ours, rival, TURNS, LEAST)
            case = f"d-separation, 15 nodes, {dag.number_of_edges()} edges"
            row = {"case": case, "rival": name, "ours": a / 400, "theirs": b / 400}
            rows.append({**row, "ratio": ratio, "target": target, "apart": float(apart)})
    return rows


def scaling() -> list[Row]:
    """Time one question that visits every node, on graphs with two edges for each node."""
    rng, points = random.Random(0), []
    for nodes in (100, 200, 500, 1000, 2000, 5000, 10_000):
        dag = nx.DiGraph()
        dag.add_nodes_from(range(nodes + 1))  # the last one has no edge: it is never reached
        dag.add_edges_from((i, i + 1) for i in range(nodes - 1))
        while dag.number_of_edges() < 2 * nodes:
            dag.add_edge(*sorted(rng.sample(range(nodes), 2)))
        ball = Reachability(dag)
        assert ball.separated(nodes // 2, nodes)
        times = [seconds(partial(ball.separated, nodes // 2, nodes)) for _ in range(TURNS)]
        points.append({"nodes": nodes, "edges": dag.number_of_edges(), "seconds": median(times)})
    return points


def section(record: Row) -> str:
    """Write the part of the page."""
    lines = [
        TITLE,
        "",
        "Exact posteriors of every node that is not observed, and questions of d-separation.",
        f"Measured on: {record['machine']}, one thread, one process.",
        f"Both sides took turns; the ratio is the median over {TURNS} pairs of turns.",
        "Apart: the largest difference of two probabilities, or how many answers differ.",
        "",
        "| case | rival | ours, µs | rival, µs | ratio | target | apart |",
        "| :-- | :-- | --: | --: | --: | --: | --: |",
    ]
    for r in record["rows"]:
        times = f"{1e6 * r['ours']:.1f} | {1e6 * r['theirs']:.1f} | {r['ratio']:.2f}"
        target, apart = r["target"] or "none", f"{r['apart']:.1g}"
        lines.append(f"| {r['case']} | {r['rival']} | {times} | {target} | {apart} |")
    lines += ["", "| one question that visits all of | edges | ms | ns per edge |"]
    lines += ["| --: | --: | --: | --: |"]
    for p in record["scaling"]:
        each = f"{1e3 * p['seconds']:.3f} | {1e9 * p['seconds'] / p['edges']:.0f}"
        lines.append(f"| {p['nodes']:,} nodes | {p['edges']:,} | {each} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, record, and put the section in its place on the page."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    small, alarm = twelve(), read_bif(ALARM)
    rows = posteriors("12 binary nodes, 1 observed", small, [{"v11": "1"}])
    rows += posteriors("ALARM, 37 nodes, 4 observed", alarm, observed(alarm, 4, 5))
    rows += separations()
    libraries = ", ".join(f"{m.__name__} {m.__version__}" for m in (pgmpy, pyagrum, nx, np))
    machine = f"{platform.machine()} CPU, Python {platform.python_version()}, {libraries}"
    record = {"machine": machine, "rows": rows, "scaling": scaling()}
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")
    put(section(record), TITLE)
    print(section(record))


if __name__ == "__main__":
    main()
