#!/usr/bin/env bash
# title: One pixel just below zero adds 6 dB to scikit-image's PSNR
# chapter: latent/faces
# package: numpy==2.4.6, scikit-image==0.26.0
# guess: Changing one pixel of the true image by a millionth leaves the PSNR as it is.
# behaviour: With all pixels of the true image in [0, 1] the PSNR is 26.04 dB; with one pixel at -0.000001 it is 32.06 dB.
#   Without `data_range` the function takes 1 as the range of a float image, and 2 if it sees a negative value.
# hurts: Whoever compares reconstructions after an interpolation or a normalisation that goes a little below zero: 6 dB is more than most papers gain.
# safe: Always say `data_range=1.0`.
# seen: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset PYTHONPATH
"${PYTHON:-python3}" -m venv "$folder" || exit 3
"$folder/bin/pip" install -q numpy==2.4.6 scikit-image==0.26.0 || exit 3
cd "$folder"
bin/python - <<'END'
import numpy as np
from skimage.metrics import peak_signal_noise_ratio as psnr

rng = np.random.default_rng(0)
true = rng.random((64, 64))
noisy = (true + 0.05 * rng.normal(size=true.shape)).clip(0, 1)
true[0, 0] = 0.0
below = true.copy()
below[0, 0] = -1e-6
values = psnr(true, noisy), psnr(below, noisy), psnr(below, noisy, data_range=1.0)
print("inside [0, 1] %.2f dB, one pixel below %.2f dB, range stated %.2f dB" % values)
stated = abs(values[1] - values[0] - 20 * np.log10(2)) < 1e-3
raise SystemExit(not (stated and abs(values[2] - values[0]) < 1e-3))
END
