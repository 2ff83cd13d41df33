"""Players take turns: who moves which parameters, by which loss, how fast."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from companion.data import Dataset, unit
from companion.files import DamagedFile, fit
from companion.metrics.estimate import Estimate

Batch = tuple[Tensor, ...]
Weights = Sequence[Tensor]
Terms = dict[str, Tensor]  # scalars by name; "loss" is the one that is minimised
Loss = Callable[[Any, Batch, int], Terms]  # of a model of its own kind
Measure = Callable[[Any, Dataset], Mapping[str, Estimate]]
ADAM = partial(torch.optim.Adam, lr=1e-3)


def constant(epoch: float) -> float:
    """Keep the learning rate as it is."""
    return 1.0


def as_unit(batch: Batch) -> Batch:
    """Scale stored uint8 images to [0, 1] floats and leave everything else."""
    return tuple(unit(t) if t.dtype == torch.uint8 else t for t in batch)


def nothing(model: nn.Module, data: Dataset) -> Mapping[str, Estimate]:
    """Measure nothing."""
    return {}


@dataclass(frozen=True)
class Player:
    """The parameters that follow one loss, and their pace."""

    moves: nn.Module
    loss: Loss
    optimizer: Callable[..., torch.optim.Optimizer] = ADAM
    schedule: Callable[[float], float] = constant  # epochs done -> factor of the learning rate
    updates: int = 1  # in each step, every one on a fresh batch

    def __post_init__(self) -> None:
        if self.updates < 1:
            raise ValueError(f"a player's updates must be at least 1, got {self.updates}")
        if next(self.moves.parameters(), None) is None:
            raise ValueError(f"a player must move some parameters, got {self.moves}")


@dataclass(frozen=True)
class Recipe:
    """A model, the players that train it, the data they see, and what is measured."""

    model: nn.Module
    players: Mapping[str, Player]
    data: Callable[[], Dataset]  # called only to train or to measure, never to recall
    batch_size: int = 128
    prepare: Callable[[Batch], Batch] = as_unit  # a stored batch, on the device -> what losses see
    ema: float = 0.0  # decay of the averaged weights, see `follow`; 0: no average
    clip: float = math.inf  # largest gradient norm of a player
    precision: str = "auto"  # "no" or "bf16"; auto: bf16 where the hardware has it
    watch: Measure = nothing  # measured while training, the headline first; cheap
    watch_every: int = 1  # epochs
    measure: Measure = nothing  # measured once at the end, beside what is watched
    keep: Callable[[Any], Tensor] | None = None  # model -> uint8 images, kept whenever watched

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be a decay in [0, 1), got {self.ema}")
        if not self.clip > 0:
            raise ValueError(f"clip must be a gradient norm above 0, got {self.clip}")
        if self.precision not in ("auto", "no", "bf16"):
            raise ValueError(f"precision must be auto, no or bf16, got {self.precision!r}")
        if self.watch_every < 1:
            raise ValueError(f"watch_every must be at least 1 epoch, got {self.watch_every}")
        if not self.players:
            raise ValueError("a recipe needs at least one player")


class Turn(nn.Module):
    """A player's loss as a forward pass, so that DDP, autocast and compile see all of it."""

    def __init__(self, model: nn.Module, player: Player):
        super().__init__()
        self.moves, self.loss = player.moves, player.loss
        self.table = (model,)  # the tuple hides the other players from DDP

    def forward(self, batch: Batch, step: int) -> Terms:
        return checked(self.loss(self.table[0], batch, step))


def checked(terms: Any) -> Terms:
    """Pass on what a loss returned. Raises TypeError if it is not scalars by name, with "loss"."""
    if not isinstance(terms, dict) or "loss" not in terms:
        got = list(terms) if isinstance(terms, dict) else type(terms).__name__
        raise TypeError(f"a loss must return a dict of scalars, 'loss' among them, got {got}")
    for name, value in terms.items():
        if not isinstance(value, Tensor) or value.ndim:
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
            raise TypeError(f"the loss term {name!r} must be a scalar tensor, got {got}")
    return terms


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
def follow(averages: Weights, weights: Weights, steps: Tensor | int, decay: float) -> None:
    """Move averages towards the weights; after k steps the decay is at most (1 + k) / (10 + k).

    Were it always 0.999, 37 % of an average after 1,000 steps would still be the random weights.
    """
    k = int(steps)
    for average, weight in zip(averages, weights, strict=True):
        average.lerp_(weight, 1 - min(decay, (1 + k) / (10 + k)))


