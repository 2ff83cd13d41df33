#!/usr/bin/env bash
# title: matplotlib smooths small pictures of noise, and not large ones
# chapter: diffusion/ddpm, diffusion/ddim
# package: numpy==2.4.6, matplotlib==3.11.2
# guess: `imshow` shows each pixel of a 28 × 28 image as a square of its grey, at any size of the panel.
# behaviour: At 84 screen pixels or less, unless the factor is exactly 1 or 2, it smooths; above three times the image's size it does not.
#   Noise with a standard deviation of 0.288 has 0.217 on a panel of 77 pixels and 0.289 on one of 90.
#   `vmin` and `vmax` were given; nothing is said.
# hurts: Whoever shows steps of diffusion in a row of small panels: the noise looks a quarter weaker than it is, and the same image differs between two figures.
# safe: Say `interpolation="nearest"` for images with few pixels.
# seen: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset PYTHONPATH
"${PYTHON:-python3}" -m venv "$folder" || exit 3
"$folder/bin/pip" install -q numpy==2.4.6 matplotlib==3.11.2 || exit 3
cd "$folder"
bin/python - <<'END'
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

noise = np.random.default_rng(0).random((28, 28))


def deviation(pixels, **options):
    """Return the standard deviation of the greys that are drawn."""
    figure = plt.figure(figsize=(pixels / 100, pixels / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(noise, cmap="gray", vmin=0, vmax=1, **options)
    axes.axis("off")
    figure.canvas.draw()
    return float((np.asarray(figure.canvas.buffer_rgba())[..., 0] / 255).std())


print(f"the noise itself: {noise.std():.3f}")
seen = {n: (deviation(n), deviation(n, interpolation="nearest")) for n in (56, 60, 77, 84, 90)}
for pixels, (default, nearest) in seen.items():
    print(f"panel of {pixels} pixels: default {default:.3f}, nearest {nearest:.3f}")
smoothed = all(seen[n][0] < 0.23 for n in (60, 77, 84))
kept = all(seen[n][0] > 0.28 for n in (56, 90)) and all(near > 0.28 for _, near in seen.values())
raise SystemExit(not (smoothed and kept))
END
