#!/usr/bin/env bash
# title: A row of attention with every key masked has three answers
# chapter: likelihood/image_gpt, diffusion/ddpm
# package: torch==2.15.0, numpy==2.4.6
# guess: A query that may look at nothing gives NaN, the softmax of minus infinities, whichever way attention is called.
# behaviour: `MultiheadAttention` gives NaN, and zeros if `need_weights=False`: asking for the weights changes the output.
#   `scaled_dot_product_attention` gives zeros for a mask of booleans or of minus infinities, and the mean of all values, masked ones too, if the mask holds the smallest finite number.
# hurts: Whoever has padding on the left under a causal mask: training runs, and the first plot of the attention weights is NaN; or what was masked leaks.
# safe: Let every query see at least itself, and drop its output where it is padding.
# seen: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset PYTHONPATH
"${PYTHON:-python3}" -m venv "$folder" || exit 3
"$folder/bin/pip" install -q torch==2.15.0 numpy==2.4.6 || exit 3
cd "$folder"
bin/python - <<'END'
import torch
from torch.nn.functional import scaled_dot_product_attention as attention

torch.manual_seed(0)
x = torch.randn(1, 3, 4)
seen = torch.ones(3, 3, dtype=torch.bool)
seen[1] = False  # the second query may look at nothing
layer = torch.nn.MultiheadAttention(4, 1, batch_first=True).eval()
mean = x[0].mean(0)
with torch.no_grad():
    infinite = torch.zeros(3, 3).masked_fill(~seen, float("-inf"))
    finite = torch.zeros(3, 3).masked_fill(~seen, torch.finfo(torch.float32).min)
    with_weights = layer(x, x, x, attn_mask=~seen)[0][0, 1]
    without = layer(x, x, x, attn_mask=~seen, need_weights=False)[0][0, 1]
    masks = seen, infinite, finite
    boolean, minus, smallest = (attention(x, x, x, mask)[0, 1] for mask in masks)
print("MultiheadAttention:", with_weights, "; without weights:", without)
print("scaled_dot_product_attention:", boolean, minus, smallest, "; mean of all values:", mean)
zeros = not (without.any() or boolean.any() or minus.any())
raise SystemExit(not (with_weights.isnan().all() and zeros and torch.allclose(smallest, mean)))
END
