"""Train every model of the book: the only training loop."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from itertools import cycle
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from companion.data import Dataset
from companion.files import DamagedFile, check_writable, fit, load_tensors, save_tensors
from companion.metrics.estimate import Estimate
from companion.players import Batch, Measure, Recipe, Table, Terms
from companion.runs import Absent, Run, ask, begin, find_published, provenance, write


class Diverged(FloatingPointError):
    """A loss term is not finite; the message names the term, the step and the kept state."""


def seed_of(*parts: int) -> int:
    """Mix numbers into one seed, so that neighbours share nothing."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "big")


def batches(n: int, size: int, seed: int, epoch: int, rank: int, world: int) -> Iterator[Tensor]:
    """Shuffled batches of indices, the same for an epoch however we got there; endless."""
    shuffle = torch.Generator().manual_seed(seed_of(seed, epoch))
    order = torch.randperm(n, generator=shuffle)[rank::world]
    whole = len(order) // size * size or len(order)
    return cycle(order[:whole].split(size))


class Meter:
    """Mean of each scalar over an epoch, a progress bar, and the guard against NaN."""

    def __init__(self, run: Run, epochs: int, images: int, show: bool):
        self.run, self.sums, self.counts, self.waiting = run, {}, {}, None
        self.bar = tqdm(
            total=epochs * images, initial=run.epochs * images, unit="img", unit_scale=True,
            desc=run.name, disable=not show, mininterval=0.5,
        )  # fmt: skip

    def add(self, name: str, terms: Terms, step: int) -> None:
        """Take in one update; judge the one before, so that a GPU never has to wait."""
        self.judge()
        self.waiting = (name, terms, step)
        for key, value in terms.items():
            key = f"{name}/{key}"
            self.sums[key] = self.sums[key] + value if key in self.sums else value.clone()
            self.counts[key] = self.counts.get(key, 0) + 1

    def judge(self) -> None:
        """Raise Diverged if the update that waits had a term that is not finite."""
        if self.waiting is None:
            return
        (name, terms, step), self.waiting = self.waiting, None
        if torch.stack([v.float() for v in terms.values()]).isfinite().all():
            return
        bad = next(k for k, v in terms.items() if not v.isfinite())
        raise Diverged(f"{name}/{bad} became {terms[bad].item()} at step {step}; {self.kept}")

    def inspect(self, model: nn.Module, epoch: int) -> None:
        """Raise Diverged if an epoch's last update, which no loss has judged, broke a weight."""
        for name, weight in model.named_parameters():
            if not weight.isfinite().all():
                raise Diverged(f"{name} is no longer finite after epoch {epoch}; {self.kept}")

    @property
    def kept(self) -> str:
        """Say which state is left to go on from."""
        epochs = self.run.epochs
        return f"the state after epoch {epochs} is kept" if epochs else "no state is kept"

    def show(self, images: int, epoch: int) -> None:
        """Advance the bar."""
        due = time.monotonic() - self.bar.last_print_t > 0.5 if not self.bar.disable else False
        if due:
            means = {k: f"{v.item() / self.counts[k]:.4g}" for k, v in self.sums.items()}
            self.bar.set_postfix({"epoch": epoch + 1, **means}, refresh=False)
        self.bar.update(images)

    def means(self) -> dict[str, float]:
        """Close the epoch: the mean of every scalar."""
        self.judge()
        found = {k: v.item() / self.counts[k] for k, v in self.sums.items()}
        self.sums, self.counts = {}, {}
        return found


