"""What is seen of a training while it runs: means, a progress bar, and the guard against NaN."""

import math
import time

import torch
from tqdm.auto import tqdm

from companion.recipes import Terms
from companion.runs import Run
from companion.train.state import State


class Diverged(FloatingPointError):
    """A number of a training is not finite; the message names it, the step and the kept state."""


class Meter:
    """Mean of each scalar over an epoch, a progress bar, and the guard against NaN."""

    def __init__(self, run: Run, epochs: int, examples: int, show: bool):
        self.run, self.sums, self.counts, self.waiting = run, {}, {}, None
        self.bar = tqdm(
            total=epochs * examples, initial=run.epochs * examples, unit=" examples",
            unit_scale=True, desc=run.name, disable=not show, mininterval=0.5,
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

    def inspect(self, state: State, step: int, epoch: int) -> None:
        """Raise Diverged if, at an epoch's end, anything that would be saved has run away.

        No loss has judged the weights after the last update, and none ever judges what an
        optimizer remembers or a layer averages: moments at inf freeze their weights for ever.
        """
        if bad := state.runaway():
            when = f"by step {step}, the end of epoch {epoch}"
            raise Diverged(f"{bad} is no longer finite {when}; {self.kept}")

    @property
    def kept(self) -> str:
        """Say which state is left to go on from."""
        epochs = self.run.epochs
        return f"the state after epoch {epochs} is kept" if epochs else "no state is kept"

    def show(self, examples: int, epoch: int) -> None:
        """Advance the bar."""
        due = time.monotonic() - self.bar.last_print_t > 0.5 if not self.bar.disable else False
        if due:
            means = {k: f"{v.item() / self.counts[k]:.4g}" for k, v in self.sums.items()}
            self.bar.set_postfix({"epoch": epoch + 1, **means}, refresh=False)
        self.bar.update(examples)

    def means(self, epoch: int) -> dict[str, float]:
        """Close the epoch: the mean of every scalar. Raises Diverged if one is not finite."""
        self.judge()
        found = {k: v.item() / self.counts[k] for k, v in self.sums.items()}
        for key, value in found.items():
            if not math.isfinite(value):
                raise Diverged(f"the mean of {key} over epoch {epoch} is {value}; {self.kept}")
        self.sums, self.counts = {}, {}
        return found
