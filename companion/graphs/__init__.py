"""Bayesian and Markov networks: independence, factors, exact inference."""

from companion.graphs.bayes_net import BayesNet
from companion.graphs.bif import read_bif, write_bif
from companion.graphs.independence import (
    Reachability,
    active_trail,
    d_separated,
    d_separations,
    markov_blanket,
    markov_equivalent,
    moral,
    skeleton,
    v_structures,
)
from companion.graphs.information import entropy, independencies, independent, mutual_information
from companion.graphs.junction_tree import JunctionTree
from companion.graphs.markov_net import (
    MarkovNet,
    canonical_potentials,
    clique_factors,
    maximal_cliques,
)
from companion.graphs.networks import medical_diagnosis, server_monitoring
from companion.graphs.statements import Statement, statements
from companion.graphs.table import Evidence, States, Table
from companion.graphs.undirected import (
    all_dags,
    all_graphs,
    is_i_map,
    is_perfect_map,
    local_statements,
    minimal_i_map,
    pairwise_statements,
    separated,
    separations,
    unsided,
)

__all__ = [
    "BayesNet",
    "Evidence",
    "JunctionTree",
    "MarkovNet",
    "Reachability",
    "Statement",
    "States",
    "Table",
    "active_trail",
    "all_dags",
    "all_graphs",
    "canonical_potentials",
    "clique_factors",
    "d_separated",
    "d_separations",
    "entropy",
    "independencies",
    "independent",
    "is_i_map",
    "is_perfect_map",
    "local_statements",
    "markov_blanket",
    "markov_equivalent",
    "maximal_cliques",
    "medical_diagnosis",
    "minimal_i_map",
    "moral",
    "mutual_information",
    "pairwise_statements",
    "read_bif",
    "separated",
    "separations",
    "server_monitoring",
    "skeleton",
    "statements",
    "unsided",
    "v_structures",
    "write_bif",
]
