#!/usr/bin/env bash
# title: A Bayesian network in the UAI format gives another number by the library and by the run
# chapter: graphs/bayes_nets
# package: pgmpy==1.1.2, pyagrum==3.3.1, numpy==2.4.6
# guess: pgmpy and pyAgrum read the format as it is published (parents first, the last variable runs fastest), so both equal the sum over all states, in every run.
# behaviour: P(C = 0) of a network with two parents is 0.576 by hand and 0.276 by pyAgrum, which swaps the parents.
#   pgmpy takes the child as the slowest variable, and the parents in the order of a Python set of strings, which changes from run to run: the same file is 0.276 in some runs and 0.576 in others.
#   With most other tables pgmpy refuses the file, because its columns do not sum to one.
# hurts: Whoever compares solvers on UAI files, or trusts an answer because two libraries agree on it: in about half of the runs they agree on the wrong number.
# safe: Check one marginal by a sum over all states, or exchange networks as BIF.
# seen: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset PYTHONPATH
"${PYTHON:-python3}" -m venv "$folder" || exit 3
"$folder/bin/pip" install -q pgmpy==1.1.2 pyagrum==3.3.1 numpy==2.4.6 || exit 3
cd "$folder"
cat >net.uai <<'END'
BAYES
3
2 2 2
3
1 0
1 1
3 0 1 2

2
 0.4 0.6

2
 0.9 0.1

8
 0.1 0.9
 0.3 0.7
 0.9 0.1
 0.7 0.3
END
cat >by_pgmpy.py <<'END'
from pgmpy.inference import VariableElimination
from pgmpy.readwrite import UAIReader

model = UAIReader("net.uai").get_model()
print(VariableElimination(model).query(["var_2"], show_progress=False).values[0])
END
bin/python - <<'END'
import os
import subprocess
import sys

import numpy as np
import pyagrum

a, b = np.array([0.4, 0.6]), np.array([0.9, 0.1])
c = np.array([[0.1, 0.3], [0.9, 0.7]])  # P(C = 0) by a, then b: every second number of the file
by_hand, swapped = a @ c @ b, a @ c.T @ b
by_pyagrum = pyagrum.LazyPropagation(pyagrum.loadBN("net.uai"))
by_pyagrum.makeInference()
first = by_pyagrum.posterior("2")[0]
runs = []
for seed in range(8):
    environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "by_pgmpy.py"]
    runs.append(float(subprocess.check_output(command, env=environment, text=True)))
    if len({round(run, 6) for run in runs}) == 2:
        break
print(f"by hand {by_hand:.3f}, pyAgrum {first:.3f}, pgmpy", [f"{run:.3f}" for run in runs])
stated = np.isclose(first, swapped, atol=1e-6) and not np.isclose(swapped, by_hand)
both = {round(run, 6) for run in runs} == {0.276, 0.576}
raise SystemExit(not (stated and both))
END
