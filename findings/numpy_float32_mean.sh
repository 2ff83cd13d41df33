#!/usr/bin/env bash
# title: NumPy's mean of each colour is wrong for a data set in float32
# chapter: flows/realnvp, energy/energy, latent/faces
# package: numpy==2.4.6
# guess: The mean of 50,000 colour images of 32 × 32 pixels in float32 is right to six digits, because NumPy sums in pairs.
# behaviour: `images.mean(axis=(0, 1, 2))` of uniform pixels is 0.32768 for each colour; the truth is 0.5, and `images.mean()` says 0.5.
#   NumPy sums in pairs only along the last axis in memory; here it adds one pixel after the other, and the sum stops growing at 2^24.
# hurts: Whoever normalises images by the mean and the deviation of each channel: both are wrong, and the bits per dimension with them.
# safe: Say `dtype=np.float64` in `mean`, `std` and `sum`.
# seen: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset PYTHONPATH
"${PYTHON:-python3}" -m venv "$folder" || exit 3
"$folder/bin/pip" install -q numpy==2.4.6 || exit 3
cd "$folder"
bin/python - <<'END'
import numpy as np

images = np.random.default_rng(0).random((50_000, 32, 32, 3), dtype=np.float32)  # 614 MB
short = images.mean(axis=(0, 1, 2))
long = images.mean(axis=(0, 1, 2), dtype=np.float64)
print("mean of each colour, float32:", short)
print("mean of each colour, float64:", long)
print("mean of everything, float32: ", images.mean())
stated = np.allclose(short, 2**24 / 51_200_000) and abs(images.mean() - 0.5) < 1e-3
raise SystemExit(not (stated and np.allclose(long, 0.5, atol=1e-3)))
END
