#!/usr/bin/env bash
# title: Distances of POT are squared or not, by the function
# chapter: adversarial/wgan
# package: numpy==2.4.6, scipy==1.17.1, POT==0.9.7.post1
# guess: `wasserstein_1d`, `emd2` with the default cost, `sliced_wasserstein_distance` and `bures_wasserstein_distance` give one number for points that are moved by 3.
# behaviour: The first two give 9, the square of the distance; the other two give 3.
#   The names do not tell which is which.
# hurts: Whoever puts two of them into one table, or compares a one-dimensional check with the sliced distance.
# safe: Test on points moved by 3: a distance of order 2 is 3, its power is 9; take the root where needed.
# seen: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset PYTHONPATH
"${PYTHON:-python3}" -m venv "$folder" || exit 3
"$folder/bin/pip" install -q numpy==2.4.6 scipy==1.17.1 POT==0.9.7.post1 || exit 3
cd "$folder"
bin/python - <<'END'
import numpy as np
import ot

x = np.random.default_rng(0).normal(size=(300, 1))
y = x + 3
one, zero, three = np.eye(1), np.zeros(1), np.full(1, 3.0)
seen = {
    "wasserstein_1d, p=2": ot.wasserstein_1d(x, y, p=2).item(),
    "emd2 with dist": float(ot.emd2([], [], ot.dist(x, y))),
    "sliced": float(ot.sliced_wasserstein_distance(x, y, seed=0)),
    "bures": float(ot.gaussian.bures_wasserstein_distance(zero, three, one, one)),
}
for name, value in seen.items():
    print(f"{name}: {value:.4f}")
raise SystemExit(not np.allclose(list(seen.values()), [9, 9, 3, 3], atol=1e-6))
END
