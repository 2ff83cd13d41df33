#!/usr/bin/env bash
# title: To sample from an untrained Glow is to start its training from noise
# chapter: flows/realnvp
# package: normflows==1.7.3, torch==2.15.0, numpy==2.4.6
# guess: Drawing from a flow before its training, in evaluation mode and without gradients, to have the picture of epoch 0, changes nothing.
# behaviour: The activation normalisation of normflows takes its start from whatever passes first, in either direction and in either mode: one `sample(64)` changes eight parameters, and the first batch of data no longer does.
#   With data of mean 100 and standard deviation 20 in 16 dimensions the first loss is 71,979 nats instead of 71, and after 100 steps it is 530 instead of 70.
# hurts: Whoever draws or tests a model before the first batch: the data-dependent start is lost without a word, and the run is blamed on the rate.
# safe: Call `log_prob` on a batch of data first, or draw from a deep copy.
# seen: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset PYTHONPATH
"${PYTHON:-python3}" -m venv "$folder" || exit 3
"$folder/bin/pip" install -q normflows==1.7.3 torch==2.15.0 numpy==2.4.6 || exit 3
cd "$folder"
bin/python -W ignore - <<'END'
from copy import deepcopy

import normflows as nf
import torch

torch.set_num_threads(1)


def losses(before):
    """First and last loss of 100 steps, and how many parameters `before` has changed."""
    torch.manual_seed(0)
    base = nf.distributions.DiagGaussian((4, 2, 2), False)
    flow = nf.NormalizingFlow(base, [nf.flows.GlowBlock(4, 8, scale=True) for _ in range(4)])
    x = 100 + 20 * torch.randn(512, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    old = [weight.clone() for weight in flow.parameters()]
    with torch.no_grad():
        before(flow.eval())
    changed = sum(not torch.equal(a, b) for a, b in zip(old, flow.parameters()))
    flow.train()
    adam, course = torch.optim.Adam(flow.parameters(), 1e-3), []
    for _ in range(100):
        adam.zero_grad()
        loss = flow.forward_kld(x)
        loss.backward()
        adam.step()
        course.append(loss.item())
    return course[0], course[-1], changed


plain = losses(lambda flow: None)
drawn = losses(lambda flow: flow.sample(64))
safe = losses(lambda flow: deepcopy(flow).sample(64))
for name, (first, last, changed) in zip(("nothing", "sample", "copy"), (plain, drawn, safe)):
    print(f"{name} before: {changed} changed, loss {first:,.0f}, after 100 steps {last:,.0f}")
worse = drawn[2] == 8 and drawn[0] > 100 * plain[0] and drawn[1] > 2 * plain[1]
raise SystemExit(not (worse and plain[2] == safe[2] == 0 and safe == plain))
END
