"""The state of a training: model, average, optimizers; all that a save must hold."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from companion.data import Batch
from companion.devices import fast_precision
from companion.files import DamagedFile
from companion.recipes import Player, Recipe, Terms, checked
from companion.tensors import load_weights, part


class Turn(nn.Module):
    """A player's loss as a forward pass, so that DDP, autocast and compile see all of it."""

    def __init__(self, model: nn.Module, player: Player):
        super().__init__()
        self.moves, self.loss = player.moves, player.loss
        self.model = (model,)  # the tuple hides the other players from DDP

    def forward(self, batch: Batch, step: int) -> Terms:
        return checked(self.loss(self.model[0], batch, step))


@contextmanager
def only(moves: nn.Module, model: nn.Module) -> Iterator[None]:
    """Hold every parameter of the model still, except those that `moves`."""
    mine = set(moves.parameters())
    others = [p for p in model.parameters() if p not in mine and p.requires_grad]
    for p in others:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in others:
            p.requires_grad_(True)


@torch.no_grad()
def follow(
    averages: Sequence[Tensor], weights: Sequence[Tensor], steps: Tensor | int, decay: float
) -> None:
    """Move averages towards the weights; after k steps the decay is at most (1 + k) / (10 + k).

    Were it always 0.999, 37 % of an average after 1,000 steps would still be the random weights.
    """
    k = int(steps)
    for average, weight in zip(averages, weights, strict=True):
        average.lerp_(weight, 1 - min(decay, (1 + k) / (10 + k)))


class State:
    """A recipe at work: what its players move, and how they move it."""

    def __init__(self, recipe: Recipe):
        self.precision = fast_precision() if recipe.precision == "auto" else recipe.precision
        AcceleratorState._reset_state()  # runs of one process may differ in precision
        self.accelerator = Accelerator(mixed_precision=self.precision)
        self.recipe = recipe
        self.model = recipe.model.to(self.accelerator.device).train()
        self.average = None
        if recipe.ema:
            self.average = AveragedModel(
                self.model, multi_avg_fn=partial(follow, decay=recipe.ema)
            )
        self.kept: dict[str, Tensor] = {}  # what the recipe keeps, by epoch
        self.turns: dict[str, Any] = {}
        self.optimizers: dict[str, Any] = {}
        for name, player in recipe.players.items():
            optimizer = player.optimizer(player.moves.parameters())
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]
            self.turns[name], self.optimizers[name] = self.accelerator.prepare(
                Turn(self.model, player), optimizer
            )
        self.unbounded = set(unfinite(self.tensors()))  # by design: a mask of -inf

    @property
    def measured(self) -> nn.Module:
        """The model to measure and to keep: the average if there is one."""
        return self.average.module if self.average is not None else self.model

    def update(self, name: str, batch: Batch, step: int, epoch: float) -> Terms:
        """Let one player move once, on a decoded batch; return the means of its loss terms."""
        player, optimizer = self.recipe.players[name], self.optimizers[name]
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * player.schedule(epoch)
        with only(player.moves, self.model):
            terms = self.turns[name](self.recipe.augment(batch), step)
            means = {key: value.mean() for key, value in terms.items()}
            self.accelerator.backward(means["loss"])
            if self.recipe.clip < math.inf:
                self.accelerator.clip_grad_norm_(player.moves.parameters(), self.recipe.clip)
            optimizer.step()
            optimizer.zero_grad()
        return {key: value.detach() for key, value in means.items()}

    @torch.no_grad()
    def keep(self, epoch: int) -> None:
        """Keep what the recipe wants of this epoch's model, in evaluation mode."""
        if self.recipe.keep is not None:
            self.kept[f"{epoch:04d}"] = self.recipe.keep(self.measured.eval()).cpu()
            self.model.train()

    def tensors(self) -> dict[str, Tensor]:
        """Name every tensor that a restart needs."""
        found = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        found |= {f"kept/{epoch}": value for epoch, value in self.kept.items()}
        if self.average is not None:
            found |= {f"average/{k}": v for k, v in self.average.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            for i, state in optimizer.state_dict()["state"].items():
                found |= {f"optimizer/{name}/{i}/{k}": v for k, v in state.items()}
        return found

    def runaway(self) -> str:
        """Name the first weight, statistic or optimizer term that is not finite: "player/term"."""
        bad = [name for name in unfinite(self.tensors()) if name not in self.unbounded]
        if not bad:
            return ""
        home, _, rest = bad[0].partition("/")
        if home == "optimizer":
            name, i, term = rest.split("/")
            moved = list(self.recipe.players[name].moves.parameters())
            return f"{name}/{term} of {self.name_of(moved[int(i)])}"
        name = rest.removeprefix("module.") if home == "average" else rest
        return f"{self.mover_of(name)}/{name}{' on average' if home == 'average' else ''}"

    def name_of(self, parameter: Tensor) -> str:
        """The name of a parameter in the model."""
        return next(k for k, v in self.model.named_parameters() if v is parameter)

    def mover_of(self, name: str) -> str:
        """The player in whose part of the model a tensor lies; "model" if it lies in none's."""
        tensors = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        for player, its in self.recipe.players.items():
            if any(
                v is tensors.get(name) for v in [*its.moves.parameters(), *its.moves.buffers()]
            ):
                return player
        return "model"

    def restore(self, tensors: dict[str, Tensor], path: Path) -> None:
        """Take back what `tensors` named. Raises DamagedFile if a name, type or shape differs."""
        own = {key: value.dtype for key, value in self.tensors().items()}
        homes = ["model/", "average/", "kept/", *(f"optimizer/{k}/" for k in self.optimizers)]
        for key, value in tensors.items():
            if not key.startswith(tuple(homes)) or own.get(key, value.dtype) != value.dtype:
                raise DamagedFile(f"{path} does not fit: no {value.dtype} {key} in this training")
        load_weights(self.model, part(tensors, "model/"), path)
        load_weights(self.average or nn.Module(), part(tensors, "average/"), path)
        self.kept = part(tensors, "kept/")
        for name, optimizer in self.optimizers.items():
            params = [p for g in optimizer.param_groups for p in g["params"]]
            fresh = terms_of(self.recipe.players[name], params[0].device)
            state = optimizer_state(part(tensors, f"optimizer/{name}/"), params, fresh, path)
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})


