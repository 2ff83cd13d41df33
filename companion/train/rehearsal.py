"""A rehearsal: all that a training will be asked for is tried before its first step.

What is tried is whether it can be done at all, on as few examples as will do. So the model's
networks compute once for inputs of one shape, and then repeat that answer: a thousand steps of a
sampler cost one. Nothing of it is left in the model or in the random numbers of the training.
"""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from companion.data import Dataset
from companion.estimate import Estimate
from companion.recipes import Measure, Recipe
from companion.runs.schema import amiss_in_metrics
from companion.tensors import pressed, unpressed
from companion.train.state import State

FEW = (2, 32, 512)  # examples of each set that are tried in turn; then all there are


def rehearse(state: State, data: Dataset, watch: Measure, title: str) -> None:
    """Watch, measure and keep once. Raises ValueError, in one sentence, for what cannot be done.

    It cannot be done if it fails on all examples, and also with networks that really compute.
    """
    recipe, before = state.recipe, saved(state.measured)
    asked = {"watching": partial(numbers, watch), "measuring": partial(numbers, recipe.measure)}
    asked["keeping a tensor of"] = partial(keepsake, recipe)
    try:
        for what, ask in asked.items():
            if error := trouble(ask, state.measured, data):
                told = reason(error)
                raise ValueError(f"{title} could not be finished: {what} it fails: {told}")
    finally:
        state.measured.load_state_dict(before)
        state.model.train()


def trouble(ask: Callable[..., None], model: nn.Module, data: Dataset) -> Exception | None:
    """Why something cannot be asked of a model on any number of examples; None if it can."""
    most = max(len(data.train[0]), len(data.test[0]))
    ways = [(min(n, most), once(model)) for n in (*FEW, most) if n <= most or n == FEW[0]]
    told = None
    for n, how in (*ways, (min(FEW[1], most), nullcontext())):
        error = failure(ask, model, first_rows(data, n), how)
        if error is None:
            return None
        told = told if isinstance(how, nullcontext) else error  # of all examples
    return told


def failure(
    ask: Callable[..., None], model: nn.Module, data: Dataset, how: AbstractContextManager[None]
) -> Exception | None:
    """Ask a model in evaluation mode; return what went wrong, if anything did."""
    with torch.random.fork_rng(), how, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how few examples there are
        torch.manual_seed(0)
        try:
            ask(model.eval(), data)
        except Exception as error:  # a measure may break in any way
            return error
    return None


def first_rows(data: Dataset, n: int) -> Dataset:
    """The first n examples of both sets, or as many as there are."""
    train, test = (tuple(t[:n] for t in part) for part in (data.train, data.test))
    return replace(data, train=train, test=test)


@contextmanager
def once(model: nn.Module) -> Iterator[None]:
    """Let each network of a model compute once for inputs of one shape, then repeat its answer.

    Where a gradient may be asked for it computes as ever.
    """
    networks = [*model.children()]
    before = [vars(network).get("forward") for network in networks]
    for network in networks:
        network.forward = repeating(network.forward)
    try:
        yield
    finally:
        for network, forward in zip(networks, before, strict=True):
            del network.forward
            if forward is not None:
                network.forward = forward


def repeating(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function remember its answers by the shapes of its inputs."""
    known: dict[str, Any] = {}

    def repeated(*inputs: Any, **named: Any) -> Any:
        if torch.is_grad_enabled():
            return forward(*inputs, **named)
        parts = [*inputs, *named.items()]
        key = repr([(v.shape, v.dtype) if isinstance(v, Tensor) else v for v in parts])
        if key not in known:
            known[key] = forward(*inputs, **named)
        return known[key].clone() if isinstance(known[key], Tensor) else known[key]

    return repeated


def saved(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all that a model holds."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def numbers(measure: Measure, model: nn.Module, data: Dataset) -> None:
    """Ask for numbers with errors, as a record keeps them. Raises TypeError for anything else."""
    found = measure(model, data)
    if not isinstance(found, Mapping) or not all(isinstance(v, Estimate) for v in found.values()):
        raise TypeError(f"a measure must return estimates by name, got {found!r:.60}")
    kept = json.loads(json.dumps({name: asdict(one) for name, one in found.items()}))
    if amiss := amiss_in_metrics(kept):
        raise TypeError(amiss)


def keepsake(recipe: Recipe, model: nn.Module, data: Dataset) -> None:
    """Ask for what is kept of an epoch, and press it as for publishing. Raises TypeError."""
    if recipe.keep is None:
        return
    with torch.no_grad():
        found = recipe.keep(model)
    if not isinstance(found, Tensor) or found.ndim < 2:
        got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else repr(found)[:60]
        raise TypeError(f"what is kept must be a tensor of two axes or more, got {got}")
    unpressed(pressed(found.cpu()))


def reason(error: Exception) -> str:
    """The first line of an error, with its kind where that is no sentence."""
    kind = "" if isinstance(error, (ValueError, TypeError)) else f"{type(error).__name__}: "
    return kind + (str(error).splitlines() or [""])[0]
