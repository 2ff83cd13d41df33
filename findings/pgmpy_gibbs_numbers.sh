#!/usr/bin/env bash
# title: One sampler of pgmpy returns states, the other their positions
# chapter: graphs/markov_nets, graphs/bayes_nets
# package: pgmpy==1.1.2, numpy==2.4.6, pandas==3.1.1
# guess: Gibbs sampling and forward sampling of one network return the same labels.
# behaviour: Forward sampling returns the names of the states, Gibbs sampling the positions in the list of names.
#   Where the table lists state 1 before state 0, every bit is turned over: P(A = 1) = 0.1 is 0.10 by forward sampling and 0.92 by Gibbs sampling.
# hurts: Whoever writes the true state first, as many textbooks and homework sheets do, and whoever compares the two samplers.
# safe: Translate: `model.get_cpds(name).state_names[name][number]`.
# seen: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset PYTHONPATH
"${PYTHON:-python3}" -m venv "$folder" || exit 3
"$folder/bin/pip" install -q pgmpy==1.1.2 numpy==2.4.6 pandas==3.1.1 || exit 3
cd "$folder"
bin/python - <<'END'
from pgmpy.factors.discrete import TabularCPD
from pgmpy.models import DiscreteBayesianNetwork
from pgmpy.sampling import BayesianModelSampling, GibbsSampling

names = {"A": [1, 0], "B": [1, 0]}
model = DiscreteBayesianNetwork([("A", "B")])
model.add_cpds(
    TabularCPD("A", 2, [[0.1], [0.9]], state_names={"A": [1, 0]}),
    TabularCPD("B", 2, [[0.8, 0.3], [0.2, 0.7]], ["A"], [2], state_names=names),
)
forward = BayesianModelSampling(model).forward_sample(8000, seed=0, show_progress=False)["A"]
gibbs = GibbsSampling(model).sample(size=8000, seed=0)["A"]
states = model.get_cpds("A").state_names["A"]
translated = gibbs.map(lambda number: states[number])
shares = [float((sample.astype(int) == 1).mean()) for sample in (forward, gibbs, translated)]
print("share of A = 1, which has probability 0.1:")
print("forward %.2f, Gibbs %.2f, Gibbs translated %.2f" % tuple(shares))
raise SystemExit(not (shares[0] < 0.15 and shares[1] > 0.85 and shares[2] < 0.15))
END