def fast_precision() -> str:
    """Name this machine's fastest precision: "bf16" where it has it, else "no"."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "no"
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if native else "no"


class Table:
    """Where the players sit: model, average, optimizers; everything a save must hold."""

    def __init__(self, recipe: Recipe):
        self.precision = fast_precision() if recipe.precision == "auto" else recipe.precision
        AcceleratorState._reset_state()  # runs of one process may differ in precision
        self.host = Accelerator(mixed_precision=self.precision)
        self.recipe, self.model = recipe, recipe.model.to(self.host.device).train()
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
            self.turns[name], self.optimizers[name] = self.host.prepare(
                Turn(self.model, player), optimizer
            )

    @property
    def answer(self) -> nn.Module:
        """The model to measure and to keep: the average if there is one."""
        return self.average.module if self.average is not None else self.model

    def update(self, name: str, batch: Batch, step: int, epoch: float) -> Terms:
        """Let one player move once; return its loss terms."""
        player, optimizer = self.recipe.players[name], self.optimizers[name]
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * player.schedule(epoch)
        with only(player.moves, self.model):
            terms = self.turns[name](self.recipe.prepare(batch), step)
            self.host.backward(terms["loss"])
            if self.recipe.clip < math.inf:
                self.host.clip_grad_norm_(player.moves.parameters(), self.recipe.clip)
            optimizer.step()
            optimizer.zero_grad()
        return {key: value.detach() for key, value in terms.items()}

    @torch.no_grad()
    def keep(self, epoch: int) -> None:
        """Keep what the recipe wants of this epoch's answer, in evaluation mode."""
        if self.recipe.keep is not None:
            self.kept[f"{epoch:04d}"] = self.recipe.keep(self.answer.eval()).cpu()
            self.model.train()

    def tensors(self) -> dict[str, Tensor]:
        """Name every tensor that a restart needs."""
        found = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        found |= {f"kept/{epoch}": images for epoch, images in self.kept.items()}
        if self.average is not None:
            found |= {f"average/{k}": v for k, v in self.average.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            for i, state in optimizer.state_dict()["state"].items():
                found |= {f"optimizer/{name}/{i}/{k}": v for k, v in state.items()}
        return found

    def restore(self, tensors: dict[str, Tensor], path: Path) -> None:
        """Take back what `tensors` named. Raises DamagedFile if a name, type or shape differs."""
        own = {key: value.dtype for key, value in self.tensors().items()}
        homes = ["model/", "average/", "kept/", *(f"optimizer/{k}/" for k in self.optimizers)]
        for key, value in tensors.items():
            if not key.startswith(tuple(homes)) or own.get(key, value.dtype) != value.dtype:
                raise DamagedFile(f"{path} does not fit: no {value.dtype} {key} in this training")
        fit(self.model, part(tensors, "model/"), path)
        fit(self.average or nn.Module(), part(tensors, "average/"), path)
        self.kept = part(tensors, "kept/")
        for name, optimizer in self.optimizers.items():
            params = [p for g in optimizer.param_groups for p in g["params"]]
            state = optimizer_state(part(tensors, f"optimizer/{name}/"), params, path)
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})


def optimizer_state(
    terms: dict[str, Tensor], params: list[Tensor], path: Path
) -> dict[int, dict[str, Tensor]]:
    """Sort saved terms "i/name" by parameter, each in its parameter's type and memory order."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in terms.items():
        i, _, term = key.partition("/")
        if not i.isdigit() or int(i) >= len(params):
            raise DamagedFile(f"{path} does not fit: the optimizer has no parameter {i}")
        param = params[int(i)]
        if value.ndim:
            if (value.shape, value.dtype) != (param.shape, param.dtype):
                raise DamagedFile(f"{path} does not fit: optimizer term {key} is another tensor")
            value = torch.empty_like(param, requires_grad=False).copy_(value)
        state.setdefault(int(i), {})[term] = value
    if len({frozenset(found) for found in state.values()}) > 1:
        raise DamagedFile(f"{path} does not fit: an optimizer term is missing or too many")
    return state


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Select the tensors below a prefix, and drop the prefix."""
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
