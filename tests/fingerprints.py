"""Write the fingerprints of all published runs anew, for a change that is meant.

`python tests/fingerprints.py`: it prints what changed. Nothing but the field and the seal of a
record is touched: weights, numbers and history stay byte for byte, and so does the run's name.
"""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from companion.experiments import asked_of
from companion.runs import Run, all_runs
from companion.runs.record import write_sealed
from companion.train import fingerprint


@cache
def built(experiment: str, choices: str) -> dict[str, str]:
    """The fingerprint of what an experiment builds today from choices in JSON."""
    make, asked = asked_of(experiment, {"experiment": experiment, "choices": json.loads(choices)})
    return fingerprint(make(**asked))


def of_run(run: Run) -> dict[str, str]:
    """The fingerprint of what the experiment of a run builds today."""
    return built(run.config["experiment"], json.dumps(run.config["choices"], sort_keys=True))


def migrate(run: Run, of: Callable[[Run], dict[str, str]] = of_run) -> list[str]:
    """Give a record today's fingerprint; return the parts in which its own was another."""
    today, before = of(run), run.config.get("fingerprint", {})
    if today != before:
        config: dict[str, Any] = {**run.config, "fingerprint": today}
        write_sealed(run.folder, config, run.files)
    return sorted({name for name, _ in {*today.items()} ^ {*before.items()}})


if __name__ == "__main__":
    for run in all_runs():
        if changed := migrate(run):
            print(f"{run.name}: {', '.join(changed)}")
