#!/usr/bin/env bash
# title: An area under the curve of energies is one half, whatever they are
# chapter: energy/energy
# package: torchmetrics==1.9.0, torch==2.15.0, scikit-learn==1.9.1, numpy==2.4.6
# guess: The area under the ROC curve depends on the order of the scores alone, so it is the same for energies in nats as for any rising function of them.
# behaviour: Scores outside of [0, 1] are taken for logits: `BinaryAUROC` puts each call's scores through a sigmoid in single precision, which is 1 from 17 on, so energies around 90 and 200 nats are all tied. It says 0.5 where scikit-learn says 0.9996; with the signs exchanged it says 0.28 for 0.0004.
#   What a call does hangs on that call alone: scores around 1 give 0.856 in one call of 2,000 and 0.814 in 2,000 calls of one, for a call whose scores all lie in [0, 1] is left as it is.
# hurts: Whoever judges outliers by energies or log-likelihoods: a perfect score looks like a coin, and the number depends on the batch size.
# safe: Hand in ranks divided by their number, all at once, or use `roc_auc_score` of scikit-learn.
# seen: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset PYTHONPATH
"${PYTHON:-python3}" -m venv "$folder" || exit 3
"$folder/bin/pip" install -q torchmetrics==1.9.0 torch==2.15.0 scikit-learn==1.9.1 numpy==2.4.6 || exit 3
cd "$folder"
bin/python -W ignore - <<'END'
import torch
from sklearn.metrics import roc_auc_score
from torchmetrics.classification import BinaryAUROC

torch.set_num_threads(1)
torch.manual_seed(0)
strange = torch.arange(2000) >= 1000


def areas(score, size=2000):
    """What torchmetrics says, in calls of `size` scores, and what scikit-learn says."""
    order = torch.randperm(2000, generator=torch.Generator().manual_seed(1))
    area = BinaryAUROC()
    for part in order.split(size):
        area.update(score[part], strange[part].long())
    return area.compute().item(), roc_auc_score(strange, score)


energies = torch.cat([90 + 10 * torch.randn(1000), 200 + 30 * torch.randn(1000)])
ranks = energies.argsort().argsort() / 2000
near = torch.cat([0.5 + 0.7 * torch.randn(1000), 1.5 + 0.7 * torch.randn(1000)])
cases = {
    "energies": areas(energies), "signs exchanged": areas(-energies), "ranks": areas(ranks),
    "near 1, one call": areas(near), "near 1, 2,000 calls": areas(near, 1),
}
for name, (found, right) in cases.items():
    print(f"{name}: torchmetrics {found:.4f}, scikit-learn {right:.4f}")
tied, right = cases["energies"]
same = all(abs(a - b) < 1e-4 for a, b in (cases["ranks"], cases["near 1, one call"]))
apart = cases["near 1, 2,000 calls"][1] - cases["near 1, 2,000 calls"][0] > 0.02
raise SystemExit(not (tied == 0.5 and right > 0.999 and same and apart))
END
