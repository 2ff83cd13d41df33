"""What is seen of a training while it runs: means, a progress bar, and the guard against NaN."""

import time

import torch
from torch import nn
from tqdm.auto import tqdm

from companion.recipes import Terms
from companion.runs import Run


class Diverged(FloatingPointError):
    """A loss term is not finite; the message names the term, the step and the kept state."""


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

    def show(self, examples: int, epoch: int) -> None:
        """Advance the bar."""
        due = time.monotonic() - self.bar.last_print_t > 0.5 if not self.bar.disable else False
        if due:
            means = {k: f"{v.item() / self.counts[k]:.4g}" for k, v in self.sums.items()}
            self.bar.set_postfix({"epoch": epoch + 1, **means}, refresh=False)
        self.bar.update(examples)

    def means(self) -> dict[str, float]:
        """Close the epoch: the mean of every scalar."""
        self.judge()
        found = {k: v.item() / self.counts[k] for k, v in self.sums.items()}
        self.sums, self.counts = {}, {}
        return found
