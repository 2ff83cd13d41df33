#!/usr/bin/env bash
# title: Training the plain-PyTorch Mamba of transformers takes time quadratic in the length
# chapter: likelihood/state_spaces
# package: transformers==5.24.0, torch==2.15.0, mambapy==1.2.0, numpy==2.4.6
# guess: Without its CUDA kernels the model loops over the sequence: slow, but twice the length takes twice the time, forward and backward.
# behaviour: Four times the length, 256 to 1,024 tokens, takes 4 times as long forward, and 18 times as long with the backward pass (0.24 s and 4.4 s for one layer of width 32).
#   Each step reads a slice of tensors that hold all steps, and the gradient of each slice is a tensor of the whole length.
# hurts: Whoever trains on a CPU, or where `mamba_ssm` cannot be built, and reckons from a short trial: the promise of the model, linear time, is gone.
# safe: Install mambapy and say `use_mambapy=True` in the configuration: 0.09 s at 1,024 tokens, and linear.
# seen: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset PYTHONPATH
"${PYTHON:-python3}" -m venv "$folder" || exit 3
"$folder/bin/pip" install -q transformers==5.24.0 torch==2.15.0 mambapy==1.2.0 numpy==2.4.6 || exit 3
cd "$folder"
HF_HUB_OFFLINE=1 bin/python - <<'END'
import time

import torch
from transformers import MambaConfig, MambaModel
from transformers.utils import logging

logging.set_verbosity_error()
torch.set_num_threads(1)


def seconds(model, length, backward):
    tokens, best = torch.randint(16, (1, length)), float("inf")
    for _ in range(3):
        start = time.perf_counter()
        with torch.set_grad_enabled(backward):
            out = model(tokens).last_hidden_state.sum()
        if backward:
            out.backward()
        best = min(best, time.perf_counter() - start)
    return best


growth = {}
for mambapy in (False, True):
    torch.manual_seed(0)
    shape = dict(vocab_size=16, hidden_size=32, state_size=16, num_hidden_layers=1)
    model = MambaModel(MambaConfig(**shape, use_cache=False, use_mambapy=mambapy))
    for backward in (False, True):
        short, long = (seconds(model, length, backward) for length in (256, 1024))
        growth[mambapy, backward] = long / short
        what = "forward and backward" if backward else "forward"
        print(f"use_mambapy={mambapy}, {what}: {short:.3f} s, {long:.3f} s, x {long / short:.1f}")
slow = growth[False, True] > 10 and growth[False, False] < 8
raise SystemExit(not (slow and growth[True, True] < 8))
END