def one_epoch(
    table: Table, stored: Batch, seed: int, epoch: int, meter: Meter
) -> dict[str, float]:
    """Pass once over the data; return the mean of each loss term and the images per second."""
    recipe, host = table.recipe, table.host
    rank, world, size, n = (
        host.process_index,
        host.num_processes,
        recipe.batch_size,
        len(stored[0]),
    )
    draws = sum(player.updates for player in recipe.players.values())
    steps = max(1, n // (size * world * draws))
    torch.manual_seed(seed_of(seed, epoch, rank + 1))  # each process draws its own noise
    stream = batches(n, size, seed, epoch, rank, world)
    start = time.perf_counter()
    for step in range(steps):
        for name, player in recipe.players.items():
            for _ in range(player.updates):
                index = next(stream).to(stored[0].device)
                batch = tuple(t[index] for t in stored)
                terms = table.update(name, batch, epoch * steps + step, epoch + step / steps)
                meter.add(name, terms, epoch * steps + step)
        if table.average is not None:
            table.average.update_parameters(table.model)
        meter.show(min(size, n) * world * draws, epoch)
    means = meter.means()
    meter.inspect(table.model, epoch + 1)
    seconds = time.perf_counter() - start
    images = steps * draws * min(size, n) * world
    return {**means, "images/s": images / seconds, "seconds": seconds}


def observe(table: Table, data: Dataset, measure: Measure) -> Mapping[str, Estimate]:
    """Measure the model in evaluation mode, without a trace in the training's random numbers."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        table.answer.eval()
        found = measure(table.answer, data)
    table.model.train()
    return found


def resume(table: Table, run: Run, epochs: int) -> None:
    """Go on from the saved state, if there is one that is not past what is asked.

    Raises DamagedFile if it is not as it was saved, or not of this training.
    """
    if not run.state.exists():
        return
    tensors, record = load_tensors(run.state)
    done, history = record.get("epochs"), record.get("history")
    if not isinstance(done, int) or not isinstance(history, list) or len(history) != done:
        raise DamagedFile(f"{run.state} is no state of a training; delete it to start anew")
    if done <= epochs:
        table.restore(tensors, run.state)
        run.config["epochs"], run.history = done, history


def play(table: Table, data: Dataset, run: Run, epochs: int) -> None:
    """Train until `epochs` are done, saving after each; an interrupt ends it early."""
    recipe, host, seed = table.recipe, table.host, run.config["seed"]
    if host.is_main_process:
        check_writable(run.folder.parent)
    meter = Meter(run, epochs, len(data.train[0]), host.is_main_process)
    try:
        for epoch in range(run.epochs, epochs):
            row = {"epoch": epoch + 1, **one_epoch(table, data.train, seed, epoch, meter)}
            if (epoch + 1) % recipe.watch_every == 0 or epoch + 1 == epochs:
                row |= {
                    f"test/{k}": float(v) for k, v in observe(table, data, recipe.watch).items()
                }
                table.keep(epoch + 1)
            history = [*run.history, row]
            if host.is_main_process:
                save_tensors(run.state, table.tensors(), epochs=epoch + 1, history=history)
            run.config["epochs"], run.history = epoch + 1, history
            host.wait_for_everyone()
        found = {**observe(table, data, recipe.watch), **observe(table, data, recipe.measure)}
        run.metrics = {name: asdict(estimate) for name, estimate in found.items()}
        seconds = sum(row["seconds"] for row in run.history)
        made = {"complete": True, "precision": table.precision, "wall_seconds": seconds}
        whole = replace(run, config={**run.config, **made, **provenance()})
        if host.is_main_process:
            write(whole, run.folder, table.answer.state_dict(), table.kept)
        run.config = whole.config  # complete only now that it is written
        host.wait_for_everyone()
    except KeyboardInterrupt:
        meter.bar.write(f"interrupted: this is {run.name} after {run.epochs} whole epochs")
    finally:
        meter.bar.close()


def begin_data(recipe: Recipe, subset: int) -> tuple[Dataset, dict[str, str]]:
    """Load what the recipe trains on, cut both its sets to the subset, and say what it is."""
    data = recipe.data()
    n = len(data.train[0])
    if subset > n:
        raise ValueError(f"subset must be at most the {n} training examples, got {subset}")
    if subset:
        train, test = (tuple(t[:subset] for t in part) for part in (data.train, data.test))
        data = replace(data, train=train, test=test)
    about = {k: getattr(data, k) for k in ("name", "split", "source", "sha256")}
    return data, about


def on(data: Dataset, device: torch.device) -> Dataset:
    """Hold a whole small data set on the device; its images stay uint8 there."""
    return replace(
        data,
        train=tuple(t.to(device) for t in data.train),
        test=tuple(t.to(device) for t in data.test),
    )


def recall(run: Run, model: nn.Module) -> Run:
    """Put a run's weights into the model, on the CPU, in evaluation mode, if it has weights."""
    if run.config.get("record_only"):
        return replace(run, model=Absent(run))
    fit(model, load_tensors(run.weights)[0], run.weights)
    run.model = model.cpu().eval()
    return run


def train(
    experiment: Callable[..., Recipe], epochs: int = 0, seed: int = 0, subset: int = 0,
    **choices: Any,
) -> Run:  # fmt: skip
    """Answer one question: recall its run, resume it if it was begun, or train it.

    epochs: 0 recalls the published run; n trains until n epochs are done on this machine.
    subset: train and measure on the first n examples; 0: all. choices: the experiment's arguments.
    Returns the run, its model on the CPU in evaluation mode. An interrupt (Ctrl-C) returns the
    run so far. Raises ValueError or TypeError for choices that cannot be, RunError if a run was
    never published or cannot be saved, DamagedFile if a saved file is not as written, and
    Diverged if a loss term is no longer finite.
    """
    for name, value in {"epochs": epochs, "seed": seed, "subset": subset}.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError(f"{name} must be a whole number, 0 or above, got {value!r}")
    question = ask(experiment, seed, subset, choices)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if not isinstance(recipe := experiment(**choices), Recipe):
            raise TypeError(f"an experiment must return a Recipe, got {recipe!r}")
        if epochs == 0:
            return recall(find_published(question), recipe.model)
        data, about = begin_data(recipe, subset)
        run = begin(question, about, epochs)
        if run.complete:
            return recall(run, recipe.model)
        table = Table(recipe)
        resume(table, run, epochs)
        play(table, on(data, table.host.device), run, epochs)
        run.model = table.answer.cpu().eval()
    return run
