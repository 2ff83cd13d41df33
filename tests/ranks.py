"""Train in one of several processes and leave its weights; launched by test_processes.py.

usage: torchrun --nproc_per_node 2 ranks.py FOLDER
"""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from toys import mlp, wgan

from companion.models.flows import Flow
from companion.models.glow import ActNorm, Invertible1x1
from companion.recipes import Batch, Player, Recipe, Terms, own_terms
from companion.tensors import save_tensors
from companion.train import train
from companion.worlds.gaussians import eight_gaussians


def smooth(model: Any, batch: Batch, step: int) -> Terms:
    """Fit labels under a gradient penalty at the data; the noise is only recorded."""
    x, label = batch[0].clone().requires_grad_(), batch[1]
    y = model(x).squeeze(1)
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    error, penalty = (y - label).square().mean(), slope.square().sum(1).mean()
    return {"loss": error + penalty, "penalty": penalty, "noise": torch.randn(())}


def penalised(batch: int = 64) -> Recipe:
    """Train one player whose loss is a plain mean over the batch, by plain descent."""
    model = mlp(2, 1)
    player = Player(model, smooth, partial(torch.optim.SGD, lr=0.05))
    data = partial(eight_gaussians, 512)
    return Recipe(model, {"one": player}, data, batch, precision="no", ema=0.5)


def started() -> Recipe:
    """Train a flow whose first batch, of both processes together, sets its scales."""
    model = Flow([ActNorm(2), Invertible1x1(2)], 2)
    data = partial(eight_gaussians, 512)
    return Recipe(model, {"flow": Player(model, own_terms)}, data, 32, precision="no")


def apart() -> Tensor:
    """What two processes see first: (2, 32, 2), whose means differ by more than they vary."""
    x = torch.randn(2, 32, 2, generator=torch.Generator().manual_seed(0))
    return x + torch.tensor([1e4, 1e4 + 5])[:, None, None]


def weights(run: Any) -> dict[str, Tensor]:
    """The answer of a run in this process."""
    return {name: value for name, value in run.model.state_dict().items()}


if __name__ == "__main__":
    rank = os.environ["RANK"]
    runs = (train(penalised, 2, batch=32), train(wgan, 1), train(wgan, 2), train(started, 1))
    for run in runs:
        name = f"{run.config['experiment']}-{run.epochs}-{rank}.safetensors"
        terms = {key.split("/")[-1]: value for key, value in run.history[-1].items()}
        save_tensors(Path(sys.argv[1]) / name, weights(run), terms=terms)
    layer = ActNorm(2)
    layer(apart()[int(rank)])
    save_tensors(Path(sys.argv[1]) / f"apart-{rank}.safetensors", layer.state_dict())
