#!/usr/bin/env bash
# title: torchvision turns white into black when a picture in half precision becomes bytes
# chapter: diffusion/ddpm, latent/vae
# package: torchvision==0.29.2, torch==2.15.0, numpy==2.4.6
# guess: `ToDtype(torch.uint8, scale=True)` makes 255 of a 1, whatever float type the picture has.
# behaviour: In float16 and in bfloat16 a 1 becomes 0: white is black.
#   The picture is multiplied by 255.999 in its own type, where that is 256, and 256 wraps to 0 (seen on x86-64).
#   Of the 256 grey levels, brought to float16 and back, 16 come back wrong; in bfloat16 128 do.
#   `convert_image_dtype` does the same. It was reported in 2022 (torchvision's issue 6799), which was still open.
# hurts: Whoever decodes or samples in half precision and lets torchvision write the pictures, or measures a Fréchet distance on them: paper turns into ink, and no error says so.
# safe: Say `x.float()` before `ToDtype`.
# seen: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset PYTHONPATH
"${PYTHON:-python3}" -m venv "$folder" || exit 3
"$folder/bin/pip" install -q torchvision==0.29.2 torch==2.15.0 numpy==2.4.6 || exit 3
cd "$folder"
bin/python - <<'END'
from functools import partial

import torch
from torchvision.transforms import v2
from torchvision.transforms.functional import convert_image_dtype

old_way = partial(convert_image_dtype, dtype=torch.uint8)
to_bytes = v2.ToDtype(torch.uint8, scale=True)
levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
stated = True
for kind, expected in ((torch.float32, 0), (torch.float16, 16), (torch.bfloat16, 128)):
    white = torch.ones(1, 2, 2, dtype=kind)
    found = [f(white).unique().tolist() for f in (to_bytes, old_way)]
    there = v2.ToDtype(kind, scale=True)(levels)
    wrong = (to_bytes(there) != levels).sum().item()
    print(f"{kind}: white becomes {found[0]} and {found[1]}, {wrong} of 256 levels come back wrong")
    black = [0] if expected else [255]
    stated &= found == [black, black] and wrong == expected
    safe = to_bytes(white.float()).unique().tolist()
    print(f"  float() first: {safe}")
    stated &= safe == [255]
raise SystemExit(not stated)
END
