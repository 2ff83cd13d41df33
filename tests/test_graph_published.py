"""Published networks: all that pgmpy packages load, and its and pyAgrum's answers are ours."""

import gzip
import random
from functools import cache
from importlib.util import find_spec
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from enumerated import random_graph, random_net

from companion.graphs import BayesNet, MarkovNet, Table, read_bif, write_bif

pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries' own, on their import
FOLDER = Path(find_spec("pgmpy").origin).parent / "utils" / "example_models"
PARAMETERS = {  # as the Bayesian Network Repository states them
    "alarm": 509, "andes": 1157, "asia": 18, "barley": 114005, "cancer": 10, "child": 230,
    "diabetes": 429409, "earthquake": 10, "hailfinder": 2656, "hepar2": 1453, "insurance": 1008,
    "link": 14211, "mildew": 540150, "munin": 80592, "munin1": 15622, "munin2": 69431,
    "munin3": 71059, "munin4": 80352, "pathfinder": 72079, "pigs": 5618, "sachs": 178,
    "survey": 21, "water": 10083, "win95pts": 574,
}  # fmt: skip


@cache
def alarm() -> BayesNet:
    """The ALARM network of 37 nodes (Beinlich et al. 1989)."""
    return read_bif(FOLDER / "alarm.bif.gz")


def model(net: BayesNet):
    """The same network in pgmpy."""
    from pgmpy.factors.discrete import TabularCPD
    from pgmpy.models import DiscreteBayesianNetwork

    theirs = DiscreteBayesianNetwork(net.dag.edges)
    theirs.add_nodes_from(net.nodes)
    for node, table in net.tables.items():
        sizes = [len(net.states[name]) for name in table.names]
        columns = table.values.reshape(-1, sizes[-1]).T.numpy()
        names = {name: list(labels) for name, labels in table.states.items()}
        parents = list(table.names[:-1])
        theirs.add_cpds(TabularCPD(node, sizes[-1], columns, parents, sizes[:-1], names))
    return theirs


def engine(net: BayesNet):
    """The same network in pyAgrum, whose own reader of BIF keeps single precision only."""
    import pyagrum

    theirs = pyagrum.BayesNet()
    for node, labels in net.states.items():
        theirs.add(pyagrum.LabelizedVariable(node, "", list(labels)))
    theirs.addArcs(list(net.dag.edges))
    for node, table in net.tables.items():
        values = table.marginal(*theirs.cpt(node).names[::-1]).values
        theirs.cpt(node)[:] = values.contiguous().numpy()
    return pyagrum.LazyPropagation(theirs)


def cases(net: BayesNet, count: int, most: int) -> list[dict[str, str]]:
    """Draw evidence that can be: some nodes of states drawn from the network."""
    rng = random.Random(0)
    drawn = net.labels(net.sample(count, torch.Generator().manual_seed(0)))
    return [{n: row[n] for n in rng.sample(net.nodes, rng.randint(0, most))} for row in drawn]


LARGE = [pytest.param(n, k, marks=pytest.mark.slow) for n, k in PARAMETERS.items() if k > 60_000]
SMALL = [(name, count) for name, count in PARAMETERS.items() if count <= 60_000]


@pytest.mark.parametrize(("name", "parameters"), SMALL + LARGE)
def test_published_networks_load_with_their_published_size(name, parameters):
    net = read_bif(FOLDER / f"{name}.bif.gz")
    assert net.parameters == parameters
    sums = torch.cat([table.values.sum(-1).flatten() for table in net.tables.values()])
    assert (sums - 1).abs().max() < 1e-12  # rounded rows were divided by their sums


def test_every_packaged_network_is_tried():
    assert {path.name.partition(".")[0] for path in FOLDER.glob("*.bif.gz")} == set(PARAMETERS)


def test_alarm_is_read_as_pgmpy_reads_it():
    from pgmpy.readwrite import BIFReader

    text = gzip.decompress((FOLDER / "alarm.bif.gz").read_bytes()).decode()
    theirs = BIFReader(string=text).get_model()
    assert set(theirs.edges) == set(alarm().dag.edges)
    for cpd in theirs.cpds:
        cpd.normalize()  # six rows of the file are 0.3333333 three times
        found = alarm().tables[cpd.variable].marginal(*cpd.variables)
        order = [found.states[v].index(s) for v in cpd.variables[:1] for s in cpd.state_names[v]]
        assert order == list(range(len(order)))
        np.testing.assert_allclose(found.values, cpd.values, rtol=0, atol=1e-15)


