"""The nouns of a training: a recipe, its players, their losses and terms, and its measures."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from companion.data import Batch, Dataset
from companion.data.forms import stored
from companion.estimate import Estimate
from companion.metrics.terms import mean_terms
from companion.runs import Run

Terms = dict[str, Tensor]  # by name, one number for each example: (B,), or one for the batch: ()
Loss = Callable[[Any, Batch, int], Terms]  # model, batch, step; the mean of "loss" is minimised
Measure = Callable[[Any, Dataset], Mapping[str, Estimate]]
ADAM = partial(torch.optim.Adam, lr=1e-3)


def constant(epoch: float) -> float:
    """Keep the learning rate as it is."""
    return 1.0


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
    form: str = ""  # in which the model sees the data; "": their usual one
    augment: Callable[[Batch], Batch] = stored  # of decoded batches, in training only
    ema: float = 0.0  # decay of the averaged weights, see `follow`; 0: no average
    clip: float = math.inf  # largest gradient norm of a player
    precision: str = "auto"  # "no" or "bf16"; auto: bf16 where the hardware has it
    watch: Measure | None = None  # while training, the headline first; None: the model's terms
    watch_every: int = 1  # epochs
    measure: Measure = nothing  # measured once at the end, beside what is watched
    keep: Callable[[Any], Tensor] | None = None  # model -> a tensor (N, ...), kept when watched
    saved: str = ""  # the part of the model that is published; "": all of it
    stands_on: Sequence[Run] = ()  # runs that the model or its measures use

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
        if self.saved and self.saved not in dict(self.model.named_children()):
            parts = ", ".join(dict(self.model.named_children()))
            raise ValueError(f"saved must name a part of the model ({parts}), got {self.saved!r}")


def terms_of(model: Any, batch: Batch) -> Terms:
    """A likelihood model's own terms, in nats: of examples, and of labels if it has `classes`."""
    return model.terms(*batch[: 2 if getattr(model, "classes", 0) else 1])


def own_terms(model: Any, batch: Batch, step: int) -> Terms:
    """Minimise the sum of the model's own terms."""
    terms = terms_of(model, batch)
    return {"loss": torch.stack([*terms.values()]).sum(0), **terms}


def of_terms(model: Any, data: Dataset) -> Mapping[str, Estimate]:
    """Mean of each of the model's own terms over the test set, in nats."""
    return mean_terms((terms_of(model, batch) for batch in data.batches("test", 500)), "nats")


def checked(terms: Any) -> Terms:
    """Pass on what a loss returned. Raises TypeError if it is not numbers by name, with "loss"."""
    if not isinstance(terms, dict) or "loss" not in terms:
        got = list(terms) if isinstance(terms, dict) else type(terms).__name__
        raise TypeError(f"a loss must return a dict of terms, 'loss' among them, got {got}")
    for name, value in terms.items():
        if not isinstance(value, Tensor) or value.ndim > 1 or not value.numel():
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
            raise TypeError(f"the loss term {name!r} must be a tensor (B,) or (), got {got}")
    return terms


def first_phase(run: Run, *experiments: str) -> nn.Module:
    """Give the model of a first phase, to be stood on. Raises ValueError for one of another kind.

    experiments: the names of those that it may be of.
    """
    kind = run.config["experiment"]
    if kind not in experiments:
        raise ValueError(f"needs a run of {' or '.join(experiments)}, got {run.name} of {kind}")
    if not run.complete:
        raise ValueError(f"{run.name} was interrupted after {run.epochs} epochs: finish it first")
    return run.model
