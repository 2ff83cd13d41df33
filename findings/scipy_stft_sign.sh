#!/usr/bin/env bash
# title: The two short-time Fourier transforms of SciPy differ in sign
# chapter: media/audio
# package: numpy==2.4.6, scipy==1.17.1
# guess: `scipy.signal.stft` and `ShortTimeFFT`, with the same window and hop and scaled alike, return the same numbers.
# behaviour: The magnitudes are equal, and every odd frequency has the other sign: one counts the phase from the start of the window, the other from its middle.
#   Decaying noise, analysed by `stft` and put together by `ShortTimeFFT.istft`, comes back with an error of 102 % and a correlation of 0.01.
# hurts: Whoever moves old code to the new class in halves, or trains a model on phases of one and plays them by the other: plots of magnitudes look right, the sound is wrong.
# safe: Use one of them for both ways, or make the new one with `phase_shift=None`.
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
from scipy.signal import ShortTimeFFT, get_window, stft

rate, width, hop = 8000, 256, 64
time = np.arange(rate) / rate
sound = np.random.default_rng(0).normal(size=rate) * np.exp(-20 * (time % 0.25))
window = get_window("hann", width)
_, _, old = stft(sound, rate, window=window, nperseg=width, noverlap=width - hop)


def compare(**options):
    new = ShortTimeFFT(window, hop, rate, scale_to="magnitude", **options)
    spectrum, start, n = new.stft(sound), -new.p_min, old.shape[1]
    ours = spectrum[:, start : start + n]
    mixed = np.zeros_like(spectrum)
    mixed[:, start : start + n] = old
    inner = slice(width, -width)  # the borders are padded differently
    back, true = new.istft(mixed, k1=rate)[inner], sound[inner]
    error = np.linalg.norm(back - true) / np.linalg.norm(true)
    magnitudes = abs(abs(ours) - abs(old))[:, 4:-4].max()
    flipped = ours * (-1.0) ** np.arange(len(ours))[:, None]
    signs = abs(flipped - old)[:, 4:-4].max()
    print(options, f"error {error:.2%}, correlation {np.corrcoef(back, true)[0, 1]:.2f}")
    print(f"  magnitudes apart {magnitudes:.0e}; with odd rows turned, all apart {signs:.0e}")
    return error, magnitudes, signs


error, magnitudes, signs = compare()
safe = compare(phase_shift=None)[0]
raise SystemExit(not (error > 0.9 and magnitudes < 1e-9 and signs < 1e-9 and safe < 1e-9))
END
