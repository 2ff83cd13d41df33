#!/usr/bin/env bash
# title: The entropy of SciPy's Zipf law is far too small
# chapter: graphs/probability
# package: numpy==2.4.6, scipy==1.17.1
# guess: `scipy.stats.zipf.entropy(1.5)` is right to six digits, like its mean and its distribution function.
# behaviour: It is 2.507 nats; the truth is 3.218 nats.
#   Python warns that a sum did not converge, and the number is returned all the same; for exponent 2 it is 1.628 in place of 1.638, with the same warning.
# hurts: Whoever takes the library's number as the solution of an exercise, or switches warnings off in a notebook.
# safe: Use the formula $\log\zeta(s) - s\,\zeta'(s)/\zeta(s)$.
# seen: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset PYTHONPATH
"${PYTHON:-python3}" -m venv "$folder" || exit 3
"$folder/bin/pip" install -q numpy==2.4.6 scipy==1.17.1 || exit 3
cd "$folder"
bin/python - <<'END'
import numpy as np
from scipy.special import zeta
from scipy.stats import zipf


def by_sum(s, n=2_000_000):
    """Sum n terms; the rest of the sum is its integral from n + 1/2 on."""
    k, end = np.arange(1.0, n + 1), n + 0.5
    rest = end ** (1 - s) * (np.log(end) / (s - 1) + 1 / (s - 1) ** 2)
    return s * ((np.log(k) * k**-s).sum() + rest) / zeta(s) + np.log(zeta(s))


def by_formula(s, h=1e-5):
    slope = (np.log(zeta(s + h)) - np.log(zeta(s - h))) / (2 * h)
    return np.log(zeta(s)) - s * slope


for s in (1.5, 2.0, 3.5):
    print(s, f"scipy {zipf.entropy(s):.6f}, sum {by_sum(s):.6f}, formula {by_formula(s):.6f}")
sure = all(abs(by_sum(s) - by_formula(s)) < 1e-5 for s in (1.5, 2.0, 3.5))
stated = [round(float(zipf.entropy(s)), 3) for s in (1.5, 2.0)] == [2.507, 1.628]
raise SystemExit(not (sure and stated and round(by_sum(1.5), 3) == 3.218))
END
