#!/usr/bin/env bash
# title: A Gaussian mixture of scikit-learn draws the same points again, in order of their component
# chapter: diffusion/score_matching, graphs/variational_inference
# package: numpy==2.4.6, scipy==1.17.1, scikit-learn==1.9.1
# guess: After `GaussianMixture(2, random_state=0).fit(x)`, two calls of `sample(1000)` give two fresh samples in random order.
# behaviour: Both calls give the very same points, because the seed of the fit starts each call anew.
#   They are sorted: the first 502 come from one component and the last 498 from the other.
# hurts: Whoever averages over "repeated" samples (the spread is exactly zero), splits a sample in halves, or plots the first 500 points.
# safe: After the fit give it a generator, `mixture.random_state = np.random.RandomState(0)`, and shuffle each sample.
# seen: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset PYTHONPATH
"${PYTHON:-python3}" -m venv "$folder" || exit 3
"$folder/bin/pip" install -q numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 || exit 3
cd "$folder"
bin/python - <<'END'
import numpy as np
from sklearn.mixture import GaussianMixture

rng = np.random.default_rng(0)
x = np.concatenate([rng.normal(-5, 1, (500, 1)), rng.normal(5, 1, (500, 1))])
mixture = GaussianMixture(2, random_state=0).fit(x)
first, component = mixture.sample(1000)
second, _ = mixture.sample(1000)
same, changes = np.array_equal(first, second), int((np.diff(component) != 0).sum())
print("same points:", same, "; the component changes", changes, "times in 1000 points")
print("counts", np.bincount(component))
print(f"mean of the first half {first[:500].mean():.2f}, of the data {x.mean():.2f}")
mixture.random_state = np.random.RandomState(0)
third, fourth = mixture.sample(1000)[0], mixture.sample(1000)[0]
print("same points with a generator:", np.array_equal(third, fourth))
raise SystemExit(not (same and changes == 1 and not np.array_equal(third, fourth)))
END
