"""What a recipe builds, in a few hashes: an edited rate changes one, an edited word none."""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from companion.recipes import Player, Recipe
from companion.runs import Run
from companion.train.described import name_of, number, settings, told

REST = (
    "batch_size", "form", "augment", "ema", "clip", "precision", "watch_every", "keep", "saved",
)  # fmt: skip
HOW = {  # an optimizer computes, not what; the last is AdamW's name for itself in a newer torch
    "foreach", "fused", "capturable", "differentiable", "decoupled_weight_decay",
}  # fmt: skip
EPOCHS = (0.1, 0.25, 0.5, 0.75, 1.5, *range(101), 200, 500, 1000)  # at which rates are asked


def fingerprint(recipe: Recipe) -> dict[str, str]:
    """Hash what a recipe builds by part: its model, each player, its data, the rest.

    Its measures are no part of it: they can be asked again of the same weights.
    """
    names = {id(p): name for name, p in recipe.model.named_parameters()}
    parts: dict[str, Any] = {
        f"player {name}": played(player, names) for name, player in recipe.players.items()
    }
    parts |= {"model": recipe.model, "data": recipe.data, "what it stands on": recipe.stands_on}
    parts["settings"] = settings({name: getattr(recipe, name) for name in REST})
    return {name: hashed(told(part)) for name, part in sorted(parts.items())}


def moved_on(run: Run, recipe: Recipe) -> str:
    """Say what of a run differs from what its experiment builds today; "" if nothing does."""
    recorded = run.config.get("fingerprint")
    what = differing(recorded, fingerprint(recipe)) if recorded else ""
    made = run.config.get("commit", "unknown")
    return f"was made at commit {made}; today's code builds another {what}" if what else ""


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> str:
    """Name the parts in which two fingerprints differ."""
    return ", ".join(sorted({name for name, _ in {*one.items()} ^ {*other.items()}}))


def hashed(told: Any) -> str:
    """The beginning of the sha256 of what was told."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


def played(player: Player, names: Mapping[int, str]) -> list[Any]:
    """What a player does, and to which parameters of the model."""
    rates = [rate(player.schedule, epoch) for epoch in EPOCHS]
    moves = named(player.moves.parameters(), names)
    return [moves, player.loss, optimized(player, names), " ".join(rates), player.updates]


def rate(schedule: Callable[[float], float], epoch: float) -> str:
    """A schedule's factor at an epoch, which may lie beyond those that it knows."""
    try:
        return number(float(schedule(epoch)))
    except Exception:  # a table may end in any way
        return "none"


def named(moved: Iterable[Tensor], names: Mapping[int, str]) -> str:
    """Names in the model of some parameters."""
    return " ".join(names.get(id(p), "elsewhere") for p in moved)


def optimized(player: Player, names: Mapping[int, str]) -> list[Any]:
    """An optimizer's class, its own settings, and those of its groups of parameters."""
    guarded = Optimizer.add_param_group
    try:  # the guard imports torch's compiler, which takes seconds
        Optimizer.add_param_group = inspect.unwrap(guarded)  # type: ignore[method-assign]
        optimizer = player.optimizer(player.moves.parameters())
    finally:
        Optimizer.add_param_group = guarded  # type: ignore[method-assign]
    but = HOW | {"params"}
    groups = [[named(g["params"], names), settings(g, but)] for g in optimizer.param_groups]
    own = settings(vars(optimizer), {"defaults", "state", "param_groups"})
    return [name_of(type(optimizer)), own, groups]
