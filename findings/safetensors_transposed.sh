#!/usr/bin/env bash
# title: safetensors scrambles a transposed NumPy array
# chapter: latent/vae, flows/glow
# package: numpy==2.4.6, safetensors==0.8.0
# guess: `safetensors.numpy.save` copies an array that is not contiguous, or refuses it as the torch side does.
# behaviour: The shape comes back, the values stand in other places.
#   `[[0, 3], [1, 4], [2, 5]]`, which is a transpose, comes back as `[[0, 1], [2, 3], [4, 5]]`.
#   No error and no warning.
# hurts: Whoever moves weights between libraries by `w.T` and saves them: the file loads, the shapes fit, the model draws noise.
# safe: Save `np.ascontiguousarray(w)`, and load the file once and compare.
# seen: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset PYTHONPATH
"${PYTHON:-python3}" -m venv "$folder" || exit 3
"$folder/bin/pip" install -q numpy==2.4.6 safetensors==0.8.0 || exit 3
cd "$folder"
bin/python - <<'END'
import numpy as np
from safetensors.numpy import load, save

weight = np.arange(6.0).reshape(2, 3).T
back = load(save({"w": weight}))["w"]
copied = load(save({"w": np.ascontiguousarray(weight)}))["w"]
print("saved ", weight.tolist())
print("loaded", back.tolist())
print("loaded, copied before", copied.tolist())
holds = back.shape == weight.shape and back.tolist() == [[0, 1], [2, 3], [4, 5]]
raise SystemExit(not (holds and np.array_equal(copied, weight)))
END
