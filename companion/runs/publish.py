"""What of a finished run is published."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from companion.files import RunError
from companion.runs import record
from companion.runs.record import Run

if TYPE_CHECKING:
    from torch import Tensor

PEOPLE = ("olivetti", "celeba")  # data that are photographs of people
UNFAITHFUL = ("stand-in", "unverified")  # sources that are not what they stand for


def publish(
    run: Run, root: Path | None = None, *, record_only: bool = False, bits: int = 8,
    whole: bool = False,
) -> Run:  # fmt: skip
    """Copy the light part of a complete run: packed weights, nine of its snapshots.

    Of the weights, those of the part that the recipe says is `saved`; whole: all of them.
    record_only: no weights; of photographs of people there are none, and no snapshots. bits: of a
    weight, as few as leave the run's numbers within their errors. Raises RunError for a run that
    no result may rest on.
    """
    from companion.tensors import pack

    if not run.complete:
        raise RunError(f"{run.name} is not complete: only a finished run can be published")
    if run.config["subset"] or run.source.startswith(UNFAITHFUL):
        what = f"{run.config['subset'] or 'all'} of the {run.source} data"
        raise RunError(f"{run.name} saw {what}; to publish it, train on all of the original")
    weights, pictures = run.load("weights")[0], run.folder / "snapshots.safetensors"
    kept = run.load("snapshots")[0] if pictures.exists() else {}
    saved, config = run.config.get("saved", ""), dict(run.config)
    if saved and not whole:
        weights = {k: v for k, v in weights.items() if k.startswith(f"{saved}.")}
    elif whole:
        config["saved"] = ""
    people = run.config["data"]["name"] in PEOPLE
    if record_only or people:
        weights, kept, config = {}, {} if people else kept, {**config, "record_only": True}
    light = pack(weights, bits)
    run = replace(run, config=config)
    return record.write(run, (root or record.PUBLISHED) / run.name, light, thinned(kept))


def thinned(kept: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Keep nine epochs at most, the first and the last among them, further and further apart."""
    from companion.tensors import pressed

    last = int(max(kept, default=0))
    wanted = [last ** (k / 8) for k in range(9)] if kept else []
    near = {min(kept, key=lambda epoch, at=at: abs(int(epoch) - at)) for at in wanted}
    return {epoch: pressed(kept[epoch]) for epoch in sorted(near)}
