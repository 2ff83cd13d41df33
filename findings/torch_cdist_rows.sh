#!/usr/bin/env bash
# title: The distances of torch.cdist are wrong from 26 rows on
# chapter: adversarial/gan, latent/quantized
# package: torch==2.15.0, numpy==2.4.6
# guess: The distance between two points does not depend on how many other points are in the batch, up to float32's rounding.
# behaviour: For points near (1000, 1000), a mean distance of 0.49 apart, 25 rows give exact distances and 26 rows give errors up to 0.51.
#   From 26 rows on it uses $|x|^2 + |y|^2 - 2 x \cdot y$, which loses all digits when the points are close beside their size.
#   Of 100 pairs of images in [0, 1] that are 0.0028 apart, 55 come out at distance 0 and one at 0.0135.
# hurts: Whoever looks for copies of training images among samples, or for the nearest code of a codebook: neighbours are wrong and "exact copies" are none.
# safe: Say `compute_mode="donot_use_mm_for_euclid_dist"`, or subtract the mean first if the points lie far from zero.
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

torch.manual_seed(0)
exact_mode = "donot_use_mm_for_euclid_dist"


def error(x, mode="use_mm_for_euclid_dist_if_necessary"):
    true = (x[:, None].double() - x[None].double()).norm(dim=-1)
    return (torch.cdist(x, x, compute_mode=mode) - true).abs().max().item(), true.mean().item()


x = 1000 + torch.rand(26, 2)
few, many, safe = error(x[:25]), error(x), error(x, exact_mode)
print("25 rows: error %.1e, mean distance %.2f" % few)
print("26 rows: error %.1e, mean distance %.2f" % many)
print("26 rows, the other mode: error %.1e" % safe[0])
image = torch.rand(100, 784)
near = torch.cdist(image, image + 1e-4 * torch.randn(100, 784)).diagonal()
print(f"images 0.0028 apart: {(near == 0).sum().item()} of 100 at distance 0,", end=" ")
print(f"the largest {near.max().item():.4f}")
stated = few[0] < 1e-3 and many[0] > 0.1 and (near == 0).any()
raise SystemExit(not (stated and safe[0] < 1e-3))
END
