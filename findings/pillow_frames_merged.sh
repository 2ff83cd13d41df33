#!/usr/bin/env bash
# title: Pillow drops equal frames of an animation, and a GIF plays faster than asked
# chapter: media/video, diffusion/ddim
# package: numpy==2.4.6, pillow==13.0.0
# guess: An animation that was saved with six frames of 25 ms has six frames of 25 ms when it is opened again.
# behaviour: Equal neighbours become one frame: six frames with three different pictures come back as three, in GIF, PNG and WebP.
#   GIF also cuts the times to whole 10 ms: 70, 50 and 20 ms, 140 ms in place of 150.
# hurts: Whoever uses a GIF as data: frame number 4 is not time 4, and a model of motion never sees that something stands still.
# safe: Keep frames in an array or in numbered PNG files; for a GIF use times of whole 10 ms, and compare `n_frames` with what was written.
# seen: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset PYTHONPATH
"${PYTHON:-python3}" -m venv "$folder" || exit 3
"$folder/bin/pip" install -q numpy==2.4.6 pillow==13.0.0 || exit 3
cd "$folder"
bin/python - <<'END'
import io

import numpy as np
from PIL import Image

frames = [Image.fromarray(np.full((8, 8), grey, np.uint8)) for grey in (0, 0, 0, 90, 90, 200)]
seen = {}
for kind in ("GIF", "PNG", "WEBP"):
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], duration=25)
    image, seen[kind] = Image.open(file), []
    for index in range(image.n_frames):
        image.seek(index)
        image.load()
        seen[kind].append(float(image.info["duration"]))
    print(f"{kind}: {image.n_frames} of {len(frames)} frames, {seen[kind]} ms")
merged = [75.0, 50.0, 25.0]
raise SystemExit(seen != {"GIF": [70.0, 50.0, 20.0], "PNG": merged, "WEBP": merged})
END
