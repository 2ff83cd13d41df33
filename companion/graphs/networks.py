"""The two networks that the book works with; their numbers are made up, to be plausible."""

from companion.graphs.bayes_net import BayesNet
from companion.graphs.table import Table

NO_YES = ("no", "yes")


def server_monitoring() -> BayesNet:
    """A web server and its alarm: 10 nodes, from release and traffic to the ringing alarm."""
    states = dict.fromkeys(("leak", "slow", "crash", "alarm"), NO_YES) | {
        "release": ("old", "new"),
        "traffic": ("low", "normal", "peak"),
        "cooling": ("works", "fails"),
        "load": ("normal", "high"),
        "heat": ("cool", "hot"),
        "memory": ("free", "full"),
    }
    rows = {
        ("release",): [0.9, 0.1],
        ("traffic",): [0.25, 0.6, 0.15],
        ("cooling",): [0.97, 0.03],
        ("release", "leak"): [[0.98, 0.02], [0.8, 0.2]],
        ("traffic", "load"): [[0.98, 0.02], [0.9, 0.1], [0.3, 0.7]],
        ("load", "cooling", "heat"): [[[0.99, 0.01], [0.4, 0.6]], [[0.9, 0.1], [0.05, 0.95]]],
        ("leak", "memory"): [[0.95, 0.05], [0.2, 0.8]],
        ("load", "memory", "slow"): [[[0.97, 0.03], [0.4, 0.6]], [[0.5, 0.5], [0.1, 0.9]]],
        ("heat", "memory", "crash"): [[[0.999, 0.001], [0.9, 0.1]], [[0.8, 0.2], [0.6, 0.4]]],
        ("slow", "crash", "alarm"): [[[0.98, 0.02], [0.05, 0.95]], [[0.3, 0.7], [0.01, 0.99]]],
    }
    return BayesNet({n[-1]: Table(p, {v: states[v] for v in n}) for n, p in rows.items()})


def medical_diagnosis() -> BayesNet:
    """A patient who coughs: 12 nodes, from the season to recovery."""
    states = {"season": ("summer", "winter"), "fever": ("none", "mild", "high")} | dict.fromkeys(
        ("smoker", "flu", "pneumonia", "bronchitis", "cough", "breathless", "shadow", "aches",
         "antibiotic", "recovered"), NO_YES,
    )  # fmt: skip
    rows = {
        ("season",): [0.6, 0.4],
        ("smoker",): [0.75, 0.25],
        ("season", "flu"): [[0.98, 0.02], [0.88, 0.12]],
        ("flu", "smoker", "pneumonia"): [
            [[0.995, 0.005], [0.985, 0.015]],
            [[0.92, 0.08], [0.85, 0.15]],
        ],
        ("smoker", "bronchitis"): [[0.95, 0.05], [0.75, 0.25]],
        ("flu", "pneumonia", "fever"): [
            [[0.96, 0.03, 0.01], [0.15, 0.35, 0.5]],
            [[0.15, 0.5, 0.35], [0.05, 0.25, 0.7]],
        ],
        ("flu", "pneumonia", "bronchitis", "cough"): [
            [[[0.93, 0.07], [0.25, 0.75]], [[0.2, 0.8], [0.08, 0.92]]],
            [[[0.4, 0.6], [0.12, 0.88]], [[0.1, 0.9], [0.04, 0.96]]],
        ],
        ("pneumonia", "bronchitis", "breathless"): [
            [[0.96, 0.04], [0.55, 0.45]],
            [[0.3, 0.7], [0.15, 0.85]],
        ],
        ("pneumonia", "shadow"): [[0.97, 0.03], [0.1, 0.9]],
        ("flu", "aches"): [[0.9, 0.1], [0.2, 0.8]],
        ("shadow", "antibiotic"): [[0.93, 0.07], [0.1, 0.9]],
        ("pneumonia", "antibiotic", "recovered"): [
            [[0.05, 0.95], [0.04, 0.96]],
            [[0.75, 0.25], [0.2, 0.8]],
        ],
    }
    return BayesNet({n[-1]: Table(p, {v: states[v] for v in n}) for n, p in rows.items()})
