"""The loop: epochs of batches, each player in its turn; what is watched, saved and measured."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from itertools import cycle

import torch
from torch import Tensor

from companion.data import Dataset
from companion.devices import stoppable
from companion.estimate import Estimate
from companion.files import RunError, check_writable
from companion.recipes import Measure, Recipe, nothing, of_terms
from companion.runs import Run, provenance, write
from companion.runs.states import beyond, save_state, tidy
from companion.train.meter import Meter
from companion.train.rehearsal import reason, rehearse
from companion.train.state import State

Seen = Mapping[str, Estimate]  # what a measure found


def seed_of(*parts: int) -> int:
    """Mix numbers into one seed, so that neighbours share nothing."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "big")


def batches(n: int, size: int, seed: int, epoch: int, rank: int, world: int) -> Iterator[Tensor]:
    """Shuffled batches of indices, the same for an epoch however we got there; endless."""
    shuffle = torch.Generator().manual_seed(seed_of(seed, epoch))
    order = torch.randperm(n, generator=shuffle)[rank::world]
    whole = len(order) // size * size or len(order)
    return cycle(order[:whole].split(size))


def steps_of(recipe: Recipe, n: int, world: int = 1) -> int:
    """Count the steps of an epoch: as many as n examples last for all the players' updates."""
    draws = sum(player.updates for player in recipe.players.values())
    return max(1, n // (recipe.batch_size * world * draws))


def one_epoch(
    state: State, data: Dataset, seed: int, epoch: int, meter: Meter
) -> dict[str, float]:
    """Pass once over the data; return the mean of each loss term and the examples per second."""
    recipe, accelerator = state.recipe, state.accelerator
    rank, world = accelerator.process_index, accelerator.num_processes
    size, n = recipe.batch_size, len(data.train[0])
    steps = steps_of(recipe, n, world)
    torch.manual_seed(seed_of(seed, epoch, rank + 1))  # each process draws its own noise
    stream = batches(n, size, seed, epoch, rank, world)
    start, seen = time.perf_counter(), 0
    for step in range(steps):
        before = seen
        for name, player in recipe.players.items():
            for _ in range(player.updates):
                batch = data.take("train", next(stream))
                terms = state.update(name, batch, epoch * steps + step, epoch + step / steps)
                meter.add(name, terms, epoch * steps + step)
                seen += min(size, n) * world
        if state.average is not None:
            state.average.update_parameters(state.model)
        meter.show(seen - before, epoch)
    means = meter.means(epoch + 1)
    meter.inspect(state, epoch * steps + steps - 1, epoch + 1)
    seconds = time.perf_counter() - start
    return {**means, "examples/s": seen / seconds, "seconds": seconds}


def watched(recipe: Recipe) -> Measure:
    """What a recipe watches: as it says, or its model's own terms, if it has some."""
    return recipe.watch or (of_terms if hasattr(recipe.model, "terms") else nothing)


def observe(state: State, data: Dataset, measure: Measure) -> Mapping[str, Estimate]:
    """Measure the model in evaluation mode, without a trace in the training's random numbers."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state.measured.eval()
        found = measure(state.measured, data)
    state.model.train()
    return found


@stoppable()
def play(state: State, data: Dataset, run: Run, epochs: int) -> None:
    """Train until `epochs` are done, saving after each; an interrupt ends it early.

    Raises ValueError, before the first step, for what could not be measured after the last one;
    RunError if measuring fails all the same: what was trained is kept.
    """
    recipe, accelerator, seed = state.recipe, state.accelerator, run.config["seed"]
    watch = watched(recipe)
    if accelerator.is_main_process:
        check_writable(run.folder)
    meter = Meter(run, epochs, len(data.train[0]), accelerator.is_main_process)
    if (longer := beyond(run, epochs)) and accelerator.is_main_process:
        kept = f"{run.name} was trained to epoch {longer} before, and that is kept"
        meter.bar.write(f"{kept}: {epochs} epochs are trained beside it")
    seen = None
    try:
        if run.epochs < epochs:
            rehearse(state, data, watch, run.name)
        for epoch in range(run.epochs, epochs):
            row = {"epoch": epoch + 1, **one_epoch(state, data, seed, epoch, meter)}
            due = (epoch + 1) % recipe.watch_every == 0 or epoch + 1 == epochs
            seen, trouble = look(state, data, watch, row) if due else (None, None)
            history = [*run.history, row]
            if accelerator.is_main_process:
                save_state(run, state.tensors(), history)
            run.config["epochs"], run.history = epoch + 1, history
            accelerator.wait_for_everyone()
            if trouble:
                raise not_measured(run, epochs, trouble) from trouble
        weigh(state, data, watch, run, seen)
        finish(state, run)
        accelerator.wait_for_everyone()
    except KeyboardInterrupt:
        meter.bar.write(f"interrupted: this is {run.name} after {run.epochs} whole epochs")
    finally:
        meter.bar.close()


def look(
    state: State, data: Dataset, watch: Measure, row: dict[str, float]
) -> tuple[Seen | None, Exception | None]:
    """Add what is watched to an epoch's row, and keep a tensor; return it and what went wrong."""
    try:
        found = observe(state, data, watch)
        row |= {f"test/{k}": float(v) for k, v in found.items()}
        state.keep(int(row["epoch"]))
    except Exception as error:  # a measure may break in any way, and costs no epoch
        return None, error
    return found, None


def weigh(state: State, data: Dataset, watch: Measure, run: Run, seen: Seen | None) -> None:
    """Measure a trained run; `seen` was watched after its last epoch, if any was trained now.

    Raises RunError, which says how to do so again, if that fails.
    """
    try:
        seen = observe(state, data, watch) if seen is None else seen
        found = {**seen, **observe(state, data, state.recipe.measure)}
        run.metrics = {name: asdict(estimate) for name, estimate in found.items()}
    except Exception as error:
        raise not_measured(run, run.epochs, error) from error


def not_measured(run: Run, epochs: int, error: Exception) -> RunError:
    """Say that measuring failed, what is kept, and how to go on once that is mended."""
    how = "train it again to go on"
    if run.epochs == epochs:
        how = f"to measure it again: python -m companion measure {run.name}"
    kept = f"its weights after epoch {run.epochs} are kept"
    return RunError(f"{run.name} could not be measured: {reason(error)}; {kept}; {how}")


def finish(state: State, run: Run) -> None:
    """Write a trained and measured run; it is complete only once it is written."""
    seconds = sum(row["seconds"] for row in run.history)
    made = {"complete": True, "precision": state.precision, "wall_seconds": seconds}
    if state.recipe.saved:
        made["saved"] = state.recipe.saved
    whole = replace(run, config={**run.config, **made, **provenance()})
    if state.accelerator.is_main_process:
        run.files = write(whole, run.folder, state.measured.state_dict(), state.kept).files
        tidy(whole)
    run.config = whole.config