def unfinite(tensors: dict[str, Tensor]) -> list[str]:
    """Name the tensors that hold inf or NaN; a GPU is waited for once where none does."""
    real = {k: v.detach() for k, v in tensors.items() if v.is_floating_point()}
    if not real:
        return []
    home = next(iter(real.values())).device
    sums = torch.stack([value.sum().float().to(home) for value in real.values()])
    suspects = [
        name for name, good in zip(real, sums.isfinite().tolist(), strict=True) if not good
    ]
    return [name for name in suspects if not real[name].isfinite().all()]  # or a sum ran over


def terms_of(player: Player, device: torch.device) -> dict[str, Tensor]:
    """What a player's optimizer remembers of one parameter, learned from a step of its kind."""
    parameter = nn.Parameter(torch.zeros(1, device=device))
    parameter.grad = torch.zeros_like(parameter)
    optimizer = player.optimizer([parameter])
    optimizer.step()
    return {k: v for k, v in optimizer.state[parameter].items() if isinstance(v, Tensor)}


def optimizer_state(
    terms: dict[str, Tensor], params: list[Tensor], fresh: dict[str, Tensor], path: Path
) -> dict[int, dict[str, Tensor]]:
    """Sort saved terms "i/name" by parameter, each in its parameter's type and memory order.

    fresh: the terms that this optimizer has. Raises DamagedFile for any other.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in terms.items():
        i, _, term = key.partition("/")
        if not i.isdecimal() or int(i) >= len(params):
            raise DamagedFile(f"{path} does not fit: the optimizer has no parameter {i}")
        param = params[int(i)]
        if value.ndim:
            if (value.shape, value.dtype) != (param.shape, param.dtype):
                raise DamagedFile(f"{path} does not fit: optimizer term {key} is another tensor")
            value = torch.empty_like(param, requires_grad=False).copy_(value)
        elif term in fresh and value.dtype != fresh[term].dtype:
            raise DamagedFile(f"{path} does not fit: optimizer term {key} is {value.dtype}")
        state.setdefault(int(i), {})[term] = value
    if any(found.keys() != fresh.keys() for found in state.values()) or (fresh and not state):
        have, need = {term for found in state.values() for term in found}, ", ".join(fresh)
        raise DamagedFile(
            f"{path} does not fit: of {', '.join(have) or 'nothing'} a term is missing or too "
            f"many; the optimizer needs {need or 'none'} of each parameter"
        )
    return state