def test_posteriors_of_alarm_are_those_of_pgmpy():
    from pgmpy.inference import VariableElimination

    net, theirs, rng = alarm(), VariableElimination(model(alarm())), random.Random(1)
    for evidence in cases(net, 60, 8):
        query = rng.sample([node for node in net.nodes if node not in evidence], 2)
        found = net.posterior(query, evidence)
        expected = theirs.query(query, evidence, show_progress=False)
        values = np.moveaxis(expected.values, [expected.variables.index(v) for v in query], [0, 1])
        np.testing.assert_allclose(found.values, values, rtol=0, atol=1e-12)


def test_posteriors_of_alarm_and_the_probability_of_evidence_are_those_of_pyagrum():
    net, theirs = alarm(), engine(alarm())
    for evidence in cases(net, 60, 8):
        theirs.setEvidence(evidence)
        theirs.makeInference()
        expected = log(theirs.evidenceProbability()) if evidence else 0
        assert net.evidence_log_prob(evidence) == pytest.approx(expected, abs=1e-11)
        for node in net.nodes:
            if node not in evidence:
                found = net.posterior(node, evidence).values
                np.testing.assert_allclose(found, theirs.posterior(node)[:], rtol=0, atol=1e-12)


def test_posteriors_of_random_networks_are_those_of_both():
    from pgmpy.inference import VariableElimination

    rng = random.Random(4)
    for _ in range(15):
        net = random_net(rng.randint(2, 9), rng, least=2)
        one, other = VariableElimination(model(net)), engine(net)
        evidence = cases(net, 1, 1)[0]
        node = rng.choice([node for node in net.nodes if node not in evidence])
        found = net.posterior(node, evidence).values
        other.setEvidence(evidence)
        other.makeInference()
        theirs = one.query([node], evidence, show_progress=False).values
        np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found, other.posterior(node)[:], rtol=0, atol=1e-12)


def test_the_junction_tree_of_alarm_gives_the_posteriors_of_all_nodes_at_once():
    net = alarm()
    tree = MarkovNet.from_bayes(net).junction_tree()
    for evidence in cases(net, 20, 8):
        beliefs = tree.calibrate(evidence)
        assert beliefs.log_partition == pytest.approx(net.evidence_log_prob(evidence), abs=1e-11)
        for node in net.nodes:
            if node not in evidence:
                expected = net.posterior(node, evidence).values
                torch.testing.assert_close(beliefs.marginal(node).values, expected)


def test_the_most_probable_state_of_random_networks_is_pgmpys():
    from pgmpy.inference import VariableElimination

    rng = random.Random(2)
    for _ in range(12):
        net = random_net(6, rng, most=3)
        evidence = cases(net, 1, 3)[0]
        free = [node for node in net.nodes if node not in evidence]
        theirs = VariableElimination(model(net)).map_query(free, evidence, show_progress=False)
        assert net.most_probable(evidence)[0] == theirs


def test_the_partition_function_is_pgmpys():
    from pgmpy.factors.discrete import DiscreteFactor
    from pgmpy.models import DiscreteMarkovNetwork

    rng, draw = random.Random(3), torch.Generator().manual_seed(0)
    for _ in range(10):
        graph = random_graph(6, rng)
        graph.add_edges_from([(i, i + 1) for i in range(5)])
        factors = [Table(torch.rand(2, 2, generator=draw) * 5, edge) for edge in graph.edges]
        theirs = DiscreteMarkovNetwork(list(graph.edges))
        for f in factors:
            theirs.add_factors(DiscreteFactor(list(f.names), [2, 2], f.values.numpy()))
        expected = log(theirs.get_partition_function())
        assert MarkovNet(factors).log_partition() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["alarm", "child", "insurance", "water"])
def test_writing_and_reading_gives_the_same_network_to_the_last_bit(name, tmp_path):
    net = read_bif(FOLDER / f"{name}.bif.gz")
    write_bif(net, tmp_path / "net.bif")
    again = read_bif(tmp_path / "net.bif")
    assert again.states == net.states and set(again.dag.edges) == set(net.dag.edges)
    for node, table in net.tables.items():
        assert torch.equal(again.tables[node].marginal(*table.names).values, table.values)
